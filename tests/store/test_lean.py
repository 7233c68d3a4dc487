"""A gallery read and written without SQLAlchemy, beside the usual way."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, text, update

from store.audit_check import verify_log
from store.facts import deny_person
from store.gallery import active_calibration, pin_space, put_calibration, record_decision
from store.lean import Lean, default_file
from store.ledger import Event, Fact
from store.operations import Journal, record_operation
from store.people import add_person, find_person
from store.places import default_url, parse_url
from store.records import Decision
from store.schema import Face, Gallery, Photo, Site, Template
from store.session import Store
from store.templates import vectors_of

SPACE = "toy-8-abc"
ANSWER = {
    "kind": "verify", "answer": "yes", "space": SPACE, "source": "a café.jpg", "person_id": 1,
    "similarity": 0.7123456789, "threshold": 0.4, "fmr": 1e-3, "calibration_id": None,
    "unsure_above": 0.3, "extrapolated": True,
}  # fmt: skip


@pytest.fixture
def gallery(sqlite_store: Store, give: Callable[..., Template]) -> Store:
    """Ann with two templates, two people called Bo at two sites, and Cy without any."""
    with sqlite_store.begin() as session:
        pin_space(session, SPACE)
        ann = add_person(session, "Ann Lee")
        give(session, ann)
        give(session, ann)
        for site in ("", "hall"):
            give(session, add_person(session, "Bo", site))
        add_person(session, "Cy")
    return sqlite_store


@pytest.fixture
def lean(gallery: Store):
    opened = Lean.open(gallery.url)
    assert opened is not None
    yield opened
    opened.close()


def test_a_claim_is_what_the_usual_way_reads(gallery: Store, lean: Lean):
    with gallery.begin() as session:
        put_calibration(session, SPACE, '{"old": 1}', "a")
        put_calibration(session, SPACE, '{"new": 1}', "b")
    with gallery.read() as session:
        person = find_person(session, "Ann Lee")
        _, vectors = vectors_of(session, person.id, SPACE)
        calibration = active_calibration(session, SPACE)
    for who, site in (("Ann Lee", None), (person.uid, None), (" Ann Lee ", ""), (person.uid, "")):
        found = lean.claim(who, site)
        assert found is not None
        assert (found.person_id, found.uid, found.name) == (person.id, person.uid, "Ann Lee")
        assert (found.site_id, found.space) == (person.site_id, SPACE)
        assert np.array_equal(found.templates, vectors)
        assert (found.calibration, found.calibration_id) == (calibration.body, calibration.id)


def test_without_a_calibration_of_its_own_there_is_none(lean: Lean):
    found = lean.claim("Bo", "hall")
    assert found is not None
    assert (found.calibration, found.calibration_id) == (None, None)


@pytest.mark.parametrize(
    ("who", "site"),
    [("Nobody", None), ("Bo", None), ("ann lee", None), ("Cy", None), ("Ann Lee", "hall"),
     ("Ann Lee", "bad\x00site"), ("", None)],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_left_to_the_usual_way(
    lean: Lean, who: str, site: str | None
):
    assert lean.claim(who, site) is None


@pytest.mark.parametrize("column", ["sealed", "renewal"])
def test_a_sealed_gallery_is_left_to_the_usual_way(gallery: Store, lean: Lean, column: str):
    assert lean.claim("Ann Lee", None) is not None
    with gallery.begin() as session:
        session.execute(update(Gallery).values({column: "gallery"}))
    assert lean.claim("Ann Lee", None) is None


def test_a_gallery_that_is_not_pinned_is_left_to_the_usual_way(sqlite_store: Store):
    lean = Lean.open(sqlite_store.url)
    assert lean is not None
    with closing(lean):
        assert lean.claim("Ann", None) is None


def rows(store: Store, table: type, left_out: set[str]) -> list[dict[str, object]]:
    """The rows of a table as SQLAlchemy reads them."""
    with store.read() as session:
        names = [c.name for c in table.__table__.columns if c.name not in left_out]
        found = session.execute(select(*(getattr(table, name) for name in names)))
        return [dict(zip(names, row, strict=True)) for row in found]


def test_what_is_recorded_is_what_the_usual_way_records(gallery: Store, lean: Lean):
    with gallery.begin() as session:
        record_decision(session, **ANSWER)
        uid = find_person(session, "Ann Lee").uid
    assert lean.record(uid, ANSWER)
    usual, ours = rows(gallery, Decision, {"id", "time"})
    assert ours == usual
    left_out = {"id", "time", "salt", "commitment", "previous", "hash"}
    usual, ours = rows(gallery, Event, left_out)[-2:]
    assert ours["details"].replace('"decision":2', '"decision":1') == usual["details"]
    assert ours | {"details": ""} == usual | {"details": ""}
    times = [row["time"] for row in rows(gallery, Decision, set())]
    assert times == sorted(times)
    with closing(sqlite3.connect(gallery.path)) as opened:
        stored = opened.execute("SELECT time, extrapolated FROM decisions").fetchall()
    assert len({(len(moment), moment[4], moment[19], flag) for moment, flag in stored}) == 1
    with gallery.read() as session:
        check = verify_log(session)
        assert check.fault is None
        assert check.length == rows(gallery, Event, set())[-1]["id"]


def test_recording_in_turns_keeps_the_chain_whole(gallery: Store, lean: Lean):
    uid = lean.claim("Ann Lee", None).uid
    for _ in range(3):
        assert lean.record(uid, ANSWER)
        with gallery.begin() as session:
            record_decision(session, **ANSWER)
    assert len(rows(gallery, Decision, set())) == 6
    with gallery.read() as session:
        assert verify_log(session).fault is None


def test_what_cannot_be_recorded_leaves_nothing(gallery: Store, lean: Lean):
    before = rows(gallery, Event, set())
    assert not lean.record("uid", ANSWER | {"person_id": 999})  # somebody who has been forgotten
    assert rows(gallery, Decision, set()) == []
    assert rows(gallery, Event, set()) == before
    assert lean.record(lean.claim("Ann Lee", None).uid, ANSWER)


def test_a_correction_about_a_photo_is_seen(gallery: Store, lean: Lean):
    with gallery.begin() as session:
        photo = session.scalars(select(Photo).order_by(Photo.id)).first()
        face = session.scalar(select(Face.id).where(Face.photo_id == photo.id))
        assert not lean.is_corrected(photo.digest)
        operation = record_operation(session, "not", Journal())
        deny_person(session, operation, [face], find_person(session, "Cy"))
    assert rows(gallery, Fact, set())
    assert lean.is_corrected(photo.digest)
    assert not lean.is_corrected("0" * 64)


@pytest.mark.parametrize(
    "url",
    ["postgresql://host/db", "sqlite://", "sqlite:///a.db?mode=ro", "sqlite:///:memory:",
     "sqlite+pysqlite:///a.db", "/no/such/file.sqlite3"],
)  # fmt: skip
def test_other_places_are_left_to_the_usual_way(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert Lean.open(url) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_gallery_of_this_schema_is_left_alone(gallery: Store, tmp_path: Path):
    for content in (b"", b"no database", b"SQLite format 3\0 and nothing more"):
        path = tmp_path / "other"
        path.write_bytes(content)
        assert Lean.open(str(path)) is None
        assert path.read_bytes() == content
    with gallery.migrating() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert Lean.open(gallery.url) is None


def test_the_default_place_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert parse_url(default_url()).database == str(default_file())
    assert Lean.open(None) is None


def test_a_site_is_found_by_its_name(gallery: Store, lean: Lean):
    with gallery.read() as session:
        hall = session.scalar(select(Site.id).where(Site.name == "hall"))
    assert lean.claim("Bo", "hall").site_id == hall
    assert lean.claim("Bo", "").site_id == 0
