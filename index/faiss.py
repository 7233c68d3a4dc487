"""Search with FAISS: flat, on the CPU.

FAISS's brute-force kernel runs over our own rows, mapped from the file or not. There is no second
copy of the vectors, and what its index classes do otherwise than one expects (a repeated id stored
twice, an empty AssertionError for a wrong length, -3.4e38 for missing results) cannot occur.

Letters: Q queries, D dimensions, R rows searched.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from index.errors import EngineMissing
from index.flat import FlatIndex

__all__ = ["FaissIndex", "import_faiss"]


class FaissIndex(FlatIndex):
    """Exact search by FAISS.

    Args:
        dim: D, the length of every vector.

    Raises:
        EngineMissing: FAISS is not installed.
    """

    __slots__ = ("_faiss",)

    def __init__(self, dim: int) -> None:
        self._faiss = import_faiss()
        super().__init__(dim)

    def _nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        metric = self._faiss.METRIC_INNER_PRODUCT
        similarities, rows = self._faiss.knn(queries, vectors, count, metric=metric)
        return similarities, rows


def import_faiss() -> ModuleType:
    """Returns the library; only this function imports it.

    Raises:
        EngineMissing: it is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise EngineMissing(
            'FAISS is not installed: run pip install "vultus[cpu]", or use the engine exact:'
        ) from error
    return faiss
