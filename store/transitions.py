"""Changing the vector space of a gallery: the new templates beside the old ones, and the switch.

A face has at most one template a space. While the spaces change, each template of the gallery's
space gets a twin: the template of the same face, and of the same person, in the other space. The
switch (`switch_space`) is one transaction: the gallery is pinned to the other space, and what
refers to templates (clusters, operations that can be undone) refers to the twins from then on. The
same function leads back, as long as the old templates are there.

    encoding ─▶ ready ─▶ current ─▶ finished          the old templates are dropped
        └─────────┴────────┴─▶ rolled_back ─▶ finished     the new ones are

N faces, D dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Select, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from store.audit import append_event
from store.changes import append_changes
from store.columns import now
from store.errors import NothingToMigrate, TransitionUnderWay
from store.gallery import pinned_space
from store.ledger import Operation, Transition
from store.photos import chunks
from store.records import ClusterFace
from store.schema import Face, Gallery, Photo, Template, new_uid
from store.sealing import StoredCrop, opened_crops, sealed_vector

ENCODING, READY, CURRENT = "encoding", "ready", "current"
ROLLED_BACK, FINISHED = "rolled_back", "finished"
OPEN: Final = (ENCODING, READY)  # begun, and the gallery is still of the old space
SWITCHED: Final = (CURRENT, ROLLED_BACK)  # one space is in use, and the other is still there
_EVENTS: Final = {
    ENCODING: "migration_begun",
    READY: "migration_ready",
    CURRENT: "migration_cut_over",
    ROLLED_BACK: "migration_rolled_back",
    FINISHED: "migration_finished",
}


@dataclass(frozen=True, slots=True)
class TransitionSummary:
    """A change of the vector space.

    Attributes:
        number: of its row.
        source, target: vector spaces.
        state: encoding, ready, current, rolled_back or finished.
        created: when it began, aware.
        changed: when its state last changed, aware.
        pinned: the space of the gallery now.
        templates: how many there are in the gallery's space.
        twins: how many of those faces have a template in the other space too.
    """

    number: int
    source: str
    target: str
    state: str
    created: datetime
    changed: datetime
    pinned: str | None
    templates: int
    twins: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "number": self.number,
            "from": self.source,
            "to": self.target,
            "state": self.state,
            "created": self.created.isoformat(),
            "changed": self.changed.isoformat(),
            "in_use": self.pinned,
            "templates": self.templates,
            "twins": self.twins,
        }


@dataclass(frozen=True, slots=True)
class WaitingFace:
    """A face that has no template in the other space yet, and what one can be made from.

    Attributes:
        template_id: its template in the space it has one in.
        face_id: its row.
        digest: hexadecimal sha256 of its photo's file.
        source: where that lay.
        box: x, y, w, h in the photo's pixels.
        points: five pairs, or None.
        confidence: the detector's, 0…1.
        crop: the aligned crop as JPEG; None where it does not open, its key being gone.
    """

    template_id: int
    face_id: int
    digest: str
    source: str
    box: tuple[float, float, float, float]
    points: list[list[float]] | None
    confidence: float
    crop: bytes | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """What is gone with a space: templates, faces that had no other template, their photos."""

    space: str
    templates: int
    faces: int
    photos: int


def latest_transition(session: Session) -> Transition | None:
    """The last change of the space; None before the first."""
    return session.scalar(select(Transition).order_by(Transition.id.desc()).limit(1))


def transition_summary(session: Session, transition: Transition) -> TransitionSummary:
    """What the status shows."""
    pinned = pinned_space(session)
    other = transition.source if pinned == transition.target else transition.target
    count = select(func.count()).select_from(Template).where(Template.space == pinned)
    templates = session.execute(count).scalar_one()
    twinned = session.execute(count.where(_has_twin(other))).scalar_one()
    return TransitionSummary(
        transition.id, transition.source, transition.target, transition.state,
        transition.created, transition.changed, pinned, templates, twinned,
    )  # fmt: skip


def begin_transition(session: Session, target: str) -> Transition:
    """Begin to change the space of the gallery, or go on where that was begun.

    Args:
        session: a transaction that writes.
        target: the space to change to.

    Raises:
        NothingToMigrate: the gallery holds nothing, or is of that space.
        TransitionUnderWay: another change must be brought to its end first.
    """
    source, last = pinned_space(session), latest_transition(session)
    if source is None:
        raise NothingToMigrate("The gallery holds nothing yet: name the model when you enrol.")
    if source == target:
        raise NothingToMigrate(f"The gallery is of the space {target} already.")
    if last is not None and (last.source, last.target) == (source, target) and last.state in OPEN:
        return last
    again = last is not None and last.state == ROLLED_BACK and last.target == target
    if last is not None and last.state != FINISHED and not again:
        raise TransitionUnderWay(last.source, last.target, last.state)
    begun = Transition(source=source, target=target, state=ENCODING)
    session.add(begun)
    session.flush()
    _tell(session, begun)
    return begun


def set_state(
    session: Session, transition: Transition, state: str, details: Mapping[str, Any] | None = None
) -> None:
    """Write how far a transition has come, with a row of the log; nothing where it is there."""
    if transition.state == state:
        return
    transition.state, transition.changed = state, now()
    transition.details = dict(details) if details else transition.details
    session.flush()
    _tell(session, transition, details)


def count_waiting(session: Session, have: str, want: str) -> int:
    """How many faces have a template in one space and none in another."""
    session.flush()
    count = select(func.count()).select_from(Template)
    return session.execute(count.where(Template.space == have, ~_has_twin(want))).scalar_one()


def waiting_faces(
    session: Session, have: str, want: str, after: int, limit: int
) -> list[WaitingFace]:
    """Faces that have a template in one space and none in another, by that template's id.

    Args:
        session: a transaction, as `Store` opens it.
        have: the space they have one in.
        want: the space they have none in.
        after: id of the template before; 0 at first.
        limit: the most faces.

    Raises:
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
        SealBroken: a row was changed or moved.
    """
    columns = (
        Template.id, Face.id, Photo.digest, Photo.source, Face.x, Face.y, Face.w, Face.h,
        Face.points, Face.confidence, Face.crop, Face.seal_id,
    )  # fmt: skip
    query = select(*columns).select_from(Template).join(Face, Face.id == Template.face_id)
    query = query.join(Photo, Photo.id == Face.photo_id)
    waiting = (Template.space == have, Template.id > after, ~_has_twin(want))
    rows = session.execute(query.where(*waiting).order_by(Template.id).limit(limit)).all()
    stored = [
        StoredCrop(row[2], (row[4], row[5], row[6], row[7]), row[10], row[11]) for row in rows
    ]
    return [
        WaitingFace(row[0], row[1], row[2], row[3], kept.box, row[8], row[9], crop)
        for row, kept, crop in zip(rows, stored, opened_crops(session, stored), strict=True)
    ]


def add_twins(
    session: Session, have: str, want: str, vectors: Mapping[int, NDArray[np.float32]]
) -> int:
    """Keep templates in another space, each of the person that the face's template has now.

    A face that was forgotten meanwhile, or has one there already, is passed over.

    Args:
        session: a transaction that writes.
        have: the space in which the faces have a template.
        want: the space of the vectors.
        vectors: id of a face → float32 (D,), unit length.

    Returns:
        How many were added.

    Raises:
        InvalidVector: a vector is not that.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
    """
    added = 0
    for some in chunks(sorted(vectors)):
        query = select(Template.face_id, Template.person_id, Template.created)
        waiting = (Template.space == have, Template.face_id.in_(some), ~_has_twin(want))
        rows = []
        for face_id, person_id, created in session.execute(
            query.where(*waiting).order_by(Template.id)
        ).all():
            uid = new_uid()
            kept, seal_id = sealed_vector(session, person_id, uid, want, vectors[face_id])
            rows.append(
                {
                    "uid": uid,
                    "person_id": person_id,
                    "face_id": face_id,
                    "space": want,
                    "vector": kept,
                    "created": created,
                    "seal_id": seal_id,
                }
            )
        if rows:
            made = insert(Template).returning(Template.id, sort_by_parameter_order=True)
            ids = session.scalars(made, rows).all()
            pairs = zip(ids, rows, strict=True)
            append_changes(session, [i for i, row in pairs if row["person_id"] is not None], "add")
        added += len(rows)
    return added


def switch_space(session: Session, transition: Transition, to: str, state: str) -> int:
    """Pin the gallery to the other space of a transition; what refers to templates follows.

    Args:
        session: a transaction that writes.
        transition: of the two spaces.
        to: the space to pin: the target, or the source to go back.
        state: of the transition from then on.

    Returns:
        How many templates of the other space have no twin in this one.
    """
    away = transition.source if to == transition.target else transition.target
    left = count_waiting(session, away, to)
    session.execute(update(Gallery).where(Gallery.id == 1).values(space=to))
    _refer_clusters(session, away, to)
    _refer_operations(session, away, to)
    count = select(func.count()).select_from(Template).where(Template.space == to)
    templates = session.execute(count).scalar_one()
    set_state(session, transition, state, {"in_use": to, "templates": templates, "left_out": left})
    session.expire_all()
    return left


def drop_space(session: Session, transition: Transition) -> Dropped:
    """Delete the templates of the space that the gallery does not use.

    A face without a template in the other space goes with them, and its photo when it shows nobody
    else: nothing would find them when their person is forgotten. Bytes leave the files with
    `Store.scrub` after the commit.

    Raises:
        TransitionUnderWay: the transition is neither cut over nor rolled back.
    """
    if transition.state not in SWITCHED:
        raise TransitionUnderWay(transition.source, transition.target, transition.state)
    space = unused_space(session, transition)
    rows = session.execute(
        select(Template.id, Template.face_id, Template.person_id).where(Template.space == space)
    ).all()
    for some in chunks([row.id for row in rows]):
        session.execute(delete(ClusterFace).where(ClusterFace.template_id.in_(some)))
        session.execute(delete(Template).where(Template.id.in_(some)))
    for some in chunks([row.id for row in rows if row.person_id is not None]):
        append_changes(session, some, "remove")
    faces, photos = _drop_bare(session, [row.face_id for row in rows])
    found = Dropped(space, len(rows), faces, photos)
    numbers = {"dropped": space, "templates": len(rows), "faces": faces, "photos": photos}
    set_state(session, transition, FINISHED, numbers)
    return found


def unused_space(session: Session, transition: Transition) -> str:
    """The space of a transition that the gallery does not use."""
    pinned = pinned_space(session)
    return transition.source if pinned == transition.target else transition.target


def twins(session: Session, have: str, want: str) -> dict[int, int]:
    """Template id in one space → id of the template of the same face in another."""
    old, new = aliased(Template), aliased(Template)
    query = select(old.id, new.id).join(new, new.face_id == old.face_id)
    rows = session.execute(query.where(old.space == have, new.space == want))
    return {row[0]: row[1] for row in rows}


def _has_twin(space: str) -> ColumnElement[bool]:
    """Whether the face of a `Template` has one in a space."""
    other = aliased(Template)
    return exists().where(other.face_id == Template.face_id, other.space == space)


def _refer_clusters(session: Session, away: str, to: str) -> None:
    old, new = aliased(Template), aliased(Template)
    twin: Select[int] = (
        select(new.id)
        .join(old, old.face_id == new.face_id)
        .where(old.id == ClusterFace.template_id, old.space == away, new.space == to)
        .correlate(ClusterFace)
    )
    changed = update(ClusterFace).where(twin.exists())
    session.execute(
        changed.values(template_id=twin.scalar_subquery()),
        execution_options={"synchronize_session": False},
    )


def _refer_operations(session: Session, away: str, to: str) -> None:
    """Let operations that can be undone move the twins."""
    numbers = session.scalars(select(Operation.id).where(Operation.inverse.is_not(None))).all()
    if not numbers:
        return
    twin = twins(session, away, to)
    for number in numbers:
        operation = session.get_one(Operation, number)
        inverse = operation.inverse or {}
        moves = [
            [table, *owners, _twinned(ids, twin) if table == "templates" else ids]
            for table, *owners, ids in inverse.get("moves", [])
        ]
        seats = [[*clusters, _twinned(ids, twin)] for *clusters, ids in inverse.get("seats", [])]
        operation.inverse = {**inverse, "moves": moves, "seats": seats}
    session.flush()


def _twinned(ids: Sequence[int], twin: Mapping[int, int]) -> list[int]:
    """Templates with their twins in their place, where they have one; each once."""
    return list(dict.fromkeys(twin.get(template, template) for template in ids))


def _drop_bare(session: Session, face_ids: Sequence[int]) -> tuple[int, int]:
    """Delete those faces that have no template, and their photos without any other face."""
    used = exists().where(Template.face_id == Face.id)
    bare: list[tuple[int, int]] = []
    for some in chunks(face_ids):
        rows = session.execute(select(Face.id, Face.photo_id).where(Face.id.in_(some), ~used))
        bare += [(row.id, row.photo_id) for row in rows]
    for some in chunks([face for face, _ in bare]):
        session.execute(delete(Face).where(Face.id.in_(some)))
    shown = exists().where(Face.photo_id == Photo.id)
    empty: list[int] = []
    for some in chunks(sorted({photo for _, photo in bare})):
        empty += session.scalars(select(Photo.id).where(Photo.id.in_(some), ~shown))
    for some in chunks(empty):
        session.execute(delete(Photo).where(Photo.id.in_(some)))
    return len(bare), len(empty)


def _tell(
    session: Session, transition: Transition, details: Mapping[str, Any] | None = None
) -> None:
    spaces = {"transition": transition.id, "from": transition.source, "to": transition.target}
    append_event(session, _EVENTS[transition.state], details=spaces | dict(details or {}))
