"""The templates of people who are verified often, read once for each state of the gallery.

M templates, D dimensions.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from store.errors import UnknownPerson
from store.gallery import require_space
from store.listing import person_by_uid
from store.schema import Gallery
from store.templates import vectors_of
from verify.opening import Parts
from web.auth import Principal

_PEOPLE = 4096
_FRESH = 1.0  # seconds for which a name, a site and a calibration are believed


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """Somebody, and what a probe is compared with.

    Attributes:
        id, uid, name, site, site_id: of the person.
        templates: float32 (M, D), unit rows.
        rev: the state of the gallery they were read in.
        at: when, on the monotonic clock.
    """

    id: int
    uid: str
    name: str
    site: str
    site_id: int
    templates: NDArray[np.float32]
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

    def read(self, uid: str) -> KnownPerson:
        """Somebody as the database has them now.

        Raises:
            UnknownPerson: there is nobody of that uid.
            SpaceMismatch: the gallery is of another encoder.
        """
        space, at = self._parts.card.space, time.monotonic()
        with self._parts.store.read() as session:
            rev = session.scalar(select(Gallery.rev).where(Gallery.id == 1)) or 0
            person = person_by_uid(session, uid)
            require_space(session, space)
            kept = self._known.get(uid)
            same = kept is not None and kept.rev == rev
            templates = (
                kept.templates if same and kept is not None
                else vectors_of(session, person.id, space)[1]
            )  # fmt: skip
            found = KnownPerson(
                person.id, person.uid, person.name, person.site, person.site_id, templates, rev, at
            )
        with self._lock:
            self._known[uid] = found
            self._known.move_to_end(uid)
            if len(self._known) > _PEOPLE:
                self._known.popitem(last=False)
        return found

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
