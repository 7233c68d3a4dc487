"""Everything that is true of PostgreSQL only: its time-outs, its locks, its transactions.

Writers take turns, as they do on SQLite: each takes the gallery's advisory lock when it begins and
holds it until its end. They all raise the one counter of changes anyway, and so nothing that a
writer has read (this photo is new, this name is free) is untrue when it writes. Readers never wait
for them: each sees one snapshot.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event, text
from sqlalchemy.engine import URL, Connection

CONNECT_SECONDS: Final = 10
LOCK_SECONDS: Final = 60  # how long a writer waits for its turn
STATEMENT_SECONDS: Final = 300
IDLE_SECONDS: Final = 300  # a transaction that does nothing for so long is ended by the server
POOL: Final = 5  # connections kept
POOL_MORE: Final = 10  # more while they are needed
POOL_SECONDS: Final = 30  # how long a thread waits for a connection
RECYCLE_SECONDS: Final = 1800
READING: Final = {"isolation_level": "REPEATABLE READ"}
WRITING: Final = {"takes_turn": True}
_DRIVERS: Final = ("psycopg", "psycopg2")
_LOCK_CLASS: Final = 0x76756C74  # "vult"; the second half of the lock is the schema's name
_TAKE_TURN: Final = f"SELECT pg_advisory_xact_lock({_LOCK_CLASS}, hashtext(current_schema()))"


def is_postgresql(engine: Engine) -> bool:
    """Whether the engine talks to a PostgreSQL server."""
    return engine.dialect.name == "postgresql"


def engine_options(url: URL) -> dict[str, Any]:
    """What `create_engine` is told beside the URL; what the URL's query says goes before it."""
    options: dict[str, Any] = {
        "pool_size": POOL,
        "max_overflow": POOL_MORE,
        "pool_timeout": POOL_SECONDS,
        "pool_recycle": RECYCLE_SECONDS,
        "pool_pre_ping": True,
    }
    if url.get_driver_name() in _DRIVERS:
        options["connect_args"] = _connect_arguments(url)
    return options


def _connect_arguments(url: URL) -> dict[str, str | int]:
    """Libpq's parameters."""
    limits = {
        "lock_timeout": LOCK_SECONDS,
        "statement_timeout": STATEMENT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    ours = " ".join(f"-c {name}={seconds * 1000}" for name, seconds in limits.items())
    given = url.query.get("options", "")
    wanted: dict[str, str | int] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "vultus",
        "keepalives_idle": 30,
        "tcp_user_timeout": 30_000,  # milliseconds
    }
    kept: dict[str, str | int] = {k: v for k, v in wanted.items() if k not in url.query}
    # the server takes the last of two settings of one name
    return kept | {"options": f"{ours} {given if isinstance(given, str) else ' '.join(given)}"}


def tune(engine: Engine) -> None:
    """Make writers take turns."""
    event.listen(engine, "begin", _on_begin)


def _on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get("takes_turn"):
        connection.exec_driver_sql(_TAKE_TURN)


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction for changing tables, alone: others wait, however long it takes."""
    with engine.begin() as connection:
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
        connection.exec_driver_sql(_TAKE_TURN)
        yield connection


def count_on(connection: Connection, table: str, last: int | None = None) -> None:
    """Let a table's ids go on after `last`, or after the highest that is there.

    SQLite does so by itself when a row comes with its id, and PostgreSQL does not; on another
    database, and for a table whose rows the database does not number, nothing happens.
    """
    if connection.dialect.name != "postgresql":
        return
    column = text(
        "SELECT 1 FROM information_schema.columns WHERE table_schema = current_schema() "
        "AND table_name = :name AND column_name = 'id' AND column_default IS NOT NULL"
    )
    if connection.scalar(column, {"name": table}) is None:
        return
    if last is None:
        last = connection.scalar(text(f"SELECT max(id) FROM {table}"))  # our own table # noqa: S608 # nosec B608
    if last:
        set_to = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)")
        connection.execute(set_to, {"name": table, "last": last})


def scrub(engine: Engine, tables: Sequence[str]) -> None:
    """Rewrite the tables without what was deleted; everybody else waits meanwhile.

    The server's write-ahead log and its backups keep older pages for as long as it is told to.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        try:
            connection.exec_driver_sql(f"VACUUM (FULL) {', '.join(tables)}")
        finally:
            connection.exec_driver_sql("RESET statement_timeout")


def reclaim(engine: Engine, tables: Sequence[str]) -> None:
    """Let the space of deleted rows be used again; nobody waits, and old bytes stay until it is."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        try:
            connection.exec_driver_sql(f"VACUUM {', '.join(tables)}")
        finally:
            connection.exec_driver_sql("RESET statement_timeout")
