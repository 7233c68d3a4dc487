"""How many of the true neighbours a search found, and how quickly.

Letters: Q queries, D dimensions, K neighbours.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from index.errors import WrongShape
from index.neighbors import NO_ID, Neighbors
from index.protocol import VectorIndex

__all__ = ["BATCH", "Measured", "measure", "recall"]

BATCH = 64
"""Queries searched together where speed is measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What an engine did with some queries.

    Attributes:
        recall: recall@K against exact search, 0 to 1.
        queries_per_second: in batches of `BATCH`.
        milliseconds: the median time of one query alone.
    """

    recall: float
    queries_per_second: float
    milliseconds: float


def measure(
    index: VectorIndex, queries: NDArray[np.float32], truth: Neighbors, singles: int = 16
) -> Measured:
    """Searches queries together and alone.

    Args:
        index: the engine.
        queries: float32 (Q, D), unit rows, at least one.
        truth: the neighbours (Q, K) that an exact engine with the same vectors finds.
        singles: how many of the queries to search alone, too.
    """
    k = truth.ids.shape[1]
    index.search(queries[:1], k)  # whatever is done once only
    began, starts = perf_counter(), range(0, len(queries), BATCH)
    parts = [index.search(queries[start : start + BATCH], k) for start in starts]
    rate = len(queries) / (perf_counter() - began)
    times = []
    for query in range(min(singles, len(queries))):
        began = perf_counter()
        index.search(queries[query : query + 1], k)
        times.append(perf_counter() - began)
    found = Neighbors(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )
    return Measured(recall(found, truth), rate, 1e3 * float(np.median(times)))


def recall(found: Neighbors, truth: Neighbors) -> float:
    """Returns recall@K: of the true K neighbours, the part that was found, over all queries.

    The order within the K does not count. A query that has fewer than K true neighbours counts with
    those it has.

    Args:
        found: ids (Q, K) of the engine that is judged.
        truth: ids (Q, K) of an exact engine for the same queries.

    Returns:
        From 0 to 1; 1 where there is nothing to find.

    Raises:
        WrongShape: the two differ in shape.
    """
    if found.ids.shape != truth.ids.shape:
        raise WrongShape(
            f"found and truth must both have shape (Q, K), got {found.ids.shape} "
            f"and {truth.ids.shape}: search both with the same queries and k."
        )
    wanted = int(np.count_nonzero(truth.ids != NO_ID))
    hits = sum(
        len(np.intersect1d(a[a != NO_ID], b[b != NO_ID]))
        for a, b in zip(found.ids, truth.ids, strict=True)
    )
    return hits / wanted if wanted else 1.0
