"""Photos that were looked at and the faces found in them.

N faces, P = 5 points.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from store.changes import CHUNK
from store.errors import UnknownPhoto
from store.schema import Face, Person, Photo, Template
from store.sealing import StoredCrop, opened_crops, sealed_crop

SHA256_LENGTH: Final = 64
Key = TypeVar("Key", int, str)


@dataclass(frozen=True, slots=True)
class FaceOrigin:
    """Where a template came from: its photo, the box (x, y, w, h) in it in pixels, the measures."""

    digest: str
    source: str
    box: tuple[float, float, float, float]
    quality: dict[str, Any] | None = None


def chunks(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Cut a list into pieces short enough for one statement."""
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))


def record_photo(
    session: Session,
    digest: str,
    source: str,
    size: int,
    width: int,
    height: int,
    *,
    outcome: str,
    reason: str | None = None,
    taken: datetime | None = None,
    claimed: Person | None = None,
) -> Photo:
    """Keep that a file was looked at; a file seen before gets the new path and outcome.

    Args:
        session: a transaction, as `Store` opens it.
        digest: sha256 of the file's bytes, 64 lower-case hexadecimal digits.
        source: its path, or what else it came from.
        size: bytes of the file.
        width: pixels of the upright picture; 0 when it could not be read.
        height: pixels of the upright picture; 0 when it could not be read.
        outcome: enrolled, rejected or library.
        reason: why it was rejected.
        taken: aware time of the exposure.
        claimed: whose photo it was said to be; forgetting them forgets it, if rejected.

    Raises:
        ValueError: the digest is no sha256.
    """
    if len(digest) != SHA256_LENGTH or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"A photo's digest is 64 hexadecimal digits (sha256); got {digest!r}.")
    photo = photo_by_digest(session, digest)
    if photo is None:
        photo = Photo(digest=digest)
        session.add(photo)
    photo.source, photo.size, photo.width, photo.height = source, size, width, height
    photo.outcome, photo.reason, photo.taken = outcome, reason, taken
    photo.claimed_id = None if claimed is None else claimed.id
    session.flush()
    return photo


def record_face(
    session: Session,
    photo: Photo,
    *,
    box: NDArray[np.float32],
    points: NDArray[np.float32] | None,
    confidence: float,
    quality: Mapping[str, object] | None,
    crop: bytes,
    person: Person | None = None,
) -> Face:
    """Keep one face of a photo.

    Args:
        session: a transaction, as `Store` opens it.
        photo: as `record_photo` gave it.
        box: float32 (4,), x, y, w, h in the photo's pixels.
        points: float32 (5, 2) in the photo's pixels, or None.
        confidence: the detector's, 0…1.
        quality: measures of the crop, as JSON can hold them.
        crop: the aligned crop as JPEG bytes.
        person: whose face it is, under whose key a sealed gallery seals the crop; None: not known.

    Raises:
        ValueError: the box or the points have another shape.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
    """
    if box.shape != (4,) or (points is not None and points.shape != (5, 2)):
        got = None if points is None else points.shape
        raise ValueError(
            f"A face has a box (4,) and points (5, 2) or None; got {box.shape}, {got}."
        )
    x, y, w, h = (float(value) for value in box)
    owner = None if person is None else person.id
    kept, seal_id = sealed_crop(session, owner, photo.digest, (x, y, w, h), crop)
    face = Face(
        photo_id=photo.id,
        x=x,
        y=y,
        w=w,
        h=h,
        points=None if points is None else points.astype(float).tolist(),
        confidence=float(confidence),
        quality=None if quality is None else dict(quality),
        crop=kept,
        seal_id=seal_id,
    )
    session.add(face)
    session.flush()
    return face


def photo_by_digest(session: Session, digest: str) -> Photo | None:
    """The photo of that sha256, None if it was never looked at."""
    return session.scalar(select(Photo).where(Photo.digest == digest))


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """What is known of a file that was looked at.

    Attributes:
        id: of its row.
        outcome: enrolled, rejected or library.
        reason: why it was rejected, or why a library's photo shows nobody.
        people: names of the people who have a template from it.
    """

    id: int
    outcome: str
    reason: str | None
    people: tuple[str, ...]


def photo_records(session: Session, digests: Sequence[str]) -> dict[str, PhotoRecord]:
    """Digest → what is known of that photo; photos never looked at are left out."""
    found: dict[str, PhotoRecord] = {}
    for some in chunks(digests):
        rows = session.scalars(select(Photo).where(Photo.digest.in_(some))).all()
        names: dict[int, list[str]] = {row.id: [] for row in rows}
        query = select(Face.photo_id, Person.name).join(Template, Template.face_id == Face.id)
        query = query.join(Person, Person.id == Template.person_id).distinct()
        for photo_id, name in session.execute(query.where(Face.photo_id.in_(list(names)))):
            names[photo_id].append(name)
        for row in rows:
            people = tuple(sorted(names[row.id]))
            found[row.digest] = PhotoRecord(row.id, row.outcome, row.reason, people)
    return found


def find_photos(session: Session, what: str | Path) -> list[Photo]:
    """The photos of that sha256 or path (a path may have held several files over time).

    A path that is not on record, since the file was seen again elsewhere, is read: it is the photo
    of the same bytes.

    Raises:
        UnknownPhoto: none.
    """
    wanted = str(what)
    query = select(Photo).where(or_(Photo.digest == wanted, Photo.source == wanted))
    photos = list(session.scalars(query.order_by(Photo.id)))
    if not photos and (digest := _digest_of(Path(what))) is not None:
        photos = list(session.scalars(select(Photo).where(Photo.digest == digest)))
    if not photos:
        raise UnknownPhoto(wanted)
    return photos


def _digest_of(file: Path) -> str | None:
    """Sha256 of a file's bytes; None where there is no such file to read."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def enrolled_digests(session: Session) -> frozenset[str]:
    """The sha256 of every photo that somebody has a template of."""
    query = select(Photo.digest).join(Face, Face.photo_id == Photo.id)
    query = query.join(Template, Template.face_id == Face.id)
    return frozenset(session.scalars(query.where(Template.person_id.is_not(None))))


def origins(session: Session, template_ids: Sequence[int]) -> dict[int, FaceOrigin]:
    """Template id → the photo and box it came from; unknown ids are left out."""
    box = (Face.x, Face.y, Face.w, Face.h)
    columns = (Template.id, Photo.digest, Photo.source, Face.quality, *box)
    found: dict[int, FaceOrigin] = {}
    for some in chunks(template_ids):
        query = select(*columns).join(Face, Face.id == Template.face_id)
        query = query.join(Photo, Photo.id == Face.photo_id).where(Template.id.in_(some))
        for key, digest, source, quality, x, y, w, h in session.execute(query):
            found[key] = FaceOrigin(digest, source, (x, y, w, h), quality)
    return found


def crops(session: Session, template_ids: Sequence[int]) -> dict[int, bytes]:
    """Template id → the aligned crop it was made from, as JPEG.

    Unknown ids are left out, and those whose crop was sealed as somebody's who was forgotten.

    Raises:
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
        SealBroken: a row was changed or moved.
    """
    found: dict[int, bytes] = {}
    columns = (Photo.digest, Face.x, Face.y, Face.w, Face.h, Face.crop, Face.seal_id)
    for some in chunks(template_ids):
        query = select(Template.id, *columns).join(Face, Face.id == Template.face_id)
        query = query.join(Photo, Photo.id == Face.photo_id)
        rows = session.execute(query.where(Template.id.in_(some))).all()
        stored = [StoredCrop(row[1], (row[2], row[3], row[4], row[5]), *row[6:]) for row in rows]
        for row, crop in zip(rows, opened_crops(session, stored), strict=True):
            if crop is not None:
                found[row[0]] = crop
    return found
