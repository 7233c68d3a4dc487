"""Groups of photos that are committed together: at most 64, or half a second's worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
MOST = 64
LONGEST = 0.5


def batches(
    items: Iterable[T],
    most: int = MOST,
    longest: float = LONGEST,
    weigh: Callable[[T], int] | None = None,
    heaviest: int | None = None,
) -> Iterator[list[T]]:
    """Cut a stream into lists, each ended by its length, by its age in seconds or by its weight.

    Args:
        items: the stream.
        most: items of a list.
        longest: seconds.
        weigh: what an item weighs; None: nothing.
        heaviest: a list is ended by the item with which it weighs so much; None: by none.
    """
    batch: list[T] = []
    begun, weight = 0.0, 0
    for item in items:
        if not batch:
            begun, weight = time.monotonic(), 0
        batch.append(item)
        weight += 0 if weigh is None else weigh(item)
        heavy = heaviest is not None and weight >= heaviest
        if heavy or len(batch) >= most or time.monotonic() - begun >= longest:
            yield batch
            batch = []
    if batch:
        yield batch
