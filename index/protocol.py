"""What an engine can do. READ THIS FIRST.

Vectors are unit rows, so the inner product is the cosine similarity: higher is closer.

Letters: N stored vectors, D dimensions, Q queries, K neighbours, M sites, n ids asked for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from index.neighbors import Neighbors

__all__ = ["FileIndex", "ServerIndex", "VectorIndex"]


@runtime_checkable
class VectorIndex(Protocol):
    """Vectors under ids, each at a site, searched by similarity.

    Not locked: threads that share an index where one of them writes take turns.
    """

    @property
    def dim(self) -> int:
        """D, the length of every vector."""
        ...

    @property
    def exact(self) -> bool:
        """Whether a search returns the true neighbours, or most of them."""
        ...

    def __len__(self) -> int:
        """N, how many vectors are stored."""
        ...

    def add(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        sites: NDArray[np.int64] | None = None,
    ) -> None:
        """Stores vectors; an id that is there already gets the new vector and the new site.

        Args:
            ids: int64 (n,), each at least 0; of an id given twice the last row counts.
            vectors: float32 (n, D), unit rows.
            sites: int64 (n,); None puts them all at site 0.

        Raises:
            WrongArray: an array of another shape, dtype or length of rows; nothing is stored then.
            WrongNumber: a negative id.
        """
        ...

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Removes vectors and returns how many there were; unknown ids are passed over.

        Args:
            ids: int64 (n,).
        """
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, within: NDArray[np.int64] | None = None
    ) -> Neighbors:
        """Finds the k closest vectors of each query; equal similarities go by the lower id.

        Args:
            queries: float32 (Q, D), unit rows.
            k: K, at least 1; where fewer vectors are searched the rest is padding.
            within: int64 (M,), the sites to search; None searches all, an empty array none.

        Raises:
            WrongArray: an array of another shape, dtype or length of rows.
            WrongNumber: k below 1.
        """
        ...

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the vectors of the ids as they were stored, in the order asked.

        Args:
            ids: int64 (n,).

        Returns:
            float32 (n, D).

        Raises:
            UnknownId: an id that is not stored.
        """
        ...

    def ids(self) -> NDArray[np.int64]:
        """Returns every id: int64 (N,), ascending."""
        ...


@runtime_checkable
class FileIndex(VectorIndex, Protocol):
    """An index that lives in one file; engines read each other's files."""

    def save(self, path: str | Path, marks: Mapping[str, str]) -> None:
        """Writes the index, or leaves the file that was there as it was.

        Args:
            path: where to; the folder must exist.
            marks: what the owner wants to find again, such as the space and the last revision.

        Raises:
            OSError: the file cannot be written.
        """
        ...

    @classmethod
    def load(cls, path: str | Path) -> tuple[Self, dict[str, str]]:
        """Reads an index and its marks.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFileBroken: the file was cut, changed or written by something else.
        """
        ...


@runtime_checkable
class ServerIndex(VectorIndex, Protocol):
    """An index that a server keeps, for many processes: what is changed is kept at once."""

    def marks(self) -> dict[str, str]:
        """Returns what the owner kept with the vectors; empty for a new index."""
        ...

    def keep_marks(self, marks: Mapping[str, str]) -> None:
        """Keeps marks with the vectors, in place of those that were kept."""
        ...

    def settle(self) -> bool:
        """Makes the server fit its search to the size, after many rows came or went.

        Returns:
            Whether anything was changed.
        """
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...
