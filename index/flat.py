"""What the embedded engines share: rows in one file, and similarities computed in one way.

An engine only proposes rows that are close. The similarities that are returned, and the order of
equal ones, are computed here in double precision, so that engines agree bit for bit and a result
depends neither on the order of insertion nor on how many queries were asked at once.

Letters: Q queries, K neighbours, N stored vectors, D dimensions, M sites, R rows searched,
A rows proposed per query.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.arrays import id_array, site_array, unit_rows
from index.errors import WrongNumber
from index.neighbors import NO_ID, Neighbors
from index.rowfile import read_rows, write_rows
from index.rows import RowStore

__all__ = ["SLACK", "SPARE", "FlatIndex", "merge"]

_QUERIES = 1024  # searched at once
_NUMBERS = 1 << 24  # float32 in one block of work: 64 MiB
_CACHED = 1 << 15  # float64 that stay in a processor's cache: 256 KiB
SLACK = 1e-5  # more than single precision can get a similarity of unit rows wrong
SPARE = 2  # proposals beyond k, so that equal similarities at the edge are seen


class FlatIndex(ABC):
    """Exact search over rows in memory or mapped from a file; see `index.protocol`.

    Args:
        dim: D, the length of every vector, at least 1.
    """

    __slots__ = ("_rows",)

    _slack = SLACK

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise WrongNumber(f"an index needs vectors of at least 1 number, got dim {dim}.")
        self._rows = RowStore.empty(dim)

    @abstractmethod
    def _nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Proposes the `count` rows of `vectors` closest to each query, in any order.

        Args:
            queries: float32 (Q, D).
            vectors: float32 (R, D).
            count: from 1 to R.

        Returns:
            similarities float32 (Q, count), right within `_slack`, and rows int64 (Q, count).
        """

    @property
    def dim(self) -> int:
        """D, the length of every vector."""
        return self._rows.dim

    @property
    def exact(self) -> bool:
        """True: a search returns the true neighbours."""
        return True

    def __len__(self) -> int:
        return len(self._rows)

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
        vectors = unit_rows(vectors, self.dim)
        ids = id_array(ids, len(vectors))
        sites = np.zeros_like(ids) if sites is None else site_array(sites, len(vectors))
        before = len(self)
        self._follow(self._rows.put(ids, vectors, sites), before)

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Removes vectors and returns how many there were; unknown ids are passed over.

        Args:
            ids: int64 (n,).
        """
        before = len(self)
        self._follow(self._rows.drop(id_array(ids)), before)
        return before - len(self)

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
        queries = unit_rows(queries, self.dim)
        if k < 1:
            raise WrongNumber(f"k must be at least 1, got {k}.")
        rows = None if within is None else self._rows.rows_at(site_array(within))
        count = min(k, len(self) if rows is None else len(rows))
        if count == k and len(queries) <= _QUERIES:
            return Neighbors(*self._closest(queries, rows, k))
        ids = np.full((len(queries), k), NO_ID, dtype=np.int64)
        similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if count:
            for start in range(0, len(queries), _QUERIES):
                some = slice(start, start + _QUERIES)
                found = self._closest(queries[some], rows, count)
                ids[some, :count], similarities[some, :count] = found
        return Neighbors(ids, similarities)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the vectors of the ids as they were stored, in the order asked.

        Args:
            ids: int64 (n,).

        Returns:
            float32 (n, D), a copy.

        Raises:
            UnknownId: an id that is not stored.
        """
        return self._rows.vectors[self._rows.rows_of(id_array(ids))]

    def sites(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the sites of the ids, int64 (n,), in the order asked.

        Raises:
            UnknownId: an id that is not stored.
        """
        return self._rows.sites[self._rows.rows_of(id_array(ids))]

    def ids(self) -> NDArray[np.int64]:
        """Returns every id: int64 (N,), ascending."""
        return np.sort(self._rows.ids)

    def save(self, path: str | Path, marks: Mapping[str, str]) -> None:
        """Writes the index, or leaves the file that was there as it was.

        Args:
            path: where to; the folder must exist.
            marks: what the owner wants to find again, such as the space and the last revision.

        Raises:
            OSError: the file cannot be written.
        """
        write_rows(path, self._rows, marks)

    @property
    def memory(self) -> int:
        """Bytes of the rows, mapped from a file or not."""
        rows = self._rows
        return rows.vectors.nbytes + rows.ids.nbytes + rows.sites.nbytes

    @classmethod
    def load(cls, path: str | Path) -> tuple[Self, dict[str, str]]:
        """Reads an index and its marks.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFileBroken: the file was cut, changed or written by something else.
        """
        rows, marks = read_rows(path)
        index = cls(rows.dim)
        index._rows = rows
        return index, marks

    def _follow(self, rows: NDArray[np.int64], before: int) -> None:
        """Brings up to date what an engine keeps besides the rows; here there is nothing.

        Args:
            rows: int64 (m,), the rows whose contents are new.
            before: how many rows there were; those from the present length on are gone.
        """
        del rows, before

    def _closest(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64] | None, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ids and similarities of the k closest rows, right to the last bit and tie.

        Where the last proposal is too close to the k-th for single precision to tell them apart,
        more are asked for.
        """
        total = len(self) if rows is None else len(rows)
        count = min(k + SPARE, total)
        guesses, proposed = self._proposals(queries, rows, count)
        clear = self._clear(guesses, k, total)
        if clear.all():
            return self._ranked(queries, proposed, k)
        ids = np.empty((len(queries), k), dtype=np.int64)
        similarities = np.empty((len(queries), k), dtype=np.float32)
        left = np.arange(len(queries))
        while True:
            done, some = left[clear], proposed[clear]
            ids[done], similarities[done] = self._ranked(queries[done], some, k)
            left, count = left[~clear], min(4 * count, total)
            if not len(left):
                break
            guesses, proposed = self._proposals(queries[left], rows, count)
            clear = self._clear(guesses, k, total)
        return ids, similarities

    def _clear(self, guesses: NDArray[np.float32], k: int, total: int) -> NDArray[np.bool_]:
        """Of which queries the last proposal (Q, A) is certainly further than the k-th: (Q,)."""
        count = guesses.shape[1]
        edge = np.sort(guesses, axis=1)  # the last one comes first, the k-th at count - k
        clear: NDArray[np.bool_] = edge[:, 0] < edge[:, count - k] - self._slack
        return np.ones_like(clear) if count == total else clear

    def _proposals(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64] | None, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The engine's proposals, gathered block by block: similarities and rows (Q, A)."""
        if rows is None:
            return self._nearest(queries, self._rows.vectors, count)
        best: NDArray[np.float32] = np.empty((len(queries), 0), dtype=np.float32)
        where = np.empty((len(queries), 0), dtype=np.int64)
        for block in _pieces(rows, _NUMBERS // self.dim):
            values, offsets = self._nearest(
                queries, self._rows.vectors[block], min(count, len(block))
            )
            best, where = merge(best, where, values, block[offsets], count)
        return best, where

    def _ranked(
        self, queries: NDArray[np.float32], proposed: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of the proposed rows (Q, A) by (similarity, id), computed in double.

        Rows of -1 are passed over; each query has at least k others.
        """
        stored, products = self._rows.vectors, np.empty(proposed.shape)
        step = max(1, _CACHED // (self.dim * proposed.shape[1]))
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            vectors = stored.take(proposed[some], axis=0).astype(np.float64)
            wide = queries[some, np.newaxis].astype(np.float64)
            np.vecdot(vectors, wide, out=products[some])
        exact = np.minimum(np.maximum(products, -1), 1).astype(np.float32)
        if proposed.min(initial=0) < 0:
            exact[proposed < 0] = -np.inf  # a proposal that there is not
        names = self._rows.ids.take(proposed)
        order = np.lexsort((names, -exact), axis=1)[:, :k]
        lines = np.arange(len(order))[:, np.newaxis]
        return names[lines, order], exact[lines, order]


def merge(
    best: NDArray[np.float32],
    where: NDArray[np.int64],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    count: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Keeps the `count` best of two sets of proposals, in any order.

    Args:
        best: float32 (Q, A), similarities so far.
        where: int64 (Q, A), their rows.
        values: float32 (Q, B), further similarities.
        rows: int64 (Q, B), their rows.
        count: how many to keep at most.

    Returns:
        similarities float32 and rows int64, both (Q, min(count, A + B)).
    """
    best, where = np.hstack([best, values]), np.hstack([where, rows])
    if best.shape[1] <= count:
        return best, where
    keep = np.argpartition(best, -count, axis=1)[:, -count:]
    return np.take_along_axis(best, keep, axis=1), np.take_along_axis(where, keep, axis=1)


def _pieces(rows: NDArray[np.int64], length: int) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + length] for start in range(0, len(rows), length))
