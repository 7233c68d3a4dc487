"""Clusters of a graph: rows are nodes, pairs of rows more alike than a cut are edges.

- `connected`: a chain of edges is enough to share a cluster.
- `whispers`: each row takes the label that its neighbours speak loudest (C. Biemann, "Chinese
  Whispers", 2006).
- `graph_link`: `index.linkage.sized_link`, where only clusters that share an edge may be joined.

None needs to know how many clusters there are. All work on edges only, found block by block, so
memory is O(edges). Pairs of rows may be given that share a cluster (`together`) or must not
(`apart`).

Letters: N rows, D dimensions, E edges, P pairs, B blocks of rows that share a cluster, C clusters,
K neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from index.arrays import cut_value, unit_rows
from index.constraints import Blocks, blocks_of
from index.errors import WrongNumber
from index.linkage import first_choices, followed, require_cuts
from index.nearest import Nearest, nearest_rows
from index.partition import renumbered

__all__ = ["GRAPH_NEIGHBORS", "connected", "graph_link", "similar_pairs", "whispers"]

GRAPH_NEIGHBORS = 20
"""How many neighbours of a row become edges of `graph_link`."""

_EDGES = 1 << 11  # edges whose sums are multiplied at once, so that they stay in the cache

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
    together: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by connected components of the pairs more alike than a cut (single link).

    Where a component holds a pair that must be apart, its edges are taken from the most alike down,
    leaving out each that would bring such a pair together.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that an edge must exceed, -1 to 1.
        k: edges only to the k closest rows; None takes all.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        together: int64 (P, 2), pairs of rows that share one.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, k below 1, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    edges, similarities = similar_pairs(vectors, cut, k)
    blocks = blocks_of(vectors, together, apart)
    count, pairs, edges = len(blocks.sizes), blocks.apart, blocks.of_row[edges]
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1].astype(np.int64)
    torn = np.unique(labels[pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]], 0]])
    inside = np.isin(labels[edges[:, 0]], torn)
    order = np.argsort(-similarities[inside], kind="stable")
    joined = _joined_apart(count, edges[inside][order], pairs)
    parts = np.where(np.isin(labels, torn), count + joined, labels)
    return renumbered(parts[blocks.of_row])


def whispers(
    vectors: NDArray[np.float32],
    cut: float,
    k: int | None = None,
    apart: NDArray[np.int64] | None = None,
    seed: int = 0,
    rounds: int = 20,
    together: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by Chinese whispers: labels spread along edges, weighted by similarity.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the similarity that an edge must exceed, 0 to 1.
        k: edges only to the k closest rows; None takes all.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        seed: of the order in which rows listen; the same seed gives the same clusters.
        rounds: how often each row listens at most; it ends early when no label changes.
        together: int64 (P, 2), pairs of rows that share one; they listen as one.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, k below 1, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    if cut < 0:
        raise WrongNumber(
            f"whispers weighs edges by similarity: the cut must be 0 to 1, got {cut}."
        )
    edges, similarities = similar_pairs(vectors, cut, k)
    blocks = blocks_of(vectors, together, apart)
    count, pairs, edges = len(blocks.sizes), blocks.apart, blocks.of_row[edges]
    between = edges[:, 0] != edges[:, 1]
    heard = _both_ways(edges[between], similarities[between], count)
    barred = _both_ways(pairs, np.ones(len(pairs)), count)
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
    return renumbered(labels[blocks.of_row])


def graph_link(
    vectors: NDArray[np.float32],
    cut: float,
    strangers: float,
    k: int | None = GRAPH_NEIGHBORS,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
    shared: float = 0.5,
    nearest: Nearest | None = None,
) -> NDArray[np.int64]:
    """Clusters by average link with a sized cut along the edges of a graph of neighbours.

    The same as `index.linkage.sized_link`, with its two phases, except that clusters without an
    edge between them are never joined. Where the mean similarity of two clusters is above a cut,
    some pair of their rows is, so that with all pairs (k None) the result is the same. In memory
    O(N (D + K)).

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the cut for two single rows, as in `sized_link`.
        strangers: the mean similarity of two rows that belong apart, as there.
        k: edges only to the k closest rows; None takes all above the lowest cut.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        together: int64 (P, 2), pairs of rows that share one.
        shared: as in `sized_link`.
        nearest: the k closest rows where they are known already.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a number outside its range, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    vectors = unit_rows(vectors)
    require_cuts(cut, strangers, shared)
    floor = strangers + (cut - strangers) * shared**0.5
    if k is None:
        edges = similar_pairs(vectors, floor)[0]
    else:
        edges = _edges_of(nearest_rows(vectors, k) if nearest is None else nearest, floor)
    blocks = blocks_of(vectors, together, apart)
    edges = _between(edges, blocks.of_row)
    work = _Linked.of(blocks, cut - strangers, strangers)
    work.link(edges, 1.0)
    work.link(_between(edges, followed(work.joined_to)), shared)
    return renumbered(followed(work.joined_to)[blocks.of_row])


def _edges_of(nearest: Nearest, floor: float) -> NDArray[np.int64]:
    """The pairs (E, 2) of a row and a neighbour more alike than `floor`; some come twice."""
    rows, columns = np.nonzero(nearest.similarities > floor)
    return np.stack([rows, nearest.ids[rows, columns]], axis=1)


def _between(edges: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pairs (E, 2) of two labels that edges of their rows lie between, each once."""
    count = int(labels.max(initial=0)) + 1
    one, other = labels[edges[:, 0]], labels[edges[:, 1]]
    codes = np.sort(np.minimum(one, other) * count + np.maximum(one, other))
    codes = codes[np.diff(codes, prepend=-1) > 0]  # several times quicker than np.unique
    low, high = np.divmod(codes, count)
    pairs = np.stack([low, high], axis=1)
    return np.asarray(pairs[low != high], dtype=np.int64)


@dataclass(slots=True)
class _Linked:
    """Clusters that are joined along edges.

    Attributes:
        sums: float64 (C, D), the sum of the vectors of each.
        sizes: int64 (C,), how many they are.
        apart: int64 (P, 2), clusters that must not be joined.
        joined_to: int64 (C,), the lower cluster that each was joined to, or itself.
        wanted: how far above `strangers` two single rows must be.
        strangers: the mean similarity of two rows that belong apart.
    """

    sums: NDArray[np.float64]
    sizes: NDArray[np.int64]
    apart: NDArray[np.int64]
    joined_to: NDArray[np.int64]
    wanted: float
    strangers: float

    @classmethod
    def of(cls, blocks: Blocks, wanted: float, strangers: float) -> "_Linked":
        """Each block is a cluster."""
        joined_to = np.arange(len(blocks.sizes))
        return cls(
            blocks.sums.copy(), blocks.sizes.copy(), blocks.apart, joined_to, wanted, strangers
        )

    def link(self, edges: NDArray[np.int64], shared: float) -> None:
        """Joins along edges (E, 2) until none is above its cut."""
        edges = self._allowed(edges)
        gains = self._gains(edges, shared)
        while True:
            if shared == 1:  # under one cut what is below stays below, whatever is joined
                edges, gains = edges[gains > self.wanted], gains[gains > self.wanted]
            low, high = self._mutual(edges, gains)
            if not len(low):
                return
            self.sums[low] += self.sums[high]
            self.sizes[low] += self.sizes[high]
            self.joined_to[high] = low
            self.apart = self.joined_to[self.apart]
            touched = np.zeros(len(self.sizes), dtype=bool)
            touched[low] = touched[high] = True
            anew = touched[edges].any(axis=1)
            fresh = self._allowed(_between(edges[anew], self.joined_to))
            edges = np.concatenate([edges[~anew], fresh])
            gains = np.concatenate([gains[~anew], self._gains(fresh, shared)])

    def _gains(self, edges: NDArray[np.int64], shared: float) -> NDArray[np.float64]:
        """How far above `strangers` each edge is (E,), at an equal spread of the mean."""
        gains = np.empty(len(edges))
        for start in range(0, len(edges), _EDGES):
            one, other = edges[start : start + _EDGES].T
            a, b = self.sizes[one], self.sizes[other]
            mean = np.vecdot(self.sums[one], self.sums[other]) / (a * b)
            spread = shared + (1 - shared) * (1 / a + 1 / b) / 2
            gains[start : start + _EDGES] = (mean - self.strangers) / np.sqrt(spread)
        return gains

    def _mutual(
        self, edges: NDArray[np.int64], gains: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The edges above their cut that are the best one at both their ends."""
        above = gains > self.wanted
        edges, gains = edges[above], gains[above]
        best = np.full(len(self.sizes), -np.inf)
        np.maximum.at(best, edges[:, 0], gains)
        np.maximum.at(best, edges[:, 1], gains)
        mutual = (best[edges] == gains[:, np.newaxis]).all(axis=1)
        return first_choices(edges[mutual], gains[mutual])

    def _allowed(self, edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """The edges that lie not between clusters that must stay apart."""
        if not len(self.apart):
            return edges
        count = len(self.sizes)
        apart = np.sort(self.apart, axis=1)
        return edges[~np.isin(edges[:, 0] * count + edges[:, 1], apart[:, 0] * count + apart[:, 1])]


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
