"""Batches: cut by count, cut by age, and nothing lost between them."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll import batches as module
from enroll.batches import LONGEST, MOST, batches


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_nothing_is_lost_and_none_is_too_long(items: list[int], most: int):
    found = list(batches(items, most, longest=1e9))
    assert [item for batch in found for item in batch] == items
    assert all(len(batch) == most for batch in found[:-1])
    assert all(0 < len(batch) <= most for batch in found)


def test_the_default_is_what_the_design_promises():
    assert (MOST, LONGEST) == (64, 0.5)
    assert len(next(batches(range(1000), longest=1e9))) == 64


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_an_old_batch_is_given_before_it_is_full(clock: list[float]):
    def slow() -> Iterator[int]:
        for item in range(7):
            clock[0] += 0.2
            yield item

    assert list(batches(slow(), most=100, longest=0.5)) == [[0, 1, 2, 3], [4, 5, 6]]


def test_age_counts_from_the_first_photo_of_a_batch(clock: list[float]):
    def waits_long_first() -> Iterator[int]:
        clock[0] += 60
        yield 0
        yield 1
        clock[0] += 60
        yield 2

    assert list(batches(waits_long_first(), most=100, longest=0.5)) == [[0, 1, 2]]


def test_a_batch_is_given_before_the_next_photo_is_fetched():
    fetched = []

    def source() -> Iterator[int]:
        for item in range(6):
            fetched.append(item)
            yield item

    assert next(batches(source(), most=2, longest=1e9)) == [0, 1]
    assert fetched == [0, 1]


def test_nothing_gives_no_batch():
    assert list(batches([])) == []
