"""Forgetting people and photos, and saying what was forgotten.

Rows are deleted here; their bytes leave the files with `Store.scrub` after the commit, and leave a
saved index when it is synced (`sync.refresh`) and saved again. In a sealed gallery the person's
data key goes too, so that no copy of a page can be opened any more.

Every erasure leaves a receipt (`store.receipts`) and a row of the log, neither of which names
anybody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, cast, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from store.answered import forget_answers
from store.audit import (
    NAME_KEYS,
    append_event,
    erase_photos,
    erase_private,
    erase_rows,
    read_back,
)
from store.chain import canonical
from store.changes import append_changes
from store.jobs import FINISHED
from store.ledger import Answered, Event, Job, Seal
from store.operations import forget_operations
from store.photos import chunks, find_photos
from store.receipts import ReceiptRow, add_receipt
from store.records import ClusterFace, Decision
from store.schema import Face, Person, Photo, Template

_AT_ONCE: Final = 20  # texts looked for in one pass over the log


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many rows are gone, or were emptied of what they said about somebody.

    Attributes:
        people, templates, faces, photos, cluster_faces: rows that are gone.
        decisions: rows that stay as numbers, without their person and source.
        operations: rows that keep no longer what undoing them would bring back.
        events: rows of the log whose private text was erased.
        answers: kept answers and results of jobs that named them.
        seals: data keys that were destroyed.
        written: the row that proves it.
    """

    people: int
    templates: int
    faces: int
    photos: int
    cluster_faces: int
    decisions: int
    operations: int = 0
    events: int = 0
    answers: int = 0
    seals: int = 0
    written: ReceiptRow | None = field(default=None, compare=False)

    @property
    def counts(self) -> dict[str, int]:
        """The numbers."""
        names = [one.name for one in fields(self) if one.name != "written"]
        return {name: getattr(self, name) for name in names}


def forget_person(session: Session, person: Person, key: bytes | None = None) -> Receipt:
    """Delete somebody and everything that is theirs alone.

    Their templates go, and each face, crop and photo that nobody else has a template of; rejected
    photos that were said to be theirs go too. Decisions about them lose the person and the source,
    and decisions about anybody that were made from one of those photos lose the source.

    Args:
        session: a transaction, as `Store` opens it.
        person: as `people.find_person` gave it.
        key: 32 random bytes that the receipt's hash is keyed by; None: nobody keeps them.
    """
    session.flush()
    uid, name, site = person.uid, person.name, person.site
    mine = select(Template.id, Template.face_id).where(Template.person_id == person.id)
    rows = session.execute(mine).all()
    template_ids = [row.id for row in rows]
    faces = sorted({row.face_id for row in rows})
    photos = _photos_of(session, faces)
    photos += session.scalars(select(Photo.id).where(Photo.claimed_id == person.id))
    about = _blank_decisions(session, Decision.person_id == person.id, person_id=None, source="")
    links = _remove_templates(session, template_ids)
    gone = _delete_bare_faces(session, faces)
    lost = _delete_bare_photos(session, photos)
    made_from, events = _forget_sources(session, lost)
    counts = Receipt(
        people=1,
        templates=len(template_ids),
        cluster_faces=links,
        faces=gone,
        photos=len(lost),
        decisions=about + made_from,
        operations=forget_operations(session, uid),
        events=events + erase_private(session, uid),
        answers=_forget_answers(session, uid, name),
        seals=_count(session, select(Seal.id).where(Seal.person_id == person.id)),
    )
    session.execute(delete(Person).where(Person.id == person.id))
    return _receipted(session, counts, ("person", name, site), uid, key)


def forget_photo(session: Session, what: str | Path, key: bytes | None = None) -> Receipt:
    """Delete a photo, its faces and their templates, whoever they belong to; people stay.

    Args:
        session: a transaction, as `Store` opens it.
        what: the sha256 of the file, or its path as it was recorded.
        key: as for `forget_person`.

    Raises:
        UnknownPhoto: there is none.
    """
    photos = find_photos(session, what)
    digests = sorted(photo.digest for photo in photos)
    counts = _delete_photos(session, [photo.id for photo in photos])
    return _receipted(session, counts, ("photo", *digests), None, key)


def known_names(session: Session, person: Person) -> set[str]:
    """The name somebody has, and those that the log knows they had."""
    query = select(Event.private).where(Event.subject == person.uid, Event.private.is_not(None))
    said = [read_back(text) for text in session.scalars(query)]
    return {person.name, *(v[key] for v in said for key in NAME_KEYS if v.get(key))}


@dataclass(frozen=True, slots=True)
class Outdated:
    """What a site's retention no longer covers, as ids of rows.

    Attributes:
        decisions: on record.
        photos: rejected ones.
        library: photos of a library whose faces nobody has named.
        events: rows of the log that say who or what file those were about.
        templates: of the faces of those photos.
    """

    decisions: tuple[int, ...]
    photos: tuple[int, ...]
    library: tuple[int, ...]
    events: tuple[int, ...]
    templates: tuple[int, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(ids) for name, ids in asdict(self).items() if name != "templates"}


def outdated(session: Session, site_id: int, before: datetime) -> Outdated:
    """What is older than a moment in a site; what belongs to nobody counts to the default site.

    Args:
        session: a transaction, as `Store` opens it.
        site_id: of the site.
        before: aware time.
    """
    people = select(Person.id).where(Person.site_id == site_id)
    uids = select(Person.uid).where(Person.site_id == site_id)
    decided: ColumnElement[bool] = Decision.person_id.in_(people)
    claimed: ColumnElement[bool] = Photo.claimed_id.in_(people)
    told: ColumnElement[bool] = Event.subject.in_(uids)
    library: list[int] = []
    if site_id == 0:
        decided = or_(decided, Decision.person_id.is_(None))
        claimed = or_(claimed, Photo.claimed_id.is_(None))
        told = or_(told, Event.subject.is_(None))
        named = exists().where(
            Face.photo_id == Photo.id,
            Template.face_id == Face.id,
            Template.person_id.is_not(None),
        )
        old = select(Photo.id).where(Photo.outcome == "library", Photo.added < before, ~named)
        library = list(session.scalars(old.order_by(Photo.id)))
    rejected = select(Photo.id).where(Photo.outcome == "rejected", Photo.added < before, claimed)
    actions = Event.action.in_(("decided", "rejected"))
    events = select(Event.id).where(actions, Event.time < before, Event.private.is_not(None), told)
    decisions = select(Decision.id).where(Decision.time < before, decided)
    photos = list(session.scalars(rejected.order_by(Photo.id)))
    return Outdated(
        decisions=tuple(session.scalars(decisions.order_by(Decision.id))),
        photos=tuple(photos),
        library=tuple(library),
        events=tuple(session.scalars(events.order_by(Event.id))),
        templates=tuple(_templates_of(session, _faces_of(session, photos + library))),
    )


def forget_outdated(session: Session, site_id: int, before: datetime) -> Outdated:
    """Delete what is older than a moment in a site, with a row of the log; as `outdated`."""
    found = outdated(session, site_id, before)
    for some in chunks(found.decisions):
        session.execute(delete(Decision).where(Decision.id.in_(some)))
    photos = [*found.photos, *found.library]
    if photos:
        _delete_photos(session, photos)
    erase_rows(session, found.events)
    if any(found.counts.values()):
        append_event(session, "retention_applied", details={"site": site_id, **found.counts})
    return found


def _receipted(
    session: Session, counts: Receipt, subject: Sequence[str], uid: str | None, key: bytes | None
) -> Receipt:
    """Write the receipt and the row of the log."""
    numbers = counts.counts
    written = add_receipt(session, subject, numbers, key)
    details = {**numbers, "receipt": written.uid, "keyed_hash": written.keyed_hash}
    append_event(session, f"{subject[0]}_forgotten", uid, details)
    return Receipt(**numbers, written=written)


def _delete_photos(session: Session, photo_ids: Sequence[int]) -> Receipt:
    """Delete photos with everything that comes from them."""
    session.flush()
    faces = _faces_of(session, photo_ids)
    template_ids = _templates_of(session, faces)
    links = _remove_templates(session, template_ids)
    gone = _delete_bare_faces(session, faces)
    lost = _delete_bare_photos(session, photo_ids)
    decisions, events = _forget_sources(session, lost)
    return Receipt(
        people=0,
        templates=len(template_ids),
        cluster_faces=links,
        faces=gone,
        photos=len(lost),
        decisions=decisions,
        events=events,
    )


def _photos_of(session: Session, face_ids: Sequence[int]) -> list[int]:
    return [
        photo_id
        for some in chunks(face_ids)
        for photo_id in session.scalars(select(Face.photo_id).where(Face.id.in_(some)))
    ]


def _faces_of(session: Session, photo_ids: Sequence[int]) -> list[int]:
    return [
        face_id
        for some in chunks(photo_ids)
        for face_id in session.scalars(select(Face.id).where(Face.photo_id.in_(some)))
    ]


def _templates_of(session: Session, face_ids: Sequence[int]) -> list[int]:
    return [
        template_id
        for some in chunks(face_ids)
        for template_id in session.scalars(select(Template.id).where(Template.face_id.in_(some)))
    ]


def _blank_decisions(session: Session, which: ColumnElement[bool], **values: Any) -> int:  # noqa: ANN401 - of any column
    decisions = list(session.scalars(select(Decision.id).where(which)))
    for some in chunks(decisions):
        session.execute(update(Decision).where(Decision.id.in_(some)).values(**values))
    return len(decisions)


def _forget_sources(session: Session, lost: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Forget paths and digests of photos that are gone: in decisions, and in the log.

    Returns:
        How many decisions and how many rows of the log.
    """
    sources = sorted({source for source, _ in lost if source})
    decisions, numbers = 0, set[int]()
    for start in range(0, len(sources), _AT_ONCE):
        some = sources[start : start + _AT_ONCE]
        decisions += _blank_decisions(session, Decision.source.in_(some), source="")
        holding = [Event.private.contains(canonical(source), autoescape=True) for source in some]
        query = select(Event.id, Event.private).where(Event.private.is_not(None), or_(*holding))
        for number, private in session.execute(query):
            if read_back(private).get("source") in some:
                numbers.add(number)
    events = erase_rows(session, sorted(numbers))
    return decisions, events + erase_photos(session, [digest for _, digest in lost])


def _forget_answers(session: Session, uid: str, name: str) -> int:
    """Forget answers kept for repeated requests, and what finished jobs told, about somebody."""
    query = select(Answered.id).where(Answered.body.contains(uid, autoescape=True))
    answers = _count(session, query)
    forget_answers(session, uid)
    named = canonical(name)
    holding = [
        cast(column, Text).contains(text, autoescape=True)
        for column in (Job.parameters, Job.result, Job.error)
        for text in (uid, named)
    ]
    told = select(Job.id).where(Job.state.in_(FINISHED), or_(*holding))
    jobs = list(session.scalars(told))
    for some in chunks(jobs):
        emptied = update(Job).where(Job.id.in_(some))
        session.execute(emptied.values(parameters={}, result=None, error=None))
    return answers + len(jobs)


def _count(session: Session, query: Any) -> int:  # noqa: ANN401 - a SELECT of any column
    return session.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def _remove_templates(session: Session, template_ids: Sequence[int]) -> int:
    links = 0
    for some in chunks(template_ids):
        among = select(func.count()).select_from(ClusterFace)
        links += session.execute(among.where(ClusterFace.template_id.in_(some))).scalar_one()
        session.execute(delete(ClusterFace).where(ClusterFace.template_id.in_(some)))
        session.execute(delete(Template).where(Template.id.in_(some)))
        append_changes(session, some, "remove")
    return links


def _delete_bare_faces(session: Session, face_ids: Sequence[int]) -> int:
    used = exists().where(Template.face_id == Face.id)
    bare = [
        face_id
        for some in chunks(face_ids)
        for face_id in session.scalars(select(Face.id).where(Face.id.in_(some), ~used))
    ]
    for some in chunks(bare):
        session.execute(delete(Face).where(Face.id.in_(some)))
    return len(bare)


def _delete_bare_photos(session: Session, photo_ids: Iterable[int]) -> list[tuple[str, str]]:
    """Delete the photos that show nobody any more; source and digest of each."""
    used = exists().where(Face.photo_id == Photo.id)
    columns = (Photo.id, Photo.source, Photo.digest)
    bare = [
        row
        for some in chunks(sorted(set(photo_ids)))
        for row in session.execute(select(*columns).where(Photo.id.in_(some), ~used))
    ]
    for some in chunks([row.id for row in bare]):
        session.execute(delete(Photo).where(Photo.id.in_(some)))
    return [(row.source, row.digest) for row in bare]
