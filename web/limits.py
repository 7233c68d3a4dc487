"""How much is let in: requests of a key, pictures in work, bytes in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from web.errors import TooMany
from web.settings import Rate

_REMEMBERED = 10_000  # keys or addresses; who came longest ago is forgotten
_PAUSE = 1.0


class Buckets:
    """A token bucket for each of many names.

    `count` requests may come at once; then one each `seconds / count`.
    """

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → level, when
        self._lock = threading.Lock()

    def wait(self, name: str, *, take: bool = True) -> float:
        """Take a token.

        Args:
            name: whose bucket.
            take: False only looks.

        Returns:
            0.0 where there was one, else seconds until there is.
        """
        if self._rate is None:
            return 0.0
        now, speed = time.monotonic(), self._rate.count / self._rate.seconds
        with self._lock:
            level, since = self._levels.pop(name, (float(self._rate.count), now))
            level = min(float(self._rate.count), level + (now - since) * speed)
            there = level >= 1.0
            self._levels[name] = (level - 1.0 if there and take else level, now)
            if len(self._levels) > _REMEMBERED:
                self._levels.popitem(last=False)
        return 0.0 if there else (1.0 - level) / speed


class Gate:
    """How many requests with pictures, and how many of their bytes, are inside at once.

    Args:
        requests: the most requests.
        size: the most bytes.
    """

    def __init__(self, requests: int, size: int) -> None:
        self._requests, self._size = requests, size
        self.inside = 0
        self.bytes = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be one of those inside; only from the event loop's thread.

        Raises:
            TooMany: there are as many as there may be.
        """
        if self.inside >= self._requests:
            raise TooMany(
                f"{self.inside} requests are in work; send this again in a second.",
                "overloaded", retry_after=_PAUSE,
            )  # fmt: skip
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def hold(self, size: int) -> None:
        """Reserve memory; only from the event loop's thread.

        Raises:
            TooMany: what is inside holds too much already.
        """
        if self.bytes + size > self._size:
            raise TooMany(
                "The pictures in work fill the memory set aside for them; send this again in a "
                "second.", "overloaded", retry_after=_PAUSE,
            )  # fmt: skip
        self.bytes += size

    def release(self, size: int) -> None:
        """Give reserved memory back."""
        self.bytes -= size
