"""Refused requests in the log of events, counted so that an attacker cannot fill the disk.

The first refusal of a kind (reason, key, address) in a minute is written within a second, further
ones as one count when the minute ends, and at most `ROWS` rows a minute: what exceeds them is one
row for all. Addresses are private data of the row: they can be erased, the count stays.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from store.audit import append_events
from store.chain import Happening
from store.errors import StoreError
from store.session import Store

ROWS = 60
MINUTE = 60.0
TICK = 0.5
_ACTION = "request_refused"
_KINDS = 5000  # kept apart in memory within a minute
_log = logging.getLogger("vultus.web")


@dataclass(frozen=True, slots=True)
class Kind:
    """What refusals have in common.

    Attributes:
        reason: the code of the answer.
        status: of HTTP.
        key: uid of the key, or None.
        route: the route's template, or "".
        address: where it came from.
        subject: uid of the person it was about, for a lock-out; else None.
    """

    reason: str
    status: int
    key: str | None = None
    route: str = ""
    address: str = ""
    subject: str | None = None


_OTHER = Kind("many", 0)


@dataclass
class Refusals:
    """The counts of this minute, and the thread that writes them.

    Attributes:
        store: the gallery's database.
        minute: seconds after which counts are written.
    """

    store: Store
    minute: float = MINUTE
    _counts: Counter[Kind] = field(default_factory=Counter)
    _written: set[Kind] = field(default_factory=set)
    _rows: int = 0
    _since: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="vultus-refusals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is left."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.write(everything=True)

    def count(self, kind: Kind) -> None:
        """One more refusal."""
        with self._lock:
            full = len(self._counts) >= _KINDS and kind not in self._counts
            self._counts[_OTHER if full else kind] += 1

    def write(self, *, everything: bool = False) -> None:
        """Write what is due.

        Args:
            everything: the minute is over.
        """
        with self._lock:
            due = self._due(everything)
        if not due:
            return
        try:
            with self.store.begin() as session:
                append_events(session, [_happening(kind, count) for kind, count in due])
        except StoreError as error:  # a database that is away must not end the thread
            _log.error("refusals are not in the log", extra={"code": error.code})
            with self._lock, contextlib.suppress(ValueError):
                self._counts.update(dict(due))

    def _due(self, everything: bool) -> list[tuple[Kind, int]]:
        room = max(0, ROWS - self._rows)
        fresh = [kind for kind in self._counts if everything or kind not in self._written]
        due = [(kind, self._counts.pop(kind)) for kind in fresh[:room]]
        if everything:
            if rest := self._counts.total():
                due.append((_OTHER, rest))
            self._counts.clear()
            self._written.clear()
            self._rows = 0
        else:
            self._written.update(kind for kind, _ in due)
            self._rows += len(due)
        return due

    def _run(self) -> None:
        while not self._ended.wait(min(TICK, self.minute)):
            over = time.monotonic() - self._since >= self.minute
            if over:
                self._since = time.monotonic()
            self.write(everything=over)


def _happening(kind: Kind, count: int) -> Happening:
    details = {"reason": kind.reason, "status": kind.status, "route": kind.route, "count": count}
    if kind.key is not None:
        details["key"] = kind.key
    private = {"address": kind.address} if kind.address else None
    return Happening(_ACTION, kind.subject, details, private)
