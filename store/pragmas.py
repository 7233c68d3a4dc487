"""How every connection to an SQLite file is set up, by whatever opens it."""

import sqlite3
import time
from typing import Any

BUSY_SECONDS = 10.0
# busy_timeout comes first: the others may have to wait
PRAGMAS = (
    f"busy_timeout={BUSY_SECONDS * 1000:.0f}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
)


def set_up(connection: Any) -> None:  # noqa: ANN401 - a driver's connection
    """Set the pragmas on a new connection."""
    for pragma in PRAGMAS:
        _patiently(connection, f"PRAGMA {pragma}")


def _patiently(connection: Any, statement: str) -> None:  # noqa: ANN401 - a driver's connection
    """Run a statement, again and again while the database is busy.

    Where two connections switch a new file to WAL at once, SQLite sees a deadlock and gives up on
    one of them without waiting the busy timeout out.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement).close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
