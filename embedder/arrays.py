"""The one check that every array of this package passes on construction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embedder.errors import WrongArray


def expect(array: NDArray[Any], dtype: DTypeLike, shape: tuple[int | None, ...], what: str) -> None:
    """Check dtype and shape of an array.

    Args:
        array: any array.
        dtype: the dtype it must have.
        shape: the shape it must have; None stands for any length on that axis.
        what: how the message names the array.

    Raises:
        WrongArray: telling the wanted and the given dtype and shape.
    """
    given = np.shape(array)
    fits = len(given) == len(shape) and all(
        want is None or want == got for want, got in zip(shape, given, strict=True)
    )
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise WrongArray(f"{what} must be {np.dtype(dtype)} ({wanted}), got {kind} {given}.")
