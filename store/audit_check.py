"""Checking the log: is every row as it was written, and are all of them there?"""

import contextlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from store.audit import ERASURE, Anchor, log_anchor
from store.chain import START, commitment_of, row_hash
from store.ledger import Event

PAGE: Final = 2048  # rows in memory at once
_COLUMNS: Final = tuple(Event.__table__.columns)


@dataclass(frozen=True, slots=True)
class LogCheck:
    """What checking the log found.

    Attributes:
        length: how many rows are whole, counted from the first.
        head: the hash of the last of them.
        row: number of the first row that is not, or None.
        fault: what is wrong there, in words, or None.
    """

    length: int
    head: str
    row: int | None = None
    fault: str | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "whole": self.whole,
            "length": self.length,
            "head": self.head,
            "row": self.row,
            "fault": self.fault,
        }


def verify_log(session: Session, anchor: Anchor | None = None) -> LogCheck:
    """Check every row of the log, and its end; memory holds a page at a time.

    Args:
        session: a transaction, as `Store` opens it.
        anchor: as `log_anchor` gave it at some time; the log must have passed through it.
    """
    erased = _listed_as_erased(session)
    length, head = 0, START
    if anchor is not None and anchor.length == 0 and anchor.head != START:
        return LogCheck(0, START, 1, "the anchor is of another log")
    for row in _raw_rows(session):
        fault = _fault(row, length + 1, head, erased)
        if fault is not None:
            return LogCheck(length, head, min(row["id"], length + 1), fault)
        if anchor is not None and anchor.length == row["id"] and anchor.head != row["hash"]:
            return LogCheck(length, head, row["id"], "it is not what the anchor saw")
        length, head = row["id"], row["hash"]
    return _ended(log_anchor(session), length, head, anchor)


def _ended(end: Anchor, length: int, head: str, anchor: Anchor | None) -> LogCheck:
    """What the end of the log says when every row is whole."""
    if end.length > length:
        fault = f"it is missing: the gallery knows of {end.length} rows"
        return LogCheck(length, head, length + 1, fault)
    if end.length < length:
        fault = f"it was put in: the gallery knows of {end.length} rows"
        return LogCheck(length, head, end.length + 1, fault)
    if end.head != head:
        return LogCheck(length, head, max(length, 1), "it is not the last row the gallery knows")
    if anchor is not None and anchor.length > length:
        fault = f"it is missing: the anchor saw {anchor.length} rows"
        return LogCheck(length, head, length + 1, fault)
    return LogCheck(length, head)


def _raw_rows(session: Session) -> Iterator[dict[str, Any]]:
    """Every row, in the order of numbers; of one that cannot be read, its number only."""
    after: int | None = None
    while True:
        page = select(*_COLUMNS).order_by(Event.id).limit(PAGE)
        if after is not None:
            page = page.where(Event.id > after)
        try:
            rows = [dict(row._mapping) for row in session.execute(page)]  # noqa: SLF001 - a public name of SQLAlchemy
        except (TypeError, ValueError, DatabaseError):  # such as a time that is none
            numbers = session.scalars(page.with_only_columns(Event.id)).all()
            rows = [_one_by_one(session, number) for number in numbers]
        yield from rows
        if len(rows) < PAGE:
            return
        after = rows[-1]["id"]


def _one_by_one(session: Session, number: int) -> dict[str, Any]:
    try:
        row = session.execute(select(*_COLUMNS).where(Event.id == number)).one()
    except (TypeError, ValueError, DatabaseError):
        return {"id": number}
    return dict(row._mapping)  # noqa: SLF001 - a public name of SQLAlchemy


def _fault(row: dict[str, Any], number: int, head: str, erased: "_Numbers") -> str | None:
    """What is wrong with a row that should be the one of a number, after a hash; or None."""
    if row["id"] != number:
        return "it is missing" if row["id"] > number else "it was put in"
    try:
        if row["previous"] != head or row["hash"] != row_hash(row):
            return "it was changed, or a row before it was"
        return _private_fault(row, erased)
    except (KeyError, TypeError, ValueError, AttributeError):
        return "it cannot be read"


def _private_fault(row: dict[str, Any], erased: "_Numbers") -> str | None:
    private, salt, commitment = row["private"], row["salt"], row["commitment"]
    if commitment is None:
        return None if private is None and salt is None else "something private was put in"
    if row["id"] in erased:
        return None if private is None and salt is None else "what was erased is back"
    if private is None or salt is None:
        return "its private text is gone, and no row says that it was erased"
    return None if commitment == commitment_of(salt, private) else "its private text was changed"


class _Numbers:
    """Numbers of rows, kept as runs from first to last."""

    def __init__(self, runs: Iterable[Sequence[int]]) -> None:
        kept = sorted((int(first), int(last)) for first, last in runs)
        self._firsts = [first for first, _ in kept]
        self._lasts = [last for _, last in kept]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]


def _listed_as_erased(session: Session) -> _Numbers:
    """The rows that the log itself says were erased; what cannot be read lists none."""
    query = select(Event.details).where(Event.action == ERASURE).order_by(Event.id)
    runs: list[Sequence[int]] = []
    for details in session.scalars(query):
        with contextlib.suppress(KeyError, TypeError, ValueError):  # its own hash will tell
            listed = json.loads(details)["events"]
            runs.extend((int(first), int(last)) for first, last in listed)
    return _Numbers(runs)
