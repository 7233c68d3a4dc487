import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from sqlalchemy import delete, event, select, text
from sqlalchemy.orm import Session

from index.errors import UnknownEngine
from store import sync
from store.changes import current_rev, prune_changes
from store.corrections import merge_people
from store.erasure import forget_person, forget_photo
from store.people import add_person
from store.schema import Change, IndexEngine, Person, Photo, Template
from store.session import Store
from store.sync import open_synced, refresh, save
from store.synced import SyncedIndex
from store.templates import assign_person, owners, remove_templates
from store.vectors import unpack

SPACE, DIM = "toy-8-abc", 8
ENGINES = ["exact", "faiss"]
T = TypeVar("T")


@pytest.fixture(autouse=True)
def _engines(request: pytest.FixtureRequest) -> None:
    if "engine" in request.fixturenames and request.getfixturevalue("engine") == "faiss":
        pytest.importorskip("faiss")


FOLDERS: dict[int, Path] = {}


@pytest.fixture(autouse=True)
def _folder(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Where the indexes of a store lie, which may have no folder of its own."""
    for name in {"store", "sqlite_store"} & set(request.fixturenames):
        FOLDERS[id(request.getfixturevalue(name))] = tmp_path


def url_of(store: Store, engine: str = "exact") -> str:
    return f"{engine}:{FOLDERS[id(store)] / 'faces.vultus-index'}"


def held(synced: SyncedIndex) -> dict[int, tuple[bytes, int]]:
    """Id → vector and site, read through the index's own functions."""
    index = synced.index
    ids = index.ids()
    rows = index.vectors(ids)
    sites = {}
    for site in range(10):
        if len(ids):
            hits = index.search(rows[:1], len(ids), np.array([site])).ids[0]
            sites.update({int(hit): site for hit in hits if hit >= 0})
    return {int(i): (row.tobytes(), sites[int(i)]) for i, row in zip(ids, rows, strict=True)}


def truth(store: Store, space: str = SPACE) -> dict[int, tuple[bytes, int]]:
    """The same from the tables, one row at a time."""
    with store.read() as session:
        rows = session.scalars(select(Template).where(Template.space == space)).all()
        found = {}
        for row in rows:
            if row.person_id is not None:
                person = session.get(Person, row.person_id)
                found[row.id] = (unpack([row.vector])[0].tobytes(), person.site_id)
        return found


def fill(store: Store, give: Callable, people: int = 2, each: int = 3) -> None:
    with store.begin() as session:
        for number in range(people):
            person = add_person(session, f"P{number}", site="berlin" if number % 2 else "")
            for _ in range(each):
                give(session, person)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_gallery(store: Store, engine: str):
    synced = open_synced(store, url_of(store, engine), SPACE, DIM)
    assert len(synced) == 0
    assert synced.dim == DIM
    assert refresh(synced) == 0
    assert synced.path.exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_template_is_found_with_its_owner(store: Store, give: Callable, engine: str):
    fill(store, give)
    synced = open_synced(store, url_of(store, engine), SPACE, DIM)
    key, (vector, _) = next(iter(truth(store).items()))
    hits = synced.search(np.frombuffer(vector, np.float32)[None], 1)
    assert hits.ids.tolist() == [[key]]
    assert hits.similarities[0, 0] == pytest.approx(1.0, abs=1e-5)
    with store.read() as session:
        assert owners(session, [key])[key].name == "P0"


class Life:
    """Random changes of a gallery."""

    def __init__(self, store: Store, give: Callable, new_photo: Callable, seed: int) -> None:
        self.store, self.give, self.new_photo = store, give, new_photo
        self.rng = np.random.default_rng(seed)

    def step(self) -> None:
        common = [self.add, self.add, self.add, self.name, self.unname, self.remove]
        rare = [self.person, self.person, self.merge, self.forget, self.forget_photo]
        rare += [self.other_space, self.undone]
        with self.store.begin() as session:
            if session.scalar(select(Person.id).limit(1)) is None:
                self.person(session)
            self.one_of([*common, *common, *rare])(session)

    def one_of(self, things: Sequence[T]) -> T:
        return things[int(self.rng.integers(len(things)))]

    def somebody(self, session: Session) -> Person:
        return self.one_of(session.scalars(select(Person).order_by(Person.id)).all())

    def some_ids(self, session: Session) -> list[int]:
        ids = session.scalars(select(Template.id).order_by(Template.id)).all()
        return self.rng.permutation(ids)[: self.rng.integers(1, 4)].tolist()

    def person(self, session: Session) -> None:
        add_person(session, f"P{self.rng.random()}", site=self.one_of(["", "berlin", "rome"]))

    def add(self, session: Session) -> None:
        photo = self.new_photo(session)
        for _ in range(self.rng.integers(1, 4)):
            self.give(session, self.somebody(session), photo)
        self.give(session, None, photo)

    def name(self, session: Session) -> None:
        assign_person(session, self.some_ids(session), self.somebody(session))

    def unname(self, session: Session) -> None:
        assign_person(session, self.some_ids(session), None)

    def remove(self, session: Session) -> None:
        remove_templates(session, self.some_ids(session))

    def merge(self, session: Session) -> None:
        merge_people(session, self.somebody(session), self.somebody(session))

    def forget(self, session: Session) -> None:
        forget_person(session, self.somebody(session))

    def forget_photo(self, session: Session) -> None:
        photos = session.scalars(select(Photo.digest).order_by(Photo.id)).all()
        if photos:
            forget_photo(session, self.one_of(photos))

    def other_space(self, session: Session) -> None:
        self.give(session, self.somebody(session), space="other-8-def")

    def undone(self, session: Session) -> None:
        with session.begin_nested() as savepoint:
            self.add(session)
            self.remove(session)
            savepoint.rollback()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(3))
def test_following_equals_building_anew(
    store: Store,
    give: Callable,
    new_photo: Callable,
    engine: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sync, "BATCH", 5)
    life = Life(store, give, new_photo, seed)
    live = open_synced(store, url_of(store, engine), SPACE, DIM)
    stale = open_synced(store, f"{engine}:", SPACE, DIM)
    for number in range(60):
        life.step()
        if life.rng.random() < 0.4:
            refresh(live)
            assert held(live) == truth(store)
        if number % 20 == 19:
            assert save(live)
            live = open_synced(store, url_of(store, engine), SPACE, DIM)
    refresh(live)
    refresh(stale)
    anew = open_synced(store, f"{engine}:", SPACE, DIM)
    assert held(live) == held(stale) == held(anew) == truth(store)
    assert len(truth(store)) > 5


def test_nothing_changed_costs_one_select(store: Store, give: Callable):
    fill(store, give)
    synced = open_synced(store, url_of(store), SPACE, DIM)
    statements: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert refresh(synced) == 0
    asked = [sql.split()[0] for sql in statements]
    # the driver of PostgreSQL says BEGIN itself
    assert asked == (["BEGIN", "SELECT"] if store.path else ["SELECT"])


def test_a_saved_file_is_read_not_built(
    store: Store, give: Callable, monkeypatch: pytest.MonkeyPatch
):
    fill(store, give)
    open_synced(store, url_of(store), SPACE, DIM)
    monkeypatch.setattr(sync, "stream_templates", pytest.fail)
    with store.begin() as session:
        give(session, session.get(Person, 1))
    synced = open_synced(store, url_of(store), SPACE, DIM)
    assert held(synced) == truth(store)
    assert save(synced)
    assert save(synced)
    with store.read() as session:
        row = session.scalars(select(IndexEngine)).one()
        assert (row.url, row.space, row.rev) == (url_of(store), SPACE, current_rev(session))


@pytest.mark.parametrize(
    "content", [b"", b"not an index", b"\x00" * 4096], ids=["empty", "text", "zeros"]
)
def test_a_broken_file_is_built_anew_with_a_warning(
    store: Store, give: Callable, caplog: pytest.LogCaptureFixture, content: bytes
):
    fill(store, give)
    path = open_synced(store, url_of(store), SPACE, DIM).path
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "vultus.store"):
        assert held(open_synced(store, url_of(store), SPACE, DIM)) == truth(store)
    assert "is built anew" in caplog.text
    caplog.clear()
    assert held(open_synced(store, url_of(store), SPACE, DIM)) == truth(store)
    assert caplog.text == ""


def test_a_cut_file_is_built_anew(store: Store, give: Callable):
    fill(store, give)
    path = open_synced(store, url_of(store), SPACE, DIM).path
    path.write_bytes(path.read_bytes()[:-7])
    assert held(open_synced(store, url_of(store), SPACE, DIM)) == truth(store)


def test_a_missing_file_is_built_without_a_warning(
    store: Store, give: Callable, caplog: pytest.LogCaptureFixture
):
    fill(store, give)
    open_synced(store, url_of(store), SPACE, DIM).path.unlink()
    assert held(open_synced(store, url_of(store), SPACE, DIM)) == truth(store)
    assert caplog.text == ""


@pytest.mark.parametrize(("space", "dim"), [("other-8-def", 8), ("wide-16-abc", 16)])
def test_another_space_is_built_anew(
    store: Store,
    give: Callable,
    unit: Callable,
    caplog: pytest.LogCaptureFixture,
    space: str,
    dim: int,
):
    fill(store, give)
    open_synced(store, url_of(store), SPACE, DIM)
    with store.begin() as session:
        vector = np.resize(unit(), dim)
        vector /= np.linalg.norm(vector)
        give(session, session.get(Person, 1), space=space, vector=vector)
    assert held(open_synced(store, url_of(store), space, dim)) == truth(store, space)
    assert "is built anew" in caplog.text


def test_another_gallery_is_built_anew(
    store: Store, give: Callable, caplog: pytest.LogCaptureFixture
):
    fill(store, give)
    open_synced(store, url_of(store), SPACE, DIM)
    with store.begin() as session:
        session.execute(text("UPDATE gallery SET uid = 'another'"))
        other = {"v": np.eye(8, dtype="<f4")[3].tobytes()}
        session.execute(text("UPDATE templates SET vector = :v WHERE id = 1"), other)
    assert held(open_synced(store, url_of(store), SPACE, DIM)) == truth(store)
    assert "another gallery" in caplog.text


def set_back(store: Store, copy: Path) -> None:
    store.close()
    shutil.copy(copy, store.path)


@pytest.mark.parametrize("more", [0, 3, 5])
def test_a_restored_copy_of_the_sqlite_file_never_matches_a_later_index(
    sqlite_store: Store, give: Callable, caplog: pytest.LogCaptureFixture, tmp_path: Path, more: int
):
    """The history after a backup is undone; new templates take the same ids and numbers."""
    fill(sqlite_store, give)
    sqlite_store.close()
    copy = shutil.copy(sqlite_store.path, tmp_path / "backup")
    fill_more(sqlite_store, give, 3)
    live = open_synced(sqlite_store, url_of(sqlite_store), SPACE, DIM)
    set_back(sqlite_store, copy)
    fill_more(sqlite_store, give, more)
    reopened = open_synced(sqlite_store, url_of(sqlite_store), SPACE, DIM)
    refresh(live)
    assert held(live) == held(reopened) == truth(sqlite_store)
    assert "set back to an earlier state" in caplog.text


def fill_more(store: Store, give: Callable, templates: int) -> None:
    with store.begin() as session:
        for _ in range(templates):
            give(session, session.get(Person, 1))


def test_a_gap_in_the_log_is_noticed(
    store: Store, give: Callable, caplog: pytest.LogCaptureFixture
):
    fill(store, give)
    live = open_synced(store, url_of(store), SPACE, DIM)
    fill_more(store, give, 3)
    with store.begin() as session:
        session.execute(delete(Change).where(Change.rev == current_rev(session) - 1))
    refresh(live)
    assert held(live) == truth(store)
    assert "gap" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_warning(
    store: Store, give: Callable, caplog: pytest.LogCaptureFixture
):
    fill(store, give)
    (FOLDERS[id(store)] / "file").write_bytes(b"")
    url = f"exact:{FOLDERS[id(store)]}/file/below/a.vultus-index"
    synced = open_synced(store, url, SPACE, DIM)
    assert held(synced) == truth(store)
    assert not save(synced)
    assert "cannot be written" in caplog.text


def test_an_index_in_memory_is_not_saved(store: Store, give: Callable):
    fill(store, give)
    synced = open_synced(store, "exact:", SPACE, DIM)
    assert not save(synced)
    with store.read() as session:
        assert session.scalars(select(IndexEngine)).all() == []


def test_the_default_place_is_beside_the_sqlite_file(sqlite_store: Store, give: Callable):
    fill(sqlite_store, give)
    synced = open_synced(sqlite_store, None, SPACE, DIM)
    assert synced.path == sqlite_store.path.with_name("gallery.toy-8-abc.vultus-index")
    assert synced.path.stat().st_mode & 0o077 == 0


def test_an_unknown_engine(store: Store):
    with pytest.raises(UnknownEngine):
        open_synced(store, "nosuch:thing", SPACE, DIM)


def test_forgotten_vectors_leave_the_saved_index(store: Store, give: Callable, unit: Callable):
    vector = unit()
    with store.begin() as session:
        ada = add_person(session, "Ada")
        give(session, ada, vector=vector)
        give(session, add_person(session, "Bob"))
    synced = open_synced(store, url_of(store), SPACE, DIM)
    assert vector.tobytes() in synced.path.read_bytes()
    with store.begin() as session:
        forget_person(session, ada)
    assert refresh(synced) == 1
    assert save(synced)
    assert vector.tobytes() not in synced.path.read_bytes()


def test_a_file_that_somebody_else_saved_is_built_anew(
    store: Store, give: Callable, caplog: pytest.LogCaptureFixture
):
    fill(store, give)
    synced = open_synced(store, url_of(store), SPACE, DIM)
    synced.index.remove(synced.index.ids())
    synced.index.save(synced.path, {})
    assert held(open_synced(store, url_of(store), SPACE, DIM)) == truth(store)
    assert "another gallery or space" in caplog.text


@pytest.mark.parametrize("behind", ["on record", "abandoned", "never saved"])
def test_a_pruned_log(store: Store, give: Callable, caplog: pytest.LogCaptureFixture, behind: str):
    fill(store, give)
    name = "exact:" if behind == "never saved" else url_of(store)
    old = open_synced(store, name, SPACE, DIM)
    assert save(old) is (behind != "never saved")
    for _ in range(4):
        fill_more(store, give, 3)
    with store.begin() as session:
        assert prune_changes(session, kept=10) == 0  # there are not twice as many
        abandoned = 5 if behind == "abandoned" else 100
        dropped = prune_changes(session, kept=4, abandoned=abandoned)
        left = session.scalars(select(Change.rev).order_by(Change.rev)).all()
    assert left == ([*range(6, 19)] if behind == "on record" else [15, 16, 17, 18])
    assert dropped == 18 - len(left)
    refresh(old)
    assert held(old) == truth(store)
    assert ("it is older than the log of changes" in caplog.text) is (behind != "on record")
    refresh(old)
    fill_more(store, give, 1)
    caplog.clear()
    assert refresh(old) == 1
    assert held(old) == truth(store)
    assert caplog.text == ""
