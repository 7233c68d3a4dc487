"""Work of several requests done together: faces through the encoder, decisions into the database.

One thread takes what has come since it last looked, works on it as one batch, and looks again: so a
batch grows with the load and a lone request waits for nobody, but for `linger` seconds while others
are known to be on their way.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")

LARGEST = 64


class Batcher(Generic[Piece, Result]):
    """A thread that does single pieces of work together.

    Args:
        work: many pieces to as many results, in their order; a result that is an exception is
            raised where it was asked for.
        name: of the thread.
        linger: seconds to wait for more while `coming` says that more is on its way.
        coming: whether there is.
        largest: the most pieces in one batch.
    """

    def __init__(
        self, work: Callable[[Sequence[Piece]], Sequence[Result | Exception]], name: str, *,
        linger: float = 0.0, coming: Callable[[int], bool] = lambda _: False,
        largest: int = LARGEST,
    ) -> None:  # fmt: skip
        self._work, self._name = work, name
        self._linger, self._coming, self._largest = linger, coming, largest
        self._queue: queue.SimpleQueue[tuple[Piece, Future[Result]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what has come, then end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def submit(self, piece: Piece) -> Future[Result]:
        """Ask for a piece of work; from any thread."""
        future: Future[Result] = Future()
        self._queue.put((piece, future))
        return future

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._next()
            live = [
                (piece, future) for piece, future in batch if future.set_running_or_notify_cancel()
            ]
            if live:
                self._do(live)

    def _do(self, batch: list[tuple[Piece, Future[Result]]]) -> None:
        try:
            results = self._work([piece for piece, _ in batch])
        except Exception as error:  # noqa: BLE001 - told to everybody who waits for it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _next(self) -> tuple[list[tuple[Piece, Future[Result]]], bool]:
        """What has come, waiting for the first; and whether to go on."""
        batch: list[tuple[Piece, Future[Result]]] = []
        end = 0.0
        while len(batch) < self._largest:
            try:
                if not batch:
                    found = self._queue.get()
                    end = time.monotonic() + self._linger
                else:
                    found = self._more(len(batch), end)
            except queue.Empty:
                break
            if found is None:
                return batch, False
            batch.append(found)
        return batch, True

    def _more(self, have: int, end: float) -> tuple[Piece, Future[Result]] | None:
        left = end - time.monotonic()
        if left > 0 and self._coming(have):
            return self._queue.get(timeout=left)
        return self._queue.get_nowait()
