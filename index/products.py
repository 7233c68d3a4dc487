"""Similarities of some pairs only, by FAISS, whose threads share the queries.

Letters: N rows, D dimensions, Q queries, A rows a query.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["products_by_row"]


def products_by_row(
    faiss: ModuleType,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Returns the similarity of each query to rows of its own, in single precision.

    No vector is copied: FAISS reads them where they are, in memory or mapped from a file.

    Args:
        faiss: the library.
        vectors: float32 (N, D).
        queries: float32 (Q, D).
        rows: int64 (Q, A), below N; -1 for none.

    Returns:
        float32 (Q, A); -inf for none.
    """
    products = np.empty(rows.shape, dtype=np.float32)
    given = [np.ascontiguousarray(array) for array in (queries, vectors, rows)]  # kept alive
    places = [faiss.swig_ptr(array) for array in (products, *given)]
    faiss.fvec_inner_products_by_idx(*places, vectors.shape[1], *rows.shape)
    if rows.size and rows.min() < 0:
        products[rows < 0] = -np.inf
    return products
