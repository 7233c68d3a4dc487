"""Clustering runs: what a clustering of a library found, and the names its clusters were given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from store.errors import UnknownCluster
from store.records import Cluster, ClusterFace, Run
from store.schema import Person
from store.templates import assign_person


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """A cluster, how many faces it has, and its person once it is named."""

    id: int
    number: int
    size: int
    person_id: int | None
    name: str | None


def save_run(
    session: Session,
    *,
    space: str,
    method: str,
    source: str,
    parameters: Mapping[str, Any],
    clusters: Mapping[int, Sequence[int]],
) -> Run:
    """Keep the result of a clustering.

    Args:
        session: a transaction, as `Store` opens it.
        space: the vector space it was made in.
        method: how, for example "graph".
        source: of which library, for example a folder.
        parameters: what the method was told, as JSON can hold it.
        clusters: number → ids of the templates in that cluster, each id once.
    """
    run = Run(space=space, method=method, source=source, parameters=dict(parameters))
    session.add(run)
    session.flush()
    rows = {number: Cluster(run_id=run.id, number=int(number)) for number in clusters}
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


def latest_run(session: Session) -> Run | None:
    """The last clustering; None before the first."""
    return session.scalar(select(Run).order_by(Run.id.desc()).limit(1))


def clusters_of(session: Session, run: Run) -> list[ClusterSummary]:
    """The clusters of a run, by number; one whose faces were all forgotten has size 0."""
    query = (
        select(
            Cluster.id,
            Cluster.number,
            func.count(ClusterFace.template_id),
            Cluster.person_id,
            Person.name,
        )
        .outerjoin(ClusterFace, ClusterFace.cluster_id == Cluster.id)
        .outerjoin(Person, Person.id == Cluster.person_id)
        .where(Cluster.run_id == run.id)
        .group_by(Cluster.id, Person.name)
        .order_by(Cluster.number)
    )
    return [ClusterSummary(*row) for row in session.execute(query)]


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


def name_cluster(session: Session, cluster: Cluster, person: Person | None) -> int:
    """Say who a cluster is: its templates become that person's, and the index follows.

    Args:
        session: a transaction, as `Store` opens it.
        cluster: as `find_cluster` gave it.
        person: None takes the name away again.

    Returns:
        How many templates it was.
    """
    template_ids = cluster_faces(session, cluster)
    assign_person(session, template_ids, person)
    cluster.person_id = None if person is None else person.id
    session.flush()
    return len(template_ids)
