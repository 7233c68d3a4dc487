"""Which changes of the clusters a person should look at, kept with the run until answered.

A suggestion is kept under the uids of its clusters and templates, which stay, not under numbers.

Letters: N faces, D dimensions, C clusters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from enroll.clustering_known import Known
from enroll.clustering_result import Suggestion
from index.kmeans import sums_of
from index.suggest import suggestions
from store.clusters import clusters_of
from store.ledger import Operation
from store.photos import chunks
from store.records import ClusterFace, Run
from store.schema import Template
from verify.calibration import Calibration
from verify.probability import fit_logistic

LEAST, MOST = 0.1, 50  # the least probability of a suggestion, and how many are kept
SUGGESTED, ANSWERS = "suggestions", "answers"  # in the parameters of a run
Odds = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def odds_of(calibration: Calibration, labels: NDArray[np.int64]) -> Odds | None:
    """The log of the odds that two faces of a library are one person, by their similarity.

    The prior is the share of pairs that share a cluster, so that it follows the library.

    Args:
        calibration: of the encoder.
        labels: int64 (N,), the clusters.

    Returns:
        A function of similarities; None where the calibration has no pair of one person.
    """
    curve = calibration.probability
    fitted = (
        fit_logistic(calibration.nonmated, calibration.mated)
        if curve is None
        else (curve.slope, curve.intercept)
    )
    if fitted is None or len(labels) <= 1:
        return None
    sizes = np.unique(labels, return_counts=True)[1].astype(np.float64)
    pairs = len(labels) * (len(labels) - 1) / 2
    prior = ((sizes * (sizes - 1)).sum() / 2 + 0.5) / (pairs + 1)
    shift = fitted[1] + math.log(prior) - math.log1p(-prior)
    return lambda similarities: fitted[0] * similarities + shift


def found_suggestions(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    known: Known,
    odds: Odds,
    changed: NDArray[np.int64] | None = None,
) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Merges and splits worth a look, the most probable first.

    Args:
        vectors: float32 (N, D), unit rows.
        labels: int64 (N,), numbers of their clusters.
        known: pairs of rows 0 to N - 1.
        odds: of `odds_of`.
        changed: int64 (C,), only suggestions about these clusters; None: all.

    Returns:
        Pairs of what to keep, with the numbers of the clusters, and int64 rows of the part that a
        split would take away (of a merge: none).
    """
    rows = np.arange(len(labels))
    if changed is not None:
        rows = np.flatnonzero(np.isin(labels, _concerned(vectors, labels, odds, changed)))
    apart, together = (
        np.searchsorted(rows, pairs[np.isin(pairs, rows).all(axis=1)])
        for pairs in (known.apart, known.together)
    )
    found = suggestions(vectors[rows], labels[rows], odds, apart, together, LEAST, MOST)
    told = []
    for one in found:
        if changed is not None and not np.isin(one.labels, changed).any():
            continue
        away = rows[one.other] if one.kind == "split" else rows[:0]
        values = {"kind": one.kind, "clusters": list(one.labels)}
        numbers = {"probability": one.probability, "similarity": one.similarity}
        told.append((values | {key: round(number, 6) for key, number in numbers.items()}, away))
    return told


def _concerned(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    odds: Odds,
    changed: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The changed clusters and those that may be one with any of them."""
    names, places = np.unique(labels, return_inverse=True)
    sizes = np.bincount(places, minlength=len(names))
    means = sums_of(vectors, places, len(names)) / sizes[:, np.newaxis]
    here = np.isin(names, changed)
    floor = math.log(LEAST) - math.log1p(-LEAST)
    near = (odds(means[here] @ means.T) >= floor).any(axis=0) if here.any() else here
    return np.asarray(names[here | near], dtype=np.int64)


def kept_form(
    values: Mapping[str, Any], uids: Mapping[int, str], away: Sequence[str]
) -> dict[str, Any]:
    """A suggestion as it is kept with a run.

    Args:
        values: as `found_suggestions` told it.
        uids: number → uid of the cluster.
        away: uids of the templates that a split would take away.
    """
    clusters = [uids[number] for number in values["clusters"]]
    words = "\n".join([values["kind"], *sorted(clusters), *sorted(away)])
    key = hashlib.sha256(words.encode()).hexdigest()[:16]
    return {**values, "id": key, "clusters": clusters, "away": sorted(away)}


def pending(session: Session, run: Run) -> tuple[Suggestion, ...]:
    """The suggestions of a run that nobody has answered and that still fit its clusters."""
    kept = (run.parameters or {}).get(SUGGESTED, [])
    if not kept:
        return ()
    answers = (run.parameters or {}).get(ANSWERS, {})
    undone = _undone(session, [a["operation"] for a in answers.values() if a["operation"]])
    closed = {key for key, answer in answers.items() if answer["operation"] not in undone}
    clusters = {one.uid: one for one in clusters_of(session, run) if one.uid is not None}
    told = []
    for one in kept:
        here = [clusters.get(uid) for uid in one["clusters"]]
        if one["id"] in closed or any(cluster is None or not cluster.size for cluster in here):
            continue
        first, second = (cluster for cluster in here if cluster is not None)
        numbers = (first.number, second.number)
        parts = _parts(session, one, first.id, second.id)
        if all(parts):
            told.append(Suggestion(one["id"], one["kind"], one["probability"], one["similarity"],
                                   numbers, *parts))  # fmt: skip
    return tuple(told)


def _parts(
    session: Session, kept: Mapping[str, Any], one: int, other: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Templates of both sides of a suggestion about two clusters, which may be the same."""
    members = [_members(session, cluster) for cluster in dict.fromkeys((one, other))]
    if kept["kind"] == "merge" and len(members) > 1:
        return tuple(members[0]), tuple(members[1])
    away = set(kept["away"])
    staying = tuple(key for key, uid in members[0].items() if uid not in away)
    return staying, tuple(key for key, uid in members[0].items() if uid in away)


def _members(session: Session, cluster: int) -> dict[int, str]:
    """Template id → uid, of the faces of a cluster."""
    query = select(Template.id, Template.uid).join(
        ClusterFace, ClusterFace.template_id == Template.id
    )
    rows = session.execute(query.where(ClusterFace.cluster_id == cluster).order_by(Template.id))
    return {row[0]: row[1] for row in rows}


def _undone(session: Session, operations: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for some in chunks(list(operations)):
        query = select(Operation.id).where(Operation.id.in_(some), Operation.undone.is_not(None))
        found.update(session.scalars(query))
    return found
