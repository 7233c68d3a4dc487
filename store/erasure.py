"""Forgetting people and photos, and saying what was forgotten.

Rows are deleted here; their bytes leave the files with `Store.scrub` after the commit, and leave a
saved index when it is synced (`sync.refresh`) and saved again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from store.changes import append_changes
from store.photos import chunks, find_photos
from store.records import ClusterFace, Decision
from store.schema import Face, Person, Photo, Template


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many rows are gone; `decisions` stay as numbers, without their person and source."""

    people: int
    templates: int
    faces: int
    photos: int
    cluster_faces: int
    decisions: int


def forget_person(session: Session, person: Person) -> Receipt:
    """Delete somebody and everything that is theirs alone.

    Their templates go, and each face, crop and photo that nobody else has a template of; rejected
    photos that were said to be theirs go too. Decisions about them lose the person and the source.

    Args:
        session: a transaction, as `Store` opens it.
        person: as `people.find_person` gave it.
    """
    session.flush()
    mine = select(Template.id, Template.face_id).where(Template.person_id == person.id)
    rows = session.execute(mine).all()
    template_ids = [row.id for row in rows]
    faces = sorted({row.face_id for row in rows})
    photos = _photos_of(session, faces)
    photos += session.scalars(select(Photo.id).where(Photo.claimed_id == person.id))
    blanked = _blank_decisions(session, person.id)
    links = _remove_templates(session, template_ids)
    receipt = Receipt(
        people=1,
        templates=len(template_ids),
        cluster_faces=links,
        faces=_delete_bare_faces(session, faces),
        photos=_delete_bare_photos(session, photos),
        decisions=blanked,
    )
    session.execute(delete(Person).where(Person.id == person.id))
    return receipt


def forget_photo(session: Session, what: str | Path) -> Receipt:
    """Delete a photo, its faces and their templates, whoever they belong to; people stay.

    Args:
        session: a transaction, as `Store` opens it.
        what: the sha256 of the file, or its path as it was recorded.

    Raises:
        UnknownPhoto: there is none.
    """
    photo_ids = [photo.id for photo in find_photos(session, what)]
    session.flush()
    faces = list(session.scalars(select(Face.id).where(Face.photo_id.in_(photo_ids))))
    template_ids = [
        template_id
        for some in chunks(faces)
        for template_id in session.scalars(select(Template.id).where(Template.face_id.in_(some)))
    ]
    links = _remove_templates(session, template_ids)
    return Receipt(
        people=0,
        templates=len(template_ids),
        cluster_faces=links,
        faces=_delete_bare_faces(session, faces),
        photos=_delete_bare_photos(session, photo_ids),
        decisions=0,
    )


def _photos_of(session: Session, face_ids: Sequence[int]) -> list[int]:
    return [
        photo_id
        for some in chunks(face_ids)
        for photo_id in session.scalars(select(Face.photo_id).where(Face.id.in_(some)))
    ]


def _blank_decisions(session: Session, person_id: int) -> int:
    query = select(Decision.id).where(Decision.person_id == person_id)
    decisions = list(session.scalars(query))
    for some in chunks(decisions):
        blank = update(Decision).where(Decision.id.in_(some))
        session.execute(blank.values(person_id=None, source=""))
    return len(decisions)


def _remove_templates(session: Session, template_ids: Sequence[int]) -> int:
    links = 0
    for some in chunks(template_ids):
        among = select(func.count()).select_from(ClusterFace)
        links += session.execute(among.where(ClusterFace.template_id.in_(some))).scalar_one()
        session.execute(delete(ClusterFace).where(ClusterFace.template_id.in_(some)))
        session.execute(delete(Template).where(Template.id.in_(some)))
        append_changes(session, some, "remove")
    return links


def _delete_bare_faces(session: Session, face_ids: Sequence[int]) -> int:
    used = exists().where(Template.face_id == Face.id)
    bare = [
        face_id
        for some in chunks(face_ids)
        for face_id in session.scalars(select(Face.id).where(Face.id.in_(some), ~used))
    ]
    for some in chunks(bare):
        session.execute(delete(Face).where(Face.id.in_(some)))
    return len(bare)


def _delete_bare_photos(session: Session, photo_ids: Iterable[int]) -> int:
    used = exists().where(Face.photo_id == Photo.id)
    bare = [
        photo_id
        for some in chunks(sorted(set(photo_ids)))
        for photo_id in session.scalars(select(Photo.id).where(Photo.id.in_(some), ~used))
    ]
    for some in chunks(bare):
        session.execute(delete(Photo).where(Photo.id.in_(some)))
    return len(bare)
