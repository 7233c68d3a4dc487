"""Pictures of one person into the gallery, for a request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enroll.folder import NamedPhoto, PeopleFolder
from enroll.person import EnrolmentRules, Outcome, enroll_people
from store.consent import Consent, require_consent
from store.errors import PersonExists
from store.people import add_person
from store.schema import Person
from verify.opening import Parts
from web import schemas
from web.auth import Principal
from web.errors import BodyUnusable, Forbidden
from web.uploads import Form

ON_MULTIPLE = ("reject", "largest", "centre")


def rules_of(form: Form, site: str) -> EnrolmentRules:
    """How a request wants its pictures enrolled.

    Raises:
        BodyUnusable: a field that holds something else.
    """
    on_multiple = form.text("on_multiple") or "reject"
    if on_multiple not in ON_MULTIPLE:
        raise BodyUnusable(f"on_multiple is one of {', '.join(ON_MULTIPLE)}.")
    return EnrolmentRules(
        on_multiple=on_multiple, site=site, expires=moment(form, "expires"),
        allow_lookalikes=form.flag("allow_lookalikes"), retry=True, jobs=1,
        consent=Consent(
            form.text("consent_basis"), moment(form, "consent_date"), form.text("consent_reference")
        ),
    )  # fmt: skip


def moment(form: Form, name: str) -> datetime | None:
    """A day or an aware time of a field; None without it.

    Raises:
        BodyUnusable: it is none.
    """
    given = form.text(name)
    try:
        found = None if given is None else datetime.fromisoformat(given)
        # through UTC now: what lies at the ends of the calendar has no UTC
        return None if found is None else (
            found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        )  # fmt: skip
    except (ValueError, OverflowError):
        raise BodyUnusable(
            f"{name} is {given!r:.40}; give a day or a time such as 2027-06-30."
        ) from None


def require_site(site: str, who: Principal) -> str:
    """A site the key may enrol people in.

    Raises:
        Forbidden: it is limited to others.
    """
    if not who.sees(site):
        raise Forbidden(
            "This key is limited to other sites; name one of them.", "site",
            details={"sites": sorted(who.sites or ())},
        )  # fmt: skip
    return site


def require_everywhere(who: Principal) -> None:
    """Refuse a key of some sites where something is about all.

    Raises:
        Forbidden: it is limited.
    """
    if who.sites is not None:
        raise Forbidden("This is about all sites, and this key is limited to some.", "site")


def enrol(
    parts: Parts, pictures: Sequence[bytes], name: str, rules: EnrolmentRules
) -> list[Outcome]:
    """Enrol pictures; one outcome each, after its commit."""
    photos = tuple(NamedPhoto(picture, name) for picture in pictures)
    folder = PeopleFolder(Path(), photos, f"{len(photos)} pictures", 0)
    return list(enroll_people(parts, folder, rules))


def add(parts: Parts, name: str, rules: EnrolmentRules, consent: dict[str, Any]) -> int:
    """Add somebody; the id of their row.

    Raises:
        PersonExists, InvalidName: the name is taken, or cannot be stored.
        ConsentMissing: the site requires it.
    """
    with parts.store.begin() as session:
        require_consent(session, rules.site, rules.consent)
        person = add_person(session, name, rules.site, rules.expires)
        for column, value in consent.items():
            setattr(person, column, value)
        return person.id


def require_new(parts: Parts, name: str, site: str) -> None:
    """Make sure that nobody has a name in a site.

    Raises:
        PersonExists: somebody has.
    """
    from sqlalchemy import select

    from store.names import clean_name, clean_site

    with parts.store.read() as session:
        query = select(Person.id).join(Person.place)
        from store.schema import Site

        there = (Person.name == clean_name(name), Site.name == clean_site(site))
        if session.scalar(query.where(*there)) is not None:
            raise PersonExists(name, site)


def shown(outcomes: Sequence[Outcome], who: Principal) -> list[schemas.PictureOutcome]:
    """Outcomes for a caller; of people of other sites nothing is told."""
    return [
        schemas.PictureOutcome(
            index=i, status=one.status, reason=one.reason, faces=one.faces,
            detail=one.detail if who.sites is None else "",
        )
        for i, one in enumerate(outcomes)
    ]  # fmt: skip
