"""Why somebody's data may be kept: the legal basis, since when, and where that is written down."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from store.audit import append_event
from store.errors import ConsentMissing
from store.policies import SitePolicy, policy_of
from store.schema import Person, Site


@dataclass(frozen=True, slots=True)
class Consent:
    """What is on record.

    Attributes:
        basis: such as consent, contract or legal obligation.
        date: aware time since when.
        reference: where it is written down, such as the number of a form.
    """

    basis: str | None = None
    date: datetime | None = None
    reference: str | None = None

    @classmethod
    def of(cls, person: Person) -> "Consent":
        """That of a person."""
        return cls(person.consent_basis, person.consent_date, person.consent_reference)

    @property
    def complete(self) -> bool:
        """Whether all three are there."""
        return bool(self.basis) and self.date is not None and bool(self.reference)

    def over(self, other: "Consent") -> "Consent":
        """This one, with what it leaves out taken from another."""
        return Consent(
            other.basis if self.basis is None else self.basis,
            other.date if self.date is None else self.date,
            other.reference if self.reference is None else self.reference,
        )


NONE = Consent()


def require_consent(
    session: Session, site: str, consent: Consent, person: Person | None = None
) -> None:
    """Make sure that somebody may be enrolled as far as consent goes.

    Args:
        session: a transaction.
        site: where they belong.
        consent: as given now.
        person: their row, if they are there already; what it has counts too.

    Raises:
        ConsentMissing: the site requires it, and not all of it is on record.
    """
    known = consent if person is None else consent.over(Consent.of(person))
    if not known.complete and policy_of(session, site).consent_required:
        raise ConsentMissing(site)


def record_consent(session: Session, person: Person, consent: Consent) -> bool:
    """Keep somebody's consent, with a row of the log; whether anything changed.

    Args:
        session: a transaction that writes.
        person: whose.
        consent: what it leaves out stays as it is.
    """
    before = Consent.of(person)
    after = consent.over(before)
    if after == before:
        return False
    person.consent_basis, person.consent_date = after.basis, after.date
    person.consent_reference = after.reference
    session.flush()
    date = None if after.date is None else after.date.isoformat()
    private = {"basis": after.basis, "date": date, "reference": after.reference}
    append_event(session, "consent_recorded", person.uid, {"complete": after.complete}, private)
    return True


def set_expiry(session: Session, person: Person, expires: datetime | None) -> bool:
    """Change when somebody is to be purged, with a row of the log; whether anything changed."""
    if person.expires == expires:
        return False
    person.expires = expires
    session.flush()
    until = None if expires is None else expires.isoformat()
    append_event(session, "expiry_changed", person.uid, {"expires": until})
    return True


def without_consent(session: Session) -> list[Person]:
    """People of sites that require consent, without all of it on record, by name."""
    sites = [site.id for site in session.scalars(select(Site)) if _requires(site)]
    lacking = or_(
        Person.consent_basis.is_(None),
        Person.consent_date.is_(None),
        Person.consent_reference.is_(None),
    )
    query = select(Person).where(Person.site_id.in_(sites), lacking)
    return list(session.scalars(query.order_by(Person.name, Person.id)))


def _requires(site: Site) -> bool:
    return SitePolicy.of(site).consent_required
