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
from index.constraints import Blocks, blocks_of
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
    together: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by DBSCAN over the pairs more alike than a cut, in memory O(pairs).

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that neighbours must exceed, -1 to 1.
        min_samples: how many rows, itself counted, a row needs around it to extend a cluster.
        apart: int64 (P, 2), pairs of rows that must not share a cluster; a cluster with such a pair
            is clustered again by average link at the same cut.
        together: int64 (P, 2), pairs of rows that share one; each takes the mean direction of those
            it is tied to.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, min_samples below 1, or rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    if min_samples < 1:
        raise WrongNumber(f"min_samples must be at least 1, got {min_samples}.")
    vectors = unit_rows(vectors)
    blocks = blocks_of(vectors, together, apart)
    pairs = pair_array(apart, len(vectors))
    vectors = _drawn_together(vectors, blocks)
    labels = _as_one(_noise_alone(_dense(vectors, cut, min_samples)), blocks)
    return _split(labels, vectors, cut, pairs, together)


def hdbscan(
    vectors: NDArray[np.float32],
    cut: float,
    min_cluster_size: int = 2,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by HDBSCAN; clusters closer to each other than a cut are not split.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity above which rows are not told apart, -1 to 1.
        min_cluster_size: the fewest rows of a cluster, at least 2.
        apart: int64 (P, 2), pairs of rows that must not share a cluster; a cluster with such a pair
            is clustered again by average link at the same cut.
        together: int64 (P, 2), pairs of rows that share one; each takes the mean direction of those
            it is tied to.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, min_cluster_size below 2, or rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    from sklearn.cluster import HDBSCAN  # type: ignore[import-untyped]  # ships no types

    vectors, cut = unit_rows(vectors), cut_value(cut)
    if min_cluster_size < 2:
        raise WrongNumber(f"min_cluster_size must be at least 2, got {min_cluster_size}.")
    blocks = blocks_of(vectors, together, apart)
    pairs = pair_array(apart, len(vectors))
    vectors = _drawn_together(vectors, blocks)
    if len(vectors) < min_cluster_size:
        return blocks.of_row
    found = HDBSCAN(min_cluster_size=min_cluster_size, copy=True).fit(vectors)
    whole = _whole(found.labels_.astype(np.int64), _dense(vectors, cut, min_cluster_size))
    labels = _as_one(_noise_alone(whole), blocks)
    return _split(labels, vectors, cut, pairs, together)


def _dense(vectors: NDArray[np.float32], cut: float, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN's labels (N,), -1 for noise."""
    from sklearn.cluster import DBSCAN

    edges, similarities = similar_pairs(vectors, cut)
    itself = np.arange(len(vectors))
    if not len(itself):
        return itself
    rows = np.concatenate([edges[:, 0], edges[:, 1], itself])
    columns = np.concatenate([edges[:, 1], edges[:, 0], itself])
    distances = np.concatenate([np.tile(1 - similarities, 2), np.zeros(len(itself))])
    graph = csr_array((np.clip(distances, 0, 2), (rows, columns)))
    found = DBSCAN(eps=2.0, min_samples=min_samples, metric="precomputed").fit(graph)
    return np.asarray(found.labels_, dtype=np.int64)


def _whole(labels: NDArray[np.int64], dense: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels (N,) where clusters inside one dense part (N,) are that part; -1 is noise in both.

    That is what scikit-learn's `cluster_selection_epsilon` is for; its code for it fails with
    numpy 2.4 as soon as a cluster has to be joined.
    """
    count = int(labels.max(initial=-1)) + 1
    kept = labels >= 0
    lowest = np.full(count, len(dense))
    highest = np.full(count, -1)
    np.minimum.at(lowest, labels[kept], dense[kept])
    np.maximum.at(highest, labels[kept], dense[kept])
    inside = kept & ((lowest == highest) & (lowest >= 0))[labels]
    parts = np.unique(dense[inside])
    taken = np.isin(dense, parts) & (inside | ~kept)
    return np.where(taken, count + dense, labels)


def _drawn_together(vectors: NDArray[np.float32], blocks: Blocks) -> NDArray[np.float32]:
    """Each tied row as the mean direction of its block (N, D), so that the block is dense."""
    lengths = np.linalg.norm(blocks.sums, axis=1, keepdims=True)
    directions = (blocks.sums / np.maximum(lengths, 1e-9)).astype(np.float32)
    drawn = ((blocks.sizes > 1) & (lengths[:, 0] > 1e-6))[blocks.of_row, np.newaxis]
    return np.where(drawn, directions[blocks.of_row], vectors)


def _as_one(labels: NDArray[np.int64], blocks: Blocks) -> NDArray[np.int64]:
    """Gives each block the label of its first row."""
    first = np.unique(blocks.of_row, return_index=True)[1]
    return renumbered(labels[first][blocks.of_row])


def _noise_alone(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Gives each row that is labelled -1 a label of its own."""
    alone = len(labels) + np.arange(len(labels))
    return renumbered(np.where(labels < 0, alone, labels))


def _split(
    labels: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cut: float,
    apart: NDArray[np.int64],
    together: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Clusters again, by average link, each cluster that holds a pair that must be apart."""
    ties = pair_array(together, len(vectors), "together")
    torn = labels[apart[:, 0]] == labels[apart[:, 1]]
    labels = labels.copy()
    for label in np.unique(labels[apart[torn, 0]]):
        rows = np.flatnonzero(labels == label)
        within = [
            np.searchsorted(rows, pairs[np.isin(pairs, rows).all(axis=1)])
            for pairs in (apart, ties)
        ]
        parts = average_link(vectors[rows], cut, within[0], within[1])
        labels[rows] = labels.max() + 1 + parts
    return renumbered(labels)
