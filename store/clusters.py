"""Clustering runs: what a clustering of a library found, and the names its clusters were given.

A cluster has a number, which people see, and a uid, which it keeps from run to run; what else
people say of clusters is in `regrouping`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from store.audit import append_event
from store.errors import UnknownCluster
from store.facts import denied_templates
from store.ledger import Operation
from store.operations import APPLIED, Journal, in_force, move_rows, record_operation
from store.photos import chunks
from store.records import Cluster, ClusterFace, Run
from store.schema import Person, new_uid

CLUSTERED = "cluster"


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """A cluster, how many faces it has, and its person once it is named."""

    id: int
    number: int
    size: int
    person_id: int | None
    name: str | None
    uid: str | None = None


def save_run(
    session: Session,
    *,
    space: str,
    method: str,
    source: str,
    parameters: Mapping[str, Any],
    clusters: Mapping[int, Sequence[int]],
    uids: Mapping[int, str] | None = None,
    people: Mapping[int, int] | None = None,
) -> Run:
    """Keep the result of a clustering.

    Args:
        session: a transaction, as `Store` opens it.
        space: the vector space it was made in.
        method: how, for example "graph".
        source: of which library, for example a folder.
        parameters: what the method was told, as JSON can hold it.
        clusters: number → ids of the templates in that cluster, each id once.
        uids: number → the uid it keeps from an earlier run; others get a new one.
        people: number → the row of the person whom it shows.
    """
    known, named = uids or {}, people or {}
    run = Run(space=space, method=method, source=source, parameters=dict(parameters), state=APPLIED)
    session.add(run)
    session.flush()
    rows = {
        number: Cluster(
            run_id=run.id, number=int(number), uid=known.get(number) or new_uid(),
            person_id=named.get(number),
        )
        for number in clusters
    }  # fmt: skip
    session.add_all(rows.values())
    session.flush()
    members = [
        {"cluster_id": rows[number].id, "template_id": int(template_id)}
        for number, template_ids in clusters.items()
        for template_id in template_ids
    ]
    if members:
        session.execute(insert(ClusterFace), members)
    return run


def record_run(session: Session, run: Run) -> Operation:
    """Keep that a library was clustered; undoing it brings the clustering before back."""
    return record_operation(session, CLUSTERED, Journal(run=run.id))


def latest_run(session: Session, source: str | None = None) -> Run | None:
    """The last clustering that is not undone; None before the first.

    Args:
        session: a transaction, as `Store` opens it.
        source: only of this library.
    """
    query = select(Run).where(in_force())
    if source is not None:
        query = query.where(Run.source == source)
    return session.scalar(query.order_by(Run.id.desc()).limit(1))


def clusters_of(session: Session, run: Run) -> list[ClusterSummary]:
    """The clusters of a run, by number; one whose faces were all forgotten has size 0."""
    query = (
        select(
            Cluster.id,
            Cluster.number,
            func.count(ClusterFace.template_id),
            Cluster.person_id,
            Person.name,
            Cluster.uid,
        )
        .outerjoin(ClusterFace, ClusterFace.cluster_id == Cluster.id)
        .outerjoin(Person, Person.id == Cluster.person_id)
        .where(Cluster.run_id == run.id)
        .group_by(Cluster.id, Person.name)
        .order_by(Cluster.number)
    )
    return [ClusterSummary(*row) for row in session.execute(query)]


def numbers_of(session: Session, run: Run) -> dict[int, int]:
    """Template id → the number of its cluster in a run."""
    query = select(ClusterFace.template_id, Cluster.number)
    query = query.join(Cluster, Cluster.id == ClusterFace.cluster_id)
    rows = session.execute(query.where(Cluster.run_id == run.id))
    return {row[0]: row[1] for row in rows}


def find_cluster(session: Session, number: int, run: Run | None = None) -> Cluster:
    """The cluster of that number.

    Args:
        session: a transaction, as `Store` opens it.
        number: as the run numbered it.
        run: None is the last one.

    Raises:
        UnknownCluster: there is none.
    """
    run = latest_run(session) if run is None else run
    if run is not None:
        query = select(Cluster).where(Cluster.run_id == run.id, Cluster.number == number)
        cluster = session.scalar(query)
        if cluster is not None:
            return cluster
    raise UnknownCluster(number)


def cluster_faces(session: Session, cluster: Cluster) -> list[int]:
    """The ids of the templates in a cluster, rising."""
    query = select(ClusterFace.template_id).where(ClusterFace.cluster_id == cluster.id)
    return list(session.scalars(query.order_by(ClusterFace.template_id)))


def first_faces(session: Session, cluster_ids: Sequence[int]) -> dict[int, int]:
    """Cluster id → the id of its first template; clusters without any are left out."""
    found: dict[int, int] = {}
    for some in chunks(list(cluster_ids)):
        query = select(ClusterFace.cluster_id, func.min(ClusterFace.template_id))
        query = query.where(ClusterFace.cluster_id.in_(some)).group_by(ClusterFace.cluster_id)
        found.update((row[0], row[1]) for row in session.execute(query))
    return found


def name_cluster(
    session: Session, cluster: Cluster, person: Person | None, *, created: bool = False
) -> int:
    """Say who a cluster is: its templates become that person's, and the index follows.

    Faces that are known not to be that person are left out. It is an operation that can be undone.

    Args:
        session: a transaction, as `Store` opens it.
        cluster: as `find_cluster` gave it.
        person: None takes the name away again.
        created: whether the person was made for this, so that undoing it removes them.

    Returns:
        How many templates it was.
    """
    template_ids = cluster_faces(session, cluster)
    if person is not None:
        denied = denied_templates(session, template_ids, person)
        template_ids = [template for template in template_ids if template not in denied]
    journal = Journal(people=set() if person is None else {person.uid})
    journal.created = person.uid if created and person is not None else None
    move_rows(session, journal, "templates", template_ids, person)
    move_rows(session, journal, "clusters", [cluster.id], person)
    session.refresh(cluster)
    operation = record_operation(session, "name", journal)
    append_event(
        session,
        "named" if person is not None else "name_taken_away",
        None if person is None else person.uid,
        {"cluster": cluster.id, "templates": len(template_ids), "operation": operation.id},
        None if person is None else {"name": person.name},
    )
    return len(template_ids)
