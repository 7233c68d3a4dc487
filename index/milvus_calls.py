"""Requests to a Milvus server: a deadline for each, repetition where it helps, errors that say why.

The library repeats what a server did not take (unavailable, rate limit) with growing pauses as long
as the time it is given lasts; what Milvus marks as worth repeating beyond that is repeated here.
"""

import contextlib
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from index.errors import EngineMissing, IndexServerRefused, IndexServerUnreachable
from index.milvus_place import MilvusPlace

if TYPE_CHECKING:
    from pymilvus import MilvusClient

__all__ = ["Connection", "import_pymilvus"]

TOKEN: Final = "VULTUS_MILVUS_TOKEN"  # noqa: S105 the variable's name, not a token
_FIRST_PAUSE: Final = 0.05  # seconds; doubled each time, up to two
_LONGEST_PAUSE: Final = 2.0
_SILENT = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "Fail connecting", "Retry timeout", "Timeout")
_FORBIDDEN = ("UNAUTHENTICATED", "PERMISSION_DENIED", "auth check failure", "privilege")
T = TypeVar("T")
_lite_users: Final = Counter[str]()  # how many connections of this process use each store
_lite_lock: Final = Lock()


class Connection:
    """A client of one server.

    Args:
        place: where the server is.

    Raises:
        EngineMissing: the client library, or Milvus Lite for a path, is not installed.
        IndexServerUnreachable: nobody answers within the place's time-out.
        IndexServerRefused: the server answers with an error.
    """

    __slots__ = ("_client", "_failures", "place")

    def __init__(self, place: MilvusPlace) -> None:
        self.place: Final = place
        library = import_pymilvus()
        from grpc import FutureTimeoutError, RpcError  # the library raises gRPC's own errors too

        self._failures: Final[tuple[type[Exception], ...]] = (
            library.MilvusException, RpcError, FutureTimeoutError,
        )  # fmt: skip
        if place.lite:
            _open_lite(place)
        try:
            self._client: MilvusClient = self.repeat(
                lambda left: library.MilvusClient(
                    place.uri,
                    token=os.environ.get(TOKEN, ""),
                    db_name=place.database,
                    timeout=left,
                    dedicated=True,  # closing it closes no other's
                )
            )
        except BaseException:
            if place.lite:
                _close_lite(place)
            raise

    @property
    def is_lite(self) -> bool:
        """Whether the other side is Milvus Lite, in this process or served."""
        return "lite" in self.ask("get_server_version")

    def ask(self, method: str, *args: Any, patience: float | None = None, **options: Any) -> Any:  # noqa: ANN401 as many types as methods
        """Calls a method of the client.

        Args:
            method: its name.
            args: what it takes by position.
            patience: seconds it may take; None is the place's time-out.
            options: what it takes by name.

        Raises:
            IndexServerUnreachable: nobody answered in time.
            IndexServerRefused: the server answered with an error.
        """
        call = getattr(self._client, method)
        return self.repeat(lambda left: call(*args, timeout=left, **options), patience)

    def close(self) -> None:
        """Closes the connection, and the store of Milvus Lite for others to open."""
        self._client.close()
        if self.place.lite:
            _close_lite(self.place)

    def repeat(self, call: Callable[[float], T], patience: float | None = None) -> T:
        """Calls until it succeeds, what went wrong will not pass, or the time-out is over.

        Args:
            call: is given the seconds that are left.
            patience: seconds it may take; None is the place's time-out.

        Raises:
            IndexServerUnreachable: nobody answered in time.
            IndexServerRefused: the server answered with an error.
        """
        patience = self.place.timeout if patience is None else patience
        end, pause = time.monotonic() + patience, _FIRST_PAUSE
        while True:
            try:
                return call(max(end - time.monotonic(), 0.05))
            except self._failures as error:
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 clients that wait in step collide
                if not _passing(error) or time.monotonic() + wait >= end:
                    raise self._translated(error, patience) from error
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _translated(self, error: Exception, patience: float) -> Exception:
        said = str(getattr(error, "message", "") or error).strip() or type(error).__name__
        place = self.place
        if "milvus-lite is required" in said:
            return EngineMissing(
                f"{place} needs Milvus Lite: run pip install milvus-lite, or name a server."
            )
        if "Open local milvus failed" in said:
            return IndexServerUnreachable(
                f"the Milvus Lite store {place} cannot be opened: check that no other process has "
                "it open, it takes one at a time, and that it is not another program's file."
            )
        if any(word in said for word in _FORBIDDEN):
            return IndexServerRefused(
                f"the Milvus server {place} does not admit us: set {TOKEN} to USER:PASSWORD or an "
                "API key that may read and write the collection."
            )
        if any(word in said or word in _code(error) for word in _SILENT):
            return IndexServerUnreachable(
                f"the Milvus server {place} did not answer within {patience:g} s: check that "
                "it runs and that the address is right, or allow more with ?timeout=SECONDS."
            )
        return IndexServerRefused(
            f"the Milvus server {place} refused ({said}): check the server's log, and that the "
            "collection is one of Vultus."
        )


def import_pymilvus() -> ModuleType:
    """Returns the client library; only this function imports it.

    Raises:
        EngineMissing: it is not installed.
    """
    with _without_dotenv():
        try:
            pymilvus = import_module("pymilvus")
        except ModuleNotFoundError as error:
            raise EngineMissing(
                'the Milvus client is not installed: run pip install "vultus[milvus]".'
            ) from error
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs what it raises
    return pymilvus


@contextlib.contextmanager
def _without_dotenv() -> Iterator[None]:
    """The library loads a .env file when imported; settings of ours never come from there."""
    name = "PYTHON_DOTENV_DISABLED"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _open_lite(place: MilvusPlace) -> None:
    """Makes the store's folder, readable by its owner only: vectors of faces are personal data."""
    path = Path(place.uri)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise IndexServerUnreachable(
            f"the Milvus Lite store {place} cannot be opened ({error.strerror}): name another path."
        ) from error
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)  # what Lite has not, it logs
    with _lite_lock:
        _lite_users[str(path.resolve())] += 1


def _close_lite(place: MilvusPlace) -> None:
    """Closes the store once nobody in this process uses it: they share one."""
    path = str(Path(place.uri).resolve())
    with _lite_lock:
        _lite_users[path] -= 1
        if _lite_users[path] > 0:
            return
    running = sys.modules.get("milvus_lite.server_manager")  # absent where it is not installed
    if running is not None:
        running.server_manager_instance.release_server(place.uri)


def _passing(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    unreached = "Fail connecting" in str(getattr(error, "message", ""))
    refused = _code(error) in ("8", "StatusCode.UNAVAILABLE")  # 8: the rate limit of Milvus
    return unreached or refused or bool(getattr(error, "retriable", False))


def _code(error: Exception) -> str:
    code = getattr(error, "code", "")  # of Milvus a number, of gRPC a function
    return str(int(code)) if isinstance(code, int) else str(code() if callable(code) else code)
