"""The closest other rows of every row.

Up to `_EXACT` rows all pairs are compared. Above, FAISS keeps the rows in lists around centroids
and looks into the lists closest to each row (J. Sivic, A. Zisserman, "Video Google", 2003); how
many follows from the recall that is asked, measured on a sample of rows against all pairs.

Letters: N rows, D dimensions, K neighbours, L lists, Q rows of the sample.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

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
_LOOKED = 16  # at most this part of the lists is looked into
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The closest other rows of every row.

    Attributes:
        ids: int64 (N, K), closest first; -1 where there are fewer.
        similarities: float32 (N, K), descending; -inf where the id is -1.
        recall: the part of the true neighbours that was found; 1 where all pairs were compared.
        probes: how many lists were looked into for each row; 0 where all pairs were compared.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    recall: float
    probes: int


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
    """By lists; the number that is looked into doubles until the sample's recall is reached.

    It ends at a sixteenth of the lists: rows that have fewer than K close ones have no neighbours
    that lists could tell from the others, and the recall that is told says so.
    """
    index = _lists(vectors, seed)
    chosen = np.random.default_rng(seed).choice(len(vectors), _SAMPLE, replace=False)
    chosen = np.sort(chosen).astype(np.int64)
    truth = Neighbors(*_compared(vectors, chosen, k))
    index.nprobe, reached = 2, 0.0
    while reached < wanted and index.nprobe < index.nlist // _LOOKED:
        index.nprobe *= 2
        reached = recall(Neighbors(*_others(index, vectors, chosen, k)), truth)
    ids = np.empty((len(vectors), k), dtype=np.int64)
    similarities = np.empty((len(vectors), k), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        ids[rows], similarities[rows] = _others(index, vectors, rows, k)
    return Nearest(ids, similarities, reached, int(index.nprobe))


def _lists(vectors: NDArray[np.float32], seed: int) -> Any:  # noqa: ANN401 - FAISS has no types
    """A FAISS index of about 4 √N lists, at most 4,096, around rows of the data itself.

    A few steps on a sample are enough: the lists need not be good clusters, only even.
    """
    from index.faiss import import_faiss

    faiss = import_faiss()
    lists = int(min(4096, 4 * np.sqrt(len(vectors))))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter, index.cp.seed, index.cp.spherical = 8, seed + 1, True
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 48
    index.train(vectors)
    for start in range(0, len(vectors), _BLOCK):
        index.add(vectors[start : start + _BLOCK])
    return index


def _others(
    index: Any,  # noqa: ANN401 - FAISS has no types
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and similarities (Q, K) of what the lists hold, without each row itself."""
    similarities, ids = index.search(vectors[rows], k + 1)
    itself = ids == rows[:, np.newaxis]
    itself[~itself.any(axis=1), k] = True  # of more than K equal rows it may be missing
    ids, similarities = ids[~itself].reshape(-1, k), similarities[~itself].reshape(-1, k)
    return ids, np.where(ids < 0, np.float32(-np.inf), similarities)
