"""Receipts of erasures: proof that something was erased, which says to nobody else what it was.

The hash of a receipt is HMAC-SHA256 over the gallery's uid, the receipt's uid and whom or what was
erased, under a random key that only the receipt itself holds: who has the receipt and knows the
name can show that it is about them, and the database alone tells nobody.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.chain import canonical
from store.columns import now
from store.ledger import ErasureReceipt, Event
from store.names import composed
from store.schema import Gallery, new_uid

KEY_BYTES: Final = 32
PENDING: Final = "scrub_pending"  # in `counts`: deleted bytes may still be in the files


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt as the database keeps it, and the gallery it is of."""

    gallery: str
    uid: str
    time: datetime
    keyed_hash: str


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """What the gallery knows of a receipt.

    Attributes:
        known: whether a row of that uid, time, hash and counts is there.
        logged: number of the row of the log that says so, or None.
        pending: whether deleted bytes may still be in the database's files.
        subject: whether it is about whom was asked; None where nobody was.
    """

    known: bool
    logged: int | None
    pending: bool
    subject: bool | None = None

    @property
    def belongs(self) -> bool:
        """Whether the receipt is one of this gallery's."""
        return self.known and self.logged is not None and self.subject is not False


def keyed_hash(key: bytes, gallery: str, uid: str, subject: Sequence[str]) -> str:
    """The hash of a receipt.

    Args:
        key: 32 bytes.
        gallery: uid of the gallery.
        uid: of the receipt.
        subject: `person`, name and site; or `photo` and the sha256 of its files, rising.
    """
    text = canonical([gallery, uid, *(composed(word) for word in subject)])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def add_receipt(
    session: Session, subject: Sequence[str], counts: Mapping[str, int], key: bytes | None
) -> ReceiptRow:
    """Keep a receipt; the files are yet to be scrubbed.

    Args:
        session: a transaction that writes.
        subject: as for `keyed_hash`.
        counts: what was erased.
        key: 32 random bytes; None: nobody keeps them.
    """
    gallery, uid = session.scalars(select(Gallery.uid)).one(), new_uid()
    used = secrets.token_bytes(KEY_BYTES) if key is None else key
    row = ErasureReceipt(
        uid=uid,
        time=now(),
        keyed_hash=keyed_hash(used, gallery, uid, subject),
        counts={**counts, PENDING: True},
    )
    session.add(row)
    session.flush()
    return ReceiptRow(gallery, uid, row.time, row.keyed_hash)


def pending_receipts(session: Session) -> list[ErasureReceipt]:
    """Receipts of erasures whose bytes may still be in the database's files."""
    rows = session.scalars(select(ErasureReceipt).order_by(ErasureReceipt.id))
    return [row for row in rows if (row.counts or {}).get(PENDING)]


def note_scrubbed(session: Session) -> int:
    """Keep that the files were scrubbed after every erasure so far; how many waited for it."""
    waiting = pending_receipts(session)
    for row in waiting:
        row.counts = {name: value for name, value in (row.counts or {}).items() if name != PENDING}
    session.flush()
    return len(waiting)


def list_receipts(session: Session) -> list[ErasureReceipt]:
    """Every receipt, the latest first."""
    return list(session.scalars(select(ErasureReceipt).order_by(ErasureReceipt.id.desc())))


def check_receipt(
    session: Session, receipt: Mapping[str, Any], subject: Sequence[str] | None = None
) -> ReceiptCheck:
    """Compare a receipt with the gallery.

    Args:
        session: a transaction.
        receipt: as `enroll.forget` wrote it: gallery, receipt, time, keyed_hash, key, counts.
        subject: whom or what it should be about, as for `keyed_hash`; None: whatever.
    """
    uid, gallery = str(receipt.get("receipt")), str(receipt.get("gallery"))
    row = session.scalar(select(ErasureReceipt).where(ErasureReceipt.uid == uid))
    if row is None or gallery != session.scalars(select(Gallery.uid)).one():
        return ReceiptCheck(known=False, logged=None, pending=False)
    kept = {name: value for name, value in (row.counts or {}).items() if name != PENDING}
    claimed = (receipt.get("time"), receipt.get("keyed_hash"), receipt.get("counts"))
    event = select(Event.id).where(Event.details.contains(f'"{row.keyed_hash}"'))
    return ReceiptCheck(
        known=claimed == (row.time.isoformat(), row.keyed_hash, kept),
        logged=session.scalar(event.limit(1)),
        pending=bool((row.counts or {}).get(PENDING)),
        subject=None if subject is None else _about(receipt, gallery, uid, subject),
    )


def _about(receipt: Mapping[str, Any], gallery: str, uid: str, subject: Sequence[str]) -> bool:
    try:
        key = bytes.fromhex(str(receipt.get("key")))
    except ValueError:
        return False
    wanted = keyed_hash(key, gallery, uid, subject)
    return hmac.compare_digest(wanted, str(receipt.get("keyed_hash")))
