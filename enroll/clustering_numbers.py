"""Clusters keep their numbers and uids from run to run, and what changed is told.

A cluster is the one before that it shares most faces with (`index.partition.match_labels`). In the
same library it keeps that number; new clusters get numbers that were never used there. Another
library is numbered afresh, the largest first, and its clusters keep their uids.

Letters: N faces, C clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sqlalchemy.orm import Session

from enroll.clustering_result import Change
from enroll.clustering_suggest import ANSWERS, SUGGESTED
from index.partition import match_labels
from store.clusters import clusters_of, latest_run, numbers_of
from store.schema import new_uid
from store.templates import LibraryFaces


@dataclass(frozen=True, slots=True)
class Before:
    """The run before.

    Attributes:
        same: whether it was of the same library.
        labels: int64 (N,), the number of the cluster of each face; -1 where it was in none.
        uids: number → uid.
        sizes: number → how many faces it had; the numbers that were ever used.
        method: how it was made, in words; "" where there was none.
        curve: how k was chosen then, if it was.
        suggested: the suggestions kept with it.
        answers: the answers to them.
        space: the vector space it was made in.
    """

    same: bool
    labels: NDArray[np.int64]
    uids: Mapping[int, str]
    sizes: Mapping[int, int]
    method: str = ""
    curve: Mapping[str, Any] | None = None
    suggested: tuple[dict[str, Any], ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)
    space: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Clusters under their numbers.

    Attributes:
        labels: int64 (N,), the number of each face's cluster.
        rows: number → int64 rows, the most typical first; the largest cluster first.
        uids: number → uid.
    """

    labels: NDArray[np.int64]
    rows: Mapping[int, NDArray[np.int64]]
    uids: Mapping[int, str]


def before_of(session: Session, ids: NDArray[np.int64], source: str) -> Before:
    """The last run of a library, or of any other where there was none.

    Args:
        session: a transaction.
        ids: int64 (N,), templates.
        source: the library.
    """
    own = latest_run(session, source)
    run = latest_run(session) if own is None else own
    if run is None:
        return Before(False, np.full(len(ids), -1, dtype=np.int64), {}, {})
    number = numbers_of(session, run)
    labels = np.array([number.get(key, -1) for key in ids.tolist()], dtype=np.int64)
    clusters = clusters_of(session, run)
    known = run.parameters or {}
    return Before(
        own is not None, labels, {one.number: one.uid for one in clusters if one.uid},
        {one.number: one.size for one in clusters}, run.method, known.get("curve"),
        tuple(known.get(SUGGESTED, ())), known.get(ANSWERS, {}), run.space,
    )  # fmt: skip


def numbered(
    faces: LibraryFaces, labels: NDArray[np.int64], before: Before, *, grew: bool = False
) -> Numbers:
    """Give clusters their numbers and uids.

    Args:
        faces: N faces.
        labels: int64 (N,), any labels.
        before: the run before.
        grew: whether labels are the numbers of the run before, or above all of them.
    """
    matched = not grew and (before.labels >= 0).any()
    kept = match_labels(before.labels, labels) if matched else labels
    old = np.unique(before.labels[before.labels >= 0])
    order = np.argsort(kept, kind="stable")
    edges = np.flatnonzero(np.diff(kept[order])) + 1
    groups = np.split(order, edges) if len(order) else []
    groups.sort(key=lambda rows: (-len(rows), int(faces.ids[rows[0]])))
    following = max(before.sizes, default=0) + 1 if before.same else 1
    found: dict[int, NDArray[np.int64]] = {}
    uids: dict[int, str] = {}
    for rows in groups:
        label = int(kept[rows[0]])
        stays = len(old) > 0 and bool(np.isin(label, old))
        number = label if stays and before.same else following
        following += number == following
        found[number] = _typical_first(faces, rows)
        uids[number] = (before.uids.get(label) if stays else None) or new_uid()
    after = np.empty(len(labels), dtype=np.int64)
    for number, rows in found.items():
        after[rows] = number
    ranked = sorted(found, key=lambda number: (-len(found[number]), number))
    return Numbers(after, {number: found[number] for number in ranked}, uids)


def changes_of(before: Before, numbers: Numbers) -> tuple[Change, ...]:
    """What became of the clusters of the same library; nothing for another one."""
    if not before.same:
        return ()
    pairs = np.stack([before.labels, numbers.labels], axis=1)
    old = np.unique(before.labels[before.labels >= 0])
    new = np.unique(numbers.labels)
    edges = np.unique(pairs[pairs[:, 0] >= 0], axis=0)
    size = len(old) + len(new)
    ends = (np.searchsorted(old, edges[:, 0]), len(old) + np.searchsorted(new, edges[:, 1]))
    graph = coo_array((np.ones(len(edges)), ends), shape=(size, size))
    parts = connected_components(graph, directed=False)[1] if size else np.zeros(0)
    part_of = parts.astype(np.int64)
    row_part = part_of[len(old) + np.searchsorted(new, numbers.labels)]
    count = int(part_of.max(initial=-1)) + 1
    added = np.bincount(row_part[before.labels < 0], minlength=count)
    left = (before.labels >= 0) & (before.labels != numbers.labels)
    moved = np.bincount(row_part[left], minlength=count)
    befores, afters = _members(part_of[: len(old)], old), _members(part_of[len(old) :], new)
    told = []
    for part in range(count):
        one, other = befores.get(part, ()), afters.get(part, ())
        if kind := _kind(len(one), len(other), int(added[part])):
            told.append(Change(kind, one, other, int(added[part]), int(moved[part])))
    there = set(old.tolist())
    gone = sorted(number for number, size in before.sizes.items() if size and number not in there)
    told += [Change("gone", (number,), (), 0, 0) for number in gone]
    return tuple(sorted(told, key=lambda change: (change.kind, change.before, change.after)))


def _kind(before: int, after: int, added: int) -> str | None:
    """What a change is called; None: nothing changed."""
    if before == 0:
        return "new"
    if before == 1 and after == 1:
        return "grown" if added else None
    if before == 1:
        return "split"
    return "merged" if after == 1 else "regrouped"


def _members(parts: NDArray[np.int64], numbers: NDArray[np.int64]) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = {}
    for part, number in zip(parts.tolist(), numbers.tolist(), strict=True):
        found.setdefault(part, []).append(number)
    return {part: tuple(some) for part, some in found.items()}


def _typical_first(faces: LibraryFaces, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of a cluster by closeness to its mean."""
    vectors = faces.vectors[rows]
    closeness = vectors @ vectors.mean(axis=0)
    return rows[np.argsort(-closeness, kind="stable")]
