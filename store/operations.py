"""What people did with people, and undoing it: naming, renaming, merging, splitting, "not them".

An operation keeps what undoing it takes (`inverse`): who had which rows before and after, the name
before and after, the row of somebody who was merged away, and the facts that were dropped. Undoing
compares first: where a later operation has changed the same rows, it says which one to undo first.
Rows that were forgotten meanwhile stay forgotten.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from store.actors import actor_of
from store.audit import append_event, erase_private, merged_uids
from store.columns import UtcDateTime, now
from store.errors import CannotUndo, UnknownOperation
from store.ledger import Fact, Operation, OperationPerson
from store.photos import chunks
from store.records import Cluster, ClusterFace, Decision, Run
from store.schema import Face, Person, Photo, Template
from store.templates import assign_person

# Every column that says whose a row is; the columns of a person's own keys are the sealing's.
OWNED: Final[dict[str, tuple[InstrumentedAttribute[int], InstrumentedAttribute[int | None]]]] = {
    "templates": (Template.id, Template.person_id),
    "clusters": (Cluster.id, Cluster.person_id),
    "decisions": (Decision.id, Decision.person_id),
    "photos": (Photo.id, Photo.claimed_id),
    "facts": (Fact.id, Fact.person_id),
}
APPLIED, UNDONE = "applied", "undone"
_KEPT: Final = [column.name for column in Person.__table__.columns]


def in_force() -> ColumnElement[bool]:
    """Which clusterings count: those that are not undone (no state: before revision 0003)."""
    return or_(Run.state.is_(None), Run.state == APPLIED)


@dataclass
class Journal:
    """What an operation changed, gathered while it works.

    Attributes:
        people: uids of whom it is about.
        created: uid of the person it made.
        removed: the row of the person it removed.
        renamed: uid, the name before and the name after.
        moves: table, uid before, uid after, and the rows that went from one to the other.
        dropped: facts it contradicts, as rows of the table.
        seats: cluster before, cluster after, and the templates that went from one to the other.
        made: ids of the clusters it made.
        run: id of the clustering it was.
    """

    people: set[str] = field(default_factory=set)
    created: str | None = None
    removed: dict[str, Any] | None = None
    renamed: tuple[str, str, str] | None = None
    moves: list[tuple[str, str | None, str | None, list[int]]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    seats: list[tuple[int, int, list[int]]] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    run: int | None = None

    def remove(self, person: Person) -> None:
        """Note that somebody is about to be removed."""
        values = {name: getattr(person, name) for name in _KEPT}
        self.removed = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
        }
        self.people.add(person.uid)

    def inverse(self) -> dict[str, Any]:
        """What undoing takes, as JSON can hold it."""
        return {
            "created": self.created,
            "removed": self.removed,
            "renamed": None if self.renamed is None else list(self.renamed),
            "moves": [list(move) for move in self.moves],
            "dropped": self.dropped,
            "seats": [list(seat) for seat in self.seats],
            "made": self.made,
            "run": self.run,
        }


@dataclass(frozen=True, slots=True)
class OperationSummary:
    """An operation.

    Attributes:
        number: what `undo` takes.
        time: when, aware.
        actor: who did it.
        kind: name, rename, merge, split, not, …
        people: the present names of whom it is about, and of whom it removed.
        undone: when it was undone, or None.
        undoable: whether it still holds what undoing takes.
    """

    number: int
    time: datetime
    actor: str
    kind: str
    people: tuple[str, ...]
    undone: datetime | None
    undoable: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "number": self.number,
            "time": self.time.isoformat(),
            "actor": self.actor,
            "kind": self.kind,
            "people": list(self.people),
            "undone": None if self.undone is None else self.undone.isoformat(),
            "undoable": self.undoable,
        }


def move_rows(
    session: Session, journal: Journal, table: str, ids: Sequence[int], person: Person | None
) -> None:
    """Make rows somebody's and note whose they were; an index follows its templates.

    Args:
        session: a transaction, as `Store` opens it.
        journal: of the operation.
        table: a key of `OWNED`.
        ids: of the rows; those that are this person's already are left alone.
        person: None makes them nobody's.
    """
    key, owner = OWNED[table]
    session.flush()
    rows: list[tuple[str | None, int]] = []
    for some in chunks(list(ids)):
        query = select(Person.uid, key).select_from(key.class_)
        query = query.outerjoin(Person, Person.id == owner).where(key.in_(some))
        rows.extend((row[0], row[1]) for row in session.execute(query))
    after = None if person is None else person.uid
    rows = sorted((row for row in rows if row[0] != after), key=lambda row: (row[0] or "", row[1]))
    for before, members in groupby(rows, key=lambda row: row[0]):
        journal.moves.append((table, before, after, [number for _, number in members]))
        journal.people.update(uid for uid in (before, after) if uid is not None)
    _give(session, table, [number for _, number in rows], person)


def rows_of(session: Session, table: str, person: Person) -> list[int]:
    """The rows of a table of `OWNED` that are somebody's."""
    key, owner = OWNED[table]
    session.flush()
    return list(session.scalars(select(key).where(owner == person.id).order_by(key)))


def drop_facts(session: Session, journal: Journal, facts: Sequence[Fact]) -> None:
    """Delete facts that an operation contradicts; undoing it brings them back."""
    columns = ("id", "operation_id", "kind", "face_id", "other_id")
    for fact in facts:
        person = None if fact.person_id is None else session.get(Person, fact.person_id)
        values = {name: getattr(fact, name) for name in columns}
        journal.dropped.append(values | {"person": None if person is None else person.uid})
        session.delete(fact)
    session.flush()


def record_operation(session: Session, kind: str, journal: Journal) -> Operation:
    """Keep that something was done, so that it can be undone."""
    operation = Operation(kind=kind, actor=actor_of(session), inverse=journal.inverse())
    session.add(operation)
    session.flush()
    about = [{"operation_id": operation.id, "person_uid": uid} for uid in sorted(journal.people)]
    if about:
        session.execute(insert(OperationPerson), about)
    return operation


def list_operations(session: Session, last: int | None = None) -> list[OperationSummary]:
    """What was done, the latest first.

    Args:
        session: a transaction, as `Store` opens it.
        last: only so many.
    """
    operations = session.scalars(select(Operation).order_by(Operation.id.desc()).limit(last)).all()
    return [_summary(session, operation) for operation in operations]


def find_operation(session: Session, number: int | None = None) -> Operation:
    """The operation of a number; None: the latest that is not undone and could be.

    Raises:
        UnknownOperation: there is none.
    """
    if number is not None:
        found = session.get(Operation, number)
    else:
        standing = select(Operation).where(Operation.undone.is_(None))
        latest = standing.order_by(Operation.id.desc())
        found = next((row for row in session.scalars(latest) if row.inverse is not None), None)
    if found is None:
        raise UnknownOperation(number)
    return found


def undo_operation(session: Session, number: int | None = None) -> OperationSummary:
    """Undo an operation: rows, names and people are again as they were before it.

    Args:
        session: a transaction, as `Store` opens it; it must not be committed after an error.
        number: None is the latest that is not undone.

    Raises:
        UnknownOperation: there is none.
        CannotUndo: it is undone already, somebody it was about is forgotten, or a later
            operation, which is named, stands in the way.
    """
    operation = find_operation(session, number)
    inverse = operation.inverse
    if operation.undone is not None:
        raise CannotUndo(operation.id, operation.kind, "it is undone already")
    if inverse is None:
        raise CannotUndo(operation.id, operation.kind, "somebody it was about has been forgotten")
    summary = _summary(session, operation)
    _Undoing(session, operation).run(inverse)
    operation.undone = now()
    session.flush()
    details = {"operation": operation.id, "uid": operation.uid, "kind": operation.kind}
    people = select(OperationPerson.person_uid).where(OperationPerson.operation_id == operation.id)
    about = sorted(session.scalars(people))
    append_event(session, "undone", details=details | {"people": about})
    return summary


def forget_operations(session: Session, person_uid: str) -> int:
    """Take from every operation about somebody what undoing it would bring back.

    Args:
        session: a transaction, as `Store` opens it.
        person_uid: theirs; the person may be gone already.

    Returns:
        How many operations it was.
    """
    forgotten = 0
    for uid in merged_uids(session, person_uid):
        about = select(OperationPerson.operation_id).where(OperationPerson.person_uid == uid)
        numbers = list(session.scalars(about))
        for some in chunks(numbers):
            session.execute(update(Operation).where(Operation.id.in_(some)).values(inverse=None))
        forgotten += len(numbers)
    return forgotten


class _Undoing:
    """One undoing: the steps of an inverse, each checked before it changes anything."""

    def __init__(self, session: Session, operation: Operation) -> None:
        self.session = session
        self.operation = operation

    def run(self, inverse: Mapping[str, Any]) -> None:
        """Take every step of an inverse."""
        if inverse["removed"] is not None:
            self._bring_back(inverse["removed"])
        if inverse["renamed"] is not None:
            self._rename_back(*inverse["renamed"])
        for table, before, after, ids in reversed(inverse["moves"]):
            self._move_back(table, before, after, ids)
        self._regroup(inverse)
        self.session.execute(delete(Fact).where(Fact.operation_id == self.operation.id))
        self._restore_facts(inverse["dropped"])
        if inverse["created"] is not None:
            self._remove_created(inverse["created"])

    def _bring_back(self, values: Mapping[str, Any]) -> None:
        self._require_free(values["name"], values["site_id"])
        columns = {
            column.name: datetime.fromisoformat(value)
            if isinstance(column.type, UtcDateTime)
            else value
            for column in Person.__table__.columns
            if (value := values.get(column.name)) is not None
        }
        self.session.execute(insert(Person).values(columns))

    def _rename_back(self, uid: str, before: str, after: str) -> None:
        person = self._person(uid)
        if person.name != after:
            raise self._in_the_way()
        self._require_free(before, person.site_id)
        person.name = before
        self.session.flush()

    def _move_back(
        self, table: str, before: str | None, after: str | None, ids: Sequence[int]
    ) -> None:
        key, owner = OWNED[table]
        target = None if before is None else self._person(before)
        holder = None if after is None else self._person(after).id
        there: list[tuple[int, int | None]] = []
        for some in chunks(ids):
            query = select(key, owner).where(key.in_(some))
            there.extend((row[0], row[1]) for row in self.session.execute(query))
        if table == "templates" and any(now_of != holder for _, now_of in there):
            raise self._in_the_way()
        _give(self.session, table, [row for row, now_of in there if now_of == holder], target)

    def _regroup(self, inverse: Mapping[str, Any]) -> None:
        """Seat the faces of clusters as they were, and take back a whole clustering."""
        for before, after, ids in reversed(inverse.get("seats", [])):
            self._seat_back(before, after, ids)
        for some in chunks(inverse.get("made", [])):
            taken = exists().where(ClusterFace.cluster_id == Cluster.id)
            self.session.execute(delete(Cluster).where(Cluster.id.in_(some), ~taken))
        run = None if inverse.get("run") is None else self.session.get(Run, inverse["run"])
        if run is not None:
            later = select(Run.id).where(Run.id > run.id, in_force()).limit(1)
            if self.session.scalar(later) is not None:
                kind, number = self.operation.kind, self.operation.id
                raise CannotUndo(number, kind, "undo the clustering that came after it first")
            run.state = UNDONE

    def _seat_back(self, before: int, after: int, ids: Sequence[int]) -> None:
        clusters = (self.session.get(Cluster, before), self.session.get(Cluster, after))
        runs = {None if cluster is None else cluster.run_id for cluster in clusters}
        if len(runs) != 1 or None in runs:
            raise self._in_the_way()
        for some in chunks(ids):
            seated = select(ClusterFace.template_id, ClusterFace.cluster_id)
            seated = seated.join(Cluster, Cluster.id == ClusterFace.cluster_id)
            seated = seated.where(Cluster.run_id.in_(runs), ClusterFace.template_id.in_(some))
            if any(row[1] != after for row in self.session.execute(seated)):
                raise self._in_the_way()
            there = (ClusterFace.cluster_id == after, ClusterFace.template_id.in_(some))
            self.session.execute(update(ClusterFace).where(*there).values(cluster_id=before))

    def _restore_facts(self, facts: Iterable[Mapping[str, Any]]) -> None:
        for fact in facts:
            faces = {fact["face_id"], fact["other_id"]} - {None}
            counted = select(func.count()).select_from(Face).where(Face.id.in_(faces))
            made_by = self.session.get(Operation, fact["operation_id"])
            if self.session.scalar(counted) != len(faces) or made_by is None or made_by.undone:
                continue  # forgotten, or taken back meanwhile
            person = None if fact["person"] is None else self._person(fact["person"]).id
            values = {name: value for name, value in fact.items() if name != "person"}
            self.session.add(Fact(**values, person_id=person))
        self.session.flush()

    def _remove_created(self, uid: str) -> None:
        """Remove the person the operation made, unless they have got templates since.

        The log forgets their name: nobody of that name would be left to be forgotten.
        """
        if self._later() is not None:
            raise self._in_the_way()
        person = self._person(uid)
        has_templates = select(exists().where(Template.person_id == person.id))
        if not self.session.scalar(has_templates):
            erase_private(self.session, uid)
            forget_operations(self.session, uid)
            self.session.execute(delete(Person).where(Person.id == person.id))

    def _require_free(self, name: str, site_id: int) -> None:
        taken = select(Person.uid).where(Person.name == name, Person.site_id == site_id)
        if self.session.scalar(taken) is not None:
            kind, number = self.operation.kind, self.operation.id
            raise CannotUndo(number, kind, f"somebody else is called {name!r} now: rename them")

    def _person(self, uid: str) -> Person:
        person = self.session.scalar(select(Person).where(Person.uid == uid))
        if person is None:
            raise self._in_the_way()
        return person

    def _in_the_way(self) -> CannotUndo:
        later = self._later()
        reason = "the people or faces it changed are no longer as it left them"
        if later is not None:
            reason = f"undo operation {later.id} ({later.kind}) first"
        return CannotUndo(self.operation.id, self.operation.kind, reason)

    def _later(self) -> Operation | None:
        """The latest later operation about the same people that stands."""
        about = OperationPerson.operation_id
        mine = select(OperationPerson.person_uid).where(about == self.operation.id)
        shared = select(about).where(OperationPerson.person_uid.in_(mine))
        later = select(Operation).where(
            Operation.id > self.operation.id, Operation.undone.is_(None), Operation.id.in_(shared)
        )
        return self.session.scalar(later.order_by(Operation.id.desc()).limit(1))


def _give(session: Session, table: str, ids: Sequence[int], person: Person | None) -> None:
    """Make rows somebody's; templates by way of `assign_person`, which an index follows."""
    if table == "templates":
        assign_person(session, ids, person)
        return
    key, owner = OWNED[table]
    for some in chunks(ids):
        given = update(key.class_).where(key.in_(some))
        session.execute(given.values({owner: None if person is None else person.id}))


def _summary(session: Session, operation: Operation) -> OperationSummary:
    about = select(OperationPerson.person_uid).where(OperationPerson.operation_id == operation.id)
    names = set(session.scalars(select(Person.name).where(Person.uid.in_(about))))
    inverse = operation.inverse or {}
    removed = inverse.get("removed")
    if removed is not None:
        names.add(removed["name"])
    return OperationSummary(
        number=operation.id,
        time=operation.time,
        actor=operation.actor,
        kind=operation.kind,
        people=tuple(sorted(names)),
        undone=operation.undone,
        undoable=operation.undone is None and operation.inverse is not None,
    )
