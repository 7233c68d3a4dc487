"""Photos through decoding, detection, alignment and measuring, several at a time, in order.

Threads read ahead by a bounded number of photos; what waits are crops, never whole photos, so
memory does not grow with the folder.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Generic, TypeVar

from embedder.embed import Embedder, FoundFace
from embedder.errors import UnusablePhoto
from embedder.photo import Room, Source, decode, printable
from enroll.budget import UNLIMITED, Budget, Share
from enroll.pace import Pace
from enroll.storage import fetch

T = TypeVar("T")
_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Looked:
    """A photo that was looked at.

    Attributes:
        source: its path, printable.
        digest: hex sha256 of its bytes; None when it could not be read.
        size: bytes.
        width, height: pixels of the upright picture; 0 when it was not decoded.
        taken: when the camera says it was taken, or None.
        faces: the faces found.
        error: why it cannot be used, or None.
        known: it was seen before and not decoded again.
    """

    source: str
    digest: str | None = None
    size: int = 0
    width: int = 0
    height: int = 0
    taken: datetime | None = None
    faces: tuple[FoundFace, ...] = ()
    error: UnusablePhoto | None = None
    known: bool = False


@dataclass(frozen=True, slots=True)
class Ticket(Generic[T]):
    """A photo on its way, with what the caller wants to find again beside it.

    `label` is what it is called, in messages and on record; None: its path.
    """

    source: Source
    about: T
    label: str | None = None


def look(
    source: Source,
    embedder: Embedder,
    rule: str,
    known: Callable[[str], bool],
    name: str | None = None,
    pace: Pace | None = None,
    budget: Budget = UNLIMITED,
) -> Looked:
    """Look at one photo: read, hash, and unless it is known, decode, detect, align, measure.

    Args:
        source: a path, an address in object storage or the bytes of a file; or a picture already
            decoded.
        embedder: finds the faces.
        rule: which faces; see `Embedder.faces`.
        known: whether a photo of this digest need not be decoded.
        name: what it is called; None: its path.
        pace: is told how long it took.
        budget: the memory there is.
    """
    with budget.share(embedder.detector.frame) as share:
        return _look(source, embedder, rule, known, name, Pace() if pace is None else pace, share)


def _look(
    source: Source,
    embedder: Embedder,
    rule: str,
    known: Callable[[str], bool],
    name: str | None,
    pace: Pace,
    share: Share,
) -> Looked:
    digest, size = None, 0
    label = printable(source) if isinstance(source, (str, os.PathLike)) else "picture"
    label = label if name is None else name
    room: Room | None = None
    try:
        if isinstance(source, (str, os.PathLike, bytes)):
            share.file(source, label)
            encoded = fetch(source, name)
            label, digest, size = encoded.source, encoded.digest, len(encoded.data)
            if known(digest):
                return Looked(label, digest, size, known=True)
            least = embedder.detector.frame  # a large JPEG need be no larger than it is looked at
            room = share.room(label)
            with pace.stage("decode"):
                photo = decode(encoded, max_pixels=embedder.max_pixels, least=least, room=room)
        else:
            photo = embedder.read(source)
        with pace.stage("detect"):
            faces = tuple(embedder.faces(photo, rule, room))
    except UnusablePhoto as error:
        return Looked(label, digest, size, error=error)
    return Looked(
        photo.source, photo.digest, photo.size, photo.width, photo.height, photo.taken, faces,
        known=digest is None and known(photo.digest),  # of a file that was asked before
    )  # fmt: skip


def look_ahead(
    tickets: Iterable[Ticket[T]],
    embedder: Embedder,
    rule: str,
    known: Callable[[str], bool],
    jobs: int | None = None,
    pace: Pace | None = None,
    budget: Budget = UNLIMITED,
) -> Iterator[tuple[Looked, T]]:
    """Look at photos in threads, and give them back in order.

    Args:
        tickets: the photos.
        embedder: finds the faces; shared by the threads.
        rule: which faces.
        known: whether a photo of this digest need not be decoded; called from the threads.
        jobs: threads; None: one a core.
        pace: is told how long it took.
        budget: the memory there is; while many crops wait, no more photos are begun.
    """
    threads = jobs or os.cpu_count() or 1
    waiting: deque[tuple[Future[Looked], T]] = deque()
    rest = iter(tickets)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vultus-look")

    def begin(ticket: Ticket[T]) -> tuple[Future[Looked], T]:
        asked = ticket.source, embedder, rule, known, ticket.label, pace, budget
        return pool.submit(look, *asked), ticket.about

    try:
        while True:
            free = 0 if waiting and _crowded(waiting, budget.crops) else threads * _AHEAD
            waiting.extend(begin(ticket) for ticket in islice(rest, max(0, free - len(waiting))))
            if not waiting:
                return
            future, about = waiting.popleft()
            yield future.result(), about
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _crowded(waiting: Iterable[tuple[Future[Looked], T]], most: int | None) -> bool:
    """Whether so many crops wait, of photos that were looked at."""
    if most is None:
        return False
    done = (future for future, _ in waiting if future.done() and not future.exception())
    return sum(len(future.result().faces) for future in done) >= most
