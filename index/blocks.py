"""Exact search over blocks of rows on a device that can add but not remove: a GPU.

FAISS's GPU indexes cannot remove a vector. So rows live in blocks, one flat index each, and the
host keeps every row. A change of a row makes its block anew from the host's rows before the change
is acknowledged; rows that only come at the end are added to the last block. Whatever a block
answers is right at that moment, and the host computes the similarities that are returned: results
are those of every exact engine, also where the device stores 16-bit numbers.

Letters: Q queries, D dimensions, R rows of a block, A rows proposed per query, m rows given.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from index.faiss import import_faiss
from index.flat import SLACK, FlatIndex, merge

__all__ = ["Block", "BlockIndex", "CpuDevice", "Device"]

BLOCK = 1 << 18  # rows of a block: 128 MiB of 128 float32, sent to a GPU in some 10 ms

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class Block(Protocol):
    """Rows on a device, counted from 0."""

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds rows at the end: float32 (m, D)."""
        ...

    def search(self, queries: NDArray[np.float32], count: int) -> Found:
        """Proposes the `count` closest of its rows.

        Args:
            queries: float32 (Q, D).
            count: A, from 1 to R and to the device's `most`.

        Returns:
            similarities float32 (Q, A), right within half the device's `slack`, rows int64 (Q, A).
        """
        ...


class Device(Protocol):
    """Where blocks are."""

    @property
    def slack(self) -> float:
        """How much more alike a proposal must look than another to be so for certain."""
        ...

    @property
    def most(self) -> int:
        """The largest A of a search."""
        ...

    def block(self, number: int, vectors: NDArray[np.float32]) -> Block:
        """Makes block `number` of rows float32 (R, D)."""
        ...

    def search(self, blocks: list[Block], queries: NDArray[np.float32], count: int) -> list[Found]:
        """Searches blocks for float32 (Q, D), each for at most its R rows; see `Block.search`.

        In parallel where the device can.
        """
        ...

    def nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> Found:
        """Searches rows of the host, float32 (R, D), as `Block.search` does; any `count`."""
        ...


class BlockIndex(FlatIndex):
    """Exact search over blocks; see `index.protocol`.

    Args:
        dim: D, the length of every vector.
        device: where the blocks are; None is the CPU.
        rows: how many rows make a block.

    Raises:
        EngineMissing: FAISS is not installed.
    """

    __slots__ = ("_blocks", "_device", "_filled", "_slack", "block_rows")

    def __init__(self, dim: int, device: Device | None = None, rows: int = BLOCK) -> None:
        super().__init__(dim)
        self._device: Device = CpuDevice(dim) if device is None else device
        self._slack = self._device.slack
        self._blocks: list[Block] = []
        self._filled = 0  # how many rows are in blocks
        self.block_rows = rows

    @classmethod
    def load(cls, path: str | Path) -> tuple[Self, dict[str, str]]:
        """Reads an index and its marks, and sends its rows to the device.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFileBroken: the file was cut, changed or written by something else.
        """
        index, marks = super().load(path)
        index.rewrite()
        return index, marks

    def rewrite(self) -> None:
        """Makes every block anew from the host's rows, as after reading a file."""
        self._blocks, self._filled = [], 0
        self._extend()

    def _follow(self, rows: NDArray[np.int64], before: int) -> None:
        try:
            self._renew(rows, before)
        except BaseException:  # a full GPU, or an interruption: the next search makes all anew
            self._blocks, self._filled = [], 0
            raise

    def _renew(self, rows: NDArray[np.int64], before: int) -> None:
        size, count = self.block_rows, len(self)
        stale = set((rows[rows < before] // size).tolist())
        if count < before and count % size:
            stale.add(count // size)  # the block that lost its last rows
        del self._blocks[-(-count // size) :]
        self._filled = min(before, count)
        for number in sorted(stale):
            if number < len(self._blocks):
                start = number * size
                end = min(start + size, self._filled)
                self._blocks[number] = self._device.block(number, self._rows.vectors[start:end])
        self._extend()

    def _extend(self) -> None:
        """Adds the rows that are in no block yet."""
        size, count = self.block_rows, len(self)
        while self._filled < count:
            number, inside = divmod(self._filled, size)
            end = min((number + 1) * size, count)
            vectors = self._rows.vectors[self._filled : end]
            if inside:
                self._blocks[number].add(vectors)
            else:
                self._blocks.append(self._device.block(number, vectors))
            self._filled = end

    def _proposals(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64] | None, count: int
    ) -> Found:
        if rows is not None or count > self._device.most:
            return super()._proposals(queries, rows, count)
        self._extend()
        best: NDArray[np.float32] = np.empty((len(queries), 0), dtype=np.float32)
        where = np.empty((len(queries), 0), dtype=np.int64)
        for number, found in enumerate(self._device.search(self._blocks, queries, count)):
            values, offsets = found
            best, where = merge(best, where, values, offsets + number * self.block_rows, count)
        return best, where

    def _nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> Found:
        return self._device.nearest(queries, vectors, count)


@dataclass(slots=True)
class FaissBlock:
    """A flat index of FAISS, on the CPU or on a GPU."""

    index: Any  # FAISS ships no types

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds rows at the end: float32 (m, D)."""
        self.index.add(np.ascontiguousarray(vectors))

    def search(self, queries: NDArray[np.float32], count: int) -> Found:
        """Proposes the `count` rows closest to float32 (Q, D), or all; see `Block`."""
        similarities, rows = self.index.search(queries, min(count, int(self.index.ntotal)))
        return similarities, rows


class CpuDevice:
    """Blocks in the machine's own memory: what the GPU's are held against in tests.

    Args:
        dim: D.

    Raises:
        EngineMissing: FAISS is not installed.
    """

    slack = SLACK
    most = 2048  # as on a GPU

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._faiss = import_faiss()

    def block(self, number: int, vectors: NDArray[np.float32]) -> Block:  # noqa: ARG002 - all blocks are in one place
        """Makes a block of rows float32 (R, D)."""
        made = FaissBlock(self._faiss.IndexFlatIP(self._dim))
        made.add(vectors)
        return made

    def search(self, blocks: list[Block], queries: NDArray[np.float32], count: int) -> list[Found]:
        """Searches blocks for float32 (Q, D), one after the other, each with all cores."""
        return [block.search(queries, count) for block in blocks]

    def nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> Found:
        """Searches rows of the host, float32 (R, D)."""
        metric = self._faiss.METRIC_INNER_PRODUCT
        similarities, rows = self._faiss.knn(queries, vectors, count, metric=metric)
        return similarities, rows
