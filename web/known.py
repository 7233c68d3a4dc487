"""The templates of people who are verified often, read once for each state of the gallery.

M templates, D dimensions.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from store.errors import SpaceMismatch, UnknownPerson
from store.facts import denied_photos
from store.schema import Gallery, Person, Site
from store.templates import vectors_of
from verify.opening import Parts
from web.auth import Principal

_PEOPLE = 4096
_FRESH = 1.0  # seconds for which a name, a site and a calibration are believed
_PERSON = (
    select(
        Person.id, Person.name, Person.site_id, Site.name.label("site"), Gallery.rev, Gallery.space
    )
    .join(Person.place)
    .join(Gallery, Gallery.id == 1)
    .where(Person.uid == bindparam("uid"))
)


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """Somebody, and what a probe is compared with.

    Attributes:
        id, uid, name, site, site_id: of the person.
        templates: float32 (M, D), unit rows.
        denied: sha256 of the photos that have a face which is known not to be them.
        rev: the state of the gallery they were read in.
        at: when, on the monotonic clock.
    """

    id: int
    uid: str
    name: str
    site: str
    site_id: int
    templates: NDArray[np.float32]
    denied: frozenset[str]
    rev: int
    at: float


class KnownPeople:
    """A bounded memory of people; the recorder finds out where it is out of date.

    Args:
        parts: the gallery.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: OrderedDict[str, KnownPerson] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, uid: str) -> KnownPerson | None:
        """Somebody read a moment ago, else None; quick."""
        found = self._known.get(uid)
        return None if found is None or time.monotonic() - found.at > _FRESH else found

    def read(
        self, uid: str, then: Callable[[Session, KnownPerson], None] | None = None
    ) -> KnownPerson:
        """Somebody as the database has them now.

        Args:
            uid: theirs.
            then: looks at something else about them in the same transaction.

        Raises:
            UnknownPerson: there is nobody of that uid.
            SpaceMismatch: the gallery is of another encoder.
        """
        at, kept = time.monotonic(), self._known.get(uid)
        with self._parts.store.read() as session:
            found = self._row(session, uid, kept, at)
            if then is not None:
                then(session, found)
        with self._lock:
            self._known[uid] = found
            self._known.move_to_end(uid)
            if len(self._known) > _PEOPLE:
                self._known.popitem(last=False)
        return found

    def _row(self, session: Session, uid: str, kept: KnownPerson | None, at: float) -> KnownPerson:
        """One statement, and another one for the templates where those moved."""
        row = session.execute(_PERSON, {"uid": uid}).one_or_none()
        if row is None:
            raise UnknownPerson(uid)
        space = self._parts.card.space
        if row.space not in (None, space):
            raise SpaceMismatch(row.space, space)
        if kept is not None and kept.rev == row.rev:
            templates, denied = kept.templates, kept.denied
        else:
            templates = vectors_of(session, row.id, space)[1]
            denied = denied_photos(session, row.id)
        return KnownPerson(
            row.id, uid, row.name, row.site, row.site_id, templates, denied, row.rev, at
        )

    def drop(self, uid: str) -> None:
        """Forget what was read of somebody."""
        self._known.pop(uid, None)


def require_seen(person: KnownPerson, principal: Principal) -> KnownPerson:
    """The person, where the key may know of them.

    Raises:
        UnknownPerson: they are in a site that is none of the key's.
    """
    if not principal.sees(person.site):
        raise UnknownPerson(person.uid)
    return person
