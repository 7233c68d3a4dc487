"""Corrections of who is who: renaming, merging, splitting, and "this is not them".

Each is an operation that `operations.undo_operation` takes back, a row of the log, and, where
faces are concerned, facts that search, enrolment and clustering respect from then on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.audit import MERGE, append_event
from store.errors import InvalidCorrection, PersonExists, UnknownPhoto, UnknownTemplate
from store.facts import add_facts, contradicted, deny_person, faces_of
from store.ledger import Operation
from store.names import clean_name
from store.operations import Journal, drop_facts, move_rows, record_operation, rows_of
from store.people import add_person
from store.photos import chunks, find_photos
from store.schema import Face, Person, Template

RENAME, MERGED, SPLIT, NOT = "rename", "merge", "split", "not"


def rename_person(session: Session, person: Person, name: str) -> Person:
    """Give somebody another name; the index does not change.

    Raises:
        InvalidName: the name cannot be stored.
        PersonExists: somebody else in the site has it.
    """
    name, before = clean_name(name), person.name
    if name == before:
        return person
    taken = select(Person.id).where(Person.name == name, Person.site_id == person.site_id)
    if session.scalar(taken) is not None:
        raise PersonExists(name, person.site)
    person.name = name
    session.flush()
    journal = Journal(people={person.uid}, renamed=(person.uid, before, name))
    operation = record_operation(session, RENAME, journal)
    _tell(session, "renamed", person, operation, private={"name": before, "new_name": name})
    return person


def merge_people(session: Session, source: Person, target: Person) -> int:
    """Make two people one: what `source` has moves to `target`, and `source` is gone.

    Templates, clusters, decisions, rejected photos and facts move; facts that say the two are
    different people are dropped, and a fact that their faces belong together is kept.

    Returns:
        How many templates moved; 0 when both are the same person, who stays as they are.
    """
    if source.id == target.id:
        return 0
    journal = Journal(people={source.uid, target.uid})
    moved, kept = rows_of(session, "templates", source), rows_of(session, "templates", target)
    between = contradicted(session, moved, target) + contradicted(session, kept, source)
    drop_facts(session, journal, between)
    for table in ("templates", "clusters", "decisions", "photos", "facts"):
        move_rows(session, journal, table, rows_of(session, table, source), target)
    journal.remove(source)
    uid, name = source.uid, source.name
    session.execute(delete(Person).where(Person.id == source.id))
    operation = record_operation(session, MERGED, journal)
    face_of = faces_of(session, [*moved[:1], *kept[:1]])
    if moved and kept and face_of[moved[0]] != face_of[kept[0]]:
        add_facts(session, operation, "same", [(face_of[moved[0]], face_of[kept[0]])])
    details = {"into": target.uid, "templates": len(moved), "operation": operation.id}
    append_event(session, MERGE, uid, details, {"name": name, "other_name": target.name})
    return len(moved)


def split_person(
    session: Session, person: Person, template_ids: Sequence[int], name: str
) -> Person:
    """Make some of somebody's faces a new person of their own, in the same site.

    The new person has the same expiry; consent is theirs to give, and not taken over.

    Args:
        session: a transaction, as `Store` opens it.
        person: whose the templates are.
        template_ids: at least one, not all; the other templates of those faces go with them.
        name: of the new person.

    Raises:
        UnknownTemplate: some are not this person's.
        InvalidCorrection: none are given, or no template would stay.
        InvalidName, PersonExists: the name cannot be stored, or is taken in the site.
    """
    ids, face_ids = _theirs(session, person, template_ids)
    if len(ids) == len(rows_of(session, "templates", person)):
        raise InvalidCorrection(
            f"Nothing of {person.name} would stay; to give all of it another name, use "
            "`vultus people rename`."
        )
    new = add_person(session, name, person.site, person.expires)
    journal = Journal(people={person.uid, new.uid}, created=new.uid)
    move_rows(session, journal, "templates", ids, new)
    operation = record_operation(session, SPLIT, journal)
    deny_person(session, operation, face_ids, person)
    details = {"into": new.uid, "templates": len(ids)}
    _tell(session, "split", person, operation, details, {"name": person.name, "other_name": name})
    _tell(session, "added", new, operation, {"templates": len(ids)}, {"name": new.name})
    return new


def deny_templates(session: Session, person: Person, template_ids: Sequence[int]) -> int:
    """Keep that some of somebody's faces are not theirs: they are nobody's then.

    Args:
        session: a transaction, as `Store` opens it.
        person: whose the templates are, wrongly.
        template_ids: at least one; the other templates of those faces go with them.

    Returns:
        How many templates are nobody's now.

    Raises:
        UnknownTemplate: some are not this person's.
        InvalidCorrection: none are given.
    """
    ids, face_ids = _theirs(session, person, template_ids)
    journal = Journal(people={person.uid})
    move_rows(session, journal, "templates", ids, None)
    operation = record_operation(session, NOT, journal)
    deny_person(session, operation, face_ids, person)
    details = {"templates": len(ids), "faces": len(face_ids)}
    _tell(session, "not_this_person", person, operation, details, {"name": person.name})
    return len(ids)


def templates_meant(session: Session, person: Person, which: Sequence[str | Path]) -> list[int]:
    """The templates of somebody that are meant by numbers and photos, each once.

    Args:
        session: a transaction, as `Store` opens it.
        person: whose they are.
        which: numbers of templates, paths as they were enrolled, or sha256 of files.

    Raises:
        UnknownTemplate: a number that is no template of theirs.
        UnknownPhoto: a photo that is not in the gallery, or has no template of theirs.
    """
    found: list[int] = []
    for what in which:
        word = str(what)
        if word.isdecimal() and len(word) < len("9223372036854775807"):
            found.append(int(word))
            continue
        photos = [photo.id for photo in find_photos(session, word)]
        query = select(Template.id).join(Face, Face.id == Template.face_id)
        query = query.where(Template.person_id == person.id, Face.photo_id.in_(photos))
        theirs = session.scalars(query.order_by(Template.id)).all()
        if not theirs:
            raise UnknownPhoto(word)
        found.extend(theirs)
    return list(dict.fromkeys(found))


def _theirs(
    session: Session, person: Person, template_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Templates, with the others of the same faces and person, and the ids of those faces."""
    if not template_ids:
        raise InvalidCorrection("Say which faces: numbers of templates, or photos.")
    own = set(rows_of(session, "templates", person))
    missing = [template for template in template_ids if template not in own]
    if missing:
        raise UnknownTemplate(missing)
    faces = sorted(set(faces_of(session, list(template_ids)).values()))
    ids: list[int] = []
    for some in chunks(faces):
        query = select(Template.id).where(Template.face_id.in_(some))
        ids.extend(session.scalars(query.where(Template.person_id == person.id)))
    return sorted(ids), faces


def _tell(
    session: Session,
    action: str,
    person: Person,
    operation: Operation,
    details: Mapping[str, Any] | None = None,
    private: Mapping[str, Any] | None = None,
) -> None:
    """Append what was done to somebody to the log, with the number of the operation."""
    append_event(
        session, action, person.uid, {**(details or {}), "operation": operation.id}, private
    )
