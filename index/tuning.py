"""How hard to search inverted lists for an asked recall, measured on the vectors themselves.

Stored vectors, drawn by chance and left out of the training, are searched as if they were not
stored: they stand for the next photos. The fewest lists are taken
with which the recall, less two standard errors, is what was asked.

Letters: S sampled vectors, N stored vectors, D dimensions, K neighbours, A rows proposed, L lists.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from index.flat import SPARE
from index.ivf import InvertedLists
from index.products import products_by_row

__all__ = ["Effort", "best_of", "effort_for", "sample_of", "tune"]

TUNED_FOR = (10, 100)  # K; more neighbours than that are searched exactly
_WIDTHS = {
    "ivf-flat": (1,),
    "ivf-fp16": (1, 2),
    "ivf-sq8": (2, 4, 8),
    "ivf-pq": (20, 40, 80, 160, 320, 640),
}
_SAMPLE = 256
_TIE = 1e-6  # vectors as similar as this are as good as each other


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to search for K neighbours.

    Attributes:
        k: K.
        probes: how many lists to look into.
        width: A, how many rows to propose for K = `k`; their similarities are then computed.
        reached: the recall that this gave.
    """

    k: int
    probes: int
    width: int
    reached: float


def tune(
    faiss: ModuleType,
    lists: InvertedLists,
    vectors: NDArray[np.float32],
    sample: NDArray[np.int64],
    recall: float,
) -> tuple[Effort, ...]:
    """Returns the effort for each K of `TUNED_FOR`; none where the recall cannot be reached.

    Args:
        faiss: the library.
        lists: trained, holding all the vectors.
        vectors: float32 (N, D), unit rows.
        sample: int64 (S,), the rows to search for, ascending; the lists were trained on others.
        recall: the asked part of the true neighbours, above 0 and below 1.
    """
    queries = np.ascontiguousarray(vectors[sample])
    most = min(TUNED_FOR[-1], len(vectors) - 1)
    metric = faiss.METRIC_INNER_PRODUCT
    similarities, rows = faiss.knn(queries, vectors, most + 1, metric=metric)
    truth = _without(sample, similarities, rows)[:, :most]
    efforts = []
    for k in TUNED_FOR:
        edge = truth[:, min(k, most) - 1, np.newaxis]

        def measured(probes: int, width: int, k: int = min(k, most), edge: Floats = edge) -> Score:
            proposed = lists.propose(queries, width + 1, probes)
            found, those = best_of(faiss, vectors, queries, proposed, k + 1)
            return _score(_without(sample, found, those)[:, :k] >= edge - _TIE)

        for factor in _WIDTHS[lists.kind]:
            width = min(k * factor + SPARE, len(vectors))
            effort = _fewest_probes(measured, lists.lists, width, k, recall)
            if effort is not None:
                efforts.append(effort)
                break
        else:
            return ()
    return tuple(efforts)


Floats = NDArray[np.float32]
Score = tuple[float, float]  # recall, and the recall less two standard errors


def sample_of(count: int, seed: int = 0) -> NDArray[np.int64]:
    """Draws the rows to measure with among N = `count`: int64 (S,), at most a tenth of them."""
    random = np.random.default_rng(seed)
    return np.sort(random.choice(count, min(_SAMPLE, count // 10), replace=False))


def _fewest_probes(
    measured: Callable[[int, int], Score], lists: int, width: int, k: int, recall: float
) -> Effort | None:
    """Halves the range of lists until it is a sixteenth of its upper end."""
    reached, sure = measured(lists, width)
    if sure < recall:
        return None
    low, high = 0, lists  # low is too few, high is enough
    while high - low > max(1, high // 16):
        middle = max(1, math.isqrt(max(low, 1) * high)) if low * 4 < high else (low + high) // 2
        middle = min(max(middle, low + 1), high - 1)
        score, sure = measured(middle, width)
        if sure >= recall:
            high, reached = middle, score
        else:
            low = middle
    return Effort(k, high, width, reached)


def _without(sample: NDArray[np.int64], similarities: Floats, rows: NDArray[np.int64]) -> Floats:
    """Similarities (S, A), falling, with each vector's own row moved to the end as -inf."""
    values = np.where(rows == sample[:, np.newaxis], -np.inf, similarities)
    return -np.sort(-values, axis=1)


def _score(hits: NDArray[np.bool_]) -> Score:
    each = hits.mean(axis=1)
    recall = float(each.mean())
    return recall, recall - 2 * float(each.std()) / math.sqrt(len(each))


def effort_for(efforts: tuple[Effort, ...], k: int, share: float, lists: int) -> Effort | None:
    """Returns the effort for K neighbours among a share of the rows; None: search exactly.

    Among fewer rows the neighbours are further away: as many more lists are looked into, so that
    the number of rows compared stays.

    Args:
        efforts: what `tune` found.
        k: K.
        share: above 0 and up to 1.
        lists: L.
    """
    for effort in efforts:
        if k <= effort.k:
            return Effort(k, min(lists, math.ceil(effort.probes / share)), effort.width, 0.0)
    return None


def best_of(
    faiss: ModuleType,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    proposed: NDArray[np.int64],
    keep: int,
) -> tuple[Floats, NDArray[np.int64]]:
    """Compares the proposed rows in single precision and keeps the best, in any order.

    Args:
        faiss: the library, whose threads share the queries.
        vectors: float32 (N, D), unit rows.
        queries: float32 (Q, D), unit rows.
        proposed: int64 (Q, A), -1 for none.
        keep: how many at most.

    Returns:
        similarities float32 and rows int64, both (Q, min(keep, A)); -inf and -1 for none.
    """
    similarities = products_by_row(faiss, vectors, queries, proposed)
    if proposed.shape[1] <= keep:
        return similarities, proposed
    best = np.argpartition(similarities, -keep, axis=1)[:, -keep:]
    return np.take_along_axis(similarities, best, 1), np.take_along_axis(proposed, best, 1)
