"""Many new photos at once.

The rows of `photos.record_photo`, `photos.record_face` and `templates.add_template`, in a few
statements for all of them instead of several for each.

N faces, P = 5 points, D dimensions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, insert, select
from sqlalchemy.orm import Session

from store.changes import append_changes
from store.gallery import require_space
from store.names import clean_site
from store.photos import chunks
from store.schema import Face, Person, Photo, Site, Template, new_uid
from store.sealing import sealed_crop, sealed_vector


@dataclass(frozen=True, slots=True)
class NewFace:
    """A face to keep, with its vector.

    Attributes:
        box: float32 (4,), x, y, w, h in the photo's pixels.
        points: float32 (5, 2) in the photo's pixels, or None.
        confidence: the detector's, 0…1.
        quality: measures of the crop, as JSON can hold them.
        crop: the aligned crop as JPEG bytes.
        vector: float32 (D,), unit length.
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32] | None
    confidence: float
    quality: dict[str, Any] | None
    crop: bytes
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo that the gallery has not seen, and what is kept of it.

    Attributes:
        digest: sha256 of the file's bytes.
        source: its path.
        size: bytes of the file.
        width, height: pixels; 0 when it could not be read.
        taken: aware time of the exposure.
        outcome: enrolled, rejected or library.
        reason: why it was rejected.
        person: whose faces these are; of a rejected photo, whose it was said to be.
        faces: what is kept of it.
    """

    digest: str
    source: str
    size: int
    width: int
    height: int
    taken: datetime | None
    outcome: str
    reason: str | None
    person: Person | None
    faces: tuple[NewFace, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows of a photo: its id and the ids of its templates, in the order of its faces."""

    photo: int
    templates: tuple[int, ...]


def add_photos(session: Session, space: str, photos: Sequence[NewPhoto]) -> list[Kept]:
    """Keep photos, their faces and templates, and log them for the index.

    Args:
        session: a transaction that writes; people are flushed.
        space: the vector space.
        photos: none of which is on record.

    Raises:
        IntegrityError: one of them is on record.
        InvalidVector, SpaceMismatch: as `templates.add_template`.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
    """
    if not photos:
        return []
    _insert(session, Photo, map(_photo_row, photos))
    ids = _ids(session, Photo.digest, [photo.digest for photo in photos])
    faces = [(photo, ids[photo.digest], face) for photo in photos for face in photo.faces]
    if not faces:
        return [Kept(ids[photo.digest], ()) for photo in photos]
    require_space(session, space)
    _insert(session, Face, (_face_row(session, *one) for one in faces))
    face_ids = _face_ids(session, sorted({photo_id for _, photo_id, _ in faces}))
    uids = [new_uid() for _ in faces]
    _insert(
        session,
        Template,
        (
            _template_row(session, photo.person, face, uid, space, face_ids[photo_id].pop(0))
            for (photo, photo_id, face), uid in zip(faces, uids, strict=True)
        ),
    )
    by_uid = _ids(session, Template.uid, uids)
    templates: dict[int, list[int]] = {}
    for (_, photo_id, _), uid in zip(faces, uids, strict=True):
        templates.setdefault(photo_id, []).append(by_uid[uid])
    named = [
        template
        for photo in photos
        if photo.person is not None
        for template in templates.get(ids[photo.digest], ())
    ]
    append_changes(session, named, "add")
    return [
        Kept(ids[photo.digest], tuple(templates.get(ids[photo.digest], ()))) for photo in photos
    ]


def people_named(session: Session, names: Iterable[str], site: str) -> dict[str, Person]:
    """Name → person, of those names that somebody of a site has; letter case counts.

    Args:
        session: a transaction.
        names: as they are stored.
        site: name of the site.
    """
    found: dict[str, Person] = {}
    for some in chunks(sorted(set(names))):
        query = select(Person).join(Person.place)
        query = query.where(Person.name.in_(some), Site.name == clean_site(site))
        found.update((person.name, person) for person in session.scalars(query))
    return found


def _insert(session: Session, table: type, rows: Iterable[dict[str, Any]]) -> None:
    core = table.__table__  # type: ignore[attr-defined]  # every table's class has it
    assert isinstance(core, Table)  # noqa: S101 - for the type checker
    session.execute(insert(core), list(rows))


def _ids(session: Session, column: Any, keys: Sequence[str]) -> dict[str, int]:  # noqa: ANN401 - a column of texts, each once
    """Text → id of the row that has it in a column of its table."""
    found: dict[str, int] = {}
    for some in chunks(keys):
        rows = session.execute(select(column, column.class_.id).where(column.in_(some)))
        found.update((row[0], row[1]) for row in rows)
    return found


def _face_ids(session: Session, photo_ids: Sequence[int]) -> dict[int, list[int]]:
    """Photo id → ids of its faces, in the order in which they were written."""
    found: dict[int, list[int]] = {}
    for some in chunks(photo_ids):
        query = select(Face.photo_id, Face.id).where(Face.photo_id.in_(some)).order_by(Face.id)
        for photo_id, face_id in session.execute(query):
            found.setdefault(photo_id, []).append(face_id)
    return found


def _photo_row(photo: NewPhoto) -> dict[str, Any]:
    said = photo.person if photo.outcome == "rejected" else None
    return {
        "digest": photo.digest, "source": photo.source, "size": photo.size, "width": photo.width,
        "height": photo.height, "taken": photo.taken, "outcome": photo.outcome,
        "reason": photo.reason, "claimed_id": None if said is None else said.id,
    }  # fmt: skip


def _face_row(session: Session, photo: NewPhoto, photo_id: int, face: NewFace) -> dict[str, Any]:
    x, y, w, h = (float(value) for value in face.box)
    owner = None if photo.person is None else photo.person.id
    crop, seal_id = sealed_crop(session, owner, photo.digest, (x, y, w, h), face.crop)
    return {
        "photo_id": photo_id, "x": x, "y": y, "w": w, "h": h,
        "points": None if face.points is None else face.points.astype(float).tolist(),
        "confidence": float(face.confidence), "quality": face.quality, "crop": crop,
        "seal_id": seal_id,
    }  # fmt: skip


def _template_row(
    session: Session, person: Person | None, face: NewFace, uid: str, space: str, face_id: int
) -> dict[str, Any]:
    owner = None if person is None else person.id
    vector, seal_id = sealed_vector(session, owner, uid, space, face.vector)
    return {
        "uid": uid, "person_id": owner, "face_id": face_id, "space": space, "vector": vector,
        "seal_id": seal_id,
    }  # fmt: skip
