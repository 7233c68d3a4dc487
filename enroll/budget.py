"""How much memory an enrolment may take, and who may have how much of it now (`--max-memory`).

    limit ─┬─ what the process takes once models, database and index are open (measured then)
           ├─ what settles later: buffers of encoder and database, and a little for each photo
           └─ the rest ─┬─ files that were read            a purse that the threads share
                        ├─ photos decoded and looked at    another one
                        ├─ crops that wait for the encoder and the store
                        └─ graphs of the detector for sizes of frames

A photo asks for what decoding it and looking at it takes, told from its header, before any pixel is
decoded, and waits for its turn: large photos are decoded one at a time where the limit wants it so.
One that would not fit alone is refused.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedder.decoding_memory import KEPT
from embedder.embed import Embedder
from embedder.errors import PhotoTooLarge
from embedder.photo import Room
from enroll.errors import LimitUnusable
from enroll.storage import size_of

MB = 1_000_000
_SETTLING = 110 * MB  # beyond what is taken after opening: encoder, transactions, libraries' caches
_A_PHOTO = 3_000  # bytes of an enrolled photo in lists, database caches and the index
_PIXELS, _FILES, _CROPS, _GRAPHS = 32 * MB, 6 * MB, 6 * MB, 4 * MB  # the least of each
_LOOKING = 70  # bytes a pixel of the frame that the detector looks at
_SMALL, _ENLARGED = 320, 640  # a photo no larger may be looked at enlarged; see embedder.detect
_BESIDE = 3_000  # bytes of a crop beside its pixels
_HOLDERS = 8  # groups' worth of crops that may be in flight: looked at, encoded, stored
_TYPICAL = 350 * MB  # where the system does not tell what a process takes
_MMAP_THRESHOLD, _APART = -3, MB  # of glibc's mallopt: blocks this large go back when freed


class Purse:
    """Bytes that threads share; who wants some waits for their turn, first come, first served.

    Args:
        size: how many there are; None: no end of them.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self._left = 0 if size is None else size
        self._queue: deque[object] = deque()
        self._turn = threading.Condition()

    def take(self, amount: int) -> None:
        """Wait for so many bytes, no more than there are in all."""
        if self.size is None:
            return
        ticket = object()
        with self._turn:
            self._queue.append(ticket)
            self._turn.wait_for(lambda: self._queue[0] is ticket and self._left >= amount)
            self._queue.popleft()
            self._left -= amount
            self._turn.notify_all()

    def give(self, amount: int) -> None:
        """Give bytes back."""
        with self._turn:
            self._left += amount
            self._turn.notify_all()


@dataclass(frozen=True, slots=True)
class Budget:
    """What the limit leaves for what.

    Attributes:
        files: for the bytes of files.
        pixels: for photos from decoding to cutting faces out.
        crops: how many may wait in one group; None: any number.
        graphs: bytes for the detector's graphs; None: as many as it likes.
    """

    files: Purse
    pixels: Purse
    crops: int | None = None
    graphs: int | None = None

    @contextmanager
    def share(self, frame: int | None) -> Iterator[Share]:
        """What one photo takes until it has gone through.

        Args:
            frame: the detector's, see `embedder.detect.Detector`.
        """
        share = Share(self, frame)
        try:
            yield share
        finally:
            share.give_back()


class Share:
    """What a photo on its way holds of a budget; see `Budget.share`."""

    def __init__(self, budget: Budget, frame: int | None) -> None:
        self._budget = budget
        self._frame = frame
        self._held = {budget.files: 0, budget.pixels: 0}

    def file(self, source: str | os.PathLike[str] | bytes, label: str) -> None:
        """Wait for room for the bytes of a file; without a limit its size is not asked for.

        Raises:
            PhotoTooLarge: there will never be enough.
        """
        if self._budget.files.size is not None:
            size = size_of(source)
            self._hold(self._budget.files, size, f"{label} has {_mb(size)} MB")

    def room(self, label: str) -> Room:
        """What `embedder.photo.decode` asks; see there. It raises `PhotoTooLarge`."""

        def ask(decoding: int, size: tuple[int, int]) -> None:
            need = max(decoding, KEPT * size[0] * size[1] + _looking(size, self._frame))
            says = f"{label} takes {_mb(need)} MB to decode and look at"
            self._hold(self._budget.pixels, need, says)

        return ask

    def _hold(self, purse: Purse, amount: int, says: str) -> None:
        if purse.size is not None and amount > purse.size:
            raise PhotoTooLarge(
                f"{says}, and --max-memory leaves {_mb(purse.size)} MB for that: raise it and "
                "enrol with --retry."
            )
        purse.give(self._held[purse])  # nobody waits for more with some in hand: no deadlock
        self._held[purse] = 0
        purse.take(amount)
        self._held[purse] = amount

    def give_back(self) -> None:
        """Give all of it back."""
        for purse, amount in self._held.items():
            purse.give(amount)


UNLIMITED = Budget(Purse(None), Purse(None))


def budget_of(limit: int | None, embedder: Embedder, photos: int) -> Budget:
    """What a limit leaves, once everything is open; the detector keeps to its part from now on.

    Args:
        limit: bytes of resident memory; None: no limit.
        embedder: it looks and encodes.
        photos: how many are to be enrolled.

    Raises:
        LimitUnusable: it is below what the models take and the least photo.
    """
    if limit is None:
        return UNLIMITED
    taken = resident() + _SETTLING + _A_PHOTO * photos
    least = taken + _PIXELS + _FILES + _CROPS + _GRAPHS
    if limit < least:
        raise LimitUnusable(
            f"--max-memory {_mb(limit)}M cannot be kept: the models, the database and {photos} "
            f"photos, one after the other, take {_mb(least)} MB: give that or more."
        )
    rest = limit - taken
    crops, files = max(rest // 16, _CROPS), max(rest // 16, _FILES)
    graphs = max(rest // 8, _GRAPHS)
    pixels = max(rest - crops - files - graphs, _PIXELS)
    graphs = rest - crops - files - pixels
    embedder.detector.keep(graphs)
    _return_early()
    side = embedder.encoder.card.side
    most = max(1, crops // (_HOLDERS * (3 * side * side + _BESIDE)))
    return Budget(Purse(files), Purse(pixels), most, graphs)


def resident() -> int:
    """Bytes of memory that this process takes now (its most so far where that is all one knows)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return _peak()


def _return_early() -> None:
    """Have glibc give the memory of photos back at once: it would keep up to 32 MB a block."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, _APART)


def _peak() -> int:
    try:
        import resource
    except ImportError:
        return _TYPICAL
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _looking(size: tuple[int, int], frame: int | None) -> int:
    """Bytes that a look at a photo of that size takes."""
    if frame is None:
        return 0
    longest = max(size)
    scale = _ENLARGED / longest if longest <= _SMALL else min(1.0, frame / longest)
    return int(_LOOKING * size[0] * size[1] * scale**2)


def _mb(amount: int) -> int:
    """Bytes in megabytes, rounded up."""
    return -(-amount // MB)
