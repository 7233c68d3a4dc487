"""Rows a page at a time, for readers that cannot take them all at once.

A page goes on after the row that ended the one before, whatever was added or removed meanwhile.
Sites are names; None is every site.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, distinct, func, or_, select
from sqlalchemy.orm import Session

from store.errors import UnknownPerson, UnknownTemplate
from store.gallery import in_use
from store.ledger import Event
from store.photos import chunks
from store.records import Decision
from store.schema import Face, Person, Photo, Site, Template

Sites = Collection[str] | None
_SCAN = 500


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person as a list shows them; `template` is the uid of one of their templates."""

    id: int
    uid: str
    name: str
    site: str
    created: datetime
    expires: datetime | None
    photos: int
    templates: int
    template: str | None


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A template of a person, and the photo it was made from."""

    id: int
    uid: str
    created: datetime
    space: str
    quality: dict[str, Any] | None
    photo: str
    source: str


def person_by_uid(session: Session, uid: str, sites: Sites = None) -> Person:
    """The person of that uid; one of another site is as unknown as nobody.

    Raises:
        UnknownPerson: there is none.
    """
    query = select(Person).join(Person.place).where(Person.uid == uid, *_inside(sites))
    person = session.scalar(query)
    if person is None:
        raise UnknownPerson(uid)
    return person


def people_page(
    session: Session, *, sites: Sites = None, text: str = "", after: int | None = None,
    limit: int = 50,
) -> list[PersonRow]:  # fmt: skip
    """People by name, from the one after a given row on.

    Args:
        session: a transaction that reads.
        sites: only there.
        text: what the name must contain, in any letter case.
        after: id of the last person of the page before.
        limit: the most people.
    """
    ids = []
    for person_id, name in _names(session, sites, after):
        if text.casefold() in name.casefold():  # databases fold ASCII only
            ids.append(person_id)
        if len(ids) == limit:
            break
    return person_rows(session, ids)


def person_rows(session: Session, ids: Sequence[int]) -> list[PersonRow]:
    """People by the ids of their rows, in that order; those that are gone are left out."""
    found: dict[int, PersonRow] = {}
    for some in chunks(ids):
        query = (
            select(
                Person.id, Person.uid, Person.name, Site.name, Person.created, Person.expires,
                func.count(distinct(Face.photo_id)), func.count(distinct(Template.id)),
                func.min(Template.id),
            )
            .join(Person.place)
            .outerjoin(Template, (Template.person_id == Person.id) & in_use())
            .outerjoin(Face, Face.id == Template.face_id)
            .where(Person.id.in_(some))
            .group_by(Person.id, Site.name)
        )  # fmt: skip
        rows = session.execute(query).all()
        shown = template_uids(session, [row[8] for row in rows if row[8] is not None])
        for row in rows:
            found[row[0]] = PersonRow(*row[:8], template=shown.get(row[8]))
    return [found[person_id] for person_id in ids if person_id in found]


def template_uids(session: Session, ids: Sequence[int]) -> dict[int, str]:
    """Template id → uid; those that are gone are left out."""
    found: dict[int, str] = {}
    for some in chunks(ids):
        rows = session.execute(select(Template.id, Template.uid).where(Template.id.in_(some)))
        found.update((row[0], row[1]) for row in rows)
    return found


def templates_by_uid(session: Session, uids: Sequence[str], sites: Sites = None) -> list[Template]:
    """Templates by their uids, in that order.

    Args:
        session: a transaction, as `Store` opens it.
        uids: of the templates.
        sites: templates of people elsewhere are unknown; unnamed faces belong to every site.

    Raises:
        UnknownTemplate: one of them is not there.
    """
    found: dict[str, Template] = {}
    for some in chunks(uids):
        query = select(Template).outerjoin(Person, Person.id == Template.person_id)
        query = query.outerjoin(Site, Site.id == Person.site_id).where(Template.uid.in_(some))
        if sites is not None:
            query = query.where(or_(Template.person_id.is_(None), Site.name.in_(sites)))
        found.update((row.uid, row) for row in session.scalars(query))
    if missing := [uid for uid in uids if uid not in found]:
        raise UnknownTemplate(missing)  # type: ignore[arg-type]  # only shown
    return [found[uid] for uid in uids]


def templates_of(session: Session, person_id: int) -> list[TemplateRow]:
    """The templates of a person, the oldest first."""
    query = (
        select(
            Template.id, Template.uid, Template.created, Template.space, Face.quality,
            Photo.digest, Photo.source,
        )
        .join(Face, Face.id == Template.face_id)
        .join(Photo, Photo.id == Face.photo_id)
        .where(Template.person_id == person_id, in_use())
        .order_by(Template.id)
    )  # fmt: skip
    return [TemplateRow(*row) for row in session.execute(query)]


def photos_page(
    session: Session, *, sites: Sites = None, outcome: str | None = None,
    after: int | None = None, limit: int = 50,
) -> list[Photo]:  # fmt: skip
    """Photos, the newest first.

    Args:
        session: a transaction that reads.
        sites: only photos with, or said to be of, people there.
        outcome: enrolled, rejected or library; None: all.
        after: id of the last photo of the page before.
        limit: the most photos.
    """
    query = select(Photo).order_by(Photo.id.desc()).limit(limit)
    if outcome is not None:
        query = query.where(Photo.outcome == outcome)
    if after is not None:
        query = query.where(Photo.id < after)
    if sites is not None:
        there = select(Person.id).join(Person.place).where(Site.name.in_(sites))
        shown = select(Face.photo_id).join(Template, Template.face_id == Face.id)
        shown = shown.where(Template.person_id.in_(there))
        query = query.where(or_(Photo.claimed_id.in_(there), Photo.id.in_(shown)))
    return list(session.scalars(query))


def decisions_page(
    session: Session, *, after: int | None = None, limit: int = 50
) -> list[tuple[Decision, str | None]]:
    """Decisions, the newest first, each with the uid of the person it is about."""
    query = select(Decision, Person.uid).outerjoin(Person, Person.id == Decision.person_id)
    if after is not None:
        query = query.where(Decision.id < after)
    rows = session.execute(query.order_by(Decision.id.desc()).limit(limit))
    return [(row[0], row[1]) for row in rows]


def events_page(
    session: Session, *, action: str | None = None, subject: str | None = None,
    after: int | None = None, limit: int = 50,
) -> list[Event]:  # fmt: skip
    """Rows of the log, the newest first.

    Args:
        session: a transaction that reads.
        action: only this one; None: all.
        subject: only about this uid; None: all.
        after: number of the last row of the page before.
        limit: the most rows.
    """
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    for column, value in ((Event.action, action), (Event.subject, subject)):
        query = query if value is None else query.where(column == value)
    return list(session.scalars(query if after is None else query.where(Event.id < after)))


def _inside(sites: Sites) -> list[ColumnElement[bool]]:
    return [] if sites is None else [Site.name.in_(sites)]


def _names(session: Session, sites: Sites, after: int | None) -> Iterator[tuple[int, str]]:
    """Ids and names of people, by name, after a row."""
    last: tuple[str, int] | None = None
    if after is not None:
        row = session.execute(select(Person.name, Person.id).where(Person.id == after)).first()
        if row is None:
            return
        last = row[0], row[1]
    while True:
        query = select(Person.id, Person.name).join(Person.place).where(*_inside(sites))
        if last is not None:
            later = and_(Person.name == last[0], Person.id > last[1])
            query = query.where(or_(Person.name > last[0], later))
        rows = session.execute(query.order_by(Person.name, Person.id).limit(_SCAN)).all()
        yield from ((row[0], row[1]) for row in rows)
        if len(rows) < _SCAN:
            return
        last = rows[-1][1], rows[-1][0]
