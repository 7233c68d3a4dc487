"""Vectors as the database keeps them: float32, little-endian, one blob a row.

N vectors, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from store.errors import InvalidVector

STORED = np.dtype("<f4")
UNIT_TOLERANCE = 5e-4  # far above float32 rounding, and within what every index accepts


def pack(vector: NDArray[np.float32]) -> bytes:
    """One vector as the bytes of its row.

    Args:
        vector: float32 (D,), finite, of unit length.

    Raises:
        InvalidVector: it is not that.
    """
    if vector.ndim != 1 or vector.dtype != np.float32 or vector.size == 0:
        raise InvalidVector(
            f"A template is a float32 vector of shape (D,); got {vector.dtype} {vector.shape}: "
            "pass one row of Embeddings.vectors."
        )
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not abs(length - 1.0) <= UNIT_TOLERANCE:  # also catches a length that is not a number
        raise InvalidVector(
            f"A template has unit length; got {length:.6g}: divide the vector by its length."
        )
    return vector.astype(STORED).tobytes()


def unpack(blobs: Sequence[bytes]) -> NDArray[np.float32]:
    """The vectors of several rows.

    Args:
        blobs: as `pack` made them, all of one space and therefore of one length.

    Returns:
        float32 (N, D); (0, 0) without rows.

    Raises:
        InvalidVector: the rows differ in length, so they are not of one space, or one is not of
            unit length: it was damaged, and must not pass for somebody who is not like the probe.
    """
    if not blobs:
        return np.zeros((0, 0), np.float32)
    if len({len(blob) for blob in blobs}) != 1:
        raise InvalidVector(
            "Vectors of several lengths cannot be read together: they are of several spaces, or a "
            "row is damaged; restore the database from a backup then."
        )
    flat = np.frombuffer(b"".join(blobs), STORED)
    vectors = flat.reshape(len(blobs), -1).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
    right = np.abs(squares - 1.0) <= 4 * UNIT_TOLERANCE  # of the square; not where it is no number
    if not right.all():
        length = float(np.sqrt(squares[~right][0]))
        raise InvalidVector(
            f"A stored vector is damaged (its length is {length:.6g}, not 1): restore the database "
            "from a backup."
        )
    return vectors
