"""Everything that is true of SQLite only: its file, its pragmas, its transactions, its scrubbing.

The driver's own transaction control is switched off, and SQLAlchemy emits BEGIN (the recipe of
SQLAlchemy's SQLite page), so that savepoints and DDL take part in the transaction. A writer begins
IMMEDIATE: it waits for its turn at the start, and can never fail half-way because another writer
came between its reading and its writing. It asks for its turn more often than SQLite would, and for
longer: SQLite looks ten times a second, so that among several busy writers one may miss every gap
for many seconds, the more so where the processor is busy too.
"""

import errno
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import OperationalError

from store import pragmas

TURN_SECONDS = 60.0  # how long a writer waits for its turn
_IMMEDIATE = "BEGIN IMMEDIATE"
READING = {"begin_with": "BEGIN"}
WRITING = {"begin_with": _IMMEDIATE}
NO_TRANSACTION = {"begin_with": ""}
_MAGIC = b"SQLite format 3\0"  # sqlite.org/fileformat.html, 1.3


def file_of(url: URL) -> Path | None:
    """The file behind an SQLite URL; None for another database or one in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def is_database(path: Path) -> bool:
    """Whether a file is there and says that it is an SQLite database."""
    try:
        with path.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def prepare_file(path: Path) -> None:
    """Create the folder, and the file readable by its owner only; OSError if that cannot be.

    SQLite gives its -wal and -shm files the mode of the database file. A file that is there is not
    opened here: this process may have it open already, and closing a second descriptor would drop
    SQLite's locks on it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None


def tune(engine: Engine) -> None:
    """Set the pragmas on every new connection and take over BEGIN."""
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
    connection.isolation_level = None  # the driver emits no BEGIN of its own
    pragmas.set_up(connection)


def _on_begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("begin_with", "BEGIN")
    if statement == _IMMEDIATE:
        _take_turn(connection)
    elif statement:
        connection.exec_driver_sql(statement)


def _take_turn(connection: Connection) -> None:
    """Begin to write, asking every few milliseconds until nobody else does."""
    driver: Any = connection.connection.driver_connection
    end = time.monotonic() + TURN_SECONDS
    driver.execute("PRAGMA busy_timeout=0").close()
    try:
        while True:
            try:
                driver.execute(_IMMEDIATE).close()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    break
                time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - a pause, not a secret
            else:
                return
    finally:
        driver.execute(f"PRAGMA {pragmas.PRAGMAS[0]}").close()
    connection.exec_driver_sql(_IMMEDIATE)  # once more: its error is SQLAlchemy's


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction for changing tables.

    A table that is rebuilt is dropped on the way, and with foreign keys on that would delete the
    rows which refer to it. So they are off inside (SQLite allows that only outside a transaction)
    and checked as a whole before the commit.
    """
    with engine.connect().execution_options(**NO_TRANSACTION) as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        try:
            _take_turn(connection)
            yield connection
            _check_foreign_keys(connection)
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        reason = ValueError(f"a row of table {broken[0]} refers to a row that is not there")
        raise OperationalError("PRAGMA foreign_key_check", None, reason)


def scrub(engine: Engine) -> None:
    """Rewrite the file without what was deleted and empty the write-ahead log.

    Raises:
        OperationalError: another connection is reading, so old pages must stay for now.
    """
    with engine.connect().execution_options(**NO_TRANSACTION) as connection:
        _checkpoint(connection)
        connection.exec_driver_sql("VACUUM")
        _checkpoint(connection)


def _checkpoint(connection: Connection) -> None:
    busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
    if busy:
        reason = TimeoutError("another program is reading it, so deleted bytes remain in its log")
        raise OperationalError("PRAGMA wal_checkpoint(TRUNCATE)", None, reason)
