"""Groups of photos that are committed together: at most 64, or half a second's worth."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
MOST = 64
LONGEST = 0.5


def batches(items: Iterable[T], most: int = MOST, longest: float = LONGEST) -> Iterator[list[T]]:
    """Cut a stream into lists, each ended by its length or by its age in seconds."""
    batch: list[T] = []
    begun = 0.0
    for item in items:
        if not batch:
            begun = time.monotonic()
        batch.append(item)
        if len(batch) >= most or time.monotonic() - begun >= longest:
            yield batch
            batch = []
    if batch:
        yield batch
