"""Which clusters a person should look at: two that may be one, and one that may be two.

Letters: N rows, D dimensions, C clusters, P pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.arrays import pair_array, unit_rows
from index.errors import WrongNumber, WrongShape
from index.kmeans import kmeans, sums_of
from index.partition import renumbered

__all__ = ["Suggestion", "suggestions"]

LogOdds = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_PRODUCTS = 1 << 23  # float64 similarities in memory at once: 64 MiB
_TREE = 500  # rows up to which a cluster is parted by average link


@dataclass(frozen=True, slots=True, eq=False)
class Suggestion:
    """A change worth a look.

    Attributes:
        kind: `merge` or `split`.
        probability: that the change is right, 0 to 1.
        similarity: the mean similarity between the two parts.
        labels: the labels of the two clusters, or twice that of the one.
        one: int64, the rows of the first part; the larger one.
        other: int64, the rows of the second.
    """

    kind: str
    probability: float
    similarity: float
    labels: tuple[int, int]
    one: NDArray[np.int64]
    other: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "probability": self.probability,
            "similarity": self.similarity,
            "labels": list(self.labels),
            "one": self.one.tolist(),
            "other": self.other.tolist(),
        }


def suggestions(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    log_odds: LogOdds,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
    least: float = 0.1,
    most: int = 100,
) -> tuple[Suggestion, ...]:
    """Ranks the merges and splits that a person should look at.

    A merge is judged by the mean similarity of two clusters, a split by that of the two parts of a
    cluster that are least alike (the last join of average link; of more than 500 rows, k-means).

    Args:
        vectors: float32 (N, D), unit rows.
        labels: int64 (N,), their clusters.
        log_odds: takes similarities, float64 (any shape), rising with them, and returns the log of
            the odds that two rows belong together: slope · similarity + intercept + logit(prior).
        apart: int64 (P, 2), pairs of rows known to belong apart; clusters with one are not to be
            merged.
        together: int64 (P, 2), pairs of rows known to belong together; they are not to be split.
        least: the least probability of a suggestion, 0 to 1.
        most: how many suggestions at most.

    Returns:
        The most likely change first.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: `least` is no probability, or pairs of rows that do not exist.
    """
    vectors = unit_rows(vectors)
    if np.shape(labels) != (len(vectors),):
        raise WrongShape(f"labels must have shape ({len(vectors)},), got {np.shape(labels)}.")
    if not 0 <= least <= 1:
        raise WrongNumber(f"least must be a probability from 0 to 1, got {least}.")
    foes = pair_array(apart, len(vectors))
    ties = pair_array(together, len(vectors), "together")
    groups = _groups(labels)
    found = _merges(vectors, labels, log_odds, foes, least, most)
    found += [
        split
        for rows in groups
        if (split := _split(vectors, labels, rows, log_odds, ties)).probability >= least
    ]
    ranked = sorted(found, key=lambda s: (-s.probability, s.labels))
    return tuple(ranked[:most])


def _groups(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each cluster of two or more."""
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    return [rows for rows in np.split(order, edges) if len(rows) > 1]


def _merges(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    log_odds: LogOdds,
    apart: NDArray[np.int64],
    least: float,
    most: int,
) -> list[Suggestion]:
    """The pairs of clusters of the highest mean similarity, as far as they are likely enough."""
    numbers = renumbered(labels)
    count = int(numbers.max(initial=-1)) + 1
    sizes = np.bincount(numbers, minlength=count)
    means = sums_of(vectors, numbers, count) / sizes[:, np.newaxis]
    barred = np.sort(numbers[apart], axis=1)
    codes = barred[:, 0] * count + barred[:, 1]
    pairs, values = np.empty((0, 2), dtype=np.int64), np.empty(0)
    step = max(1, _PRODUCTS // max(1, count))
    for start in range(0, count, step):
        products = means[start : start + step] @ means.T
        above = np.arange(start, start + len(products))[:, np.newaxis] < np.arange(count)
        rows, columns = np.nonzero(above & (_probability(log_odds(products)) >= least))
        allowed = ~np.isin((start + rows) * count + columns, codes)
        here = np.stack([start + rows, columns], axis=1)[allowed]
        pairs = np.vstack([pairs, here])
        values = np.concatenate([values, products[rows, columns][allowed]])
        best = np.argsort(-values, kind="stable")[:most]
        pairs, values = pairs[best], values[best]
    return [
        _suggestion("merge", labels, np.flatnonzero(numbers == a), np.flatnonzero(numbers == b),
                    value, float(_probability(log_odds(np.array([value])))[0]))
        for (a, b), value in zip(pairs.tolist(), values.tolist(), strict=True)
    ]  # fmt: skip


def _split(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    log_odds: LogOdds,
    together: NDArray[np.int64],
) -> Suggestion:
    """The likeliest split of one cluster; of probability 0 where it would part a tie."""
    parts = _halves(vectors[rows])
    one, other = rows[parts == 0], rows[parts == 1]
    means = [vectors[some].mean(axis=0, dtype=np.float64) for some in (one, other)]
    similarity = float(means[0] @ means[1])
    torn = np.isin(together, one).any(axis=1) & np.isin(together, other).any(axis=1)
    likely = float(_probability(-log_odds(np.array([similarity])))[0])
    return _suggestion("split", labels, one, other, similarity, 0.0 if torn.any() else likely)


def _halves(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Two parts of a cluster, the less alike the better: int64 (N,), 0 or 1."""
    if len(vectors) > _TREE:
        return kmeans(vectors, 2).labels
    from scipy.cluster.hierarchy import cut_tree, linkage

    rows = vectors.astype(np.float64)
    distances = np.clip(1 - rows @ rows.T, 0, 2)[np.triu_indices(len(rows), 1)]
    return np.asarray(cut_tree(linkage(distances, "average"), [2])[:, 0], dtype=np.int64)


def _suggestion(
    kind: str,
    labels: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    similarity: float,
    probability: float,
) -> Suggestion:
    """The larger part first."""
    if len(other) > len(one):
        one, other = other, one
    both = (int(labels[one[0]]), int(labels[other[0]]))
    return Suggestion(kind, probability, similarity, both, one, other)


def _probability(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -odds))
