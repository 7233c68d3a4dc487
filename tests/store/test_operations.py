"""Corrections and their undoing: afterwards every row is as it was, or it is said what hinders."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from store.audit_check import verify_log
from store.audit_read import read_events
from store.clusters import find_cluster, name_cluster, save_run
from store.corrections import (
    deny_templates,
    merge_people,
    rename_person,
    split_person,
    templates_meant,
)
from store.erasure import forget_person, forget_photo
from store.errors import (
    CannotUndo,
    InvalidCorrection,
    PersonExists,
    UnknownOperation,
    UnknownPhoto,
    UnknownTemplate,
)
from store.following import present_templates
from store.gallery import record_decision
from store.ledger import Event, Fact, Operation
from store.operations import forget_operations, list_operations, undo_operation
from store.people import add_person, find_person
from store.photos import crops, record_photo
from store.records import Cluster, Decision
from store.resealing import reseal
from store.schema import Person, Photo, Template
from store.session import Store
from store.templates import vectors_of
from store.vault import FILE_VARIABLE, KEY_VARIABLE, Master

SPACE = "toy-8-abc"
OWNED = (Person, Template, Cluster, Decision, Photo, Fact)


def state(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that says who is who."""
    session.flush()
    return {
        table.__tablename__: [
            tuple(row) for row in session.execute(select(table.__table__).order_by(table.id))
        ]
        for table in OWNED
    }


def indexed(session: Session) -> list[int]:
    """What an index that follows the log of changes holds: templates that have a person."""
    every = list(session.scalars(select(Template.id)))
    return present_templates(session, SPACE, every).ids.tolist()


@pytest.fixture
def world(store: Store, give: Callable) -> Store:
    """Ada with four faces, Bob with two, a cluster, decisions about both, a rejected photo."""
    with store.begin() as session:
        expires = datetime(2030, 1, 1, tzinfo=UTC)
        ada, bob = add_person(session, "Ada", expires=expires), add_person(session, "Bob")
        ada.consent_basis, ada.consent_reference = "consent", "form 7"
        ada.consent_date = datetime(2026, 1, 1, tzinfo=UTC)
        for _ in range(4):
            give(session, ada)
        for _ in range(2):
            give(session, bob)
        loose = [give(session, None).id for _ in range(3)]
        save_run(
            session, space=SPACE, method="graph", source="x", parameters={}, clusters={0: loose}
        )
        facts = {"kind": "verify", "answer": "yes", "space": SPACE, "source": "x.jpg"}
        for person in (ada, bob, ada):
            record_decision(session, **facts, person_id=person.id)
        size = {"outcome": "rejected", "reason": "low_quality", "claimed": ada}
        record_photo(session, "f" * 64, "bad.jpg", 10, 5, 5, **size)
    return store


def pair(session: Session) -> tuple[Person, Person]:
    return find_person(session, "Ada"), find_person(session, "Bob")


def ids_of(session: Session, person: Person) -> list[int]:
    return vectors_of(session, person.id, SPACE)[0].tolist()


def test_a_merge_comes_undone_to_the_last_column(world: Store):
    with world.begin() as session:
        before = state(session)
        ada, bob = pair(session)
        assert merge_people(session, ada, bob) == 4
        assert len(ids_of(session, bob)) == 6
        assert {row.person_id for row in session.scalars(select(Decision))} == {bob.id}
        assert [fact.kind for fact in session.scalars(select(Fact))] == ["same"]
    with world.begin() as session:
        assert state(session) != before
        done = undo_operation(session)
        assert (done.kind, done.people) == ("merge", ("Ada", "Bob"))
    with world.read() as session:
        assert state(session) == before
        assert verify_log(session).whole
        assert [row.action for row in read_events(session, last=2)] == ["merged", "undone"]


def test_a_rename_comes_undone(world: Store):
    with world.begin() as session:
        before = state(session)
        ada, _ = pair(session)
        assert rename_person(session, ada, "Ada").name == "Ada"
        assert list_operations(session) == []
        rename_person(session, ada, "Ann")
        with pytest.raises(PersonExists):
            rename_person(session, ada, "Bob")
        assert undo_operation(session).people == ("Ann",)
        assert state(session) == before


def test_a_split_comes_undone(world: Store):
    with world.begin() as session:
        before, held = state(session), indexed(session)
        ada, _ = pair(session)
        ids = ids_of(session, ada)
        new = split_person(session, ada, ids[2:], "Eve")
        assert (ids_of(session, ada), ids_of(session, new)) == (ids[:2], ids[2:])
        assert (new.expires, new.consent_basis) == (ada.expires, None)
        assert [fact.person_id for fact in session.scalars(select(Fact))] == [ada.id] * 2
        assert indexed(session) == held
        undo_operation(session, 1)
        assert state(session) == before


def test_not_them_comes_undone(world: Store):
    with world.begin() as session:
        before, held = state(session), indexed(session)
        ada, _ = pair(session)
        first = ids_of(session, ada)[0]
        assert deny_templates(session, ada, [first]) == 1
        assert first not in indexed(session)
        undo_operation(session)
        assert state(session) == before
        assert indexed(session) == held


def test_a_naming_comes_undone(world: Store):
    with world.begin() as session:
        before = state(session)
        eve = add_person(session, "Eve")
        assert name_cluster(session, find_cluster(session, 0), eve, created=True) == 3
        rename_person(session, eve, "Evelyn")
        undo_operation(session)
        undo_operation(session)
        assert state(session) == before
        told = session.execute(select(Event.private)).scalars().all()
        kept = json.dumps([told, *session.scalars(select(Operation.inverse))])
        assert "Eve" not in kept, "nobody would be left to be forgotten"
        assert verify_log(session).whole


def test_naming_twice_is_undone_step_by_step(world: Store):
    with world.begin() as session:
        _, bob = pair(session)
        cluster = find_cluster(session, 0)
        eve = add_person(session, "Eve")
        name_cluster(session, cluster, eve, created=True)
        once = state(session)
        name_cluster(session, cluster, bob)
        assert len(ids_of(session, bob)) == 5
        assert ids_of(session, eve) == []
    hint = r"undo operation 2 \(name\) first"
    with world.begin() as session, pytest.raises(CannotUndo, match=hint):
        undo_operation(session, 1)
    with world.begin() as session:
        undo_operation(session)
        assert state(session) == once
        undo_operation(session)
        assert sorted(session.scalars(select(Person.name))) == ["Ada", "Bob"]
        with pytest.raises(UnknownOperation, match="nothing to undo"):
            undo_operation(session)


def test_a_made_person_who_has_got_more_since_stays(world: Store, give: Callable):
    with world.begin() as session:
        eve = add_person(session, "Eve")
        name_cluster(session, find_cluster(session, 0), eve, created=True)
        own = give(session, eve).id
        undo_operation(session)
        assert ids_of(session, eve) == [own]


def test_a_later_operation_stands_in_the_way(world: Store):
    with world.begin() as session:
        ada, bob = pair(session)
        split_person(session, ada, ids_of(session, ada)[:1], "Eve")  # 1
        merge_people(session, find_person(session, "Eve"), bob)  # 2
        rename_person(session, bob, "Rob")  # 3
        after = state(session)
    hint = r"undo operation 2 \(merge\) first"
    with world.begin() as session, pytest.raises(CannotUndo, match=hint):
        undo_operation(session, 1)
    with world.begin() as session:
        assert state(session) == after
        undo_operation(session, 2)  # a rename of the other person is not in its way
        undo_operation(session, 1)
        undo_operation(session, 3)
        with pytest.raises(CannotUndo, match="undone already"):
            undo_operation(session, 3)
        assert sorted(session.scalars(select(Person.name))) == ["Ada", "Bob"]
        assert [row.undone is not None for row in list_operations(session)] == [True] * 3


def test_a_merge_drops_facts_it_contradicts_and_undoing_restores_them(world: Store):
    with world.begin() as session:
        ada, _ = pair(session)
        eve = split_person(session, ada, ids_of(session, ada)[:2], "Eve")
        before = state(session)
        merge_people(session, eve, ada)
        assert [fact.kind for fact in session.scalars(select(Fact))] == ["same"]
        undo_operation(session)
        assert state(session) == before


def test_a_name_taken_meanwhile_is_in_the_way(world: Store):
    with world.begin() as session:
        ada, bob = pair(session)
        merge_people(session, ada, bob)
        add_person(session, "Ada")
    with world.begin() as session, pytest.raises(CannotUndo, match="called 'Ada' now"):
        undo_operation(session)


def test_what_was_forgotten_stays_forgotten(world: Store):
    with world.begin() as session:
        ada, bob = pair(session)
        ids = ids_of(session, ada)
        origin = session.scalar(select(Photo.source).order_by(Photo.id).limit(1))
        rename_person(session, ada, "Ann")
        merge_people(session, ada, bob)
        forget_photo(session, str(origin))
        undo_operation(session)
        assert ids_of(session, find_person(session, "Ann")) == ids[1:]
        merge_people(session, find_person(session, "Ann"), bob)
        forget_person(session, bob)
        assert verify_log(session).whole
        for operation in session.scalars(select(Operation)):
            assert operation.inverse is None, operation.kind
        assert [row.undoable for row in list_operations(session)] == [False] * 3
        with pytest.raises(CannotUndo, match="forgotten"):
            undo_operation(session, 3)
        with pytest.raises(UnknownOperation):
            undo_operation(session)
        with pytest.raises(UnknownOperation, match="no operation 99"):
            undo_operation(session, 99)
        assert forget_operations(session, "0" * 32) == 0


def test_corrections_that_cannot_be_made(world: Store):
    with world.begin() as session:
        ada, bob = pair(session)
        own, others = ids_of(session, ada), ids_of(session, bob)
        with pytest.raises(InvalidCorrection, match="Nothing of Ada would stay"):
            split_person(session, ada, own, "Eve")
        with pytest.raises(InvalidCorrection, match="Say which faces"):
            deny_templates(session, ada, [])
        with pytest.raises(UnknownTemplate):
            deny_templates(session, ada, others)
        with pytest.raises(PersonExists):
            split_person(session, ada, own[:1], "Bob")
        assert list_operations(session) == []


def test_templates_are_meant_by_number_path_or_digest(world: Store):
    with world.begin() as session:
        ada, _ = pair(session)
        ids = ids_of(session, ada)
        photo = session.scalar(select(Photo).order_by(Photo.id).limit(1))
        meant = templates_meant(session, ada, [str(ids[1]), photo.source, photo.digest])
        assert meant == [ids[1], ids[0]]
        for nobody in ("nothing.jpg", "bad.jpg"):
            with pytest.raises(UnknownPhoto):
                templates_meant(session, ada, [nobody])


@pytest.mark.parametrize("renewal", [None, "person"])
def test_in_a_sealed_gallery_what_comes_back_can_be_read(
    world: Store, monkeypatch: pytest.MonkeyPatch, renewal: str | None
):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv(KEY_VARIABLE, "01" * 32)
    with world.begin() as session:
        ada, bob = pair(session)
        ids, plain = vectors_of(session, ada.id, SPACE)
        reseal(session, Master.of(b"\x01" * 32), renewal)
    with world.begin() as session:
        ada, bob = pair(session)
        merge_people(session, ada, bob)
        deny_templates(session, bob, ids.tolist()[:1])
    for _ in range(2):
        with world.begin() as session:
            undo_operation(session)
    with world.read() as session:
        found, vectors = vectors_of(session, find_person(session, "Ada").id, SPACE)
        assert found.tolist() == ids.tolist()
        np.testing.assert_allclose(vectors, plain, atol=3e-7)
        assert len(crops(session, ids.tolist())) == 4
