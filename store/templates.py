"""Templates: adding them, giving them a person, removing and reading them.

M templates, D dimensions. Ids are int64, vectors float32 with rows of unit length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, aliased

from store.changes import append_changes
from store.errors import UnknownTemplate
from store.gallery import require_space
from store.photos import chunks
from store.schema import Face, Person, Photo, Site, Template, new_uid
from store.sealing import Stored, give_crops, give_to, opened, require_comparable, sealed_vector

_STORED: Final = (Template.uid, Template.space, Template.vector, Template.seal_id)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose template it is."""

    person_id: int
    uid: str
    name: str
    site_id: int
    site: str
    expires: datetime | None
    space: str


@dataclass(frozen=True, slots=True)
class LibraryFaces:
    """M faces of a library in one space, in the order of their ids.

    Attributes:
        ids: int64 (M,), the templates.
        photo_ids: int64 (M,); two faces of one photo are two people.
        person_ids: int64 (M,), -1 where nobody has named the face.
        vectors: float32 (M, D), rows of unit length.
    """

    ids: NDArray[np.int64]
    photo_ids: NDArray[np.int64]
    person_ids: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def add_template(
    session: Session, person: Person | None, face: Face, space: str, vector: NDArray[np.float32]
) -> Template:
    """Keep the vector of a face, and log it for the index when it has a person.

    Args:
        session: a transaction, as `Store` opens it.
        person: whose it is; None for a face of a library that nobody has named yet.
        face: as `record_face` gave it.
        space: name of the vector space; pin it first (`gallery.pin_space`).
        vector: float32 (D,), unit length.

    Raises:
        InvalidVector: the vector is not that.
        SpaceMismatch: the gallery is of another space, perhaps since it was migrated.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
    """
    require_space(session, space)
    uid, person_id = new_uid(), None if person is None else person.id
    kept, seal_id = sealed_vector(session, person_id, uid, space, vector)
    template = Template(
        uid=uid, person_id=person_id, face_id=face.id, space=space, vector=kept, seal_id=seal_id
    )
    session.add(template)
    session.flush()
    if person is not None:
        if face.seal_id != seal_id:
            give_crops(session, person.id, [template.id])
        append_changes(session, [template.id], "add")
    return template


def assign_person(session: Session, template_ids: Sequence[int], person: Person | None) -> None:
    """Say whose templates these are, and those of the same faces in other spaces.

    An index follows.

    Args:
        session: a transaction, as `Store` opens it.
        template_ids: named or unnamed before.
        person: None takes the name away: the faces are a library's again.

    Raises:
        UnknownTemplate: some ids are not there; nothing has changed then.
    """
    ids = _with_twins(session, _existing(session, template_ids))
    for some in chunks(ids):
        owner = None if person is None else person.id
        give_to(session, some, owner)
        session.execute(update(Template).where(Template.id.in_(some)).values(person_id=owner))
        append_changes(session, some, "remove" if person is None else "add")


def remove_templates(session: Session, template_ids: Sequence[int]) -> None:
    """Delete templates and those of the same faces in other spaces; faces and photos stay.

    An index follows.

    Raises:
        UnknownTemplate: some ids are not there; nothing has changed then.
    """
    for some in chunks(_with_twins(session, _existing(session, template_ids))):
        session.execute(delete(Template).where(Template.id.in_(some)))
        append_changes(session, some, "remove")


def vectors_of(
    session: Session, person_id: int, space: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """All templates of one person in one space.

    Returns:
        int64 (M,) ids in rising order, float32 (M, D) vectors; (0,) and (0, 0) without any.
    """
    query = (
        select(Template.id, *_STORED)
        .where(Template.person_id == person_id, Template.space == space)
        .order_by(Template.id)
    )
    rows = session.execute(query).all()
    return np.array([row.id for row in rows], np.int64), opened(session, _stored(rows, 1))


def owners(session: Session, template_ids: Sequence[int]) -> dict[int, Owner]:
    """Template id → whose it is; templates that are gone or have no person are left out.

    Every hit of an index goes through here before it is believed.
    """
    columns = (
        Template.id,
        Person.id,
        Person.uid,
        Person.name,
        Person.site_id,
        Site.name,
        Person.expires,
        Template.space,
    )
    found: dict[int, Owner] = {}
    for some in chunks(template_ids):
        query = select(*columns).join(Person, Person.id == Template.person_id).join(Person.place)
        for row in session.execute(query.where(Template.id.in_(some))):
            found[row[0]] = Owner(*row[1:])
    return found


def faces_of_photos(session: Session, digests: Sequence[str], space: str) -> LibraryFaces:
    """The faces that a library's photos have in one space, named or not.

    Args:
        session: a transaction, as `Store` opens it.
        digests: sha256 of each photo's file; photos without faces add nothing.
        space: name of the vector space.
    """
    rows: list[Any] = []
    for some in chunks(digests):
        query = (
            select(Template.id, Face.photo_id, Template.person_id, *_STORED)
            .join(Face, Face.id == Template.face_id)
            .join(Photo, Photo.id == Face.photo_id)
            .where(Photo.digest.in_(some), Template.space == space)
        )
        rows.extend(session.execute(query))
    return _faces(session, rows)


def named_templates(session: Session, space: str) -> LibraryFaces:
    """Every template of a person in one space.

    Raises:
        OneToOneOnly: the gallery's people cannot be compared with each other.
    """
    require_comparable(session)
    query = (
        select(Template.id, Face.photo_id, Template.person_id, *_STORED)
        .join(Face, Face.id == Template.face_id)
        .where(Template.person_id.is_not(None), Template.space == space)
    )
    return _faces(session, session.execute(query).all())


def _stored(rows: Sequence[Any], start: int) -> list[Stored]:
    """The columns `_STORED` of rows, which begin at `start`."""
    return [Stored(*row[start:]) for row in rows]


def _faces(session: Session, rows: Sequence[Any]) -> LibraryFaces:
    rows = sorted(rows, key=lambda row: row[0])
    return LibraryFaces(
        ids=np.array([row[0] for row in rows], np.int64),
        photo_ids=np.array([row[1] for row in rows], np.int64),
        person_ids=np.array([-1 if row[2] is None else row[2] for row in rows], np.int64),
        vectors=opened(session, _stored(rows, 3)),
    )


def _existing(session: Session, template_ids: Sequence[int]) -> list[int]:
    wanted = list(dict.fromkeys(int(template_id) for template_id in template_ids))
    session.flush()
    there: set[int] = set()
    for some in chunks(wanted):
        there.update(session.scalars(select(Template.id).where(Template.id.in_(some))))
    missing = [template_id for template_id in wanted if template_id not in there]
    if missing:
        raise UnknownTemplate(missing)
    return wanted


def _with_twins(session: Session, template_ids: list[int]) -> list[int]:
    """Templates, and after them those of the same faces in other spaces."""
    twin = aliased(Template)
    found = dict.fromkeys(template_ids)
    for some in chunks(template_ids):
        query = select(Template.id).join(twin, twin.face_id == Template.face_id)
        query = query.where(twin.id.in_(some), Template.id != twin.id)
        found.update(dict.fromkeys(session.scalars(query.order_by(Template.id))))
    return list(found)
