"""A partition of N rows into clusters, and how well one agrees with another.

A partition is an array of labels: rows of the same label share a cluster. All measures need nothing
but the table of how many rows each pair of clusters has in common, so they cost O(N log N).

- BCubed: A. Bagga, B. Baldwin, "Entity-based cross-document coreferencing using the vector space
  model", 1998; the measure of face clustering: for each row, how pure and how whole its cluster is.
- Pairwise: each pair of rows is decided together or apart.
- Normalised mutual information (arithmetic mean), adjusted Rand index and V-measure, as
  scikit-learn has them.

Letters: N rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from index.errors import WrongDtype, WrongShape

__all__ = ["Agreement", "Shares", "agreement", "bcubed", "match_labels", "pairwise", "renumbered"]

_DENSE = 1 << 24  # cells of overlaps that are matched at once: 128 MiB


@dataclass(frozen=True, slots=True)
class Shares:
    """Precision, recall and their harmonic mean, each from 0 to 1."""

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """2 P R / (P + R); 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well found labels agree with true ones.

    Attributes:
        bcubed: per row: is its cluster pure (precision) and whole (recall)?
        pairwise: per pair of rows: rightly put together?
        nmi: normalised mutual information, 0 to 1.
        ari: adjusted Rand index, 1 at best, 0 by chance.
        v: V-measure, 0 to 1.
        found: how many clusters were found.
        true: how many there are.
        found_single: how many of those found have one row.
        true_single: how many of the true ones have one row.
    """

    bcubed: Shares
    pairwise: Shares
    nmi: float
    ari: float
    v: float
    found: int
    true: int
    found_single: int
    true_single: int


def renumbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the same partition with labels 0, 1, 2, … in the order of each cluster's first row.

    Args:
        labels: int64 (N,), any numbers.

    Returns:
        int64 (N,), from 0 to the number of clusters - 1, each used.

    Raises:
        WrongShape: not one axis.
        WrongDtype: not integers.
    """
    labels = _checked(labels)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def match_labels(old: NDArray[np.int64], new: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gives the clusters of a new run the labels of the old ones they share most rows with.

    The total number of rows that keep their label is the highest there can be: an assignment
    (H. Kuhn, 1955) in each part of the graph of clusters that share rows; in a part with more than
    16 million pairs of clusters the largest overlap is matched first instead, which keeps at least
    half of that. Clusters without a match get fresh labels, above all old ones.

    Args:
        old: int64 (N,), labels from 0 of the run before; -1 for rows that were not there.
        new: int64 (N,), any labels of the same rows.

    Returns:
        int64 (N,), the partition of `new` under the labels kept.

    Raises:
        WrongShape: not one axis, or different lengths.
        WrongDtype: not integers.
    """
    old, new = _checked(old), _checked(new)
    if old.shape != new.shape:
        raise WrongShape(
            f"old and new must have the same shape (N,), got {old.shape} and {new.shape}."
        )
    clusters = renumbered(new)
    count = int(clusters.max(initial=-1)) + 1
    kept = np.full(count, -1, dtype=np.int64)
    known = old >= 0
    names, of_old = np.unique(old[known], return_inverse=True)
    table = coo_array(
        (np.ones(len(of_old)), (clusters[known], of_old)), shape=(count, len(names))
    ).tocsr()
    table.sum_duplicates()
    for rows, columns in _matched(table):
        kept[rows] = names[columns]
    fresh = np.flatnonzero(kept < 0)
    kept[fresh] = int(old.max(initial=-1)) + 1 + np.arange(len(fresh))
    return kept[clusters]


def _matched(table: csr_array) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The rows and columns that go together in each connected part of a table of overlaps."""
    from scipy.optimize import linear_sum_assignment

    count = table.shape[0]
    if not table.nnz:
        return
    cells, size = table.tocoo(), sum(table.shape)
    graph = coo_array((cells.data, (cells.row, count + cells.col)), shape=(size, size))
    parts = connected_components(graph, directed=False)[1]
    order = np.argsort(parts, kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(parts))[:-1]):
        rows, columns = members[members < count], members[members >= count] - count
        if len(rows) * len(columns) > _DENSE:
            yield _greedily(table[rows], rows)
        elif len(rows) and len(columns):
            overlap = table[rows][:, columns].toarray()
            one, other = linear_sum_assignment(overlap, maximize=True)
            shared = overlap[one, other] > 0
            yield rows[one[shared]], columns[other[shared]]


def _greedily(
    table: csr_array, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The largest overlaps first, each row and column of the table once."""
    cells = table.tocoo()
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for cell in np.argsort(-cells.data, kind="stable").tolist():
        row, column = int(cells.row[cell]), int(cells.col[cell])
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return rows[np.array(list(pairs))], np.array(list(pairs.values()), dtype=np.int64)


def bcubed(found: NDArray[np.int64], true: NDArray[np.int64]) -> Shares:
    """Returns BCubed precision and recall; 1 and 1 for no rows.

    Args:
        found: int64 (N,), labels to be judged.
        true: int64 (N,), labels that are right.

    Raises:
        WrongShape: not one axis, or different lengths.
        WrongDtype: not integers.
    """
    common, of_found, of_true = _table(found, true)
    rows = common.sum()
    if not rows:
        return Shares(1.0, 1.0)
    squares = common.astype(np.float64) ** 2
    return Shares(float((squares / of_found).sum() / rows), float((squares / of_true).sum() / rows))


def pairwise(found: NDArray[np.int64], true: NDArray[np.int64]) -> Shares:
    """Returns precision and recall over pairs of rows; 1 where there are no pairs to be wrong on.

    Args:
        found: int64 (N,), labels to be judged.
        true: int64 (N,), labels that are right.

    Raises:
        WrongShape: not one axis, or different lengths.
        WrongDtype: not integers.
    """
    common, _, _ = _table(found, true)
    both = _pairs(common)
    in_found, in_true = _pairs(_counts(found)), _pairs(_counts(true))
    return Shares(both / in_found if in_found else 1.0, both / in_true if in_true else 1.0)


def agreement(found: NDArray[np.int64], true: NDArray[np.int64]) -> Agreement:
    """Returns every measure at once.

    Args:
        found: int64 (N,), labels to be judged, N at least 1.
        true: int64 (N,), labels that are right.

    Raises:
        WrongShape: not one axis, different lengths, or no rows.
        WrongDtype: not integers.
    """
    from sklearn import metrics  # type: ignore[import-untyped]  # scikit-learn ships no types

    found, true = _checked(found), _checked(true)
    if not len(found):
        raise WrongShape("found and true must have shape (N,) with N at least 1, got no rows.")
    of_found, of_true = _counts(found), _counts(true)
    return Agreement(
        bcubed=bcubed(found, true),
        pairwise=pairwise(found, true),
        nmi=float(metrics.normalized_mutual_info_score(true, found)),
        ari=float(metrics.adjusted_rand_score(true, found)),
        v=float(metrics.v_measure_score(true, found)),
        found=len(of_found),
        true=len(of_true),
        found_single=int(np.count_nonzero(of_found == 1)),
        true_single=int(np.count_nonzero(of_true == 1)),
    )


def _table(
    found: NDArray[Any], true: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The filled cells of the contingency table: rows in common, of the found, of the true."""
    found, true = _checked(found), _checked(true)
    if found.shape != true.shape:
        raise WrongShape(
            f"found and true must have the same shape (N,), got {found.shape} and {true.shape}."
        )
    _, a = np.unique(found, return_inverse=True)
    _, b = np.unique(true, return_inverse=True)
    width = int(b.max()) + 1 if len(b) else 1
    cells, common = np.unique(a * width + b, return_counts=True)
    return common, np.bincount(a)[cells // width], np.bincount(b)[cells % width]


def _counts(labels: NDArray[Any]) -> NDArray[np.int64]:
    return np.unique(_checked(labels), return_counts=True)[1]


def _pairs(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1)).sum()) // 2


def _checked(labels: NDArray[Any]) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise WrongShape(f"labels must have shape (N,), got {labels.shape}: pass one per row.")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise WrongDtype(f"labels must be int64, got {labels.dtype}: number the clusters.")
    return labels.astype(np.int64)
