"""What is true of PostgreSQL only; everything else is tested on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from migrations import check, ensure_schema
from migrations.upgrading import Status
from store.errors import DatabaseUnusable
from store.people import add_person, list_people
from store.session import Store

IN_SECOND = "?options=-c%20search_path%3Dsecond"


@pytest.fixture
def store(postgresql_store: Store) -> Store:
    return postgresql_store


def address(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lock_timeout", "1min"),
        ("statement_timeout", "5min"),
        ("idle_in_transaction_session_timeout", "5min"),
        ("application_name", "vultus"),
    ],
)
def test_limits_hold_on_every_connection(store: Store, setting: str, value: str):
    with store.read() as first, store.begin() as second:
        for session in (first, second):
            assert session.scalar(text(f"SHOW {setting}")) == value


def test_what_the_url_says_goes_first(store: Store):
    url = address(store) + "?options=-c%20lock_timeout%3D50&application_name=gate"
    with Store.open(url) as other, other.read() as session:
        assert session.scalar(text("SHOW lock_timeout")) == "50ms"
        assert session.scalar(text("SHOW application_name")) == "gate"


def test_a_bare_url_takes_the_driver_of_the_extra(store: Store):
    url = address(store).replace("postgresql+psycopg://", "postgres://")
    with Store.open(url) as other:
        assert other.engine.driver == "psycopg"


def test_a_writer_who_waits_too_long_is_told(store: Store):
    url = address(store) + "?options=-c%20lock_timeout%3D50"
    with store.begin() as session:
        add_person(session, "Ada")
        with (
            Store.open(url) as other,
            pytest.raises(DatabaseUnusable, match=r"lock timeout; wait until the other program"),
            other.begin() as late,
        ):
            add_person(late, "Bob")


def test_a_reader_does_not_wait_for_a_writer(store: Store):
    with store.begin() as session:
        add_person(session, "Ada")
        with store.read() as reader:
            assert list_people(reader) == []


def test_no_server_says_so():
    with pytest.raises(DatabaseUnusable, match="see that the server runs and can be reached"):
        Store.open("postgresql+psycopg://nobody@127.0.0.1:1/none")


def test_a_server_that_ended_the_connections_is_reached_again(store: Store):
    with store.begin() as session:
        add_person(session, "Ada")
    assert store.engine.pool.checkedin() == 1
    end_connections(store)
    with store.read() as session:
        assert [person.name for person in list_people(session)] == ["Ada"]
    end_connections(store)
    with store.begin() as session:
        add_person(session, "Bob")


def end_connections(store: Store) -> None:
    engine = create_engine(address(store), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    engine.dispose()


def test_a_connection_lost_half_way_is_done_again_by_write(store: Store):
    turns = []

    def work(session):
        add_person(session, "Ada")
        if not turns:
            end_connections(store)
        turns.append(1)
        add_person(session, "Bob")

    store.write(work)
    assert len(turns) == 2
    with store.read() as session:
        assert [person.name for person in list_people(session)] == ["Ada", "Bob"]


def test_a_connection_lost_half_way_loses_a_transaction_whole(store: Store):
    def work() -> None:
        with store.begin() as session:
            add_person(session, "Ada")
            end_connections(store)
            add_person(session, "Bob")

    with pytest.raises(DatabaseUnusable):
        work()
    with store.read() as session:
        assert list_people(session) == []


def test_a_deadlock_is_done_again_by_write(store: Store):
    """Two writers outside our own lock, as another program's might be, on two rows crosswise."""
    with store.begin() as session:
        ids = [add_person(session, name).id for name in ("Ada", "Bob")]
    engine = create_engine(address(store))
    met = threading.Barrier(2, timeout=60)
    turns: list[int] = []

    def rename(order: list[int], session) -> None:
        for turn, key in enumerate(order):
            session.execute(text("UPDATE people SET expires = now() WHERE id = :id"), {"id": key})
            if turn == 0 and len(turns) < 2:
                turns.append(key)
                met.wait()

    def ours() -> None:
        store.write(lambda session: rename(ids, session))

    def theirs() -> None:
        with suppress(OperationalError), engine.begin() as connection:  # one of the two is undone
            rename(ids[::-1], connection)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ours), pool.submit(theirs)]
        running[0].result()
        running[1].result()
    engine.dispose()
    with store.read() as session:
        assert session.scalar(text("SELECT count(*) FROM people WHERE expires IS NOT NULL")) == 2


def test_first_runs_at_once(databases):
    def first_run(url: str) -> None:
        with Store.open(url) as opened:
            ensure_schema(opened)

    for _ in range(2):
        url = databases.make()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(first_run, [url] * 8))
        assert check(url) is Status.CURRENT


def test_scrubbing_fully_rewrites_the_tables(store: Store):
    where = text("SELECT pg_relation_filenode('people')")
    with store.begin() as session:
        add_person(session, "Ada")
        before = session.scalar(where)
    store.scrub()
    with store.read() as session:
        assert session.scalar(where) == before
    store.scrub(fully=True)
    with store.read() as session:
        assert session.scalar(where) != before
        assert [person.name for person in list_people(session)] == ["Ada"]


def test_galleries_in_two_schemas_do_not_wait_for_each_other(databases):
    url = databases.make()
    with Store.open(url) as store, Store.open(url + IN_SECOND) as other:
        with store.begin() as session:
            session.execute(text("CREATE SCHEMA second"))
        ensure_schema(store)
        ensure_schema(other)
        with store.begin() as session, other.begin() as late:
            add_person(session, "Ada")
            add_person(late, "Ada")
            assert list_people(session) != list_people(late)
