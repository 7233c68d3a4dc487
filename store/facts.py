"""Corrections that are kept: two faces are of one person, or of two; a face is not a person.

They belong to the operation that said so, go with it when it is undone, and go with the face or
the person when those are forgotten. Search, enrolment and clustering ask here.

M templates, N faces of a probe, D dimensions, P pairs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from store.ledger import Fact, Operation
from store.photos import chunks
from store.schema import Face, Person, Photo, Template
from store.templates import faces_of_photos

Kind = Literal["same", "different"]
# One face found twice in one photo: of 672 faces, the vector of the stored JPEG crop, from which a
# migration encodes, was 0.9926 like the photo's at least. Two faces are never that alike.
SAME_FACE: Final = 0.985


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a clustering of M templates must respect.

    Attributes:
        together: int64 (P, 2), pairs of rows 0…M−1 that are of one person, the smaller first.
        apart: int64 (P, 2), pairs of rows that are of two people, the smaller first.
    """

    together: NDArray[np.int64]
    apart: NDArray[np.int64]


def add_facts(
    session: Session, operation: Operation, kind: Kind, pairs: Iterable[tuple[int, int]]
) -> None:
    """Keep that the two faces of each pair are of one person, or of two.

    Args:
        session: a transaction, as `Store` opens it.
        operation: what said so.
        kind: same or different.
        pairs: ids of faces.
    """
    for face, other in pairs:
        session.add(Fact(operation_id=operation.id, kind=kind, face_id=face, other_id=other))
    session.flush()


def deny_person(
    session: Session, operation: Operation, face_ids: Iterable[int], person: Person
) -> None:
    """Keep that faces are not a person."""
    for face in face_ids:
        session.add(
            Fact(operation_id=operation.id, kind="different", face_id=face, person_id=person.id)
        )
    session.flush()


def faces_of(session: Session, template_ids: Sequence[int]) -> dict[int, int]:
    """Template id → face id; unknown ids are left out."""
    found: dict[int, int] = {}
    for some in chunks(template_ids):
        query = select(Template.id, Template.face_id).where(Template.id.in_(some))
        found.update((row[0], row[1]) for row in session.execute(query))
    return found


def denied_templates(
    session: Session, template_ids: Sequence[int], person: Person
) -> frozenset[int]:
    """Those of some templates whose face is not that person."""
    session.flush()
    found: set[int] = set()
    for some in chunks(template_ids):
        query = select(Template.id).join(Fact, Fact.face_id == Template.face_id)
        denied = (Fact.kind == "different", Fact.person_id == person.id)
        found.update(session.scalars(query.where(Template.id.in_(some), *denied)))
    return frozenset(found)


def contradicted(session: Session, template_ids: Sequence[int], person: Person) -> list[Fact]:
    """The facts that these templates cannot be one person with, or cannot be that person."""
    faces = sorted(set(faces_of(session, template_ids).values()))
    found: dict[int, Fact] = {}
    for some in chunks(faces):
        query = select(Fact).where(Fact.kind == "different", Fact.face_id.in_(some))
        for fact in session.scalars(query):
            if fact.person_id == person.id or fact.other_id in faces:
                found[fact.id] = fact
    return [found[key] for key in sorted(found)]


def denied_people(
    session: Session, digest: str, space: str, vectors: NDArray[np.float32]
) -> list[frozenset[int]]:
    """Whom each face of a photo is known not to be, from corrections of that very photo.

    Args:
        session: a transaction, as `Store` opens it.
        digest: sha256 of the photo's file.
        space: name of the vector space.
        vectors: float32 (N, D), unit rows: the faces found in the photo.

    Returns:
        N sets of row ids of people.
    """
    none = [frozenset[int]()] * len(vectors)
    query = select(Fact.face_id, Fact.person_id).join(Face, Face.id == Fact.face_id)
    query = query.join(Photo, Photo.id == Face.photo_id)
    said = session.execute(query.where(Photo.digest == digest, Fact.person_id.is_not(None))).all()
    if not said:
        return none
    kept = faces_of_photos(session, [digest], space)
    if len(kept) == 0:
        return none
    face_of = faces_of(session, kept.ids.tolist())
    similarities = vectors @ kept.vectors.T
    denied = []
    for row in similarities:
        twins = {face_of[int(kept.ids[column])] for column in np.flatnonzero(row >= SAME_FACE)}
        denied.append(frozenset(p for face, p in said if face in twins and p is not None))
    return denied


def denied_photos(session: Session, person_id: int) -> frozenset[str]:
    """The sha256 of every photo that has a face which is known not to be that person."""
    query = select(Photo.digest).join(Face, Face.photo_id == Photo.id)
    query = query.join(Fact, Fact.face_id == Face.id)
    return frozenset(session.scalars(query.where(Fact.person_id == person_id)))


def constraints(session: Session, template_ids: Sequence[int]) -> Constraints:
    """What is known of some templates: pairs that belong together, and pairs that do not.

    Templates of one person belong together (as a chain of pairs), and so do the faces of "same".
    Apart are the faces of "different", and a face from every template of whom it is not.

    Args:
        session: a transaction, as `Store` opens it.
        template_ids: M ids, each once; rows are counted in their order.
    """
    row_of = {int(template): row for row, template in enumerate(template_ids)}
    rows_of_face, rows_of_person, person_of = _places(session, row_of)
    together: set[tuple[int, int]] = set()
    apart: set[tuple[int, int]] = set()
    for rows in rows_of_person.values():
        rows.sort()
        together.update(pairwise(rows))
    for fact in _facts_about(session, sorted(rows_of_face)):
        others = rows_of_face.get(fact.other_id or -1, [])
        if fact.person_id is not None:
            others = rows_of_person.get(fact.person_id, [])
        pairs = {
            (min(one, other), max(one, other))
            for one in rows_of_face.get(fact.face_id, [])
            for other in others
            if one != other
        }
        (together if fact.kind == "same" else apart).update(pairs)
    named_alike = {
        (one, other)
        for one, other in apart
        if one in person_of and person_of[one] == person_of.get(other)
    }
    return Constraints(_pairs(together), _pairs(apart - named_alike))


def _places(
    session: Session, row_of: dict[int, int]
) -> tuple[dict[int, list[int]], dict[int, list[int]], dict[int, int]]:
    """The rows of each face and of each person, and the person of each row."""
    rows_of_face: dict[int, list[int]] = {}
    rows_of_person: dict[int, list[int]] = {}
    person_of: dict[int, int] = {}
    for some in chunks(sorted(row_of)):
        query = select(Template.id, Template.face_id, Template.person_id)
        for template, face, person in session.execute(query.where(Template.id.in_(some))):
            row = row_of[template]
            rows_of_face.setdefault(face, []).append(row)
            if person is not None:
                rows_of_person.setdefault(person, []).append(row)
                person_of[row] = person
    return rows_of_face, rows_of_person, person_of


def _facts_about(session: Session, face_ids: Sequence[int]) -> list[Fact]:
    found: dict[int, Fact] = {}
    for some in chunks(face_ids):
        about = or_(Fact.face_id.in_(some), Fact.other_id.in_(some))
        found.update((fact.id, fact) for fact in session.scalars(select(Fact).where(about)))
    return list(found.values())


def _pairs(pairs: set[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
