"""Reading the log of what was done."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.orm import Session

from store.audit import about, merged_uids, read_back
from store.errors import UnknownPerson
from store.ledger import Event
from store.people import find_person
from store.schema import Person

PAGE: Final = 1024  # rows in memory at once
_UID_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Logged:
    """A row of the log.

    Attributes:
        number: 1, 2, 3, …
        time: aware.
        actor: who did it.
        action: what was done.
        subject: uid of whom or what it is about, or None.
        person: the present name of the person of that uid, or None.
        details: as they were hashed.
        private: what names somebody; None where there was nothing, or it was erased.
        erased: whether something private was erased.
        hash: of the row, 64 hexadecimal digits.
    """

    number: int
    time: datetime
    actor: str
    action: str
    subject: str | None
    person: str | None
    details: dict[str, Any]
    private: dict[str, Any] | None
    erased: bool
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "number": self.number,
            "time": self.time.isoformat(),
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "person": self.person,
            "details": self.details,
            "private": self.private,
            "erased": self.erased,
            "hash": self.hash,
        }


def person_uid(session: Session, who: str) -> str:
    """The uid of a person of that name or uid, also of somebody who has been forgotten.

    Raises:
        UnknownPerson: nobody of that name, and it is no uid.
        AmbiguousPerson: several people of that name.
    """
    try:
        return find_person(session, who).uid
    except UnknownPerson:
        if len(who) == _UID_LENGTH and set(who) <= set("0123456789abcdef"):
            return who
        raise


def read_events(
    session: Session,
    *,
    person: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    last: int | None = None,
) -> Iterator[Logged]:
    """Rows of the log, the oldest first; memory holds a page at a time.

    Args:
        session: a transaction, as `Store` opens it.
        person: only what is about the person of this uid, or of people merged into them.
        action: only this action.
        since: only from this aware time on.
        last: only so many, the latest.
    """
    wanted: list[ColumnElement[bool]] = []
    if person is not None:
        wanted.append(about(merged_uids(session, person)))
    if action is not None:
        wanted.append(Event.action == action)
    if since is not None:
        wanted.append(Event.time >= since)
    after = None
    if last is not None:
        edge = select(Event.id).where(*wanted).order_by(Event.id.desc()).offset(last).limit(1)
        after = session.scalar(edge)
    query = select(Event.__table__, Person.name.label("person"))
    query = query.outerjoin(Person, Person.uid == Event.subject).where(*wanted)
    while True:
        page = query.order_by(Event.id).limit(PAGE)
        rows = session.execute(page if after is None else page.where(Event.id > after)).all()
        yield from (_logged(row) for row in rows)
        if len(rows) < PAGE:
            return
        after = rows[-1].id


def _logged(row: Row[Any]) -> Logged:
    return Logged(
        number=row.id,
        time=row.time,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        person=row.person,
        details=read_back(row.details),
        private=None if row.private is None else read_back(row.private),
        erased=row.commitment is not None and row.private is None,
        hash=row.hash,
    )
