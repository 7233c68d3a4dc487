"""Corrections through the whole way: index, enrolment, identification and the log follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll.cluster import name_person, summary_of_last
from enroll.corrections import deny, merge, operations, rename, split, undo
from enroll.forget import forget
from enroll.person import NOT_THEM, EnrolmentRules
from store.audit_check import verify_log
from store.audit_read import read_events
from store.errors import CannotUndo
from store.people import find_person, list_people
from store.templates import vectors_of
from verify.person import verify_person
from verify.photos import identify_photos

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Shelf


def who_is(shelf: Shelf, photo: Path) -> tuple[str | None, list[str]]:
    """The answer about the one face of a photo, and everybody it was compared with."""
    (found,) = identify_photos(shelf.parts, [photo])
    (face,) = found.faces
    return face.who.person, [candidate.person for candidate in face.who.candidates]


def whole(shelf: Shelf) -> bool:
    with shelf.parts.store.read() as session:
        return verify_log(session).whole


def test_a_wrong_face_is_never_that_person_again(
    enrolled: Shelf, album: Callable, people: dict[str, list[Path]]
):
    parts, (ann, bob) = enrolled.parts, list(people)[:2]
    wrong, right = people[ann][0], people[ann][1]
    stored = enrolled.ask(
        "SELECT source FROM photos JOIN faces ON photo_id = photos.id JOIN templates ON "
        "face_id = faces.id JOIN people ON people.id = person_id WHERE name = ? ORDER BY 1", ann,
    )  # fmt: skip
    assert who_is(enrolled, wrong)[0] == ann
    done = deny(parts, ann, [str(stored[0][0])])
    assert (done.person, done.other, done.templates) == (ann, None, 1)
    assert len(parts.index) == 7
    answer, candidates = who_is(enrolled, wrong)
    assert answer is None
    assert ann not in candidates
    assert who_is(enrolled, right)[0] == ann, "only that very photo is not them"

    again = album({ann: [wrong]})
    (outcome,) = enrolled.enroll(again)
    assert (outcome.status, outcome.reason) == ("rejected", NOT_THEM)
    assert ann in outcome.detail
    assert len(parts.index) == 7
    (outcome,) = enrolled.enroll(
        album({bob: [wrong]}, "of bob"), EnrolmentRules(allow_lookalikes=True)
    )
    assert outcome.status == "enrolled", "somebody else's it may be"
    assert enrolled.count("faces") == 8, "the face that was there is used"

    with pytest.raises(CannotUndo, match="no longer as it left them"):
        undo(parts, done.operation)


def test_undone_it_is_that_person_again(enrolled: Shelf, people: dict[str, list[Path]]):
    parts, ann = enrolled.parts, next(iter(people))
    with parts.store.read() as session:
        ids = vectors_of(session, find_person(session, ann).id, parts.card.space)[0].tolist()
    deny(parts, ann, [str(ids[0])])
    refused = verify_person(parts, ann, people[ann][0])
    assert refused.match == "no"
    assert refused.similarity > refused.threshold, "their other photo is alike"
    assert refused.reasons[-1].startswith(NOT_THEM)
    assert verify_person(parts, ann, people[ann][1]).match == "yes", "another photo"
    assert undo(parts).kind == "not"
    assert verify_person(parts, ann, people[ann][0]).match == "yes"
    assert who_is(enrolled, people[ann][0])[0] == ann
    assert len(parts.index) == 8
    assert whole(enrolled)


def test_merging_splitting_and_renaming_change_the_answers(
    enrolled: Shelf, people: dict[str, list[Path]]
):
    parts, (ann, bob) = enrolled.parts, list(people)[:2]
    probe = people[ann][4]
    assert who_is(enrolled, probe)[0] == ann
    merged = merge(parts, ann, bob)
    assert (merged.templates, merged.operation) == (2, 1)
    assert who_is(enrolled, probe)[0] == bob
    assert undo(parts).people == tuple(sorted((ann, bob)))
    assert who_is(enrolled, probe)[0] == ann
    renamed = rename(parts, ann, "Ann Lee")
    assert (renamed.person, renamed.other) == (ann, "Ann Lee")
    assert rename(parts, "Ann Lee", "Ann Lee").operation is None
    assert merge(parts, "Ann Lee", "ann lee").operation is None
    with parts.store.read() as session:
        person = find_person(session, "Ann Lee")
        first = int(vectors_of(session, person.id, parts.card.space)[0][0])
    divided = split(parts, "Ann Lee", "Twin", [str(first)])
    assert (divided.other, divided.templates) == ("Twin", 1)
    with parts.store.read() as session:
        assert {"Ann Lee", "Twin"} <= {row.name for row in list_people(session)}
    for _ in range(2):
        undo(parts)
    assert [row.kind for row in operations(parts)] == ["split", "rename", "merge"]
    assert all(row.undone is not None for row in operations(parts))
    assert who_is(enrolled, probe)[0] == ann
    assert whole(enrolled)


def test_naming_comes_undone(library: Shelf):
    parts = library.parts
    number = next(n for n, size, name in summary_of_last(parts) if size > 1 and name is None)
    before, held = library.contents(), len(parts.index)
    assert name_person(parts, number, "Ann Lee").added
    assert name_person(parts, number, "Ann Lee").added is False
    assert len(parts.index) > held
    undo(parts)
    undo(parts)
    assert library.contents() == before
    assert (len(parts.index), library.count("people")) == (held, 0)


def test_enrolment_is_logged_and_forgetting_leaves_the_log_whole(
    shelf: Shelf, album: Callable, people: dict[str, list[Path]], picture: Callable
):
    ann, bob = list(people)[:2]
    folder = album({ann: people[ann][:2], bob: people[bob][:1]})
    picture(np.zeros((200, 200, 3), np.uint8), f"photos/{ann}/blank.jpg")
    first, second = shelf.enroll(folder), shelf.enroll(folder)
    with shelf.parts.store.read() as session:
        rows = list(read_events(session))
    assert len(first) == len(second) == 4
    assert [row.action for row in rows].count("enrolled") == 3
    assert [row.action for row in rows].count("rejected") == 1
    assert len(rows) == 4, "what was done before is not logged again"
    enrolled = next(row for row in rows if row.action == "enrolled" and row.person == ann)
    assert enrolled.details["space"] == shelf.parts.card.space
    assert set(enrolled.private or {}) == {"name", "source", "digest"}
    rename(shelf.parts, ann, "Ann Lee")
    list(identify_photos(shelf.parts, [people[ann][3]]))
    forget(shelf.parts, "Ann Lee")
    assert whole(shelf)
    for file in shelf.database.parent.glob("gallery*"):
        data = file.read_bytes()
        assert ann.encode() not in data, file.name
        assert b"Ann Lee" not in data, file.name
    assert operations(shelf.parts)[0].undoable is False
    with shelf.parts.store.read() as session:
        kept = [
            row.private["name"] for row in read_events(session, action="enrolled") if row.private
        ]
    assert kept == [bob]
