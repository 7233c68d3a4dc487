"""Who is in the gallery: adding, finding and listing people; `corrections` changes them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, distinct, func, select
from sqlalchemy.orm import Session

from store.errors import AmbiguousPerson, PersonExists, UnknownPerson
from store.gallery import in_use
from store.names import clean_name, clean_site, composed
from store.schema import Face, Person, Site, Template


@dataclass(frozen=True, slots=True)
class PersonSummary:
    """A person and how many photos and templates they have."""

    id: int
    uid: str
    name: str
    site: str
    expires: datetime | None
    created: datetime
    photos: int
    templates: int


def add_person(
    session: Session, name: str, site: str = "", expires: datetime | None = None
) -> Person:
    """Add somebody, without templates yet.

    Args:
        session: a transaction, as `Store` opens it.
        name: cleaned by `clean_name`.
        site: made when it is new; "" is the default one.
        expires: aware time after which the person should be purged.

    Raises:
        InvalidName: the name or the site's name cannot be stored.
        PersonExists: the name is taken in that site.
    """
    name, place = clean_name(name), site_row(session, site)
    _require_free(session, name, place)
    person = Person(name=name, place=place, expires=expires)
    session.add(person)
    session.flush()
    return person


def find_person(session: Session, who: str, site: str | None = None) -> Person:
    """The person of that uid, else of exactly that name, else of that name in any letter case.

    Args:
        session: a transaction, as `Store` opens it.
        who: a uid or a name.
        site: look only there; None is everywhere.

    Raises:
        UnknownPerson: nobody; close names are offered.
        AmbiguousPerson: several people answer to the name.
    """
    there = [] if site is None else [Site.name == clean_site(site)]
    by_uid = _matching(session, Person.uid == who, *there)
    if by_uid:
        return by_uid[0]
    wanted = composed(who)
    found = _matching(session, Person.name == wanted, *there)
    if not found:
        found = _ignoring_case(session, wanted, *there)
    if not found:
        raise UnknownPerson(
            who, session.scalars(select(Person.name).join(Person.place).where(*there))
        )
    if len(found) > 1:
        raise AmbiguousPerson(who, [(person.uid, person.name, person.site) for person in found])
    return found[0]


def list_people(session: Session, site: str | None = None) -> list[PersonSummary]:
    """Everybody, by name, with their counts.

    Args:
        session: a transaction, as `Store` opens it.
        site: only there; None is everywhere.
    """
    there = [] if site is None else [Site.name == clean_site(site)]
    query = (
        select(
            Person.id,
            Person.uid,
            Person.name,
            Site.name.label("site"),
            Person.expires,
            Person.created,
            func.count(distinct(Face.photo_id)).label("photos"),
            func.count(distinct(Template.id)).label("templates"),
        )
        .join(Person.place)
        .outerjoin(Template, (Template.person_id == Person.id) & in_use())
        .outerjoin(Face, Face.id == Template.face_id)
        .where(*there)
        .group_by(Person.id, Site.name)
        .order_by(Person.name, Site.name)
    )
    return [PersonSummary(*row) for row in session.execute(query)]


def expired_people(session: Session, moment: datetime) -> list[Person]:
    """The people whose time ended at or before `moment` (aware), by name."""
    query = select(Person).where(Person.expires <= moment).order_by(Person.name, Person.id)
    return list(session.scalars(query))


def site_ids(session: Session, sites: list[str]) -> list[int]:
    """The ids that an index knows these sites by; sites that nobody is in are left out."""
    names = [clean_site(site) for site in sites]
    return list(session.scalars(select(Site.id).where(Site.name.in_(names)).order_by(Site.id)))


def _matching(session: Session, *where: ColumnElement[bool]) -> list[Person]:
    query = select(Person).join(Person.place).where(*where).order_by(Site.name, Person.id)
    return list(session.scalars(query))


def _ignoring_case(session: Session, name: str, *where: ColumnElement[bool]) -> list[Person]:
    folded = name.casefold()  # databases fold ASCII only
    names = session.execute(select(Person.id, Person.name).join(Person.place).where(*where))
    ids = [row.id for row in names if row.name.casefold() == folded]
    return _matching(session, Person.id.in_(ids)) if ids else []


def _require_free(session: Session, name: str, place: Site) -> None:
    taken = select(Person.id).where(Person.name == name, Person.site_id == place.id)
    if session.scalar(taken) is not None:
        raise PersonExists(name, place.name)


def site_row(session: Session, name: str) -> Site:
    """The row of a site, made when it is new.

    Raises:
        InvalidName: the name cannot be stored.
    """
    name = clean_site(name)
    site = session.scalar(select(Site).where(Site.name == name))
    if site is None:
        site = Site(name=name)
        session.add(site)
        session.flush()
    return site
