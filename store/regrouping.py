"""What people say of clusters: these are one person, these faces are another, or of that one.

Each is an operation that `operations.undo_operation` takes back, and leaves facts that every later
clustering respects. Names follow: faces get that of the cluster they come to.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product
from typing import Any, Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from store.audit import append_event
from store.clusters import cluster_faces, latest_run
from store.errors import InvalidCorrection, UnknownTemplate
from store.facts import Kind, add_facts, denied_templates, deny_person, faces_of
from store.ledger import Fact, Operation
from store.operations import Journal, drop_facts, move_rows, record_operation
from store.photos import chunks
from store.records import Cluster, ClusterFace
from store.schema import Person, Template, new_uid

TOGETHER, APART, MOVED, NAMED = "together", "apart", "move", "name"
_ALONE: Final = 1
_TYPICAL: Final = 3  # faces of a cluster that are kept apart from those of another


def merge_clusters(session: Session, clusters: Sequence[Cluster]) -> tuple[Operation, Cluster]:
    """Say that clusters of one run are one person: their faces are one cluster from now on.

    The faces go to the one that has a name, else to the lowest number; faces without a name get
    that of the cluster, unless they are known not to be that person.

    Args:
        session: a transaction, as `Store` opens it.
        clusters: two or more, as `find_cluster` gave them.

    Returns:
        The operation, and the cluster that has the faces now.

    Raises:
        InvalidCorrection: fewer than two clusters, or they have different names.
    """
    chosen = {cluster.id: cluster for cluster in sorted(clusters, key=lambda one: one.number)}
    if len(chosen) <= _ALONE:
        raise InvalidCorrection("Say which clusters: at least two numbers.")
    names = {one.person_id for one in chosen.values() if one.person_id is not None}
    if len(names) > 1:
        raise InvalidCorrection(
            "These clusters are people of different names; make the people one with `vultus people "
            "merge`, then cluster again."
        )
    target = next((one for one in chosen.values() if one.person_id), next(iter(chosen.values())))
    person = None if target.person_id is None else session.get(Person, target.person_id)
    members = {key: cluster_faces(session, one) for key, one in chosen.items()}
    ids = sorted(template for some in members.values() for template in some)
    faces = sorted(set(faces_of(session, ids).values()))
    journal = Journal(people=set() if person is None else {person.uid})
    drop_facts(session, journal, _between(session, "different", faces, faces))
    for key, some in members.items():
        if key != target.id:
            _seat(session, journal, key, target.id, some)
    if person is not None:
        denied = denied_templates(session, ids, person)
        free = [one for one in _unnamed(session, ids) if one not in denied]
        move_rows(session, journal, "templates", free, person)
    operation = record_operation(session, TOGETHER, journal)
    add_facts(session, operation, "same", pairwise(faces))
    _tell(session, "clusters_merged", operation, person, {"clusters": sorted(chosen)})
    return operation, target


def split_cluster(session: Session, template_ids: Sequence[int]) -> tuple[Operation, Cluster]:
    """Say that some faces of the last run's clusters are another person: a cluster of their own.

    Args:
        session: a transaction, as `Store` opens it.
        template_ids: the faces, of one person each and the same; what they were called is gone.

    Raises:
        UnknownTemplate: some are in no cluster.
        InvalidCorrection: none are given, or they are a whole cluster already.
    """
    seats = _seats(session, template_ids)
    rest = {key: _others(session, key, some) for key, some in seats.items()}
    if len(seats) == _ALONE and not any(rest.values()):
        raise InvalidCorrection("These faces are all of their cluster: nothing would stay in it.")
    run_id = session.scalars(select(Cluster.run_id).where(Cluster.id.in_(seats))).first()
    highest = session.scalar(select(func.max(Cluster.number)).where(Cluster.run_id == run_id))
    target = Cluster(run_id=run_id, number=(highest or 0) + 1, uid=new_uid())
    session.add(target)
    session.flush()
    journal = Journal(made=[target.id])
    operation, faces = _moved(session, journal, seats, target, APART)
    others = faces_of(session, [one for some in rest.values() for one in some])
    add_facts(session, operation, "different", product(faces[:1], sorted(set(others.values()))))
    return operation, target


def move_faces(session: Session, template_ids: Sequence[int], target: Cluster) -> Operation:
    """Say that faces of the last run's clusters belong to another cluster.

    They get its name, or lose theirs where it has none.

    Args:
        session: a transaction, as `Store` opens it.
        template_ids: the faces.
        target: the cluster, as `find_cluster` gave it.

    Raises:
        UnknownTemplate: some are in no cluster.
        InvalidCorrection: none are given, or all of them are there already.
    """
    seats = _seats(session, template_ids)
    seats.pop(target.id, None)
    if not seats:
        raise InvalidCorrection("These faces are in that cluster already.")
    rest = {key: _others(session, key, some)[:_TYPICAL] for key, some in seats.items()}
    home = faces_of(session, cluster_faces(session, target)[:1])
    journal = Journal()
    operation, faces = _moved(session, journal, seats, target, MOVED)
    add_facts(session, operation, "same", product(home.values(), faces[:1]))
    others = faces_of(session, [one for some in rest.values() for one in some])
    add_facts(session, operation, "different", product(faces[:1], sorted(set(others.values()))))
    return operation


def keep_together(session: Session, template_ids: Sequence[int]) -> Operation:
    """Say that faces are of one person; no cluster changes."""
    faces = sorted(set(faces_of(session, template_ids).values()))
    journal = Journal()
    drop_facts(session, journal, _between(session, "different", faces, faces))
    operation = record_operation(session, TOGETHER, journal)
    add_facts(session, operation, "same", pairwise(faces))
    _tell(session, "kept_together", operation, None, {"faces": len(faces)})
    return operation


def keep_apart(session: Session, one: Sequence[int], other: Sequence[int]) -> Operation:
    """Say that two sets of templates are two people; no cluster changes."""
    faces = [sorted(set(faces_of(session, some).values())) for some in (one, other)]
    journal = Journal()
    drop_facts(session, journal, _between(session, "same", *faces))
    operation = record_operation(session, APART, journal)
    pairs = product(faces[0][:_TYPICAL], faces[1][:_TYPICAL])
    add_facts(session, operation, "different", (pair for pair in pairs if pair[0] != pair[1]))
    _tell(session, "kept_apart", operation, None, {"faces": [len(some) for some in faces]})
    return operation


def name_faces(
    session: Session, template_ids: Sequence[int], person: Person, *, created: bool = False
) -> Operation:
    """Say whose faces without a name are; no cluster changes.

    Args:
        session: a transaction, as `Store` opens it.
        template_ids: the faces.
        person: whose they are.
        created: whether the person was made for this, so that undoing it removes them.
    """
    journal = Journal(people={person.uid}, created=person.uid if created else None)
    move_rows(session, journal, "templates", sorted(template_ids), person)
    operation = record_operation(session, NAMED, journal)
    _tell(session, "named", operation, person, {"templates": len(template_ids)})
    return operation


def _moved(
    session: Session,
    journal: Journal,
    seats: Mapping[int, Sequence[int]],
    target: Cluster,
    kind: str,
) -> tuple[Operation, list[int]]:
    """Seat templates in another cluster, with its name: the operation, and ids of their faces."""
    ids = sorted(template for some in seats.values() for template in some)
    faces = sorted(set(faces_of(session, ids).values()))
    kept = [one for key in seats for one in _others(session, key, seats[key])]
    staying = sorted(set(faces_of(session, kept).values()) - set(faces))
    there = sorted(set(faces_of(session, cluster_faces(session, target)).values()) - set(faces))
    drop_facts(session, journal, _between(session, "same", faces, staying))
    drop_facts(session, journal, _between(session, "different", faces, faces + there))
    person = None if target.person_id is None else session.get(Person, target.person_id)
    owners = _owners(session, ids)
    if person is not None:
        denials = (Fact.kind == "different", Fact.person_id == person.id)
        drop_facts(session, journal, _facts(session, faces, *denials))
    for key, some in seats.items():
        _seat(session, journal, key, target.id, some)
    move_rows(session, journal, "templates", ids, person)
    operation = record_operation(session, kind, journal)
    for owner_id, whose in owners.items():
        owner = session.get(Person, owner_id)
        if owner is not None and (person is None or owner.id != person.id):
            deny_person(session, operation, whose, owner)
    add_facts(session, operation, "same", pairwise(faces))
    details = {"templates": len(ids), "from": sorted(seats), "to": target.id}
    _tell(session, "faces_moved", operation, person, details)
    return operation, faces


def _seats(session: Session, template_ids: Sequence[int]) -> dict[int, list[int]]:
    """Cluster id of the last run → those of some templates that lie in it."""
    run = latest_run(session)
    wanted = list(dict.fromkeys(int(template) for template in template_ids))
    if not wanted:
        raise InvalidCorrection("Say which faces: numbers of templates.")
    seats: dict[int, list[int]] = {}
    for some in chunks(wanted if run is not None else []):
        query = select(ClusterFace.cluster_id, ClusterFace.template_id)
        query = query.join(Cluster, Cluster.id == ClusterFace.cluster_id)
        query = query.where(Cluster.run_id == getattr(run, "id", None))
        for cluster, template in session.execute(query.where(ClusterFace.template_id.in_(some))):
            seats.setdefault(cluster, []).append(template)
    found = {template for some in seats.values() for template in some}
    if missing := [template for template in wanted if template not in found]:
        raise UnknownTemplate(missing)
    return seats


def _others(session: Session, cluster_id: int, template_ids: Iterable[int]) -> list[int]:
    """The templates of a cluster that are not among some."""
    query = select(ClusterFace.template_id).where(ClusterFace.cluster_id == cluster_id)
    gone = set(template_ids)
    there = session.scalars(query.order_by(ClusterFace.template_id))
    return [template for template in there if template not in gone]


def _seat(
    session: Session, journal: Journal, before: int, after: int, template_ids: Sequence[int]
) -> None:
    """Move templates from one cluster to another, and note it."""
    for some in chunks(list(template_ids)):
        there = (ClusterFace.cluster_id == before, ClusterFace.template_id.in_(some))
        session.execute(update(ClusterFace).where(*there).values(cluster_id=after))
    journal.seats.append((before, after, sorted(template_ids)))


def _unnamed(session: Session, template_ids: Sequence[int]) -> list[int]:
    found: list[int] = []
    for some in chunks(list(template_ids)):
        query = select(Template.id).where(Template.id.in_(some), Template.person_id.is_(None))
        found.extend(session.scalars(query))
    return sorted(found)


def _owners(session: Session, template_ids: Sequence[int]) -> dict[int, list[int]]:
    """Person id → the faces of those templates that are theirs."""
    found: dict[int, set[int]] = {}
    for some in chunks(list(template_ids)):
        query = select(Template.person_id, Template.face_id).where(Template.id.in_(some))
        for person, face in session.execute(query):
            if person is not None:
                found.setdefault(person, set()).add(face)
    return {person: sorted(faces) for person, faces in found.items()}


def _between(session: Session, kind: Kind, one: list[int], other: list[int]) -> list[Fact]:
    """The facts of a kind that have one face in each of two sets."""
    here, there = set(one), set(other)
    found = _facts(session, one, Fact.kind == kind, Fact.other_id.is_not(None))
    return [
        fact
        for fact in found
        if (fact.face_id in here and fact.other_id in there)
        or (fact.face_id in there and fact.other_id in here)
    ]


def _facts(session: Session, face_ids: Sequence[int], *where: Any) -> list[Fact]:  # noqa: ANN401 - conditions
    found: dict[int, Fact] = {}
    for some in chunks(list(face_ids)):
        about = or_(Fact.face_id.in_(some), Fact.other_id.in_(some))
        rows = session.scalars(select(Fact).where(about, *where))
        found.update((fact.id, fact) for fact in rows)
    return [found[key] for key in sorted(found)]


def _tell(
    session: Session,
    action: str,
    operation: Operation,
    person: Person | None,
    details: Mapping[str, Any],
) -> None:
    """Append what was said of clusters to the log, with the number of the operation."""
    uid, private = (None, None) if person is None else (person.uid, {"name": person.name})
    append_event(session, action, uid, {**details, "operation": operation.id}, private)
