"""The checks that every array passes at the border of this package.

Letters: N rows, D dimensions, P pairs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import NotUnit, WrongDtype, WrongNumber, WrongShape

__all__ = ["NORM_TOLERANCE", "cut_value", "id_array", "pair_array", "site_array", "unit_rows"]

NORM_TOLERANCE = 1e-3
"""How far from 1 a unit row's length may be: 16-bit vectors pass, raw network outputs do not."""


def unit_rows(vectors: NDArray[Any], dim: int | None = None) -> NDArray[np.float32]:
    """Checks that `vectors` are finite rows of length 1 and returns them contiguous.

    Args:
        vectors: float32 (N, D), each row of length 1 within `NORM_TOLERANCE`.
        dim: the D to ask for; None takes any D of at least 1.

    Returns:
        float32 (N, D), C-contiguous; the same memory when it already was.

    Raises:
        WrongShape: not two axes, or another D.
        WrongDtype: not float32.
        NotUnit: a row that is not finite or not of length 1; the first such row is named.
    """
    array = np.asarray(vectors)
    wanted = "(N, D)" if dim is None else f"(N, {dim})"
    if array.ndim != 2 or array.shape[1] < 1 or (dim is not None and array.shape[1] != dim):
        raise WrongShape(f"vectors must have shape {wanted}, got {array.shape}: pass one row each.")
    if array.dtype != np.float32:
        raise WrongDtype(f"vectors must be float32, got {array.dtype}: use astype(numpy.float32).")
    rows: NDArray[np.float32] = np.ascontiguousarray(array, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # such rows are refused below
        norms = np.sqrt(np.vecdot(rows, rows))
    right = np.abs(norms - 1) <= NORM_TOLERANCE  # written so that NaN is wrong
    if not right.all():
        row = int(np.argmin(right))
        raise NotUnit(
            f"row {row} of vectors has length {norms[row]:.4g}, not 1: divide each row by its "
            "length, and leave out rows that are zero or not finite."
        )
    return rows


def id_array(ids: NDArray[Any], length: int | None = None) -> NDArray[np.int64]:
    """Checks ids: whole numbers from 0.

    Args:
        ids: int64 (N,), each at least 0; other integer dtypes are converted.
        length: the N to ask for; None takes any.

    Returns:
        int64 (N,).

    Raises:
        WrongShape: not one axis, or another N.
        WrongDtype: not integers.
        WrongNumber: a negative id.
    """
    whole = _integers(ids, "ids", length)
    if whole.size and whole.min() < 0:
        raise WrongNumber(f"ids must be from 0 to 2^63 - 1, got {whole.min()}: pass primary keys.")
    return whole


def site_array(sites: NDArray[Any], length: int | None = None) -> NDArray[np.int64]:
    """Checks site ids.

    Args:
        sites: int64 (N,); other integer dtypes are converted.
        length: the N to ask for; None takes any.

    Returns:
        int64 (N,).

    Raises:
        WrongShape: not one axis, or another N.
        WrongDtype: not integers.
    """
    return _integers(sites, "sites", length)


def pair_array(pairs: NDArray[Any] | None, rows: int, name: str = "apart") -> NDArray[np.int64]:
    """Checks pairs of row numbers.

    Args:
        pairs: int64 (P, 2), from 0 to `rows` - 1, the two of a pair different; None is no pair.
        rows: N, how many rows there are.
        name: what errors call the pairs.

    Returns:
        int64 (P, 2), each pair once, the lower row first, in ascending order.

    Raises:
        WrongShape: not (P, 2).
        WrongDtype: not integers.
        WrongNumber: a row that does not exist, or a pair of one row with itself.
    """
    if pairs is None:
        return np.empty((0, 2), dtype=np.int64)
    array = np.asarray(pairs)
    if array.ndim != 2 or array.shape[1] != 2:
        raise WrongShape(f"{name} must have shape (P, 2), got {array.shape}: pass pairs of rows.")
    whole = _integers(array.reshape(-1), name, None).reshape(-1, 2)
    if whole.size and (whole.min() < 0 or whole.max() >= rows):
        raise WrongNumber(
            f"{name} must hold row numbers from 0 to {rows - 1}, "
            f"got {whole.min()} to {whole.max()}."
        )
    if (whole[:, 0] == whole[:, 1]).any():
        raise WrongNumber(f"{name} pairs a row with itself: pass pairs of two different rows.")
    return np.unique(np.sort(whole, axis=1), axis=0)


def cut_value(cut: float) -> float:
    """Checks a similarity to cut at.

    Raises:
        WrongNumber: not from -1 to 1, or not a number.
    """
    if not -1 <= cut <= 1:
        raise WrongNumber(f"a cut is a similarity from -1 to 1, got {cut}.")
    return float(cut)


def _integers(array: NDArray[Any], name: str, length: int | None) -> NDArray[np.int64]:
    array = np.asarray(array)
    if array.ndim != 1 or (length is not None and len(array) != length):
        wanted = "(N,)" if length is None else f"({length},)"
        raise WrongShape(f"{name} must have shape {wanted}, got {array.shape}: pass one each.")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise WrongDtype(f"{name} must be int64, got {array.dtype}: use astype(numpy.int64).")
    return array.astype(np.int64)
