"""Keys of the HTTP interface: only what checks a key is kept, never the key."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from store.columns import now
from store.errors import KeyExists, UnknownKey
from store.ledger import ApiKey
from store.names import clean_name, clean_site


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it stands in the database.

    Attributes:
        id: of its row.
        uid: the public part of the key.
        name: what it is called, in lists and in the log.
        salt, hash: what its secret part is checked with.
        scopes: what it may do.
        sites: the sites it is limited to; None: every site.
        created, expires, revoked, used: aware times; `used` is kept to the minute.
    """

    id: int
    uid: str
    name: str
    salt: bytes
    hash: bytes
    scopes: frozenset[str]
    sites: frozenset[str] | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    used: datetime | None

    def refusal(self, moment: datetime) -> str | None:
        """Why it holds no longer at a moment (aware): `key_revoked`, `key_expired`; else None."""
        if self.revoked is not None:
            return "key_revoked"
        if self.expires is not None and self.expires <= moment:
            return "key_expired"
        return None


def add_key(
    session: Session,
    uid: str,
    name: str,
    secret: tuple[bytes, bytes],
    scopes: Iterable[str],
    sites: Iterable[str] | None = None,
    expires: datetime | None = None,
) -> KeyRecord:
    """Keep a new key.

    Args:
        session: a transaction that writes.
        uid: the public part of the key.
        name: what it is called.
        secret: the salt and the hash of its secret part.
        scopes: what it may do.
        sites: the sites it is limited to; None: every site.
        expires: aware time from which it no longer holds.

    Raises:
        InvalidName: the name, or a site's, cannot be stored.
        KeyExists: a key of that name is in force.
    """
    name = clean_name(name)
    taken = select(ApiKey.id).where(ApiKey.name == name, ApiKey.revoked.is_(None))
    if session.scalar(taken) is not None:
        raise KeyExists(name)
    salt, digest = secret
    limited = None if sites is None else {"names": sorted({clean_site(site) for site in sites})}
    row = ApiKey(
        uid=uid, name=name, salt=salt, hash=digest, scopes={"names": sorted(set(scopes))},
        sites=limited, expires=expires,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return _record(row)


def key_by_uid(session: Session, uid: str) -> KeyRecord | None:
    """The key with that public part; None where there is none."""
    row = session.scalar(select(ApiKey).where(ApiKey.uid == uid))
    return None if row is None else _record(row)


def key_by_id(session: Session, key_id: int) -> KeyRecord | None:
    """The key of that row; None where there is none."""
    row = session.get(ApiKey, key_id)
    return None if row is None else _record(row)


def list_keys(session: Session) -> list[KeyRecord]:
    """Every key, revoked ones too, the oldest first."""
    return [_record(row) for row in session.scalars(select(ApiKey).order_by(ApiKey.id))]


def revoke_key(session: Session, who: str) -> KeyRecord:
    """End a key; one that was revoked before stays as it is.

    Args:
        session: a transaction that writes.
        who: its name or uid; of several of one name, the one in force.

    Raises:
        UnknownKey: there is none.
    """
    query = select(ApiKey).where(or_(ApiKey.uid == who, ApiKey.name == who))
    row = session.scalar(query.order_by(ApiKey.revoked.is_not(None), ApiKey.id.desc()).limit(1))
    if row is None:
        raise UnknownKey(who)
    if row.revoked is None:
        row.revoked = now()
        session.flush()
    return _record(row)


def mark_used(session: Session, used: dict[int, datetime]) -> None:
    """Keep when keys were last used: row id → aware time."""
    for key_id, moment in used.items():
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(used=moment))


def _record(row: ApiKey) -> KeyRecord:
    sites = None if row.sites is None else frozenset(row.sites["names"])
    return KeyRecord(
        id=row.id, uid=row.uid, name=row.name, salt=row.salt, hash=row.hash,
        scopes=frozenset((row.scopes or {}).get("names", ())), sites=sites, created=row.created,
        expires=row.expires, revoked=row.revoked, used=row.used,
    )  # fmt: skip
