"""Clusters of a graph: rows are nodes, pairs of rows more alike than a cut are edges.

- `connected`: a chain of edges is enough to share a cluster.
- `whispers`: each row takes the label that its neighbours speak loudest (C. Biemann, "Chinese
  Whispers", 2006).

Neither needs to know how many clusters there are. Both work on edges only, found block by block, so
memory is O(edges).

Letters: N rows, D dimensions, E edges, P pairs, B rows of a block.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from index.arrays import cut_value, pair_array, unit_rows
from index.errors import WrongNumber
from index.partition import renumbered

__all__ = ["connected", "similar_pairs", "whispers"]

_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB


def similar_pairs(
    vectors: NDArray[np.float32], cut: float, k: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Finds the pairs of rows that are more alike than a cut.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that a pair must exceed, -1 to 1.
        k: keep a pair only where one is among the k closest rows of the other; None keeps all.

    Returns:
        pairs int64 (E, 2), the lower row first, in ascending order, and similarities float32 (E,).

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, or k below 1.
    """
    vectors, cut = unit_rows(vectors), cut_value(cut)
    if k is not None and k < 1:
        raise WrongNumber(f"k must be at least 1, got {k}.")
    count = len(vectors)
    codes = [np.empty(0, dtype=np.int64)]
    values = [np.empty(0, dtype=np.float32)]
    step = max(1, _PRODUCTS // max(1, count))
    for start in range(0, count, step):
        products = vectors[start : start + step] @ vectors.T  # (B, N)
        local = np.arange(len(products))
        products[local, start + local] = -np.inf
        if k is None:
            products[:, :start] = -np.inf  # seen from the other row, in an earlier block
            rows, columns = np.nonzero(products > cut)
        else:
            few = min(k, count)
            closest = np.argpartition(products, -few, axis=1)[:, -few:]
            rows = np.repeat(local, few)
            columns = closest.reshape(-1)
            near = products[rows, columns] > cut
            rows, columns = rows[near], columns[near]
        low, high = np.minimum(start + rows, columns), np.maximum(start + rows, columns)
        codes.append(low * count + high)
        values.append(products[rows, columns])
    unique, first = np.unique(np.concatenate(codes), return_index=True)
    return np.stack(np.divmod(unique, max(1, count)), axis=1), np.concatenate(values)[first]


def connected(
    vectors: NDArray[np.float32],
    cut: float,
    k: int | None = None,
    apart: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by connected components of the pairs more alike than a cut (single link).

    Where a component holds a pair that must be apart, its edges are taken from the most alike down,
    leaving out each that would bring such a pair together.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that an edge must exceed, -1 to 1.
        k: edges only to the k closest rows; None takes all.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, k below 1, or pairs of rows that do not exist.
    """
    edges, similarities = similar_pairs(vectors, cut, k)
    count = len(vectors)
    pairs = pair_array(apart, count)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1].astype(np.int64)
    torn = np.unique(labels[pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]], 0]])
    inside = np.isin(labels[edges[:, 0]], torn)
    order = np.argsort(-similarities[inside], kind="stable")
    joined = _joined_apart(count, edges[inside][order], pairs)
    torn_rows = np.isin(labels, torn)
    return renumbered(np.where(torn_rows, count + joined, labels))


def whispers(
    vectors: NDArray[np.float32],
    cut: float,
    k: int | None = None,
    apart: NDArray[np.int64] | None = None,
    seed: int = 0,
    rounds: int = 20,
) -> NDArray[np.int64]:
    """Clusters by Chinese whispers: labels spread along edges, weighted by similarity.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that an edge must exceed, 0 to 1.
        k: edges only to the k closest rows; None takes all.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        seed: of the order in which rows listen; the same seed gives the same clusters.
        rounds: how often each row listens at most; it ends early when no label changes.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, k below 1, or pairs of rows that do not exist.
    """
    if cut < 0:
        raise WrongNumber(
            f"whispers weighs edges by similarity: the cut must be 0 to 1, got {cut}."
        )
    edges, similarities = similar_pairs(vectors, cut, k)
    count = len(vectors)
    heard = _both_ways(edges, similarities, count)
    barred = _both_ways(pairs := pair_array(apart, count), np.ones(len(pairs)), count)
    labels = np.arange(count)
    shuffle = np.random.default_rng(seed)
    for _ in range(rounds):
        changes = 0
        for row in shuffle.permutation(np.flatnonzero(np.diff(heard.indptr))):
            label = _loudest(row, labels, heard, barred)
            changes += int(label != labels[row])
            labels[row] = label
        if not changes:
            break
    return renumbered(labels)


def _loudest(
    row: np.int64, labels: NDArray[np.int64], heard: csr_array, barred: csr_array
) -> np.int64:
    """The label with the greatest sum of similarities around a row; the row's own wins a tie."""
    around = slice(heard.indptr[row], heard.indptr[row + 1])
    spoken, inverse = np.unique(labels[heard.indices[around]], return_inverse=True)
    loudness = np.bincount(inverse, weights=heard.data[around])
    others = barred.indices[barred.indptr[row] : barred.indptr[row + 1]]
    if len(others):
        loudness[np.isin(spoken, labels[others])] = -1
    best = loudness.max()
    own = loudness[spoken == labels[row]]
    if best < 0 or (len(own) and own[0] == best):
        return np.int64(labels[row])
    return np.int64(spoken[loudness.argmax()])


def _both_ways(pairs: NDArray[np.int64], weights: NDArray[np.floating], count: int) -> csr_array:
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0]])
    return csr_array((np.tile(weights, 2), (rows, columns)), shape=(count, count))


def _joined_apart(
    count: int, edges: NDArray[np.int64], apart: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Joins rows edge by edge, except where the two clusters hold a pair of `apart`."""
    labels = np.arange(count)
    members: dict[int, list[int]] = {}
    foes: dict[int, set[int]] = {}
    for one, other in apart.tolist():
        foes.setdefault(one, set()).add(other)
        foes.setdefault(other, set()).add(one)
    for one, other in edges.tolist():
        a, b = int(labels[one]), int(labels[other])
        if a == b or b in foes.get(a, ()):
            continue
        if len(members.get(a, ())) < len(members.get(b, ())):
            a, b = b, a
        moved = members.pop(b, [b])
        labels[moved] = a
        members.setdefault(a, [a]).extend(moved)
        for foe in foes.pop(b, set()):
            foes[foe].discard(b)
            foes[foe].add(a)
            foes.setdefault(a, set()).add(foe)
    return labels
