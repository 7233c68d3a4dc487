"""The closest other rows of every row.

Up to `_EXACT` rows all pairs are compared. Above, with FAISS (`index.nearest_lists`):

1. Lists around centroids (J. Sivic, A. Zisserman, "Video Google", 2003): each row is compared with
   the rows of the lists closest to it.
2. A neighbour of a neighbour is often a neighbour (W. Dong et al., "Efficient k-nearest neighbor
   graph construction for generic similarity measures", 2011): each row is compared with those, and
   so finds what lies in lists that it has not looked into.

Both go on until the recall that is asked is reached, measured on a sample of rows against all
pairs; where neighbours of neighbours add no more, four times as many lists are looked into.

Letters: N rows, D dimensions, K neighbours, L lists, Q rows of the sample.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from index.arrays import unit_rows
from index.errors import WrongNumber
from index.neighbors import Neighbors
from index.recall import recall

__all__ = ["Nearest", "nearest_rows"]

_EXACT = 60_000
_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB
_SAMPLE = 400
_LOOKED, _SHARE = 4, 12  # lists looked into at first, and the part of all that is the most
_WORTH = 0.01  # what a round of neighbours of neighbours adds to the recall, or it was the last


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The closest other rows of every row.

    Attributes:
        ids: int64 (N, K), closest first; -1 where there are fewer.
        similarities: float32 (N, K), descending; -inf where the id is -1.
        recall: the part of the true neighbours that was found; 1 where all pairs were compared.
        probes: how many lists were looked into for each row; 0 where all pairs were compared.
        rounds: how often neighbours of neighbours were compared.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    recall: float
    probes: int
    rounds: int = 0


def nearest_rows(
    vectors: NDArray[np.float32],
    k: int,
    wanted: float = 0.96,
    seed: int = 0,
    exact: int = _EXACT,
) -> Nearest:
    """Finds the closest other rows of every row.

    Args:
        vectors: float32 (N, D), unit rows.
        k: K, at least 1.
        wanted: the recall to reach where not all pairs are compared, 0 to 1.
        seed: of the lists and of the sample.
        exact: up to so many rows, or without FAISS, all pairs are compared.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: k below 1, or a recall that is none.
    """
    vectors = unit_rows(vectors)
    if k < 1 or not 0 <= wanted <= 1:
        raise WrongNumber(f"k must be at least 1 and wanted from 0 to 1, got {k} and {wanted}.")
    if len(vectors) <= exact or find_spec("faiss") is None:
        ids, similarities = _compared(vectors, np.arange(len(vectors)), k)
        return Nearest(ids, similarities, 1.0, 0)
    return _listed(vectors, k, wanted, seed)


def _compared(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and similarities (Q, K) of some rows, from all pairs."""
    ids = np.full((len(rows), k), -1, dtype=np.int64)
    similarities = np.full((len(rows), k), -np.inf, dtype=np.float32)
    few = min(k, len(vectors) - 1)
    step = max(1, _PRODUCTS // max(1, len(vectors)))
    for start in range(0, len(rows) if few > 0 else 0, step):
        some = rows[start : start + step]
        products = vectors[some] @ vectors.T
        products[np.arange(len(some)), some] = -np.inf
        closest = np.argpartition(products, -few, axis=1)[:, -few:]
        near = np.take_along_axis(products, closest, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        ids[start : start + step, :few] = np.take_along_axis(closest, order, axis=1)
        similarities[start : start + step, :few] = np.take_along_axis(near, order, axis=1)
    return ids, similarities


def _listed(vectors: NDArray[np.float32], k: int, wanted: float, seed: int) -> Nearest:
    """By lists and by neighbours of neighbours, until the sample's recall is reached.

    It ends at a twelfth of the lists: rows that have fewer than K close ones have no neighbours
    that lists could tell from the others, and the recall that is told says so.
    """
    from index.faiss import import_faiss
    from index.nearest_lists import ListSearch, all_compared

    faiss = import_faiss()
    chosen = np.random.default_rng(seed).choice(len(vectors), _SAMPLE, replace=False)
    chosen = np.sort(chosen).astype(np.int64)
    truth = Neighbors(*all_compared(faiss, vectors, chosen, k))
    work, probes, rounds = ListSearch.of(faiss, vectors, k, _LOOKED, seed), _LOOKED, 0
    most = max(_LOOKED, len(work.centroids) // _SHARE)
    while True:
        reached, before = recall(work.found(chosen), truth), -1.0
        while reached < wanted and reached - before > _WORTH:
            work.ask_neighbours()
            rounds, before, reached = rounds + 1, reached, recall(work.found(chosen), truth)
        if reached >= wanted or probes == most:
            break
        probes = min(most, 4 * probes)
        work.look_further(probes)
    found = work.found(np.arange(len(vectors)))
    return Nearest(found.ids, found.similarities, reached, probes, rounds)
