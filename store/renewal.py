"""Renewable vectors: a secret rotation that keeps every cosine and can be replaced.

A leaked vector cannot be changed as a password can. So what is stored is the vector turned by a
secret orthogonal matrix: similarities among vectors turned by the same matrix are those of the
vectors, similarities with any other gallery's say nothing, and another matrix gives other stored
vectors of the same faces without any photo (the renewable biometric references of ISO/IEC 24745).
It is no one-way function: see docs/privacy.md for the attacks that remain.

N vectors, D dimensions.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Renewal = Literal["gallery", "person"]
SEED_BYTES: Final = 32
_INFO: Final = b"vultus transform 1"


@dataclass(frozen=True, slots=True)
class Transform:
    """An orthogonal matrix.

    Attributes:
        matrix: float64 (D, D).
    """

    matrix: NDArray[np.float64]

    def turn(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors as they are stored.

        Args:
            vectors: float32 (N, D), unit rows.
        """
        return (vectors.astype(np.float64) @ self.matrix.T).astype(np.float32)

    def back(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `turn` was given, up to float32 rounding.

        Args:
            vectors: float32 (N, D), unit rows.
        """
        return (vectors.astype(np.float64) @ self.matrix).astype(np.float32)


def transform_of(seed: bytes, dim: int) -> Transform:
    """The rotation of a seed, drawn from all D × D orthogonal matrices alike (Haar measure).

    The Gaussian numbers come from ChaCha20 under a key derived from the seed.

    Args:
        seed: `SEED_BYTES` secret random bytes.
        dim: D.
    """
    uniform = _uniform(seed, dim, 2 * dim * dim).reshape(2, -1)
    radius = np.sqrt(-2.0 * np.log(uniform[0]))  # Box and Muller, 1958
    return Transform(haar((radius * np.cos(2.0 * np.pi * uniform[1])).reshape(dim, dim)))


def haar(gaussian: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Haar-distributed orthogonal matrix, float64 (D, D).

    The product of a Householder reflection for each row's part from the diagonal on (G. W. Stewart,
    "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17, 1980). Plain
    loops and no LAPACK, so that every machine gives the same matrix up to the last bits.

    Args:
        gaussian: float64 (D, D), independent and normal.
    """
    dim = len(gaussian)
    signs = np.where(np.diagonal(gaussian) < 0.0, 1.0, -1.0)
    signs[-1] = -signs[-1]  # the last row is one number: there is nothing to reflect
    matrix = np.diag(signs)
    for k in reversed(range(dim - 1)):
        v = gaussian[k, k:].copy()
        v[0] += np.copysign(np.sqrt((v * v).sum()), v[0])
        v /= np.sqrt((v * v).sum())
        part = matrix[k:, k:]
        part -= 2.0 * np.outer(v, (v[:, None] * part).sum(axis=0))
    return matrix


def _uniform(seed: bytes, dim: int, count: int) -> NDArray[np.float64]:
    """Numbers in (0, 1], float64 (count,), that nobody can guess without the seed."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = _INFO + dim.to_bytes(4, "little")
    key = HKDF(SHA256(), length=32, salt=None, info=info).derive(seed)
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(8 * count))
    numbers = np.frombuffer(stream, "<u8") >> np.uint64(11)
    return (numbers.astype(np.float64) + 1.0) * 2.0**-53
