"""Something opened in a thread before it is known whether it is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Early(Generic[T]):
    """One thing by its name; errors are told to whoever asks for it, and to nobody else.

    Attributes:
        name: what is opened.
    """

    def __init__(self, name: str, opened: Callable[[str], T]) -> None:
        """Begin.

        Args:
            name: what to open.
            opened: opens it.
        """
        self.name = name
        self._opened = opened
        self._found: list[T] = []
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="vultus-early")
        self._thread.start()

    def result(self) -> T:
        """What was opened, as soon as it is; or raises what went wrong."""
        self.wait()
        if self._fault is not None:
            raise self._fault
        return self._found[0]

    def wait(self) -> None:
        """Return when nothing is being opened any more."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._found.append(self._opened(self.name))
        except BaseException as error:  # noqa: BLE001 - it is raised where the thing is wanted
            self._fault = error
