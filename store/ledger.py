"""The tables of what was done: keys, events, operations and their undoing, corrections, receipts.

Times are aware UTC. Uids are random and say nothing about anybody.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.columns import now
from store.schema import Base, new_uid


class Seal(Base):
    """A data key, wrapped by the master key; destroying the row destroys what it sealed.

    A person has one of their own; the row without a person seals what nobody has named yet.
    """

    __tablename__ = "seals"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), index=True
    )
    master: Mapped[str]  # fingerprint of the master key that wraps it
    wrapped: Mapped[bytes]
    transform: Mapped[bytes | None]  # the sealed seed of the person's own transform
    created: Mapped[datetime] = mapped_column(default=now)


class Event(Base):
    """One row of the log: hashed together with the row before it.

    `details` is hashed as it stands and names nobody. What could (a name, a path) is in `private`,
    of which only a salted commitment is hashed: erasing it keeps the chain valid.
    """

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, 3, …
    time: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    subject: Mapped[str | None] = mapped_column(index=True)  # a uid
    details: Mapped[str]  # canonical JSON text
    private: Mapped[str | None]  # canonical JSON text
    salt: Mapped[bytes | None]
    commitment: Mapped[str | None]
    previous: Mapped[str]
    hash: Mapped[str]


class Operation(Base):
    """Something a person did that can be undone, with what undoing it takes."""

    __tablename__ = "operations"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True, default=new_uid)
    time: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str]
    kind: Mapped[str]  # name, rename, merge, split, not, together, apart, move, cluster
    inverse: Mapped[dict[str, Any] | None]
    undone: Mapped[datetime | None]


class OperationPerson(Base):
    """Whom an operation was about, so that forgetting them forgets what undoing it would bring."""

    __tablename__ = "operation_people"

    operation_id: Mapped[int] = mapped_column(
        ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True
    )
    person_uid: Mapped[str] = mapped_column(primary_key=True, index=True)


class Fact(Base):
    """A correction that search and clustering respect.

    Two faces are of one person or of two (`other_id`), or a face is not a person (`person_id`).
    """

    __tablename__ = "facts"
    __table_args__ = ({"sqlite_autoincrement": True},)  # undoing brings a fact back under its id

    id: Mapped[int] = mapped_column(primary_key=True)
    operation_id: Mapped[int] = mapped_column(
        ForeignKey("operations.id", ondelete="CASCADE"), index=True
    )
    kind: Mapped[str]  # same or different
    face_id: Mapped[int] = mapped_column(ForeignKey("faces.id", ondelete="CASCADE"), index=True)
    other_id: Mapped[int | None] = mapped_column(
        ForeignKey("faces.id", ondelete="CASCADE"), index=True
    )
    person_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), index=True
    )


class ErasureReceipt(Base):
    """Proof that somebody was forgotten, without saying who: a hash keyed by what they hold."""

    __tablename__ = "receipts"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True, default=new_uid)
    time: Mapped[datetime] = mapped_column(default=now)
    keyed_hash: Mapped[str]
    counts: Mapped[dict[str, Any] | None]


class Transition(Base):
    """A change of the vector space: from which to which, and how far it has come."""

    __tablename__ = "transitions"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]  # a vector space
    target: Mapped[str]  # a vector space
    state: Mapped[str]  # encoding, ready, current, rolled_back, finished
    created: Mapped[datetime] = mapped_column(default=now)
    changed: Mapped[datetime] = mapped_column(default=now)
    details: Mapped[dict[str, Any] | None]


class ApiKey(Base):
    """A key of the HTTP interface: only its hash is kept."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    salt: Mapped[bytes]
    hash: Mapped[bytes]
    scopes: Mapped[dict[str, Any] | None]
    sites: Mapped[dict[str, Any] | None]  # None: every site
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]
    used: Mapped[datetime | None]


class WebSession(Base):
    """Somebody signed in to the page with a key; only the hash of the cookie is kept."""

    __tablename__ = "web_sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(unique=True)  # sha256 of the cookie, hexadecimal
    csrf: Mapped[str]
    key_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime]


class Job(Base):
    """Long work that was asked for over HTTP, and how far it has come."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True, default=new_uid)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)  # waiting, running, done, failed, cancelled
    done: Mapped[int]
    total: Mapped[int | None]
    parameters: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    worker: Mapped[str | None]
    beat: Mapped[datetime | None]  # the last sign of life of its worker
    key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id", ondelete="SET NULL"))
    created: Mapped[datetime] = mapped_column(default=now)
    finished: Mapped[datetime | None]


class Answered(Base):
    """An answer kept under the client's idempotency key."""

    __tablename__ = "answered"
    __table_args__ = (UniqueConstraint("key_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    name: Mapped[str]
    request: Mapped[str]  # sha256 of the request, hexadecimal
    status: Mapped[int | None]  # None: still being answered
    body: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now)
