"""A generator run ahead in a thread: order, faults, bounds and an early end."""

import threading
import time
from collections.abc import Generator

import pytest

from enroll.ahead import ahead


def running() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "vultus-ahead"]


def test_everything_comes_in_order():
    assert list(ahead(n for n in range(100))) == list(range(100))
    assert running() == []


def test_it_runs_in_a_thread_of_its_own_and_only_a_little_ahead():
    made: list[int] = []
    threads = set()

    def numbers() -> Generator[int]:
        for number in range(20):
            threads.add(threading.current_thread().name)
            made.append(number)
            yield number

    found = ahead(numbers(), depth=2)
    assert next(found) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [0, 1, 2, 3]  # one was taken, two lie ready, one waits
    assert list(found) == list(range(1, 20))
    assert threads == {"vultus-ahead"}


def test_what_goes_wrong_comes_after_what_went_right():
    def numbers() -> Generator[int]:
        yield 1
        raise KeyError("two")

    found = ahead(numbers())
    assert next(found) == 1
    with pytest.raises(KeyError, match="two"):
        next(found)
    assert running() == []


def test_closing_it_closes_the_generator_in_its_thread():
    closed: list[str] = []

    def numbers() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    found = ahead(numbers())
    assert next(found) == 1
    found.close()
    assert closed == ["vultus-ahead"]
    assert running() == []


def test_one_that_is_never_begun_starts_nothing():
    found = ahead(iter_forever())
    found.close()
    assert running() == []


def iter_forever() -> Generator[int]:
    while True:
        yield 0
