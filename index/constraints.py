"""What is known before a clustering: rows that share a cluster, and rows that must not.

- `together`: pairs of rows of one cluster. They are contracted to blocks, which every method then
  moves as one.
- `apart`: pairs of rows of two clusters (two faces in one photo, or what a user said).

Letters: N rows, D dimensions, P pairs, B blocks, K clusters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from index.arrays import pair_array
from index.errors import Contradiction
from index.partition import renumbered

__all__ = ["Blocks", "Foes", "blocks_of", "seated", "tied"]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Rows that share a cluster, each block taken as one.

    Attributes:
        of_row: int64 (N,), the block of each row, numbered in the order of first rows.
        sums: float64 (B, D), the sum of the rows of each.
        sizes: int64 (B,), how many rows each has.
        apart: int64 (P, 2), blocks that must not share a cluster, the lower first.
    """

    of_row: NDArray[np.int64]
    sums: NDArray[np.float64]
    sizes: NDArray[np.int64]
    apart: NDArray[np.int64]


def tied(rows: int, together: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Returns the block of each row: int64 (N,), numbered in the order of first rows.

    Args:
        rows: N.
        together: int64 (P, 2), pairs of rows of one cluster; None is no pair.

    Raises:
        WrongArray: not (P, 2) or not integers.
        WrongNumber: rows that do not exist, or a pair of one row with itself.
    """
    pairs = pair_array(together, rows, "together")
    if not len(pairs):
        return np.arange(rows)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return renumbered(connected_components(graph, directed=False)[1].astype(np.int64))


def blocks_of(
    vectors: NDArray[np.float32],
    together: NDArray[np.int64] | None,
    apart: NDArray[np.int64] | None,
) -> Blocks:
    """Contracts the rows that share a cluster.

    Args:
        vectors: float32 (N, D), unit rows.
        together: int64 (P, 2), pairs of rows of one cluster; None is no pair.
        apart: int64 (P, 2), pairs of rows of two clusters; None is no pair.

    Raises:
        WrongArray: pairs of another shape or dtype.
        WrongNumber: rows that do not exist, or a pair of one row with itself.
        Contradiction: a pair that must be apart is tied together.
    """
    of_row = tied(len(vectors), together)
    pairs = pair_array(apart, len(vectors))
    both = of_row[pairs]
    torn = both[:, 0] == both[:, 1]
    if torn.any():
        one, other = pairs[int(np.argmax(torn))].tolist()
        raise Contradiction(
            f"rows {one} and {other} must be apart and are tied together: take back one of the "
            "two statements."
        )
    sizes = np.bincount(of_row, minlength=0)
    if len(sizes) == len(vectors):
        return Blocks(of_row, vectors.astype(np.float64), np.ones(len(sizes), np.int64), both)
    sums = np.zeros((len(sizes), vectors.shape[1]))
    np.add.at(sums, of_row, vectors)
    return Blocks(of_row, sums, sizes, np.unique(np.sort(both, axis=1), axis=0))


class Foes:
    """For each item, the items it must be apart from.

    Args:
        pairs: int64 (P, 2), items.
    """

    __slots__ = ("_others",)

    def __init__(self, pairs: NDArray[np.int64]) -> None:
        self._others: dict[int, list[int]] = {}
        for one, other in pairs.tolist():
            self._others.setdefault(one, []).append(other)
            self._others.setdefault(other, []).append(one)

    def __iter__(self) -> Iterator[int]:
        """Yields the items that have any."""
        return iter(self._others)

    def of(self, item: int) -> list[int]:
        """Those of one item."""
        return self._others.get(item, [])


def seated(scores: NDArray[np.floating], apart: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gives each item the cluster of its highest score, unless an item apart from it sits there.

    Items take their seats from the highest score down, so that of two that want one cluster the one
    that fits better has it (the assignment of COP-k-means: K. Wagstaff et al., ICML 2001).

    Args:
        scores: float (B, K), higher is better; -inf is no seat.
        apart: int64 (P, 2), items.

    Returns:
        int64 (B,), the cluster; -1 where every seat is taken or none is there.
    """
    if not scores.shape[1]:
        return np.full(len(scores), -1, dtype=np.int64)
    best = scores.max(axis=1)
    labels = np.where(np.isneginf(best), -1, scores.argmax(axis=1)).astype(np.int64)
    foes = Foes(apart)
    bound = np.array(sorted(foes), dtype=np.int64)
    labels[bound] = -1
    for item in bound[np.argsort(-best[bound], kind="stable")].tolist():
        allowed = scores[item].copy()
        taken = labels[foes.of(item)]
        allowed[taken[taken >= 0]] = -np.inf
        if not np.isneginf(allowed.max()):
            labels[item] = int(allowed.argmax())
    return labels
