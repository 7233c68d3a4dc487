"""A gallery goes from one kind of database to another, whole or not at all."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from migrations import Status, check, ensure_schema, moving
from migrations.cli import db
from migrations.moving import TABLES, move
from store.audit_check import verify_log
from store.clusters import save_run
from store.erasure import forget_person
from store.errors import MoveFailed, SchemaBehind, TargetNotEmpty
from store.gallery import pin_space, put_calibration, record_decision
from store.ledger import Event
from store.people import add_person
from store.photos import record_face, record_photo
from store.profiles import put_profile
from store.schema import Template
from store.session import Store
from store.templates import add_template

SPACE = "toy-8-abc"
KINDS = ["sqlite", "postgresql"]


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str, str], str]:
    """An empty database of a kind."""

    def make(kind: str, name: str) -> str:
        if kind == "sqlite":
            return str(tmp_path / f"{name}.sqlite3")
        return request.getfixturevalue("databases").make()

    return make


def fill(url: str) -> None:
    """A few rows of most kinds, with gaps in the ids."""
    vectors = np.eye(8, dtype=np.float32)
    with Store.open(url, actor="user:tester") as store:
        ensure_schema(store)
        with store.begin() as session:
            pin_space(session, SPACE)
            ids = []
            for number, name in enumerate(["Ada", "Zoë", "李雷", "Bob"]):
                expires = datetime(2030, 1, 31, 1, 2, 3, 456, timezone(timedelta(hours=5)))
                person = add_person(session, name, "berlin" if number % 2 else "", expires)
                photo = record_photo(
                    session, f"{number:064x}", f"{name}.jpg", 1, 10, 10, outcome="enrolled",
                    taken=datetime.now(UTC),
                )  # fmt: skip
                face = record_face(
                    session, photo, box=np.array([0.1, 1 / 3, 2, 3], np.float32), points=None,
                    confidence=1.0, quality={"z": 1, "a": [0.1, None]}, crop=bytes(range(256)),
                )  # fmt: skip
                ids.append(add_template(session, person, face, SPACE, vectors[number]).id)
            forget_person(session, person)  # its ids must not come again
            put_calibration(session, SPACE, '{"a": 1}', "digest")
            put_profile(session, "gate", fmr=1e-4, fpir=0.01, unsure=10)
            record_decision(
                session, kind="verify", answer="yes", space=SPACE, source="a", person_id=1,
                similarity=0.1 + 0.2, threshold=0.3, fmr=1e-4,
            )  # fmt: skip
            save_run(
                session, space=SPACE, method="graph", source="x", parameters={"cut": 0.4},
                clusters={0: ids[:2]},
            )  # fmt: skip


def content(url: str) -> dict[str, list[tuple]]:
    with Store.open(url) as store, store.read() as session:
        rows = {
            table.name: [
                tuple(row)
                for row in session.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in TABLES
        }
    moved = [row for row in rows["events"] if "moved" in row]
    rows["events"] = [row for row in rows["events"] if row not in moved]
    rows["gallery"] = [row[:5] for row in rows["gallery"]]  # without where the log of events ends
    return rows


@pytest.mark.parametrize(
    ("first", "second"), [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]
)
def test_every_row_arrives_and_counting_goes_on(place: Callable, first: str, second: str):
    source, target = place(first, "a"), place(second, "b")
    fill(source)
    before = content(source)
    moved = move(source, target)
    assert content(target) == content(source) == before
    assert {one.name: one.rows for one in moved if one.rows}["people"] == 3
    with Store.open(target) as store, store.begin() as session:
        assert verify_log(session).whole
        assert session.scalars(select(Event.action).order_by(Event.id.desc())).first() == "moved"
        assert add_person(session, "Eve").id == 5
        photo = record_photo(session, "f" * 64, "e.jpg", 1, 1, 1, outcome="enrolled")
        face = record_face(
            session, photo, box=np.zeros(4, np.float32), points=None, confidence=1.0,
            quality=None, crop=b"",
        )  # fmt: skip
        vector = np.eye(8, dtype=np.float32)[5]
        assert add_template(session, None, face, SPACE, vector).id == 5
        assert session.get(Template, 4) is None


def test_a_target_that_holds_something_is_refused(place: Callable):
    source, target = place("sqlite", "a"), place("sqlite", "b")
    fill(source)
    fill(target)
    before = content(target)
    with pytest.raises(TargetNotEmpty, match=r"table \w+ has \d+ rows"):
        move(source, target)
    with pytest.raises(TargetNotEmpty, match="it is the source"):
        move(source, source)
    assert content(target) == before


def test_a_new_gallery_may_be_the_target(place: Callable):
    source, target = place("sqlite", "a"), place("sqlite", "b")
    fill(source)
    with Store.open(target) as store:
        ensure_schema(store)
    move(source, target)
    assert content(target) == content(source)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_move_leaves_an_empty_target(place: Callable, kind: str):
    source, target = place("sqlite", "a"), place(kind, "b")
    fill(source)
    before = content(source)

    def interrupt(table: str, _rows: int) -> None:
        if table == "templates":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(source, target, interrupt)
    assert check(target) is Status.EMPTY
    assert content(source) == before
    move(source, target)
    assert content(target) == before


def test_a_difference_is_noticed_and_nothing_kept(place: Callable, monkeypatch: pytest.MonkeyPatch):
    """What another database, or a fault of this program, would do to a value on its way."""
    source, target = place("sqlite", "a"), place("sqlite", "b")
    fill(source)
    copy = moving._copy

    def spoil(table, reading, writing, progress):
        sent = copy(table, reading, writing, progress)
        if table.name == "faces":
            writing.execute(table.update().where(table.c.id == 2).values(x=table.c.x + 1e-12))
        return sent

    monkeypatch.setattr(moving, "_copy", spoil)
    with pytest.raises(MoveFailed, match="Table faces differs"):
        move(source, target)
    assert check(target) is Status.EMPTY


def test_a_source_without_tables_is_refused(place: Callable):
    with pytest.raises(SchemaBehind):
        move(place("sqlite", "a"), place("sqlite", "b"))


def test_the_command(place: Callable):
    source, target = place("sqlite", "a"), place("sqlite", "b")
    fill(source)
    done = CliRunner().invoke(db, ["move", source, target, "--format", "json"])
    assert done.exit_code == 0
    tables = {one["table"]: one["rows"] for one in json.loads(done.stdout)["tables"]}
    assert (tables["people"], tables["gallery"]) == (3, 1)
    again = CliRunner().invoke(db, ["move", source, str(Path(target).with_name("c"))])
    assert "rows were moved, and are the same there" in again.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_scrub_can_be_asked_for(place: Callable, kind: str):
    url = place(kind, "a")
    fill(url)
    done = CliRunner().invoke(db, ["scrub", "--database", url], catch_exceptions=False)
    assert (done.exit_code, done.stdout[:22]) == (0, "What was deleted has l")
