"""An index on a server, here Milvus Lite, follows the gallery for several processes at once."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from index.errors import IndexServerMismatch
from index.milvus import MilvusIndex
from store.erasure import forget_person
from store.people import add_person
from store.schema import Change, Gallery, IndexEngine, Person, Template
from store.session import Store
from store.sync import open_synced, refresh, save
from store.synced import SyncedIndex
from store.templates import assign_person, remove_templates
from store.vectors import unpack

SPACE, DIM = "toy-8-abc", 8
Opened = Callable[..., SyncedIndex]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"milvus:{tmp_path / 'faces.db'}"


@pytest.fixture
def opened(store: Store, url: str) -> Iterator[Opened]:
    """Opens the index for the store, as one process does."""
    made: list[SyncedIndex] = []

    def one(space: str = SPACE, dim: int = DIM) -> SyncedIndex:
        made.append(open_synced(store, url, space, dim))
        return made[-1]

    yield one
    for synced in made:
        synced.close()


def held(index: MilvusIndex) -> dict[int, tuple[bytes, int]]:
    """Id → vector and site, as the server has them."""
    rows = index._query("id >= 0", ["id", "vector", "site"])
    return {row["id"]: (np.array(row["vector"], np.float32).tobytes(), row["site"]) for row in rows}


def truth(store: Store) -> dict[int, tuple[bytes, int]]:
    with store.read() as session:
        rows = session.scalars(select(Template).where(Template.space == SPACE)).all()
        return {
            row.id: (unpack([row.vector])[0].tobytes(), session.get(Person, row.person_id).site_id)
            for row in rows
            if row.person_id is not None
        }


def fill(store: Store, give: Callable, people: int = 3, each: int = 3) -> None:
    with store.begin() as session:
        for number in range(people):
            person = add_person(session, f"P{number}", site="b")
            for _ in range(each):
                give(session, person)


def test_what_one_process_enrols_the_other_finds(store: Store, give: Callable, opened: Opened):
    one, other = opened(), opened()
    fill(store, give)
    assert refresh(one) == 9
    key, (vector, _) = next(iter(truth(store).items()))
    query = np.frombuffer(vector, np.float32)[None]
    assert other.search(query, 1).ids.tolist() == [[key]]  # nothing was asked of this one
    assert refresh(other) == 0  # the other did it
    assert other.position == one.position
    assert held(one.index) == truth(store)
    with store.begin() as session:
        forget_person(session, owner(session, key))
    assert refresh(other) == 3
    assert key not in one.search(query, 9).ids
    assert held(one.index) == truth(store)
    assert not save(one)  # a server keeps every change itself
    with store.read() as session:
        kept = session.scalars(select(IndexEngine)).one()
        assert (kept.space, kept.rev) == (SPACE, other.position.rev)


def owner(session: Session, template_id: int) -> Person:
    template = session.get(Template, template_id)
    assert template is not None
    person = session.get(Person, template.person_id)
    assert person is not None
    return person


def test_any_changes_by_turns_equal_the_tables(store: Store, give: Callable, opened: Opened):
    rng = np.random.default_rng(4)
    processes = [opened(), opened()]
    with store.begin() as session:
        for number in range(4):
            add_person(session, f"P{number}", site="b" if number % 2 else "")
    for _ in range(25):
        with store.begin() as session:
            people = session.scalars(select(Person).order_by(Person.id)).all()
            templates = session.scalars(select(Template.id).order_by(Template.id)).all()
            some = rng.permutation(templates)[:2].tolist()
            kind = rng.integers(5)
            if kind < 2 or not some:
                give(session, people[rng.integers(len(people))])
            elif kind == 2:
                remove_templates(session, some)
            elif kind == 3:
                assign_person(session, some, people[rng.integers(len(people))])
            else:
                give(session, None)
        refresh(processes[rng.integers(2)])
    refresh(processes[0])
    assert held(processes[0].index) == truth(store) != {}


def test_processes_that_follow_at_once_put_nothing_back(
    store: Store, give: Callable, opened: Opened
):
    processes = [opened(), opened(), opened()]

    def follow(synced: SyncedIndex) -> None:
        for _ in range(12):
            refresh(synced)

    with ThreadPoolExecutor(3) as pool:
        following = [pool.submit(follow, synced) for synced in processes]
        for number in range(6):
            with store.begin() as session:
                person = add_person(session, f"P{number}")
                give(session, person)
                give(session, person)
            if number % 2:
                with store.begin() as session:
                    forget_person(session, session.scalars(select(Person).limit(1)).one())
        for one in following:
            one.result()
    refresh(processes[0])
    assert held(processes[0].index) == truth(store) != {}


def test_a_collection_that_was_restored_is_brought_up_to_date(
    store: Store, give: Callable, opened: Opened
):
    fill(store, give)
    before = opened()
    marks, rows = before.index.marks(), truth(store)
    with store.begin() as session:
        gone = forget_person(session, session.scalars(select(Person).limit(1)).one())
    assert gone.templates == 3
    refresh(before)
    assert len(before) == 6
    # what a backup of the collection taken before holds
    vectors = np.vstack([np.frombuffer(vector, np.float32) for vector, _ in rows.values()])
    sites = np.array([site for _, site in rows.values()])
    before.index.add(np.array(list(rows)), vectors, sites)
    before.index.keep_marks(marks)
    after = opened()
    assert held(after.index) == truth(store)


@pytest.mark.parametrize("how", ["undone", "gap"])
def test_a_history_that_cannot_be_replayed_is_filled_in_anew(
    store: Store, give: Callable, opened: Opened, caplog: pytest.LogCaptureFixture, how: str
):
    fill(store, give)
    one = opened()
    with store.begin() as session:
        if how == "undone":  # a backup of the database was restored, and went on otherwise
            session.execute(delete(Change).where(Change.rev > 6))
            session.execute(delete(Template).where(Template.id > 6))
            session.execute(update(Gallery).values(rev=6))
        give(session, session.scalars(select(Person).limit(1)).one())
        give(session, session.scalars(select(Person).limit(1)).one())
    if how == "gap":
        with store.begin() as session:
            session.execute(delete(Change).where(Change.rev == 10))
    with caplog.at_level(logging.WARNING, "vultus.store"):
        refresh(one)
    assert "is built anew from the gallery: the" in caplog.text
    assert held(one.index) == truth(store) != {}


def test_a_collection_of_another_gallery_or_space_is_left_alone(
    store: Store, give: Callable, opened: Opened, url: str
):
    fill(store, give)
    mine = opened()
    with pytest.raises(IndexServerMismatch, match=r"another gallery or space \(toy-8-abc\): name"):
        opened("other-8-def")
    with store.begin() as session:
        session.execute(update(Gallery).values(uid="another"))
    with pytest.raises(IndexServerMismatch, match="name another collection in the URL"):
        open_synced(store, url, SPACE, DIM)
    assert held(mine.index) == truth(store)


def test_a_collection_that_nobody_signed_is_left_alone(url: str, unit: Callable, opened: Opened):
    somebody = MilvusIndex.open(url, DIM)
    somebody.add(np.array([3]), unit()[None])
    with pytest.raises(IndexServerMismatch, match="nobody knows which gallery"):
        opened()
    assert somebody.ids().tolist() == [3]
    somebody.close()
