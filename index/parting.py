"""Clusters whose two least alike parts are less alike than their own cohesion foretells are parted.

A face of somebody who looks like a person with many photos reaches the cut now and then. Whether
it is one of them shows in how alike those photos are among themselves: five photos that are 0.7
alike do not have a sixth of 0.43. The parts of the last join of average link, of a and b rows, stay
together when their mean similarity is at least

    lowest + share (cohesion - lowest),    lowest = strangers + (cut - strangers) * sqrt(shared)

where the cohesion is the mean similarity inside the parts, and the lowest that of the clusters'
cuts (`index.linkage.sized_link`). A part of one row has no cohesion: the other part's counts, so
that two rows alone are never parted. Of more photos of a person the poorest are less alike to the
others: beyond `FEW` rows the share falls as 1 / (a + b). Chosen on other people than it is measured
on; see docs/clustering.md.

Letters: N rows, D dimensions, P pairs, n rows of a cluster.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.partition import renumbered

__all__ = ["FEW", "LEAST", "SHARE", "asked_of", "lowest_cut", "parted_rows"]

LEAST = 200  # of fewer clusters few look like another: parting costs more there than it mends

SHARE = 0.35
"""How much of the way from the lowest cut to their own cohesion two parts must be alike."""

FEW = 6
"""Rows of a cluster from which on the share falls, as 1 / n."""

_MOST = 4_000  # rows of a cluster whose pairs are all compared; larger ones stay


def lowest_cut(cut: float, strangers: float, shared: float) -> float:
    """The cut that `sized_link` asks for between two clusters without end."""
    return strangers + (cut - strangers) * float(shared**0.5)


def asked_of(
    cohesion: NDArray[np.float64], rows: NDArray[Any], lowest: float, share: float = SHARE
) -> NDArray[np.float64]:
    """How alike two parts must be of this cohesion and so many rows together: float64 (n,) all."""
    return lowest + share * np.minimum(1, FEW / rows) * (cohesion - lowest)


def parted_rows(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    lowest: float,
    together: NDArray[np.int64],
    share: float = SHARE,
    offset: float = 0.0,
) -> NDArray[np.int64]:
    """Parts every cluster whose parts are not alike enough, and then the parts.

    Parts that a pair of `together` connects stay together. Clusters of more than 4,000 rows stay
    as they are.

    Args:
        vectors: float32 (N, D), rows whose products are the similarities.
        labels: int64 (N,), their clusters.
        lowest: from `lowest_cut`.
        together: int64 (P, 2), pairs of rows that share a cluster.
        share: how much of the way to their cohesion parts must be alike, 0 to 1.
        offset: what the products are above the similarities.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.
    """
    labels = renumbered(labels)
    order = np.argsort(labels, kind="stable")
    fresh = int(labels.max(initial=-1)) + 1
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if 2 < len(rows) <= _MOST:
            ties = np.searchsorted(rows, together[np.isin(together[:, 0], rows)])
            for part in _parts(vectors[rows], lowest, share, offset, ties)[1:]:
                labels[rows[part]] = fresh
                fresh += 1
    return renumbered(labels)


def _parts(
    vectors: NDArray[np.float32],
    lowest: float,
    share: float,
    offset: float,
    ties: NDArray[np.int64],
) -> list[NDArray[np.int64]]:
    """The parts of one cluster (n, D), as rows 0 to n - 1.

    A branch of the tree of average link is the tree of its own rows: one tree serves all the parts.
    """
    from scipy.cluster.hierarchy import average

    count = len(vectors)
    products = (vectors @ vectors.T).astype(np.float64)[np.triu_indices(count, 1)] - offset
    most = float(products.max())
    joins = average(most - products)
    sizes = np.concatenate([np.ones(count), joins[:, 3]])
    alike, sums = most - joins[:, 2], np.zeros(2 * count - 1)  # of the parts; of a branch's pairs
    for step, (one, other) in enumerate(joins[:, :2].astype(np.int64).tolist()):
        sums[count + step] = sums[one] + sums[other] + sizes[one] * sizes[other] * alike[step]
    pairs = sizes * (sizes - 1) / 2
    parts, left = [], [2 * count - 2]
    while left:
        branch = left.pop()
        if sizes[branch] > 2:
            two = joins[branch - count, :2].astype(np.int64)
            several = two[pairs[two] > 0]
            cohesion = (sums[several] / pairs[several]).mean()
            if alike[branch - count] < asked_of(cohesion, sizes[branch], lowest, share):
                one, other = (_leaves(joins, part, count) for part in two.tolist())
                if not _tied(one, other, ties):
                    left += two.tolist()
                    continue
        parts.append(_leaves(joins, branch, count))
    return parts


def _leaves(joins: NDArray[np.float64], branch: int, count: int) -> NDArray[np.int64]:
    """The rows of a branch of the tree of `count` rows."""
    rows, left = [], [branch]
    while left:
        branch = left.pop()
        if branch < count:
            rows.append(branch)
        else:
            left += joins[branch - count, :2].astype(np.int64).tolist()
    return np.array(rows, dtype=np.int64)


def _tied(one: NDArray[np.int64], other: NDArray[np.int64], ties: NDArray[np.int64]) -> bool:
    """Whether a pair of `ties` has a row in both."""
    crossing = np.isin(ties, one).any(axis=1) & np.isin(ties, other).any(axis=1)
    return bool(crossing.any())
