"""What the transaction under way knows of a group of photos, and what it has yet to write.

Whatever can be asked or written for all photos of a group at once is: who of the names is known,
which photos are on record, and the rows of photos that were not. They wait here and are written
together, before anything that has to see them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from store.bulk import Kept, NewPhoto, add_photos, people_named
from store.chain import Happening
from store.consent import Consent, require_consent
from store.people import site_row
from store.photos import PhotoRecord, photo_records
from store.policies import policy_of
from store.schema import Person, Site


@dataclass
class Desk:
    """One transaction's view of a group of photos.

    Attributes:
        session: the transaction.
        site: where the people belong.
        space: the vector space.
        happened: what is to be logged, in order, once all is written.
    """

    session: Session
    site: str
    space: str
    happened: list[Happening] = field(default_factory=list)
    _people: dict[str, Person | None] = field(default_factory=dict)
    _records: dict[str, PhotoRecord] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)
    _waiting: list[tuple[NewPhoto, dict[str, Any]]] = field(default_factory=list)

    def expect(self, names: Iterable[str], digests: Iterable[str]) -> None:
        """Read what is on record of all names and digests of a group."""
        self._people = dict.fromkeys(names) | people_named(self.session, names, self.site)
        self._records = photo_records(self.session, list(digests))

    def person(self, name: str) -> Person | None:
        """The person of exactly that name, as it is stored; letter case counts."""
        if name not in self._people:
            self._people[name] = people_named(self.session, [name], self.site).get(name)
        return self._people[name]

    def person_of(self, name: str, expires: datetime | None) -> Person:
        """The person of that name, added when they are new."""
        person = self.person(name)
        if person is None:
            person = Person(name=name, place=self._place, expires=expires)
            self.session.add(person)
            self._people[name] = person
        return person

    def require_consent(self, consent: Consent, known: Person | None) -> None:
        """As `store.consent.require_consent`; the site's policy is read once."""
        if self._consent_required:
            require_consent(self.session, self.site, consent, known)

    def record(self, digest: str) -> PhotoRecord | None:
        """What is known of a photo, of earlier ones of this group too."""
        if digest not in self._changed:
            return self._records.get(digest)
        self.write()
        return photo_records(self.session, [digest]).get(digest)

    def changed(self, digest: str) -> None:
        """Note that a photo's rows are changed in this transaction by somebody else than this."""
        self.write()
        self._changed.add(digest)

    def add(self, photo: NewPhoto, name: str) -> None:
        """Keep a photo that is not on record, and log it.

        Args:
            photo: to be written with the others that wait.
            name: whose it was said to be.
        """
        private = {"name": name, "source": photo.source, "digest": photo.digest}
        self._waiting.append((photo, private))
        self._changed.add(photo.digest)

    def write(self) -> None:
        """Write what waits, people who are new first."""
        waiting, self._waiting = self._waiting, []
        self.session.flush()  # people who are new
        kept = add_photos(self.session, self.space, [photo for photo, _ in waiting])
        for (photo, private), rows in zip(waiting, kept, strict=True):
            self.happened.append(_happening(photo, private, rows, self.space))

    @cached_property
    def _place(self) -> Site:
        return site_row(self.session, self.site)

    @cached_property
    def _consent_required(self) -> bool:
        return policy_of(self.session, self.site).consent_required


def _happening(photo: NewPhoto, private: dict[str, Any], rows: Kept, space: str) -> Happening:
    uid = None if photo.person is None else photo.person.uid
    if photo.outcome == "rejected":
        return Happening("rejected", uid, {"reason": photo.reason}, private)
    details = {"photo": rows.photo, "templates": list(rows.templates), "space": space}
    return Happening("enrolled", uid, details, private)
