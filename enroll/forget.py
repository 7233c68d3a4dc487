"""Forgetting: rows, vectors, crops, index, thumbnails and pages, down to the bytes; with a receipt.

The transaction that erases comes first; what lies outside the database is cleaned after its commit
(`enroll.cleaning`), and where somebody reads just then, so that old pages must stay, the same
command given again finishes it.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from enroll.cleaning import Cleaned, Gone, clean, scrub
from enroll.errors import OutputUnusable, ReceiptUnusable
from enroll.traces import traces_of
from store.erasure import Receipt, forget_person, forget_photo, known_names
from store.errors import UnknownPerson, UnknownPhoto
from store.people import find_person
from store.photos import find_photos
from store.receipts import KEY_BYTES, ReceiptCheck, check_receipt, pending_receipts
from store.schema import Face, Person, Photo, Template
from verify.opening import Parts

FORMAT: Final = "vultus-receipt-1"
NOBODY: Final = Receipt(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased.

    Attributes:
        what: person or photo; nothing, where it was not there and only an earlier erasure was
            finished.
        rows: how many of each kind.
        cleaned: what was done outside the database's rows.
        receipt: for who asked to be forgotten, with the key of its hash, which is kept nowhere
            else; None where nothing was erased.
    """

    what: str
    rows: Receipt
    cleaned: Cleaned
    receipt: dict[str, Any] | None

    @property
    def thumbnails(self) -> int:
        """How many files of contact sheets are gone."""
        return self.cleaned.thumbnails

    @property
    def pending(self) -> str:
        """Why deleted bytes may still be in the database's files, or ""."""
        return self.cleaned.pending

    @property
    def whole(self) -> bool:
        """Whether nothing is left to do, as far as was looked at."""
        proof = self.cleaned.proof
        return not self.pending and (proof is None or proof.clean)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "forgot": self.what,
            **self.rows.counts,
            "thumbnails": self.cleaned.thumbnails,
            "sheets": self.cleaned.sheets,
            "pending": self.pending,
            "receipt": self.receipt,
        }


def kind_of(parts: Parts, what: str, site: str | None = None) -> str:
    """Whether a word names a person or a photo of the gallery.

    Raises:
        UnknownPerson: neither; the message offers close names.
        AmbiguousPerson: several people of that name.
    """
    with parts.store.read() as session:
        try:
            find_person(session, what, site)
        except UnknownPerson as nobody:
            try:
                find_photos(session, as_stored(what))
            except UnknownPhoto:
                raise nobody from None
            return "photo"
    return "person"


def is_pending(parts: Parts) -> bool:
    """Whether deleted bytes of an earlier erasure may still be in the database's files."""
    with parts.store.read() as session:
        return bool(pending_receipts(session))


def forget(parts: Parts, what: str, site: str | None = None, *, prove: bool = True) -> Forgotten:
    """Erase a person, or a photo, and everything that came from it.

    Args:
        parts: the gallery.
        what: a person's name or uid; or a photo's path or sha256.
        site: look for the person only there.
        prove: look for traces in every file afterwards, and put into the receipt what was found.

    Raises:
        UnknownPerson: neither a person nor a photo, and no earlier erasure is to be finished.
    """
    try:
        kind = kind_of(parts, what, site)
    except UnknownPerson:
        if not is_pending(parts):
            raise
        return Forgotten("nothing", NOBODY, Cleaned(0, 0, None, scrub(parts), ()), None)
    gone, key = Gone(), secrets.token_bytes(KEY_BYTES)
    with parts.store.begin() as session:
        if kind == "person":
            rows = erase_person(session, find_person(session, what, site), gone, key)
        else:
            stored = as_stored(what)
            photos = find_photos(session, stored)
            of_photos = Photo.id.in_([photo.id for photo in photos])
            gone.files.update(photo.source for photo in photos)
            gone.add(session, traces_of(session, _ids(session, of_photos), []))
            rows = forget_photo(session, stored, key)
    cleaned = clean(parts, gone, prove=prove)
    return Forgotten(kind, rows, cleaned, receipt_of(parts, kind, rows, key, cleaned))


def erase_person(session: Session, person: Person, gone: Gone, key: bytes) -> Receipt:
    """Erase somebody's rows, noting what else is to be cleaned.

    Args:
        session: a transaction that writes.
        person: whom.
        gone: takes what `clean` must know.
        key: of the receipt's hash, 32 random bytes.
    """
    gone.names |= known_names(session, person)
    gone.uids.add(person.uid)
    claimed = select(Photo.source).where(Photo.claimed_id == person.id)
    gone.files.update(session.scalars(claimed))
    theirs = _ids(session, Template.person_id == person.id)
    gone.add(session, traces_of(session, theirs, [person.id]))
    return forget_person(session, person, key)


def receipt_of(
    parts: Parts, kind: str, rows: Receipt, key: bytes, cleaned: Cleaned
) -> dict[str, Any] | None:
    """A receipt as plain JSON values; it names nobody."""
    written = rows.written
    if written is None:
        return None
    proof = cleaned.proof
    return {
        "format": FORMAT,
        "gallery": written.gallery,
        "receipt": written.uid,
        "time": written.time.isoformat(),
        "what": kind,
        "keyed_hash": written.keyed_hash,
        "key": key.hex(),
        "counts": rows.counts,
        "database": parts.store.engine.dialect.name,
        "scrubbed": not cleaned.pending,
        "proof": None if proof is None else proof.to_dict(),
        "remains": list(cleaned.remains),
    }


def write_receipts(path: Path, receipts: dict[str, Any] | list[dict[str, Any] | None]) -> None:
    """Write receipts as JSON, readable by their owner only.

    Raises:
        OutputUnusable: the file cannot be written.
    """
    from embedder.weights import write_atomically

    text = json.dumps(receipts, indent=1, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OutputUnusable(f"{path} cannot be written ({why}): choose another file.") from error


def check_receipts(
    parts: Parts, path: Path, who: str | None = None, site: str = ""
) -> list[ReceiptCheck]:
    """Compare a file of receipts with the gallery.

    Args:
        parts: the gallery.
        path: as `write_receipts` wrote it, one receipt or several.
        who: a name that the receipts should be about; None: whoever.
        site: theirs.

    Raises:
        ReceiptUnusable: the file cannot be read, or is no receipt.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no JSON"
        raise ReceiptUnusable(f"{path} cannot be read ({why.lower()}): name a receipt.") from error
    several = values if isinstance(values, list) else [values]
    if not several or not all(isinstance(v, dict) and v.get("format") == FORMAT for v in several):
        raise ReceiptUnusable(f"{path} is no receipt: `vultus forget --receipt FILE` writes one.")
    subject = None if who is None else ("person", who, site)
    with parts.store.read() as session:
        return [check_receipt(session, value, subject) for value in several]


def as_stored(what: str) -> str:
    """A path as photos are recorded by."""
    from embedder.photo import printable

    return printable(what)


def _ids(session: Session, which: Any) -> list[int]:  # noqa: ANN401 - a clause about three tables
    query = select(Template.id).join(Face, Face.id == Template.face_id)
    query = query.join(Photo, Photo.id == Face.photo_id)
    return list(session.scalars(query.where(which).order_by(Template.id)))
