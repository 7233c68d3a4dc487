"""Store and index through any order of changes, crashes and replays, against a plain dictionary.

A crash is the files as they lie, copied while the program runs: what was not committed is not in
them, and the index file is as old as it is. `VULTUS_EXAMPLES=200` looks longer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from store import sync
from store.audit_check import verify_log
from store.corrections import deny_templates, merge_people, rename_person
from store.erasure import forget_person
from store.operations import undo_operation
from store.people import add_person, find_person
from store.schema import Person, Template
from store.session import Store
from store.sync import open_synced, refresh, save
from store.synced import SyncedIndex
from store.templates import remove_templates

SPACE, DIM = "toy-8-abc", 8
INDEX = "faces.vultus-index"
NAMES = ("Ada", "Bob", "Eve", "李雷", "Zoë")
PICK = st.integers(0, 1_000_000)

People = dict[str, dict[int, bytes]]  # name → template → its vector


class PulledOut(Exception):
    """The transaction ends here."""


class Gallery(RuleBasedStateMachine):
    """One gallery on disk, an index that follows it, and what both must hold."""

    def __init__(self, place: Path, engine: str, give: Callable[..., Template]) -> None:
        super().__init__()
        self.root, self.engine, self.give = place, engine, give
        self.numbers = count()
        self.people: People = {}
        self.before: People | None = None  # what undoing the latest operation must bring back
        self.places: list[tuple[Path, People]] = []  # backups of the database
        self.old: list[Path] = []  # index files of earlier moments
        self.opened: list[Store] = []
        self.open(self.copy(place / "new"))

    def teardown(self) -> None:
        for store in self.opened:
            store.close()

    # what people do

    @precondition(lambda self: len(self.people) < len(NAMES))
    @rule(which=PICK, photos=st.integers(0, 3))
    def add(self, which: int, photos: int) -> None:
        name = self.free(which)
        with self.changing() as session:
            person = add_person(session, name)
            self.people[name] = self.given(session, person, photos)

    @precondition(lambda self: self.people)
    @rule(who=PICK, photos=st.integers(1, 3))
    def add_more(self, who: int, photos: int) -> None:
        name = self.somebody(who)
        with self.changing() as session:
            self.people[name] |= self.given(session, find_person(session, name), photos)

    @precondition(lambda self: any(self.people.values()))
    @rule(which=PICK)
    def remove(self, which: int) -> None:
        every = sorted(key for kept in self.people.values() for key in kept)
        gone = {every[which % len(every)], every[which // 7 % len(every)]}
        with self.changing() as session:
            remove_templates(session, sorted(gone))
        for kept in self.people.values():
            for key in gone & kept.keys():
                del kept[key]

    @precondition(lambda self: self.people)
    @rule(who=PICK)
    def forget(self, who: int) -> None:
        name = self.somebody(who)
        with self.changing() as session:
            forget_person(session, find_person(session, name))
        del self.people[name]

    @precondition(lambda self: 0 < len(self.people) < len(NAMES))
    @rule(who=PICK, which=PICK)
    def rename(self, who: int, which: int) -> None:
        name, new = self.somebody(who), self.free(which)
        with self.operation() as session:
            rename_person(session, find_person(session, name), new)
        self.people[new] = self.people.pop(name)

    @precondition(lambda self: len(self.people) > 1)
    @rule(who=PICK, other=PICK)
    def merge(self, who: int, other: int) -> None:
        source = self.somebody(who)
        target = sorted(self.people.keys() - {source})[other % (len(self.people) - 1)]
        with self.operation() as session:
            merge_people(session, find_person(session, source), find_person(session, target))
        self.people[target] |= self.people.pop(source)

    @precondition(lambda self: any(self.people.values()))
    @rule(who=PICK)
    def say_not_them(self, who: int) -> None:
        names = sorted(name for name, kept in self.people.items() if kept)
        name = names[who % len(names)]
        key = min(self.people[name])
        with self.operation() as session:
            deny_templates(session, find_person(session, name), [key])
        del self.people[name][key]

    @precondition(lambda self: self.before is not None)
    @rule()
    def undo(self) -> None:
        earlier = self.before
        with self.changing() as session:
            undo_operation(session, None)
        self.people = earlier

    # what goes wrong

    @precondition(lambda self: self.people)
    @rule(who=PICK, crash=st.booleans())
    def give_up_in_the_middle(self, who: int, crash: bool) -> None:
        """An error, or a crash, in a transaction: as if it had not begun."""
        place = self.root / "middle"
        with suppress(PulledOut), self.store.begin() as session:
            person = find_person(session, self.somebody(who))
            self.given(session, person, 2)
            forget_person(session, person)
            session.flush()
            place = self.copy(self.store.path.parent)
            raise PulledOut
        if crash:
            self.open(place)

    @rule()
    def crash(self) -> None:
        self.open(self.copy(self.store.path.parent))

    @rule(kind=st.sampled_from(["gone", "cut", "noise"]))
    def lose_the_index_file(self, kind: str) -> None:
        place = self.copy(self.store.path.parent)
        file = place / INDEX
        if kind == "gone":
            file.unlink()
        else:
            data = file.read_bytes()
            file.write_bytes(data[:-9] if kind == "cut" else data[:-9] + b"\x55" * 9)
        self.open(place)

    @precondition(lambda self: self.old)
    @rule(which=PICK)
    def come_back_with_an_old_index_file(self, which: int) -> None:
        """Of any earlier moment, even of a history that was undone by a backup."""
        place = self.copy(self.store.path.parent)
        shutil.copy(self.old[which % len(self.old)], place / INDEX)
        self.open(place)

    @rule()
    def make_a_backup(self) -> None:
        self.places.append((self.copy(self.store.path.parent), deepcopy(self.people)))

    @precondition(lambda self: self.places)
    @rule(which=PICK)
    def come_back_with_a_backup(self, which: int) -> None:
        """The database is set back, the index file is not."""
        backup, people = self.places[which % len(self.places)]
        place = self.copy(self.store.path.parent)
        for file in place.glob("gallery.sqlite3*"):
            file.unlink()
        for file in backup.glob("gallery.sqlite3*"):
            shutil.copy(file, place)
        self.people, self.before = deepcopy(people), None
        self.open(place)

    @precondition(lambda self: self.people)
    @rule(who=PICK, photos=st.integers(1, 3))
    def live_twice(self, who: int, photos: int) -> None:
        """A backup undoes a life; another one goes as far; the index file is of the first."""
        place, people = self.copy(self.store.path.parent), deepcopy(self.people)
        self.add_more(who, photos)
        self.write()
        self.people, self.before = people, None
        self.open(place)
        self.add_more(who, photos)
        place = self.copy(self.store.path.parent)
        shutil.copy(self.old[-1], place / INDEX)
        self.open(place)

    # the index follows

    @rule()
    def follow(self) -> None:
        refresh(self.live)
        assert self.held() == self.wanted()

    @rule()
    def write(self) -> None:
        refresh(self.live)
        assert save(self.live)
        kept = self.root / f"index-{next(self.numbers)}"
        shutil.copy(self.live.path, kept)
        self.old.append(kept)

    # what must hold

    @invariant()
    def the_tables_hold_what_the_model_says(self) -> None:
        with self.store.read() as session:
            rows = session.execute(
                select(Person.name, Template.id, Template.vector).outerjoin(
                    Template, Template.person_id == Person.id
                )
            ).all()
            assert verify_log(session).whole
        found: People = {name: {} for name, _, _ in rows}
        for name, key, vector in rows:
            if key is not None:
                found[name][key] = vector
        assert found == self.people

    # the way there

    def free(self, which: int) -> str:
        free = [name for name in NAMES if name not in self.people]
        return free[which % len(free)]

    def somebody(self, who: int) -> str:
        return sorted(self.people)[who % len(self.people)]

    def given(self, session: Session, person: Person, photos: int) -> dict[int, bytes]:
        made = [self.give(session, person) for _ in range(photos)]
        session.flush()
        return {one.id: one.vector for one in made}

    @contextmanager
    def changing(self) -> Iterator[Session]:
        with self.store.begin() as session:
            yield session
        self.before = None

    @contextmanager
    def operation(self) -> Iterator[Session]:
        """A change that can be undone as long as no other comes."""
        with self.store.begin() as session:
            yield session
        self.before = deepcopy(self.people)

    def copy(self, place: Path) -> Path:
        """The files of a place, as they lie, in a new place."""
        new = self.root / f"place-{next(self.numbers)}"
        new.mkdir()
        for file in place.iterdir():
            if file.is_file() and not file.name.endswith("-shm"):
                shutil.copy(file, new)
        return new

    def open(self, place: Path) -> None:
        """Begin again with the files of a place: the index is right at once."""
        store = Store.open(place / "gallery.sqlite3")
        self.opened.append(store)
        self.store = store
        self.live: SyncedIndex = open_synced(store, f"{self.engine}:{place / INDEX}", SPACE, DIM)
        assert self.held() == self.wanted()

    def held(self) -> dict[int, bytes]:
        index = self.live.index
        ids = index.ids()
        rows = np.ascontiguousarray(index.vectors(ids), "<f4")
        return {int(key): row.tobytes() for key, row in zip(ids, rows, strict=True)}

    def wanted(self) -> dict[int, bytes]:
        return {key: vector for kept in self.people.values() for key, vector in kept.items()}


@pytest.mark.parametrize("engine", ["exact", "faiss"])
def test_any_order_of_changes_and_crashes(
    sqlite_store: Store,
    give: Callable[..., Template],
    tmp_path: Path,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    if engine == "faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(sync, "BATCH", 5)
    sqlite_store.close()
    numbers = count()

    def made() -> Gallery:
        caplog.clear()
        place = tmp_path / str(next(numbers))
        (place / "new").mkdir(parents=True)
        shutil.copy(sqlite_store.path, place / "new" / "gallery.sqlite3")
        return Gallery(place, engine, give)

    rules = settings(
        max_examples=int(os.environ.get("VULTUS_EXAMPLES", "8")),
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(made, settings=rules)
