"""Who is signed in to the page: cookies by their hash, each tied to the key it was opened with."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.keys import KeyRecord, key_by_id
from store.ledger import WebSession


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session of the page.

    Attributes:
        csrf: what unsafe requests must repeat.
        expires: aware time.
        key: the key it was opened with.
    """

    csrf: str
    expires: datetime
    key: KeyRecord


def open_session(session: Session, token: str, csrf: str, key_id: int, expires: datetime) -> None:
    """Keep a session of the page.

    Args:
        session: a transaction that writes.
        token: sha256 of the cookie, hexadecimal.
        csrf: what unsafe requests must repeat.
        key_id: row of the key.
        expires: aware time.
    """
    session.add(WebSession(token=token, csrf=csrf, key_id=key_id, expires=expires))
    session.flush()


def signed_in(session: Session, token: str) -> SignedIn | None:
    """The session of a cookie's sha256; None where there is none."""
    row = session.scalar(select(WebSession).where(WebSession.token == token))
    key = None if row is None else key_by_id(session, row.key_id)
    return None if row is None or key is None else SignedIn(row.csrf, row.expires, key)


def close_session(session: Session, token: str) -> None:
    """End the session of a cookie's sha256, if it is there."""
    session.execute(delete(WebSession).where(WebSession.token == token))


def drop_expired(session: Session, moment: datetime) -> None:
    """Delete the sessions whose time ended at or before a moment (aware)."""
    session.execute(delete(WebSession).where(WebSession.expires <= moment))
