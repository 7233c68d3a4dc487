"""Corrections and undoing in any order, against plain dictionaries.

The model knows who has which templates and what people are called, and of every operation what it
moved and renamed. It says what must come of undoing any of them, or that something is in the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from store.audit_check import verify_log
from store.corrections import deny_templates, merge_people, rename_person, split_person
from store.errors import CannotUndo, PersonExists
from store.following import present_templates
from store.ledger import Fact
from store.operations import list_operations, undo_operation
from store.people import add_person
from store.schema import Person, Template
from store.session import Store

SPACE = "toy-8-abc"
NAMES = ("Ada", "Bob", "Eve", "李雷", "Zoë", "Kim", "Ivo")
PICK = st.integers(0, 1_000_000)


@dataclass
class Done:
    """What an operation did: templates → whose they were and became, and names likewise."""

    kind: str
    people: set[str]
    moved: dict[int, tuple[str | None, str | None]] = field(default_factory=dict)
    renamed: tuple[str, str, str] | None = None
    removed: tuple[str, str] | None = None
    created: str | None = None
    standing: bool = True


class Model:
    """Who is called what and has which templates, and what was done."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.owner: dict[int, str | None] = {}
        self.done: dict[int, Done] = {}

    def of(self, uid: str | None) -> list[int]:
        return sorted(template for template, owner in self.owner.items() if owner == uid)

    def later(self, number: int) -> bool:
        """Whether something later about the same people stands."""
        mine = self.done[number].people
        return any(
            other > number and one.standing and one.people & mine
            for other, one in self.done.items()
        )

    def hinders(self, number: int) -> bool:
        """Whether an operation cannot be undone now."""
        one = self.done[number]
        taken = set(self.names.values())
        gone = {uid for pair in one.moved.values() for uid in pair if uid is not None}
        gone -= set((one.removed or ())[:1])
        return (
            not one.standing
            or (one.removed is not None and one.removed[1] in taken)
            or (one.renamed is not None and self._renamed_since(one.renamed, taken))
            or bool(gone - self.names.keys())
            or any(self.owner[template] != after for template, (_, after) in one.moved.items())
            or (one.created is not None and self.later(number))
        )

    def _renamed_since(self, renamed: tuple[str, str, str], taken: set[str]) -> bool:
        uid, before, after = renamed
        return self.names.get(uid) != after or before in taken

    def undo(self, number: int) -> None:
        one = self.done[number]
        if one.removed is not None:
            self.names[one.removed[0]] = one.removed[1]
        if one.renamed is not None:
            self.names[one.renamed[0]] = one.renamed[1]
        self.owner |= {template: before for template, (before, _) in one.moved.items()}
        if one.created is not None:
            del self.names[one.created]
        one.standing = False


class Corrections(RuleBasedStateMachine):
    """One gallery in one transaction, and its model."""

    def __init__(self, session: Session, give: Callable[..., Template]) -> None:
        super().__init__()
        self.session = session
        self.give = give
        self.model = Model()

    @initialize()
    def enrol(self) -> None:
        for name, count in zip(NAMES[:4], (4, 3, 2, 1), strict=True):
            person = add_person(self.session, name)
            self.model.names[person.uid] = name
            for _ in range(count):
                self.model.owner[self.give(self.session, person).id] = person.uid

    def teardown(self) -> None:
        assert verify_log(self.session).whole
        self.session.rollback()

    # what people do

    @rule(who=PICK, name=st.sampled_from(NAMES))
    def rename(self, who: int, name: str) -> None:
        person, before = self._person(who), self.model.names[self._uid(who)]
        if name != before and name in self.model.names.values():
            with pytest.raises(PersonExists):
                rename_person(self.session, person, name)
            return
        rename_person(self.session, person, name)
        if name != before:
            self.model.names[person.uid] = name
            self._did(Done("rename", {person.uid}, renamed=(person.uid, before, name)))

    @precondition(lambda self: len(self.model.names) > 1)
    @rule(who=PICK, other=PICK)
    def merge(self, who: int, other: int) -> None:
        source, target = self._uid(who), self._uid(other)
        moved = self.model.of(source)
        count = merge_people(self.session, self._person(who), self._person(other))
        if source == target:
            assert count == 0
            return
        assert count == len(moved)
        self.model.owner |= dict.fromkeys(moved, target)
        removed = (source, self.model.names.pop(source))
        changes = dict.fromkeys(moved, (source, target))
        self._did(Done("merge", {source, target}, changes, removed=removed))

    @precondition(lambda self: len(set(NAMES) - set(self.model.names.values())) > 0)
    @rule(who=PICK, which=PICK, name=PICK)
    def split(self, who: int, which: int, name: int) -> None:
        uid, free = self._uid(who), sorted(set(NAMES) - set(self.model.names.values()))
        some = self._some(uid, which, all_but=1)
        if not some:
            return
        new = split_person(self.session, self._person(who), some, free[name % len(free)])
        self.model.names[new.uid] = new.name
        self.model.owner |= dict.fromkeys(some, new.uid)
        changes = dict.fromkeys(some, (uid, new.uid))
        self._did(Done("split", {uid, new.uid}, changes, created=new.uid))

    @rule(who=PICK, which=PICK)
    def say_not_them(self, who: int, which: int) -> None:
        uid = self._uid(who)
        some = self._some(uid, which)
        if not some:
            return
        assert deny_templates(self.session, self._person(who), some) == len(some)
        self.model.owner |= dict.fromkeys(some)
        self._did(Done("not", {uid}, dict.fromkeys(some, (uid, None))))

    @precondition(lambda self: self.model.done)
    @rule(which=PICK)
    def undo_any(self, which: int) -> None:
        standing = [number for number, one in self.model.done.items() if one.standing]
        numbers = standing + sorted(self.model.done.keys() - set(standing))[:1]
        number = numbers[which % len(numbers)]
        self._undo(number, number)

    @precondition(lambda self: any(one.standing for one in self.model.done.values()))
    @rule()
    def undo_the_latest(self) -> None:
        latest = max(number for number, one in self.model.done.items() if one.standing)
        assert not self.model.later(latest)
        self._undo(None, latest)

    # what must hold

    @invariant()
    def everybody_has_what_the_model_says(self) -> None:
        people = self.session.execute(select(Person.uid, Person.name))
        assert dict(map(tuple, people)) == self.model.names
        owners = select(Template.id, Person.uid).outerjoin(Person, Person.id == Template.person_id)
        assert dict(map(tuple, self.session.execute(owners))) == self.model.owner

    @invariant()
    def an_index_holds_whoever_has_a_name(self) -> None:
        every = sorted(self.model.owner)
        named = [template for template in every if self.model.owner[template] is not None]
        assert present_templates(self.session, SPACE, every).ids.tolist() == named

    @invariant()
    def no_face_is_somebody_it_is_known_not_to_be(self) -> None:
        query = select(Fact.id).join(Template, Template.face_id == Fact.face_id)
        wrong = (Fact.kind == "different", Fact.person_id == Template.person_id)
        assert self.session.scalars(query.where(*wrong)).all() == []

    @invariant()
    def what_was_done_is_on_record(self) -> None:
        listed = {one.number: one for one in list_operations(self.session)}
        assert {n: one.kind for n, one in listed.items()} == {
            n: one.kind for n, one in self.model.done.items()
        }
        undone = {number for number, one in listed.items() if one.undone is not None}
        assert undone == {n for n, one in self.model.done.items() if not one.standing}

    # the way there

    def _uid(self, who: int) -> str:
        return list(self.model.names)[who % len(self.model.names)]

    def _person(self, who: int) -> Person:
        return self.session.scalars(select(Person).where(Person.uid == self._uid(who))).one()

    def _some(self, uid: str, which: int, all_but: int = 0) -> list[int]:
        """Some of somebody's templates, drawn by the bits of a number; [] if they have too few."""
        theirs = self.model.of(uid)
        some = [template for bit, template in enumerate(theirs) if which >> bit & 1]
        return some[: max(0, len(theirs) - all_but)]

    def _did(self, done: Done) -> None:
        self.model.done[list_operations(self.session, last=1)[0].number] = done

    def _undo(self, asked: int | None, number: int) -> None:
        hindered = self.model.hinders(number)
        savepoint = self.session.begin_nested()
        try:
            told: Any = undo_operation(self.session, asked)
        except CannotUndo:
            savepoint.rollback()
            self.session.expire_all()
            assert hindered
            return
        savepoint.commit()
        assert not hindered
        assert told.number == number
        self.model.undo(number)


def test_any_order_of_corrections(store: Store, give: Callable[..., Template]):
    rules = settings(
        max_examples=12 if store.path else 4,  # a server is slower and runs the same statements
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    with store.read() as session:  # each example is rolled back
        run_state_machine_as_test(lambda: Corrections(session, give), settings=rules)
        assert session.scalars(select(Person)).all() == []
