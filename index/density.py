"""Clusters by density: rows with enough close neighbours form a cluster, the rest stay single.

- `dbscan`: M. Ester et al., "A density-based algorithm for discovering clusters", 1996.
- `hdbscan`: R. Campello et al., "Density-based clustering based on hierarchical density estimates",
  2013.

Both are scikit-learn's. What they call noise becomes a cluster of one row each.

Letters: N rows, D dimensions, P pairs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from index.arrays import cut_value, pair_array, unit_rows
from index.errors import WrongNumber
from index.graph import similar_pairs
from index.linkage import average_link
from index.partition import renumbered

__all__ = ["dbscan", "hdbscan"]


def dbscan(
    vectors: NDArray[np.float32],
    cut: float,
    min_samples: int = 2,
    apart: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by DBSCAN over the pairs more alike than a cut, in memory O(pairs).

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that neighbours must exceed, -1 to 1.
        min_samples: how many rows, itself counted, a row needs around it to extend a cluster.
        apart: int64 (P, 2), pairs of rows that must not share a cluster; a cluster with such a pair
            is clustered again by average link at the same cut.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, min_samples below 1, or rows that do not exist.
    """
    from sklearn.cluster import DBSCAN  # type: ignore[import-untyped]  # ships no types

    if min_samples < 1:
        raise WrongNumber(f"min_samples must be at least 1, got {min_samples}.")
    pairs = pair_array(apart, len(vectors))
    edges, similarities = similar_pairs(vectors, cut)
    if not len(edges):
        return np.arange(len(vectors))
    itself = np.arange(len(vectors))
    rows = np.concatenate([edges[:, 0], edges[:, 1], itself])
    columns = np.concatenate([edges[:, 1], edges[:, 0], itself])
    distances = np.concatenate([np.tile(1 - similarities, 2), np.zeros(len(itself))])
    graph = csr_array((np.clip(distances, 0, 2), (rows, columns)))
    found = DBSCAN(eps=2.0, min_samples=min_samples, metric="precomputed").fit(graph)
    return _split(_noise_alone(found.labels_), vectors, cut, pairs)


def hdbscan(
    vectors: NDArray[np.float32],
    cut: float,
    min_cluster_size: int = 2,
    apart: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by HDBSCAN; clusters closer to each other than a cut are not split.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity above which rows are not told apart, -1 to 1.
        min_cluster_size: the fewest rows of a cluster, at least 2.
        apart: int64 (P, 2), pairs of rows that must not share a cluster; a cluster with such a pair
            is clustered again by average link at the same cut.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, min_cluster_size below 2, or rows that do not exist.
    """
    from sklearn.cluster import HDBSCAN

    vectors, cut = unit_rows(vectors), cut_value(cut)
    if min_cluster_size < 2:
        raise WrongNumber(f"min_cluster_size must be at least 2, got {min_cluster_size}.")
    pairs = pair_array(apart, len(vectors))
    if len(vectors) < min_cluster_size:
        return np.arange(len(vectors))
    found = HDBSCAN(
        min_cluster_size=min_cluster_size,
        cluster_selection_epsilon=float(np.sqrt(2 - 2 * cut)),  # the chord of that similarity
        copy=True,
    ).fit(vectors)
    return _split(_noise_alone(found.labels_), vectors, cut, pairs)


def _noise_alone(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Gives each row that is labelled -1 a label of its own."""
    alone = len(labels) + np.arange(len(labels))
    return renumbered(np.where(labels < 0, alone, labels))


def _split(
    labels: NDArray[np.int64], vectors: NDArray[np.float32], cut: float, apart: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Clusters again, by average link, each cluster that holds a pair that must be apart."""
    together = labels[apart[:, 0]] == labels[apart[:, 1]]
    labels = labels.copy()
    for label in np.unique(labels[apart[together, 0]]):
        rows = np.flatnonzero(labels == label)
        inside = apart[np.isin(apart, rows).all(axis=1)]
        parts = average_link(vectors[rows], cut, np.searchsorted(rows, inside))
        labels[rows] = labels.max() + 1 + parts
    return renumbered(labels)
