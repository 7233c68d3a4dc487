"""An iterator run in a thread of its own, so that what takes its results need not wait for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_END: Final = object()


def ahead(items: Generator[T], depth: int = 1) -> Generator[T]:
    """Give the results of a generator, which is run in a thread and a little ahead.

    Closing it closes the generator, in the thread that runs it, after the step under way.

    Args:
        items: what is run; nobody else may.
        depth: how many results may lie ready; one more is being made and one waits to be put down.
    """
    runner = _Runner(items, depth)
    thread = threading.Thread(target=runner.run, name="vultus-ahead", daemon=True)
    thread.start()
    try:
        while (found := runner.ready.get()) is not _END:
            yield found  # type: ignore[misc]  # all but the end are results
        if runner.fault is not None:
            raise runner.fault
    finally:
        runner.stop()
        thread.join()


class _Runner(Generic[T]):
    """The thread's side."""

    def __init__(self, items: Generator[T], depth: int) -> None:
        self.ready: queue.Queue[T | object] = queue.Queue(depth)
        self.fault: BaseException | None = None
        self._items = items
        self._stopped = threading.Event()

    def run(self) -> None:
        """Run to the end, to the first fault, or until stopped."""
        try:
            for item in self._items:
                self._put(item)
                if self._stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
            self.fault = error
        finally:
            try:
                self._items.close()
            finally:
                self._put(_END)

    def stop(self) -> None:
        """Have it end after the step under way."""
        self._stopped.set()

    def _put(self, item: T | object) -> None:
        """Put a result down, or drop it when nobody will take it."""
        while not self._stopped.is_set():
            try:
                self.ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
