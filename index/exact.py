"""Search with numpy alone: needs nothing else, and is what other engines are held against.

Letters: Q queries, D dimensions, R rows searched.
"""

import numpy as np
from numpy.typing import NDArray

from index.flat import FlatIndex, merge

__all__ = ["ExactIndex"]

_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB


class ExactIndex(FlatIndex):
    """Exact search, block by block in bounded memory.

    Args:
        dim: D, the length of every vector.
    """

    __slots__ = ()

    def _nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        best: NDArray[np.float32] = np.empty((len(queries), 0), dtype=np.float32)
        where = np.empty((len(queries), 0), dtype=np.int64)
        step = max(1, _PRODUCTS // max(1, len(queries)))
        for start in range(0, len(vectors), step):
            products = queries @ vectors[start : start + step].T  # (Q, R)
            few = min(count, products.shape[1])
            columns = np.argpartition(products, -few, axis=1)[:, -few:]
            values = np.take_along_axis(products, columns, axis=1)
            best, where = merge(best, where, values, columns + start, count)
        return best, where
