"""The photos of a library into stored faces: what was looked at before is not decoded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from embedder.admission import admit
from embedder.embed import FoundFace
from embedder.quality import Gate
from enroll.batches import batches
from enroll.intake import Looked, Ticket, look_ahead
from enroll.person import add_face, same_face
from store.gallery import pin_space, require_space
from store.photos import photo_records, record_photo
from store.schema import Photo
from store.sealing import require_comparable
from store.templates import faces_of_photos
from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class Reading:
    """How a library's photos are looked at.

    Attributes:
        faces: which faces of a photo: `all`, `largest` or `centre`.
        gate: the least quality.
        jobs: threads that decode and detect; None: one a core.
    """

    faces: str
    gate: Gate
    jobs: int | None = None


def read_library(
    parts: Parts, paths: list[Path], how: Reading
) -> Iterator[list[tuple[Looked, str | None]]]:
    """Look at the photos not seen yet and store their faces, a transaction a batch.

    Yields:
        Each photo of a batch, with the reason why it shows nobody, or None.

    Raises:
        SpaceMismatch: the gallery is pinned to another encoder.
        OneToOneOnly: the gallery's people cannot be compared with each other.
    """
    space = parts.card.space
    with parts.store.read() as session:
        require_space(session, space)
        require_comparable(session)
        seen = _seen(session)
    tickets = (Ticket(path, None) for path in paths)
    looked = look_ahead(tickets, parts.embedder, how.faces, seen.__contains__, how.jobs)
    for batch in batches(photo for photo, _ in looked):
        fresh = [photo for photo in batch if not photo.known and photo.digest is not None]
        reasons = _keep(parts, fresh, how) if fresh else {}
        yield [(photo, _reason(photo, reasons, seen)) for photo in batch]


def _seen(session: Session) -> dict[str, str | None]:
    """Digest → why it shows nobody, or None, of every photo of a library."""
    query = select(Photo.digest, Photo.reason).where(Photo.outcome == "library")
    return {row[0]: row[1] for row in session.execute(query)}


def _reason(
    photo: Looked, fresh: Mapping[str, str | None], seen: Mapping[str, str | None]
) -> str | None:
    if photo.digest is None:
        return "not_an_image" if photo.error is None else photo.error.reason
    return fresh[photo.digest] if photo.digest in fresh else seen.get(photo.digest)


def _keep(parts: Parts, photos: list[Looked], how: Reading) -> dict[str, str | None]:
    """Store photos that were looked at: digest → why it shows nobody, or None."""
    space = parts.card.space
    admissions = [(photo, admit(photo.faces, how.faces, how.gate)) for photo in photos]
    vectors = parts.embedder.encode([f for _, a in admissions for f in a.faces]).vectors
    reasons: dict[str, str | None] = {}
    start = 0
    with parts.store.begin() as session:
        pin_space(session, space)
        for photo, admission in admissions:
            own = vectors[start : start + len(admission.faces)]
            start += len(own)
            with session.begin_nested():
                reason = _store(session, space, photo, admission.faces, own, admission.reason)
            reasons[photo.digest or ""] = reason
    return reasons


def _store(
    session: Session,
    space: str,
    looked: Looked,
    faces: tuple[FoundFace, ...],
    vectors: NDArray[np.float32],
    reason: str | None,
) -> str | None:
    """Keep a photo of a library and its faces; the reason why it shows nobody, or None.

    Args:
        session: a transaction that writes.
        space: the vector space.
        looked: the photo, which has a digest.
        faces: its N usable faces.
        vectors: float32 (N, D).
        reason: why none is usable, or None.
    """
    digest = looked.digest or ""
    why = looked.error.reason if looked.error is not None else reason
    record = photo_records(session, [digest]).get(digest)
    if record is not None and record.outcome == "library":
        return record.reason  # the same bytes under another name, earlier in this run
    kept = faces_of_photos(session, [digest], space)
    photo = record_photo(
        session, digest, looked.source, looked.size, looked.width, looked.height,
        outcome="library", reason=why, taken=looked.taken,
    )  # fmt: skip
    for face, vector in zip(faces, vectors, strict=True):
        if same_face(kept, vector) is None:
            add_face(session, photo, face, space, vector, None)
    return why
