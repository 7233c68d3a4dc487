"""Blocks that cannot remove: equal to the exact engine at every moment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.blocks import BlockIndex, CpuDevice
from index.exact import ExactIndex

pytest.importorskip("faiss")
Rows = NDArray[np.float32]
DIM = 8


def some_rows(count: int, seed: int) -> Rows:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def searches_as_the_oracle(index: BlockIndex, seed: int, steps: int, most: int) -> int:
    """After every add, update, removal and mixture of them: how many searches were the oracle's."""
    equal = 0
    random, exact = np.random.default_rng(seed), ExactIndex(index.dim)
    for step in range(steps):
        ids = random.integers(0, 3 * most, size=int(random.integers(0, most)))
        if random.random() < 0.6:
            rows, sites = some_rows(len(ids), seed + step), random.integers(0, 3, size=len(ids))
            index.add(ids, rows, sites)
            exact.add(ids, rows, sites)
        else:
            assert index.remove(ids) == exact.remove(ids)
        assert len(index) == len(exact)
        queries = some_rows(4, step)
        for k, within in ((1, None), (7, None), (3 * most + 5, None), (5, np.array([0, 2]))):
            a, b = index.search(queries, k, within), exact.search(queries, k, within)
            assert np.array_equal(a.ids, b.ids)
            assert np.array_equal(a.similarities, b.similarities)
            equal += 1
    return equal


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 40))
def test_any_sequence_equals_the_exact_engine_at_every_moment(seed: int, rows: int):
    assert searches_as_the_oracle(BlockIndex(DIM, rows=rows), seed, steps=6, most=30) == 24


def test_more_neighbours_than_a_device_selects_come_from_the_host():
    device = CpuDevice(DIM)
    device.most = 4
    assert searches_as_the_oracle(BlockIndex(DIM, device, rows=9), 1, steps=8, most=30) == 32


class Coarse(CpuDevice):
    """A device that is as wrong as 16-bit numbers and shortened mantissas can be."""

    slack = 2e-3

    def search(self, blocks, queries, count):
        random = np.random.default_rng(len(blocks))
        found = []
        for similarities, rows in super().search(blocks, queries, min(4 * count, 10_000)):
            wrong = similarities + random.uniform(-1e-3, 1e-3, similarities.shape)
            keep = np.argsort(-wrong, axis=1)[:, :count]
            found.append((
                np.take_along_axis(wrong, keep, 1).astype(np.float32),
                np.take_along_axis(rows, keep, 1),
            ))  # fmt: skip
        return found


def test_an_imprecise_device_gives_exact_results():
    assert searches_as_the_oracle(BlockIndex(DIM, Coarse(DIM), rows=50), 2, 6, most=300) == 24


class Failing(CpuDevice):
    """A device whose memory is full for a while."""

    full = False

    def block(self, number, vectors):
        if self.full:
            raise MemoryError("the device is full")
        return super().block(number, vectors)


def test_a_change_that_failed_half_way_leaves_no_stale_block():
    device = Failing(DIM)
    index, rows = BlockIndex(DIM, device, rows=10), some_rows(40, 0)
    index.add(np.arange(40), rows)
    device.full = True
    with pytest.raises(MemoryError):
        index.remove(np.array([3]))
    with pytest.raises(MemoryError):
        index.search(rows[:1], 1)  # rather than an answer from before the removal
    device.full = False
    assert 3 not in index.search(rows[3:4], 40).ids


def test_only_the_blocks_that_changed_are_made_anew():
    made: list[int] = []

    class Counting(CpuDevice):
        def block(self, number, vectors):
            made.append(number)
            return super().block(number, vectors)

    index, rows = BlockIndex(DIM, Counting(DIM), rows=10), some_rows(45, 0)
    index.add(np.arange(45), rows)
    assert made == [0, 1, 2, 3, 4]
    made.clear()
    index.add(np.array([100, 101]), rows[:2])  # they fit into the last block
    assert made == []
    index.add(np.array([15]), rows[:1])
    assert made == [1]
    made.clear()
    index.remove(np.array([15]))  # the last row moves into the gap
    assert made == [1, 4]
