"""What holds for a site: how long things are kept, whether consent must be on record."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.audit import append_event
from store.names import clean_site
from store.schema import Person, Site


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """The policy of a site; a new site has this one.

    Attributes:
        retention_days: after so many days decisions, rejected photos and library faces that nobody
            has named are purged; None: they are kept.
        consent_required: whether nobody is enrolled without basis, date and reference of consent.
        show_picture: whether a gate may show the picture of whom it recognised.
    """

    retention_days: int | None = None
    consent_required: bool = False
    show_picture: bool = False

    @classmethod
    def of(cls, site: Site | None) -> "SitePolicy":
        """That of a row; of one without a policy, or of a site that is not there, a new one's."""
        kept = {} if site is None or site.policy is None else site.policy
        return cls(**{name: value for name, value in kept.items() if name in cls.__slots__})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """A site, how many people it has, and its policy."""

    id: int
    name: str
    people: int
    policy: SitePolicy

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"site": self.name, "people": self.people, **self.policy.to_dict()}


def list_sites(session: Session) -> list[SiteSummary]:
    """Every site, by name."""
    people = select(Person.site_id, func.count(Person.id)).group_by(Person.site_id)
    counts = {row[0]: row[1] for row in session.execute(people)}
    return [
        SiteSummary(site.id, site.name, counts.get(site.id, 0), SitePolicy.of(site))
        for site in session.scalars(select(Site).order_by(Site.name))
    ]


def policy_of(session: Session, site: str) -> SitePolicy:
    """The policy of a site of that name.

    Raises:
        InvalidName: no site can be called so.
    """
    return SitePolicy.of(session.scalar(select(Site).where(Site.name == clean_site(site))))


def set_policy(session: Session, site: str, **changes: object) -> SitePolicy:
    """Change what holds for a site, which is made when it is new; a row of the log tells it.

    Args:
        session: a transaction that writes.
        site: its name.
        changes: fields of `SitePolicy`.

    Raises:
        InvalidName: no site can be called so.
    """
    name = clean_site(site)
    row = session.scalar(select(Site).where(Site.name == name))
    if row is None:
        row = Site(name=name)
        session.add(row)
    policy = replace(SitePolicy.of(row), **changes)  # type: ignore[arg-type]  # checked by its caller
    row.policy = policy.to_dict()
    session.flush()
    append_event(session, "policy_set", None, {"site": row.id, **policy.to_dict()})
    return policy
