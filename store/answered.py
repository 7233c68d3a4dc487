"""Answers kept under a client's idempotency key, so that a repeated request is done once."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.columns import now
from store.ledger import Answered


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known under an idempotency key.

    Attributes:
        id: of its row.
        request: sha256 of the request it was first used for, hexadecimal.
        status, body: the answer; None while it is being made.
        created: aware time.
    """

    id: int
    request: str
    status: int | None
    body: str | None
    created: datetime


def begin_answer(session: Session, key_id: int, name: str, request: str) -> tuple[Kept, bool]:
    """Claim an idempotency key for a request, or find what it was used for.

    Args:
        session: a transaction that writes.
        key_id: row of the API key.
        name: the idempotency key.
        request: sha256 of the request, hexadecimal.

    Returns:
        What is kept, and whether it is new.
    """
    query = select(Answered).where(Answered.key_id == key_id, Answered.name == name)
    row = session.scalar(query.with_for_update())
    new = row is None
    if row is None:
        row = Answered(key_id=key_id, name=name, request=request)
        session.add(row)
        session.flush()
    return Kept(row.id, row.request, row.status, row.body, row.created), new


def renew_answer(session: Session, kept: Kept) -> None:
    """Take over a claim whose request was never finished."""
    session.execute(update(Answered).where(Answered.id == kept.id).values(created=now()))


def finish_answer(session: Session, kept: Kept, status: int, body: str) -> None:
    """Keep the answer of a claimed key."""
    row = update(Answered).where(Answered.id == kept.id)
    session.execute(row.values(status=status, body=body))


def drop_answer(session: Session, kept: Kept) -> None:
    """Give a claimed key back: the request failed and may be tried again."""
    session.execute(delete(Answered).where(Answered.id == kept.id))


def forget_answers(session: Session, text: str) -> None:
    """Delete the answers in which a text occurs, such as the uid of somebody to be forgotten."""
    session.execute(delete(Answered).where(Answered.body.contains(text, autoescape=True)))


def drop_old_answers(session: Session, moment: datetime) -> None:
    """Delete what was kept before a moment (aware)."""
    session.execute(delete(Answered).where(Answered.created < moment))
