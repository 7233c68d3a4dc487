"""What somebody says of the clusters they look at: one person, two people, these faces there.

Each is an operation that `vultus undo` takes back, and holds on every later clustering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from sqlalchemy.orm import Session

from enroll.clustering_result import Suggestion
from enroll.clustering_suggest import ANSWERS, pending
from enroll.errors import UnknownSuggestion
from store import regrouping
from store.clusters import cluster_faces, find_cluster, latest_run
from store.consent import NONE as NO_CONSENT
from store.consent import require_consent
from store.errors import InvalidCorrection
from store.ledger import Operation
from store.records import Cluster, Run
from store.schema import Person
from store.sync import refresh, save
from verify.opening import Parts

Answer = Literal["same", "different", "skip"]
ANSWERED: Final[tuple[Answer, ...]] = ("same", "different", "skip")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Regrouped:
    """What was done to clusters.

    Attributes:
        kind: `together`, `apart`, `move` or `skip`.
        cluster: the number of the cluster that has the faces now; None: no face moved.
        operation: what `vultus undo` takes; None where nothing changed.
    """

    kind: str
    cluster: int | None
    operation: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "cluster": self.cluster, "operation": self.operation}


def merge_clusters(parts: Parts, numbers: Sequence[int]) -> Regrouped:
    """Say that clusters of the last clustering are one person.

    Args:
        parts: the gallery.
        numbers: two or more; the faces go to the one with a name, else to the lowest.

    Raises:
        UnknownCluster: no such cluster in the last clustering.
        InvalidCorrection: fewer than two, or they have different names.
        ConsentMissing: faces would get a name whose site requires consent that is not on record.
    """

    def work(session: Session) -> Regrouped:
        return _merged(session, [find_cluster(session, number) for number in numbers])

    return _followed(parts, work)


def split_cluster(parts: Parts, number: int, templates: Sequence[int]) -> Regrouped:
    """Say that some faces of a cluster are another person: they become a cluster of their own.

    Raises:
        UnknownCluster: no such cluster in the last clustering.
        UnknownTemplate: some faces are in no cluster.
        InvalidCorrection: none are given, some are of another cluster, or nothing would stay.
    """

    def work(session: Session) -> Regrouped:
        there = set(cluster_faces(session, find_cluster(session, number)))
        if strange := [template for template in templates if template not in there]:
            raise InvalidCorrection(f"Face {strange[0]} is not in cluster {number}.")
        return _told(*regrouping.split_cluster(session, templates))

    return _followed(parts, work)


def move_faces(parts: Parts, templates: Sequence[int], to: int | None) -> Regrouped:
    """Say that faces belong to another cluster of the last clustering.

    Args:
        parts: the gallery.
        templates: their ids.
        to: the number of the cluster; None: a new one of their own.

    Raises:
        UnknownCluster: no such cluster in the last clustering.
        UnknownTemplate: some faces are in no cluster.
        InvalidCorrection: none are given, or they are there already.
        ConsentMissing: they would get a name whose site requires consent that is not on record.
    """

    def work(session: Session) -> Regrouped:
        if to is None:
            return _told(*regrouping.split_cluster(session, templates))
        target = find_cluster(session, to)
        _require_consent(session, target)
        return _told(regrouping.move_faces(session, templates, target), target)

    return _followed(parts, work)


def pending_suggestions(parts: Parts) -> tuple[Suggestion, ...]:
    """The suggestions of the last clustering that nobody has answered, the most probable first."""
    with parts.store.read() as session:
        run = latest_run(session)
        return () if run is None else pending(session, run)


def answer_suggestion(parts: Parts, suggestion: str, answer: Answer) -> Regrouped:
    """Say whether the two parts of a suggestion are one person.

    `same` merges two clusters, or keeps one from being split; `different` splits one, or keeps two
    from being merged; `skip` says nothing and asks no more.

    Args:
        parts: the gallery.
        suggestion: its id.
        answer: one of `ANSWERED`.

    Raises:
        UnknownSuggestion: it is not open.
        InvalidCorrection: no such answer, or as `merge_clusters`.
        ConsentMissing: as `merge_clusters`.
    """
    if answer not in ANSWERED:
        raise InvalidCorrection(f"The answer is one of {', '.join(ANSWERED)}, not {answer!r}.")

    def work(session: Session) -> Regrouped:
        run = latest_run(session)
        hints = () if run is None else pending(session, run)
        hint = next((one for one in hints if one.id == suggestion), None)
        if run is None or hint is None:
            raise UnknownSuggestion(suggestion)
        done = _answered(session, hint, answer)
        _keep_answer(run, hint.id, answer, done.operation)
        return done

    return _followed(parts, work)


def _answered(session: Session, hint: Suggestion, answer: Answer) -> Regrouped:
    if answer == "skip":
        return Regrouped("skip", None, None)
    if answer == "same" and hint.kind == "merge":
        return _merged(session, [find_cluster(session, number) for number in hint.clusters])
    if answer == "same":
        operation = regrouping.keep_together(session, [*hint.one, *hint.other])
        return Regrouped(operation.kind, None, operation.id)
    if hint.kind == "split":
        return _told(*regrouping.split_cluster(session, hint.other))
    operation = regrouping.keep_apart(session, hint.one, hint.other)
    return Regrouped(operation.kind, None, operation.id)


def _keep_answer(run: Run, key: str, answer: Answer, operation: int | None) -> None:
    """Close a suggestion; undoing the operation opens it again."""
    known = run.parameters or {}
    answers = {**known.get(ANSWERS, {}), key: {"answer": answer, "operation": operation}}
    run.parameters = {**known, ANSWERS: answers}


def _merged(session: Session, clusters: Sequence[Cluster]) -> Regrouped:
    for cluster in clusters:
        _require_consent(session, cluster)
    return _told(*regrouping.merge_clusters(session, clusters))


def _require_consent(session: Session, cluster: Cluster) -> None:
    person = None if cluster.person_id is None else session.get(Person, cluster.person_id)
    if person is not None:
        require_consent(session, person.site, NO_CONSENT, person)


def _told(operation: Operation, cluster: Cluster) -> Regrouped:
    return Regrouped(operation.kind, cluster.number, operation.id)


def _followed(parts: Parts, work: Callable[[Session], T]) -> T:
    """Do something in one transaction; then the index follows and is saved."""
    index = parts.index
    with parts.store.begin() as session:
        done = work(session)
    refresh(index)
    save(index)
    return done
