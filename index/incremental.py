"""New rows beside clusters that stay as they are.

A new row joins the nearest cluster that takes it, or begins a fresh one with others like it. What
it joins depends on the clusters of its neighbours alone: labels elsewhere may be anything. Only how
many clusters there are counts: beside many, one that is tight takes no row that is much less alike
(`index.parting`).

Letters: M old rows, N new rows, D dimensions, K neighbours, P pairs, B blocks of new rows that
share a cluster, C clusters that may be joined, E ways to join.
"""

import numpy as np
from numpy.typing import NDArray

from index.arrays import pair_array, unit_rows
from index.constraints import Blocks, Foes, blocks_of
from index.errors import WrongShape
from index.kmeans import sums_of
from index.linkage import require_cuts, sized_link
from index.neighbors import NO_ID, Neighbors
from index.parting import LEAST, asked_of, lowest_cut

__all__ = ["join"]

_NEIGHBORS = 20
_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB


def join(
    vectors_new: NDArray[np.float32],
    vectors_old: NDArray[np.float32],
    labels_old: NDArray[np.int64],
    cut: float,
    strangers: float,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
    shared: float = 0.5,
    neighbors: Neighbors | None = None,
) -> NDArray[np.int64]:
    """Gives each new row a label; old rows keep theirs.

    Args:
        vectors_new: float32 (N, D), unit rows.
        vectors_old: float32 (M, D), unit rows.
        labels_old: int64 (M,), their clusters, any numbers from 0.
        cut: as in `index.linkage.sized_link`.
        strangers: likewise.
        apart: int64 (P, 2), pairs of rows of two clusters: 0 to M - 1 are old rows, M to M + N - 1
            new ones. Of two new rows that want one cluster the one further above the cut has it.
        together: int64 (P, 2), pairs of rows of one cluster, numbered so; a row tied to old rows of
            several clusters joins the one it is tied to most often.
        shared: as in `sized_link`.
        neighbors: for each new row its nearest old rows, ids 0 to M - 1, as an index finds them;
            None compares each new row with all old ones.

    Returns:
        int64 (N,): a label of `labels_old`, or a fresh one above the highest of them.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a number outside its range, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    new, old = unit_rows(vectors_new), unit_rows(vectors_old)
    require_cuts(cut, strangers, shared)
    if np.shape(labels_old) != (len(old),) or old.shape[1] != new.shape[1]:
        raise WrongShape(
            f"vectors_old and labels_old must have shapes (M, {new.shape[1]}) and (M,), "
            f"got {old.shape} and {np.shape(labels_old)}."
        )
    everyone = len(old) + len(new)
    pairs = pair_array(apart, everyone)
    ties = pair_array(together, everyone, "together")
    _refuse_contradiction(pairs, ties, everyone)
    inside = [p[(p >= len(old)).all(axis=1)] - len(old) for p in (pairs, ties)]
    blocks = blocks_of(new, inside[1], inside[0])
    floor = strangers + (cut - strangers) * shared**0.5
    near = _nearest(new, old) if neighbors is None else neighbors
    ways = _ways(blocks.of_row, near, labels_old, floor)
    gains = _gains(blocks, ways, old, labels_old, (cut, strangers, shared))
    given = _given(_mixed(ties, blocks.of_row, labels_old))
    barred = {(block, label) for block, label in _mixed(pairs, blocks.of_row, labels_old).tolist()}
    seats = _seated(len(blocks.sizes), ways, gains, given, barred, Foes(blocks.apart))
    labels = seats[blocks.of_row]
    left = np.flatnonzero(labels < 0)
    if len(left):
        foes, tied = (np.searchsorted(left, p[np.isin(p, left).all(axis=1)]) for p in inside)
        fresh = sized_link(new[left], cut, strangers, foes, shared, tied)
        labels[left] = int(labels_old.max(initial=-1)) + 1 + fresh
    return labels


def _refuse_contradiction(apart: NDArray[np.int64], together: NDArray[np.int64], rows: int) -> None:
    """Raises Contradiction where ties, over old rows too, bring a pair together."""
    blocks_of(np.zeros((rows, 1), dtype=np.float32), together, apart)


def _nearest(new: NDArray[np.float32], old: NDArray[np.float32]) -> Neighbors:
    """The nearest old rows of each new one, from all of them."""
    few = min(_NEIGHBORS, len(old))
    ids = np.empty((len(new), few), dtype=np.int64)
    similarities = np.empty((len(new), few), dtype=np.float32)
    step = max(1, _PRODUCTS // max(1, len(old)))
    for start in range(0, len(new) if few else 0, step):
        products = new[start : start + step] @ old.T
        closest = np.argpartition(products, -few, axis=1)[:, -few:]
        near = np.take_along_axis(products, closest, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        ids[start : start + step] = np.take_along_axis(closest, order, axis=1)
        similarities[start : start + step] = np.take_along_axis(near, order, axis=1)
    return Neighbors(ids, similarities)


def _ways(
    of_row: NDArray[np.int64], near: Neighbors, labels: NDArray[np.int64], floor: float
) -> NDArray[np.int64]:
    """The pairs (E, 2) of a block and the label of a neighbour more alike than `floor`."""
    rows, columns = np.nonzero((near.similarities > floor) & (near.ids != NO_ID))
    found = np.stack([of_row[rows], labels[near.ids[rows, columns]]], axis=1)
    return np.unique(found, axis=0)


def _gains(
    blocks: Blocks,
    ways: NDArray[np.int64],
    old: NDArray[np.float32],
    labels: NDArray[np.int64],
    cuts: tuple[float, float, float],
) -> NDArray[np.float64]:
    """How far each way (E, 2) is above the cut of its sizes: float64 (E,).

    Beside many clusters, not further than above what the cluster's own cohesion asks for.
    """
    cut, strangers, shared = cuts
    wanted = np.unique(ways[:, 1])
    rows = np.flatnonzero(np.isin(labels, wanted))
    here = np.searchsorted(wanted, labels[rows])
    sums = sums_of(old[rows], here, len(wanted))
    sizes = np.bincount(here, minlength=len(wanted))
    place, block = np.searchsorted(wanted, ways[:, 1]), ways[:, 0]
    a, b = blocks.sizes[block], sizes[place]
    mean = np.vecdot(blocks.sums[block], sums[place]) / (a * b)
    spread = shared + (1 - shared) * (1 / a + 1 / b) / 2
    gains = (mean - strangers) / np.sqrt(spread) - (cut - strangers)
    if len(np.unique(labels)) >= LEAST:
        pairs = np.maximum(sizes * (sizes - 1), 1)
        cohesion = ((np.vecdot(sums, sums) - sizes) / pairs)[place]
        asked = asked_of(cohesion, a + b, lowest_cut(cut, strangers, shared))
        gains = np.where(b > 1, np.minimum(gains, mean - asked), gains)
    return np.asarray(gains, dtype=np.float64)


def _mixed(
    pairs: NDArray[np.int64], of_row: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of the pairs of an old row and a new one, the block and the old label: int64 (P, 2)."""
    mixed = pairs[(pairs[:, 0] < len(labels)) & (pairs[:, 1] >= len(labels))]
    return np.stack([of_row[mixed[:, 1] - len(labels)], labels[mixed[:, 0]]], axis=1)


def _given(ties: NDArray[np.int64]) -> dict[int, int]:
    """Block → the label it is tied to most often, the lower of equal ones; ties are (P, 2)."""
    pairs, counts = np.unique(ties, axis=0, return_counts=True)
    order = np.lexsort((-pairs[:, 1], counts))  # the last of a block stays
    return dict(pairs[order].tolist())


def _seated(
    blocks: int,
    ways: NDArray[np.int64],
    gains: NDArray[np.float64],
    given: dict[int, int],
    barred: set[tuple[int, int]],
    foes: Foes,
) -> NDArray[np.int64]:
    """The label of each block (B,), the highest gain first; -1 where none takes it."""
    seats = np.full(blocks, -1, dtype=np.int64)
    for block, label in given.items():
        seats[block] = label
    order = np.lexsort((ways[:, 1], ways[:, 0], -gains))
    for block, label in ways[order[: np.count_nonzero(gains > 0)]].tolist():
        free = seats[block] < 0 and (block, label) not in barred
        if free and label not in seats[foes.of(block)]:
            seats[block] = label
    return seats
