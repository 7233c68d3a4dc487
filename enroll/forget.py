"""Forgetting: rows, vectors, crops, index and thumbnails, down to the bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from enroll.sheet import remove_thumbnails
from store.erasure import Receipt, forget_person, forget_photo
from store.errors import UnknownPerson, UnknownPhoto
from store.people import find_person
from store.photos import find_photos
from store.records import Run
from store.schema import Face, Photo, Template
from store.sync import refresh, save
from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased.

    Attributes:
        what: person or photo.
        rows: how many of each kind.
        thumbnails: how many files of contact sheets.
    """

    what: str
    rows: Receipt
    thumbnails: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"forgot": self.what, **asdict(self.rows), "thumbnails": self.thumbnails}


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
                find_photos(session, _as_stored(what))
            except UnknownPhoto:
                raise nobody from None
            return "photo"
    return "person"


def forget(parts: Parts, what: str, site: str | None = None) -> Forgotten:
    """Erase a person, or a photo, and everything that came from it.

    Args:
        parts: the gallery.
        what: a person's name or uid; or a photo's path or sha256.
        site: look for the person only there.

    Raises:
        UnknownPerson: neither a person nor a photo.
        DatabaseUnusable: somebody else reads the database, so that old pages must stay for now.
    """
    kind = kind_of(parts, what, site)
    index = parts.index
    with parts.store.begin() as session:
        if kind == "person":
            person = find_person(session, what, site)
            templates = list(_ids(session, lambda q: q.where(Template.person_id == person.id)))
            receipt = forget_person(session, person)
        else:
            stored = _as_stored(what)
            photos = [photo.id for photo in find_photos(session, stored)]
            templates = list(_ids(session, lambda q: q.where(Photo.id.in_(photos))))
            receipt = forget_photo(session, stored)
        sheets = _sheets(session)
    removed = sum(remove_thumbnails(sheet, templates) for sheet in sheets)
    refresh(index)
    save(index)
    parts.store.scrub()
    return Forgotten(kind, receipt, removed)


def _as_stored(what: str) -> str:
    from embedder.photo import printable

    return printable(what)


def _ids(session: Session, narrow: Callable[[Any], Any]) -> list[int]:
    query = select(Template.id).join(Face, Face.id == Template.face_id)
    return list(session.scalars(narrow(query.join(Photo, Photo.id == Face.photo_id))))


def _sheets(session: Session) -> list[Path]:
    """The folders of contact sheets written so far."""
    outs = {(run.parameters or {}).get("out") for run in session.scalars(select(Run))}
    return [Path(out) for out in outs if out]
