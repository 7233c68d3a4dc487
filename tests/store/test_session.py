import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from migrations import ensure_schema
from store.errors import DatabaseUnusable, SchemaAhead, SchemaBehind
from store.people import add_person, list_people
from store.places import default_url
from store.schema import Person, Site
from store.session import Store


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("busy_timeout", 10000),
        ("secure_delete", 1),
    ],
)
def test_pragmas_hold_on_every_sqlite_connection(sqlite_store: Store, pragma: str, value: object):
    with sqlite_store.read() as first, sqlite_store.read() as second:
        for session in (first, second):
            assert session.scalar(text(f"PRAGMA {pragma}")) == value


def test_sqlite_files_are_for_their_owner_only(sqlite_store: Store):
    with sqlite_store.begin() as session:
        add_person(session, "Ada")
        beside = sorted(path.name for path in sqlite_store.path.parent.iterdir())
        assert beside == ["gallery.sqlite3", "gallery.sqlite3-shm", "gallery.sqlite3-wal"]
        for path in sqlite_store.path.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_folder_is_made(tmp_path: Path):
    with Store.open(str(tmp_path / "a" / "b" / "gallery.sqlite3")) as store:
        assert store.path.exists()
        assert store.path.parent.stat().st_mode & 0o077 == 0


def test_the_default_place_is_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/vultus/gallery.sqlite3"
    with Store.open() as store:
        assert store.path == tmp_path / "vultus" / "gallery.sqlite3"


def add_and_fail(session: Session, name: str) -> None:
    add_person(session, name)
    raise ZeroDivisionError


def test_an_exception_rolls_back(store: Store):
    with pytest.raises(ZeroDivisionError), store.begin() as session:
        add_and_fail(session, "Ada")
    with store.read() as session:
        assert list_people(session) == []


def test_a_savepoint_rolls_back_alone(store: Store):
    with store.begin() as session:
        add_person(session, "Ada")
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            add_and_fail(session, "Bob")
        with session.begin_nested():
            add_person(session, "Cleo")
    with store.read() as session:
        assert [person.name for person in list_people(session)] == ["Ada", "Cleo"]


def test_a_released_savepoint_goes_with_its_transaction(store: Store):
    def release_and_fail() -> None:
        with store.begin() as session:
            with session.begin_nested():
                add_person(session, "Ada")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        release_and_fail()
    with store.read() as session:
        assert list_people(session) == []


def test_a_reader_sees_one_state(store: Store):
    with store.read() as reader:
        assert list_people(reader) == []
        with store.begin() as writer:
            add_person(writer, "Ada")
        assert list_people(reader) == []
    with store.read() as reader:
        assert len(list_people(reader)) == 1


def test_what_a_reader_writes_is_dropped(store: Store):
    with store.read() as session:
        session.add(Site(name="nowhere"))
        session.flush()
    with store.read() as session:
        assert session.scalars(select(Site.name)).all() == [""]


def test_foreign_keys_are_kept(store: Store):
    with pytest.raises(IntegrityError), store.begin() as session:
        session.add(Person(name="Ada", site_id=99))


def test_times_come_back_aware(store: Store):
    with store.begin() as session:
        add_person(session, "Ada")
    with store.read() as session:
        assert session.scalars(select(Person)).one().created.utcoffset().total_seconds() == 0


def test_not_a_database(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 1000)
    with pytest.raises(DatabaseUnusable, match="file is not a database"):
        Store.open(path)
    assert path.read_text().startswith("dear diary")


def test_a_folder_is_no_database(tmp_path: Path):
    with pytest.raises(DatabaseUnusable, match="is a directory"):
        Store.open(tmp_path)


@pytest.mark.parametrize("url", ["nosuchthing://host/db", "://"])
def test_a_url_of_nothing(url: str):
    with pytest.raises(DatabaseUnusable):
        Store.open(url)


def test_a_password_is_not_shown():
    with pytest.raises(DatabaseUnusable) as caught:
        Store.open("nosuchthing://ada:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(DatabaseUnusable, match="permission denied"):
        Store.open(tmp_path / "gallery.sqlite3")


def test_a_locked_sqlite_file_says_so(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("store.pragmas.PRAGMAS", ("busy_timeout=50", "journal_mode=WAL"))
    monkeypatch.setattr("store.sqlite.TURN_SECONDS", 0.05)
    with Store.open(sqlite_store.path) as other, sqlite_store.begin() as session:
        add_person(session, "Ada")
        with pytest.raises(DatabaseUnusable, match="database is locked"), other.begin() as late:
            add_person(late, "Bob")


def test_a_writer_waits_for_its_turn_longer_than_sqlite_would(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("store.pragmas.PRAGMAS", ("busy_timeout=10", "journal_mode=WAL"))
    with Store.open(sqlite_store.path) as other, ThreadPoolExecutor(1) as threads:

        def late() -> None:
            with other.begin() as session:
                assert [one.name for one in list_people(session)] == ["Ada"]
                assert session.scalar(text("PRAGMA busy_timeout")) == 10
                add_person(session, "Bob")

        with sqlite_store.begin() as session:
            add_person(session, "Ada")
            waiting = threads.submit(late)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        waiting.result(timeout=60)
    with sqlite_store.read() as session:
        assert [one.name for one in list_people(session)] == ["Ada", "Bob"]


def test_no_tables_is_behind(tmp_path: Path):
    with Store.open(tmp_path / "new.sqlite3") as store:
        assert store.revision() is None
        with pytest.raises(SchemaBehind, match=r"has no tables yet.*`vultus db upgrade`"):
            store.require_current()


@pytest.mark.parametrize(("found", "error"), [("0000", SchemaBehind), ("9999", SchemaAhead)])
def test_another_revision(store: Store, found: str, error: type[Exception]):
    store.require_current()
    with store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
    with pytest.raises(error, match=found):
        store.require_current()


def test_sqlite_scrub_waits_for_no_reader_silently(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("store.pragmas.PRAGMAS", ("busy_timeout=50", "journal_mode=WAL"))
    with sqlite_store.begin() as session:
        add_person(session, "Ada")
    with Store.open(sqlite_store.path) as other, sqlite_store.read() as reader:
        list_people(reader)
        with sqlite_store.begin() as session:
            add_person(session, "Bob")
        with pytest.raises(DatabaseUnusable, match="deleted bytes remain"):
            other.scrub()


def test_a_closed_sqlite_store_leaves_one_file(sqlite_store: Store):
    with sqlite_store.begin() as session:
        add_person(session, "Ada")
    sqlite_store.close()
    assert [path.name for path in sqlite_store.path.parent.iterdir()] == ["gallery.sqlite3"]
    with sqlite3.connect(sqlite_store.path) as plain:
        assert plain.execute("SELECT name FROM people").fetchall() == [("Ada",)]
    plain.close()


def test_a_second_opening_in_a_process_keeps_the_locks_of_the_first(tmp_path: Path):
    """Closing a descriptor of the file drops a process's locks on it: others could then take the
    write-ahead log away, and what is committed afterwards is lost."""
    path = tmp_path / "gallery.sqlite3"
    with Store.open(path) as first:
        ensure_schema(first)
        with first.begin() as session:
            add_person(session, "Ann")
        Store.open(path).close()  # in this process
        code = "import sys, sqlite3; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM people')"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)  # opens, closes
        assert path.with_name("gallery.sqlite3-wal").exists(), "the last one to close takes it away"
        with first.begin() as session:
            add_person(session, "Bea")
        with Store.open(path) as second, second.read() as session:
            assert [person.name for person in list_people(session)] == ["Ann", "Bea"]
