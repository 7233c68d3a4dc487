"""The gallery as a whole: its space, its counts, its calibrations and its decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from store.actors import actor_of
from store.audit import append_event, append_events
from store.chain import Happening
from store.columns import now
from store.errors import SpaceMismatch
from store.records import Calibration, Decision
from store.schema import Base, Face, Gallery, Person, Photo, Template

KINDS: Final = ("verify", "identify", "compare")
ANSWERS: Final = ("yes", "no", "unsure")
_LOGGED: Final = (
    "kind", "answer", "similarity", "threshold", "fmr", "space", "unsure_above", "extrapolated",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GalleryStatus:
    """What a gallery holds; `unnamed` are the templates of a library without a person."""

    uid: str
    space: str | None
    rev: int
    people: int
    photos: int
    faces: int
    templates: int
    unnamed: int
    decisions: int


def gallery_uid(session: Session) -> str:
    """The gallery's random identifier, made with its tables."""
    return session.execute(select(Gallery.uid)).scalar_one()


def pinned_space(session: Session) -> str | None:
    """The vector space of the gallery; None before the first enrolment."""
    return session.execute(select(Gallery.space)).scalar_one()


def pin_space(session: Session, space: str) -> None:
    """Make sure the gallery is of this space, pinning it if it has none.

    Args:
        session: a transaction, as `Store` opens it.
        space: name of the encoder's vector space.

    Raises:
        SpaceMismatch: it pins another one.
    """
    free = update(Gallery).where(Gallery.id == 1, Gallery.space.is_(None))
    session.execute(free.values(space=space))
    require_space(session, space)


def require_space(session: Session, space: str) -> None:
    """Make sure that vectors of this space may be compared with the gallery's, changing nothing.

    Raises:
        SpaceMismatch: it pins another one.
    """
    pinned = pinned_space(session)
    if pinned is not None and pinned != space:
        raise SpaceMismatch(pinned, space)


def in_use() -> ColumnElement[bool]:
    """Whether a `Template` is of the gallery's space: while that changes, a face has two."""
    pinned = select(Gallery.space).where(Gallery.id == 1).scalar_subquery()
    return Template.space == func.coalesce(pinned, Template.space)


def gallery_status(session: Session) -> GalleryStatus:
    """The counts that `status` shows."""
    row = session.execute(select(Gallery.uid, Gallery.space, Gallery.rev)).one()
    templates = select(func.count()).select_from(Template).where(in_use())
    unnamed = templates.where(Template.person_id.is_(None))
    return GalleryStatus(
        uid=row.uid,
        space=row.space,
        rev=row.rev,
        people=_count(session, Person),
        photos=_count(session, Photo),
        faces=_count(session, Face),
        templates=session.execute(templates).scalar_one(),
        unnamed=session.execute(unnamed).scalar_one(),
        decisions=_count(session, Decision),
    )


def put_calibration(
    session: Session, space: str, body: str, digest: str, *, active: bool = True
) -> Calibration:
    """Keep a calibration and make it the active one of its space; earlier ones stay on record.

    Args:
        session: a transaction, as `Store` opens it.
        space: the vector space it holds for.
        body: the curve, as JSON text.
        digest: of the data it was fitted on.
        active: False keeps it without putting it in force.
    """
    if active:
        others = update(Calibration).where(Calibration.space == space, Calibration.active)
        session.execute(others.values(active=False))
    calibration = Calibration(space=space, body=body, digest=digest, active=active)
    session.add(calibration)
    session.flush()
    details = {"calibration": calibration.id, "space": space, "digest": digest, "in_force": active}
    append_event(session, "calibration_added", details=details)
    return calibration


def active_calibration(session: Session, space: str) -> Calibration | None:
    """The calibration that decisions in this space rest on; None where none was made."""
    query = select(Calibration).where(Calibration.space == space, Calibration.active)
    return session.scalar(query.order_by(Calibration.id.desc()).limit(1))


def record_decision(
    session: Session,
    *,
    kind: str,
    answer: str,
    space: str,
    source: str,
    person_id: int | None = None,
    similarity: float | None = None,
    threshold: float | None = None,
    fmr: float | None = None,
    calibration_id: int | None = None,
    unsure_above: float | None = None,
    extrapolated: bool = False,
) -> Decision:
    """Keep an answer that was given, and append it to the log.

    Args:
        session: a transaction, as `Store` opens it.
        kind: verify, identify or compare.
        answer: yes, no or unsure.
        space: the vector space of the probe.
        source: where the probe came from; forgotten with the person.
        person_id: whom the answer is about; None when it is about nobody in the gallery.
        similarity: cosine, -1…1.
        threshold: cosine, -1…1.
        fmr: the false-match rate the threshold was asked at, 0…1.
        calibration_id: what the threshold came from.
        unsure_above: cosine, -1…1, from which the answer was "unsure" at least.
        extrapolated: whether the threshold rests on a fitted tail.

    Raises:
        ValueError: another kind or answer.
    """
    if kind not in KINDS or answer not in ANSWERS:
        raise ValueError(f"A decision is one of {KINDS} and {ANSWERS}; got {kind!r}, {answer!r}.")
    uid = None
    if person_id is not None:
        uid = session.scalar(select(Person.uid).where(Person.id == person_id))
    decision = Decision(
        kind=kind,
        answer=answer,
        space=space,
        source=source,
        person_id=person_id,
        similarity=similarity,
        threshold=threshold,
        fmr=fmr,
        calibration_id=calibration_id,
        unsure_above=unsure_above,
        extrapolated=extrapolated,
        actor=actor_of(session),
    )
    session.add(decision)
    session.flush()
    details = {name: getattr(decision, name) for name in _LOGGED}
    details |= {"decision": decision.id, "calibration": calibration_id}
    append_event(session, "decided", uid, details, {"source": source})
    return decision


def record_decisions(
    session: Session, decided: Sequence[tuple[str | None, Mapping[str, Any]]]
) -> list[int]:
    """Keep many answers of one actor with as few statements as for one, and log them.

    Args:
        session: a transaction, as `Store` opens it.
        decided: for each, the uid of the person it is about, or None, and arguments of
            `record_decision`, all of them.

    Returns:
        The ids of the decisions, in that order.
    """
    if not decided:
        return []
    actor, time = actor_of(session), now()
    rows = [{**values, "actor": actor, "time": time} for _, values in decided]
    ids = session.scalars(
        insert(Decision).returning(Decision.id, sort_by_parameter_order=True), rows
    ).all()
    happenings = []
    for number, (uid, values) in zip(ids, decided, strict=True):
        details = {name: values[name] for name in _LOGGED}
        details |= {"decision": number, "calibration": values["calibration_id"]}
        happenings.append(Happening("decided", uid, details, {"source": values["source"]}))
    append_events(session, happenings)
    return list(ids)


def _count(session: Session, table: type[Base]) -> int:
    return session.execute(select(func.count()).select_from(table)).scalar_one()
