"""Doing database work again where that is safe.

Safe is what the database itself has undone: a transaction that lost a race (a serialization failure
or a deadlock), and one whose connection broke before its commit was sent. A connection that breaks
*during* the commit leaves open whether the work was done, so that error is passed on.
"""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError

ATTEMPTS: Final = 6
FIRST_WAIT: Final = 0.05  # seconds; doubled each time, and shortened at random by up to a half
# SQLSTATE, see PostgreSQL's appendix "Error Codes"
_LOST_RACES: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_SERVER_GONE: Final = frozenset({"57P01", "57P02", "57P03"})  # shut down, crashed, starting up
_UNREACHABLE: Final = ("connection failed", "connection refused", "server closed the connection")
T = TypeVar("T")


def lost_race(error: DBAPIError) -> bool:
    """Whether the server undid the transaction so that another could go on."""
    return _state(error) in _LOST_RACES


def lost_connection(error: DBAPIError) -> bool:
    """Whether the server was not there, or went away."""
    state = _state(error)
    if error.connection_invalidated or state in _SERVER_GONE or state.startswith("08"):
        return True
    return any(words in str(error.orig).casefold() for words in _UNREACHABLE)


def again(work: Callable[[], T], may_repeat: Callable[[DBAPIError], bool]) -> T:
    """Do some work, and do it again, after a growing pause, while `may_repeat` says so.

    Args:
        work: must leave nothing behind when it fails.
        may_repeat: asked about each failure but the last.

    Returns:
        What the work returned.
    """
    wait = FIRST_WAIT
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except DBAPIError as error:
            if not may_repeat(error):
                raise
        time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - a pause, not a secret
        wait *= 2
    return work()


def _state(error: DBAPIError) -> str:
    """The SQLSTATE of an error; "" where the driver gives none, as SQLite's."""
    return str(getattr(error.orig, "sqlstate", None) or "")
