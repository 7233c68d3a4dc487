"""Clusters of k-means made right: split, joined, and rows moved, at calibrated cuts.

k-means asks for a number and cuts evenly: it parts who has many rows and mixes those who have one.
Knowing from which similarity on two rows belong together repairs both:

1. split: each cluster is clustered again by itself (`index.linkage.sized_link`);
2. join: clusters are joined while their mean similarity is above the cut of their sizes;
3. move: each row goes where it is furthest above that cut, and alone where it is above none.

Joining and moving repeat until nothing changes.

Letters: N rows, D dimensions, P pairs, K clusters, B blocks of rows that share a cluster.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.arrays import pair_array, unit_rows
from index.constraints import Blocks, blocks_of
from index.errors import WrongShape
from index.kmeans import sums_of
from index.linkage import joined_clusters, require_cuts, sized_link
from index.partition import renumbered

__all__ = ["Refined", "refine"]

_PRODUCTS = 1 << 23  # float64 products in memory at once: 64 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """Refined clusters, and what was done to them.

    Attributes:
        labels: int64 (N,), 0 to K - 1, in the order of each cluster's first row.
        splits: how many clusters were split.
        joins: how many joins of two clusters.
        moves: how many rows went to another cluster.
        rounds: how often joining and moving were repeated.
    """

    labels: NDArray[np.int64]
    splits: int
    joins: int
    moves: int
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        counts = ("splits", "joins", "moves", "rounds")
        found = {"k": int(self.labels.max(initial=-1)) + 1}
        return found | {name: getattr(self, name) for name in counts}


def refine(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    cut: float,
    strangers: float,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
    shared: float = 0.5,
    rounds: int = 5,
) -> Refined:
    """Splits, joins and moves until clusters agree with the cuts.

    Args:
        vectors: float32 (N, D), unit rows.
        labels: int64 (N,), the clusters to begin with.
        cut: the similarity from which on two single rows belong together, as in `sized_link`.
        strangers: the mean similarity of two rows that belong apart, as there.
        apart: int64 (P, 2), pairs of rows that must not share a cluster; they are never moved, only
            split and joined.
        together: int64 (P, 2), pairs of rows that share one; they move as one.
        shared: as in `sized_link`.
        rounds: how often to join and move at most.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a number outside its range, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    vectors = unit_rows(vectors)
    require_cuts(cut, strangers, shared)
    if np.shape(labels) != (len(vectors),):
        raise WrongShape(
            f"labels must have shape ({len(vectors)},), got {np.shape(labels)}: pass one a row."
        )
    blocks = blocks_of(vectors, together, apart)
    if not len(vectors):
        return Refined(np.empty(0, dtype=np.int64), 0, 0, 0, 0)
    first = np.unique(blocks.of_row, return_index=True)[1]
    begun = renumbered(renumbered(labels)[first][blocks.of_row])  # a block follows its first row
    split = _split(vectors, begun, (cut, strangers, shared), apart, together)
    splits = len(np.unique(split)) - len(np.unique(begun))
    mover = _Mover(vectors, blocks, cut - strangers, strangers, shared)
    labels, joins, moves, done = split, 0, 0, 0
    while done < rounds:
        joined = joined_clusters(vectors, labels, cut, strangers, apart, shared)
        joins += int(labels.max()) - int(joined.max())
        labels, moved = mover.moved(joined)
        moves += moved
        done += 1
        if not moved:
            break
    return Refined(renumbered(labels), splits, joins, moves, done)


def _split(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    cuts: tuple[float, float, float],
    apart: NDArray[np.int64] | None,
    together: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Clusters each cluster by itself: int64 (N,), from 0."""
    pairs = [pair_array(apart, len(vectors)), pair_array(together, len(vectors), "together")]
    within = [p[labels[p[:, 0]] == labels[p[:, 1]]] for p in pairs]
    of_pair = [labels[p[:, 0]] for p in within]
    order = np.argsort(labels, kind="stable")
    parts = np.empty_like(labels)
    used = 0
    for label, rows in enumerate(np.split(order, np.cumsum(np.bincount(labels))[:-1])):
        if len(rows) == 1:
            parts[rows] = used
            used += 1
            continue
        foes, ties = (
            np.searchsorted(rows, p[of == label]) for p, of in zip(within, of_pair, strict=True)
        )
        found = sized_link(vectors[rows], cuts[0], cuts[1], foes, cuts[2], ties)
        parts[rows] = used + found
        used += int(found.max()) + 1
    return renumbered(parts)


@dataclass(slots=True)
class _Mover:
    """Moves rows to the cluster that they are furthest above the cut of.

    Attributes:
        vectors: float32 (N, D).
        blocks: rows that move as one.
        wanted: how far above `strangers` two single rows must be.
        strangers: the mean similarity of two rows that belong apart.
        shared: the part of the variance that more rows do not average away.
    """

    vectors: NDArray[np.float32]
    blocks: Blocks
    wanted: float
    strangers: float
    shared: float

    def moved(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Labels (N,) after each block has chosen at once, and how many rows changed cluster."""
        k = int(labels.max()) + 1
        sums, sizes = sums_of(self.vectors, labels, k), np.bincount(labels, minlength=k)
        blocks = self.blocks
        first = np.unique(blocks.of_row, return_index=True)[1]
        seats = labels[first]
        free = np.setdiff1d(np.arange(len(seats)), blocks.apart)
        chosen = seats.copy()
        step = max(1, _PRODUCTS // k)
        for start in range(0, len(free), step):
            some = free[start : start + step]
            chosen[some] = self._best(some, seats[some], sums, sizes)
        changed = chosen != seats
        chosen = np.where(chosen < 0, k + np.arange(len(chosen)), chosen)
        return renumbered(chosen[blocks.of_row]), int(blocks.sizes[changed].sum())

    def _best(
        self,
        some: NDArray[np.int64],
        own: NDArray[np.int64],
        sums: NDArray[np.float64],
        sizes: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The cluster of each of some blocks; -1 for one of its own."""
        mine, here = self.blocks.sums[some], np.arange(len(some))
        counts = self.blocks.sizes[some]
        products = mine @ sums.T
        products[here, own] -= np.vecdot(mine, mine)
        others = np.broadcast_to(sizes, products.shape).copy()
        others[here, own] -= counts
        alone = others[here, own] == 0
        others[here, own] = np.maximum(others[here, own], 1)
        mean = products / (counts[:, np.newaxis] * others)
        spread = self.shared + (1 - self.shared) * (1 / counts[:, np.newaxis] + 1 / others) / 2
        gain = (mean - self.strangers) / np.sqrt(spread) - self.wanted
        gain[here[alone], own[alone]] = 0  # a block by itself stays unless another is above its cut
        best = gain.argmax(axis=1)
        return np.where(gain[here, best] > 0, best, own)
