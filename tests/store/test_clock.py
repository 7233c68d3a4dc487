"""A clock that goes backwards: things keep the order of their commits, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select

from store.audit_check import verify_log
from store.audit_read import read_events
from store.corrections import deny_templates, merge_people, rename_person
from store.decisions import decisions_since
from store.gallery import record_decision
from store.operations import list_operations, undo_operation
from store.people import add_person, find_person, list_people
from store.records import Decision
from store.session import Store
from store.sync import open_synced, refresh
from store.synced import SyncedIndex
from store.templates import vectors_of

SPACE, DIM = "toy-8-abc", 8
HOUR = timedelta(hours=1)
START = datetime(2026, 10, 25, 3, tzinfo=UTC)


class _AnyMoment(type):
    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, datetime)


class Backwards(datetime, metaclass=_AnyMoment):
    """Every look at this clock is an hour earlier than the one before."""

    looks = 0

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # noqa: ARG003 - always UTC
        cls.looks += 1
        return START - cls.looks * HOUR


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backwards, "looks", 0)
    monkeypatch.setattr("store.columns.datetime", Backwards)  # the one clock of the store


@pytest.fixture
def people(store: Store, give: Callable) -> Store:
    """Three people with two templates each, a transaction each."""
    for name in ("Ada", "Bob", "Eve"):
        with store.begin() as session:
            person = add_person(session, name)
            for _ in range(2):
                give(session, person)
    return store


def ids(synced: SyncedIndex) -> list[int]:
    return sorted(synced.index.ids().tolist())


def test_the_log_stays_whole_and_in_the_order_of_commits(people: Store):
    with people.begin() as session:
        ada, bob = find_person(session, "Ada"), find_person(session, "Bob")
        rename_person(session, ada, "Ann")
        record_decision(session, kind="verify", answer="yes", space=SPACE, source="x.jpg")
    with people.begin() as session:
        ann, bob = find_person(session, "Ann"), find_person(session, "Bob")
        merge_people(session, ann, bob)
    with people.read() as session:
        assert verify_log(session).whole
        events = list(read_events(session))
        assert [event.action for event in events] == ["renamed", "decided", "merged"]
        assert all(later.time < earlier.time for earlier, later in pairwise(events))
        assert [event.number for event in read_events(session, last=2)] == [2, 3]
        late = list(read_events(session, since=events[1].time))
        assert [event.action for event in late] == ["renamed", "decided"]


def test_undoing_goes_by_what_was_done_last(people: Store):
    with people.begin() as session:
        before = [(one.name, one.templates) for one in list_people(session)]
        rename_person(session, find_person(session, "Ada"), "Ann")
    with people.begin() as session:
        ann = find_person(session, "Ann")
        deny_templates(session, ann, vectors_of(session, ann.id, SPACE)[0].tolist()[:1])
    with people.begin() as session:
        merge_people(session, find_person(session, "Ann"), find_person(session, "Bob"))
        done = list_operations(session)
        assert [one.kind for one in done] == ["merge", "not", "rename"]
        assert all(later.time < earlier.time for later, earlier in pairwise(done))
    for kind in ("merge", "not", "rename"):
        with people.begin() as session:
            assert undo_operation(session).kind == kind
    with people.read() as session:
        assert [(one.name, one.templates) for one in list_people(session)] == before
        assert verify_log(session).whole


def test_the_latest_decisions_come_last(people: Store):
    for number in range(4):
        with people.begin() as session:
            record_decision(
                session, kind="identify", answer="no", space=SPACE, source=f"{number}.jpg"
            )
    with people.read() as session:
        decisions = list(session.scalars(select(Decision).order_by(Decision.id)))
        since = decisions_since(session, decisions[-1].time)
        assert [one.source for one, _ in since] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
        assert [one.time for one in decisions] == sorted((o.time for o in decisions), reverse=True)


def test_an_index_that_follows_misses_nothing(people: Store, give: Callable):
    followed = open_synced(people, "exact:", SPACE, DIM)
    assert len(ids(followed)) == 6
    for name in ("Ada", "Bob", "Zoe"):
        with people.begin() as session:
            known = name != "Zoe"
            give(session, find_person(session, name) if known else add_person(session, name))
        refresh(followed)
        assert ids(followed) == ids(open_synced(people, "exact:", SPACE, DIM))
    with people.begin() as session:
        eve = find_person(session, "Eve")
        gone = vectors_of(session, eve.id, SPACE)[0].tolist()
        deny_templates(session, eve, gone)
    refresh(followed)
    assert len(ids(followed)) == 7
    assert not set(gone) & set(ids(followed))
