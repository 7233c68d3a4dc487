"""Rows of (id, vector, site) in arrays that grow: what every embedded engine searches.

Removing moves the last row into the gap, so rows have no lasting order: only ids name a vector.

Letters: N rows stored, D dimensions, M sites, n rows given or asked for.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from index.errors import UnknownId

__all__ = ["ALIGNED", "RowStore", "grown"]

ALIGNED = 64  # bytes of a cache line, and of the widest registers: where rows begin

Number = TypeVar("Number", np.int64, np.float32)


class RowStore:
    """Vectors under ids, each at a site. Callers pass checked arrays (`index.arrays`).

    Args:
        ids: int64 (N,), each once.
        vectors: float32 (N, D), unit rows. May be a read-only map of a file: it is searched as it
            is, and copied into memory by the first change.
        sites: int64 (N,).
    """

    __slots__ = ("_count", "_ids", "_rows", "_sites", "_vectors")

    def __init__(
        self, ids: NDArray[np.int64], vectors: NDArray[np.float32], sites: NDArray[np.int64]
    ) -> None:
        self._ids = ids
        self._vectors = vectors
        self._sites = sites
        self._count = len(ids)
        self._rows: dict[int, int] | None = None  # id -> row, made when first needed

    @classmethod
    def empty(cls, dim: int) -> "RowStore":
        """Returns a store of no rows of `dim` numbers."""
        return cls(
            np.empty(0, dtype=np.int64),
            np.empty((0, dim), dtype=np.float32),
            np.empty(0, dtype=np.int64),
        )

    def __len__(self) -> int:
        return self._count

    @property
    def dim(self) -> int:
        """D, the length of every vector."""
        return int(self._vectors.shape[1])

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 (N,), the id of each row; a view."""
        return self._ids[: self._count]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32 (N, D), the vector of each row; a view."""
        return self._vectors[: self._count]

    @property
    def sites(self) -> NDArray[np.int64]:
        """int64 (N,), the site of each row; a view."""
        return self._sites[: self._count]

    def put(
        self, ids: NDArray[np.int64], vectors: NDArray[np.float32], sites: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Stores rows, replacing those of ids that are there; of an id given twice the last counts.

        Args:
            ids: int64 (n,).
            vectors: float32 (n, D).
            sites: int64 (n,).

        Returns:
            int64 (m,), the rows written, each once.
        """
        last = {number: position for position, number in enumerate(ids.tolist())}
        row_of = self._row_of()
        fresh = sum(number not in row_of for number in last)
        self._make_room(self._count + fresh)
        targets = np.empty(len(last), dtype=np.int64)
        for position, number in enumerate(last):
            targets[position] = row_of.setdefault(number, len(row_of))
        taken = np.fromiter(last.values(), dtype=np.int64, count=len(last))
        self._ids[targets] = ids[taken]
        self._vectors[targets] = vectors[taken]
        self._sites[targets] = sites[taken]
        self._count += fresh
        return targets

    def drop(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Removes the rows of the ids that are there; the store is shorter by as many.

        Args:
            ids: int64 (n,).

        Returns:
            int64 (m,), the rows that were filled with others, ascending.
        """
        filled: set[int] = set()
        row_of = self._row_of()
        known = [number for number in dict.fromkeys(ids.tolist()) if number in row_of]
        if known:
            self._make_room(self._count)
        for number in known:
            row, last = row_of.pop(number), self._count - 1
            if row != last:
                self._ids[row] = self._ids[last]
                self._vectors[row] = self._vectors[last]
                self._sites[row] = self._sites[last]
                row_of[int(self._ids[row])] = row
                filled.add(row)
            self._count = last
        return np.array(sorted(row for row in filled if row < self._count), dtype=np.int64)

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the row of each id: int64 (n,).

        Args:
            ids: int64 (n,).

        Raises:
            UnknownId: an id that is not stored.
        """
        row_of = self._row_of()
        try:
            return np.array([row_of[number] for number in ids.tolist()], dtype=np.int64)
        except KeyError as missing:
            raise UnknownId(
                f"the index holds no vector of id {missing}: add it, or bring the index up to date."
            ) from None

    def rows_at(self, sites: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the rows that are at any of the sites: int64 (n,), ascending.

        Args:
            sites: int64 (M,).
        """
        return np.flatnonzero(np.isin(self.sites, sites))

    def _row_of(self) -> dict[int, int]:
        if self._rows is None:
            self._rows = {number: row for row, number in enumerate(self.ids.tolist())}
        return self._rows

    def _make_room(self, count: int) -> None:
        """Makes the arrays writable and long enough; growth by half keeps adding cheap."""
        if count <= len(self._ids) and self._vectors.flags.writeable:
            return
        room = max(count, self._count + self._count // 2, 64)
        self._ids = grown(self._ids, self._count, room)
        self._vectors = grown(self._vectors, self._count, room)
        self._sites = grown(self._sites, self._count, room)


def grown(array: NDArray[Number], count: int, room: int) -> NDArray[Number]:
    """Copies the first `count` rows into a new array of `room` rows that begins `ALIGNED`.

    NumPy asks the system for huge pages where it is of 4 MiB or more.
    """
    shape = (room, *array.shape[1:])
    size = math.prod(shape) * array.dtype.itemsize
    memory = np.empty(size + ALIGNED, dtype=np.uint8)
    start = -memory.ctypes.data % ALIGNED
    grown = memory[start : start + size].view(array.dtype).reshape(shape)
    grown[:count] = array[:count]
    return grown
