"""The log of what was done: appending to it, and erasing private bits from it.

Every row carries the SHA-256 over its own canonical text, which includes the hash of the row
before it, so that no row can be changed, removed or moved without all later hashes changing; the
gallery's row keeps length and last hash, so that the end cannot be cut off. Somebody who can write
to the database can compute everything anew: what shows that is an anchor, length and hash, kept
elsewhere (the scheme of Schneier and Kelsey, "Secure audit logs to support computer forensics",
ACM TISSEC 2(2), 1999, without its evolving keys).

What names somebody (`private`) is not hashed itself, only a salted commitment to it is. Erasing
text and salt leaves the chain whole, and a row of its own says which rows were erased: without
that row, the erasure would be found as tampering.

`audit_check` checks the log, `audit_read` reads it.

The UPDATE of the gallery's row holds its lock until the commit, as `changes` does, so that rows
are committed in the order of their numbers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.orm import Session

from store.actors import actor_of
from store.chain import START, Happening, canonical, chained_row
from store.changes import CHUNK
from store.columns import now
from store.errors import InvalidAnchor
from store.ledger import Event
from store.schema import Gallery, Person

ERASURE: Final = "private_erased"  # the action of the row that lists erased ones
MERGE: Final = "merged"  # the action of two people made one; `details` says into whom
NAME_KEYS: Final = ("name", "new_name")  # of `private`: the names of whom the row is about
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in the log: how many rows it had, and the hash of the last of them."""

    length: int
    head: str

    def __str__(self) -> str:
        return f"{self.length}:{self.head}"

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """An anchor as it was printed.

        Raises:
            InvalidAnchor: it is none.
        """
        length, _, head = text.strip().partition(":")
        if not (length.isdecimal() and len(head) == len(START) and set(head) <= _HEXADECIMAL):
            raise InvalidAnchor(text)
        return cls(int(length), head)


def append_event(
    session: Session,
    action: str,
    subject: str | None = None,
    details: Mapping[str, Any] | None = None,
    private: Mapping[str, Any] | None = None,
) -> int:
    """Append one row to the log, in the caller's transaction; arguments as `Happening`.

    Returns:
        The number of the row.
    """
    return append_events(session, [Happening(action, subject, details or {}, private)])


def append_events(session: Session, happenings: Sequence[Happening]) -> int:
    """Append rows to the log, in the caller's transaction, with as few statements as for one.

    Args:
        session: a transaction, as `Store` opens it; `info["actor"]` says who acts.
        happenings: in the order in which they happened.

    Returns:
        How long the log is then.

    Raises:
        TypeError, ValueError: details JSON cannot hold.
    """
    if not happenings:
        return log_anchor(session).length
    session.flush()
    raised = (
        update(Gallery)
        .where(Gallery.id == 1)
        .values(log_length=func.coalesce(Gallery.log_length, 0) + len(happenings))
        .returning(Gallery.log_length, Gallery.log_head)
        .execution_options(synchronize_session=False)
    )
    ended = session.execute(raised).one()
    length, head = int(ended.log_length or 0), ended.log_head or START
    actor, time, rows = actor_of(session), now(), list[dict[str, Any]]()
    for number, happening in enumerate(happenings, length - len(happenings) + 1):
        row = chained_row(happening, number, time, actor, head)
        head = row["hash"]
        rows.append(row)
    session.execute(insert(Event), rows)
    ending = update(Gallery).where(Gallery.id == 1).values(log_head=head)
    session.execute(ending.execution_options(synchronize_session=False))
    return length


def log_anchor(session: Session) -> Anchor:
    """Where the log ends."""
    row = session.execute(select(Gallery.log_length, Gallery.log_head).where(Gallery.id == 1)).one()
    return Anchor(row.log_length or 0, row.log_head or START)


def merged_uids(session: Session, person_uid: str) -> list[str]:
    """The uid of a person and of everybody who was merged into them and is gone since."""
    merges = select(Event.subject, Event.details).where(Event.action == MERGE).order_by(Event.id)
    into: dict[str, str] = {}  # a merged person's uid → into whom, the last time
    for subject, details in session.execute(merges):
        into[str(subject)] = str(read_back(details).get("into"))
    alive: set[str] = set()
    for some in _pieces(list(into)):
        alive.update(session.scalars(select(Person.uid).where(Person.uid.in_(some))))
    found = [person_uid]
    for uid in found:
        gone = (one for one, target in into.items() if target == uid and one not in alive)
        found.extend(one for one in gone if one not in found)
    return found


def erase_private(session: Session, person_uid: str) -> int:
    """Erase what the log keeps private about somebody; the chain stays valid.

    That is the text and the salt of every row about them, about whoever was merged into them, and
    of every row about nobody that holds one of their names (a photo rejected before they were
    enrolled). A row that says which rows those were is appended.

    Args:
        session: a transaction, as `Store` opens it.
        person_uid: theirs; the person may be gone already.

    Returns:
        How many rows were erased.
    """
    rows = select(Event.id, Event.subject, Event.private).where(Event.private.is_not(None))
    uids = merged_uids(session, person_uid)
    theirs = session.execute(rows.where(about(uids))).all()
    numbers = {row.id for row in theirs}
    names = {name for row in theirs if row.subject in uids for name in _names(row.private)}
    person = session.scalar(select(Person.name).where(Person.uid == person_uid))
    names |= set() if person is None else {person}
    for name in names:
        holding = Event.private.contains(canonical(name), autoescape=True)
        found = session.execute(rows.where(Event.subject.is_(None), holding))
        numbers.update(row.id for row in found if name in _names(row.private))
    return erase_rows(session, sorted(numbers), person_uid)


def erase_photos(session: Session, digests: Sequence[str]) -> int:
    """Erase what the log keeps private in rows about photos; the chain stays valid.

    Args:
        session: a transaction, as `Store` opens it.
        digests: sha256 of each photo's file.

    Returns:
        How many rows were erased.
    """
    numbers: set[int] = set()
    for digest in digests:
        numbers.update(session.scalars(select(Event.id).where(Event.private.contains(digest))))
    return erase_rows(session, sorted(numbers))


def erase_rows(session: Session, numbers: Sequence[int], subject: str | None = None) -> int:
    """Erase the private text and the salt of rows, and append a row that says so.

    Args:
        session: a transaction, as `Store` opens it.
        numbers: of the rows, rising; those without anything private are left out.
        subject: uid of whom they were about.

    Returns:
        How many rows were erased.
    """
    erased: list[int] = []
    for some in _pieces(numbers):
        full = update(Event).where(Event.id.in_(some), Event.private.is_not(None))
        gone = full.values(private=None, salt=None).returning(Event.id)
        gone = gone.execution_options(synchronize_session=False)
        erased.extend(session.scalars(gone))
    if erased:
        append_event(session, ERASURE, subject, {"events": _runs(sorted(erased))})
    return len(erased)


def read_back(text: str | None) -> dict[str, Any]:
    """What `canonical` wrote of a row; `{"unreadable": True}` where somebody has changed it.

    Reading and erasing go on then: what was changed is `audit_check`'s to find.
    """
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    return values if isinstance(values, dict) else {"unreadable": True}


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Rising numbers as runs from first to last."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def about(uids: Sequence[str]) -> ColumnElement[bool]:
    """Rows whose subject is one of these uids, or whose details hold one."""
    return or_(Event.subject.in_(uids), *(Event.details.contains(uid) for uid in uids))


def _names(private: str | None) -> set[str]:
    """Names of people in the private text of a row."""
    values = (value for key, value in read_back(private).items() if key in NAME_KEYS)
    return {value for value in values if isinstance(value, str) and value}


def _pieces(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))
