"""Purging what may be kept no longer: people whose time is over, and what sites keep for some days.

Of each site with a retention, decisions, rejected photos and library faces that nobody has named
go once they are older; what belongs to nobody counts to the default site.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from enroll.cleaning import Cleaned, Gone, clean
from enroll.forget import erase_person, receipt_of
from enroll.traces import traces_of
from store.audit import append_event
from store.erasure import Receipt, forget_outdated, outdated
from store.names import clean_site
from store.people import expired_people
from store.policies import SiteSummary, list_sites
from store.receipts import KEY_BYTES
from store.schema import Person
from verify.opening import Parts

_KINDS = ("decisions", "photos", "library", "events")


@dataclass(frozen=True, slots=True)
class Expired:
    """Somebody whose time is over."""

    uid: str
    name: str
    site: str
    expires: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "uid": self.uid,
            "name": self.name,
            "site": self.site,
            "expires": self.expires.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class SiteShare:
    """What a site's retention no longer covers.

    Attributes:
        site: its name.
        days: its retention.
        counts: how many decisions, rejected photos (`photos`), photos of a library (`library`),
            and rows of the log that keep a path or name of theirs (`events`).
    """

    site: str
    days: int
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"site": self.site, "retention_days": self.days, **self.counts}


@dataclass(frozen=True, slots=True)
class Purged:
    """What was purged, or would be.

    Attributes:
        people: whose time is over.
        sites: what sites keep no longer.
        cleaned: what was done outside the rows; None in a dry run and where nothing was to do.
        receipts: one for each person, with the keys of their hashes.
    """

    people: tuple[Expired, ...]
    sites: tuple[SiteShare, ...]
    cleaned: Cleaned | None = None
    receipts: tuple[dict[str, Any] | None, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to purge."""
        return not self.people and not any(any(s.counts.values()) for s in self.sites)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "people": [person.to_dict() for person in self.people],
            "sites": [share.to_dict() for share in self.sites],
            "pending": "" if self.cleaned is None else self.cleaned.pending,
            "receipts": list(self.receipts),
        }


def plan_purge(parts: Parts, site: str | None = None, now: datetime | None = None) -> Purged:
    """What is to be purged; nothing is changed.

    Args:
        parts: the gallery.
        site: only there; None is everywhere.
        now: aware time; None is the present.

    Raises:
        InvalidName: no site can be called so.
    """
    moment = datetime.now(UTC) if now is None else now
    with parts.store.read() as session:
        people = tuple(_told(person) for person in _expired(session, site, moment))
        shares = tuple(
            SiteShare(one.name, days, outdated(session, one.id, _before(moment, days)).counts)
            for one, days in _kept(session, site)
        )
    return Purged(people, shares)


def purge(
    parts: Parts, site: str | None = None, now: datetime | None = None, *, prove: bool = True
) -> Purged:
    """Erase what `plan_purge` tells, in one transaction, with a receipt for each person.

    Args:
        parts: the gallery.
        site: only there; None is everywhere.
        now: aware time; None is the present.
        prove: look for traces in every file afterwards.

    Raises:
        InvalidName: no site can be called so.
    """
    moment = datetime.now(UTC) if now is None else now
    gone = Gone()
    erased: list[tuple[Receipt, bytes]] = []
    with parts.store.begin() as session:
        expired = _expired(session, site, moment)
        told = tuple(_told(person) for person in expired)
        for person in expired:
            key = secrets.token_bytes(KEY_BYTES)
            erased.append((erase_person(session, person, gone, key), key))
        shares = []
        for one, days in _kept(session, site):
            before = _before(moment, days)
            templates = outdated(session, one.id, before).templates
            gone.add(session, traces_of(session, templates, []))
            found = forget_outdated(session, one.id, before)
            shares.append(SiteShare(one.name, days, found.counts))
        done = Purged(told, tuple(shares))
        if not done.empty:
            totals = {kind: sum(share.counts[kind] for share in shares) for kind in _KINDS}
            append_event(session, "purged", None, {"people": len(told), **totals})
    if done.empty:
        return done
    cleaned = clean(parts, gone, prove=prove)
    receipts = [receipt_of(parts, "person", rows, key, cleaned) for rows, key in erased]
    return Purged(told, done.sites, cleaned, tuple(receipts))


def _expired(session: Session, site: str | None, moment: datetime) -> list[Person]:
    people = expired_people(session, moment)
    return people if site is None else [p for p in people if p.site == clean_site(site)]


def _kept(session: Session, site: str | None) -> list[tuple[SiteSummary, int]]:
    """The sites with a retention, and their days."""
    wanted = None if site is None else clean_site(site)
    return [
        (one, one.policy.retention_days)
        for one in list_sites(session)
        if one.policy.retention_days is not None and wanted in (None, one.name)
    ]


def _before(moment: datetime, days: int) -> datetime:
    return moment - timedelta(days=days)


def _told(person: Person) -> Expired:
    assert person.expires is not None  # noqa: S101 - for the type checker: it was selected by that
    return Expired(person.uid, person.name, person.site, person.expires)
