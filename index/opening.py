"""An engine by its URL: `ENGINE:` in memory, or `ENGINE:PATH` in one file.

- `auto:` `auto:PATH` FAISS where it is installed, numpy otherwise; an empty URL is `auto:`
- `memory:` the same as `auto:`
- `exact:` `exact:PATH` numpy
- `faiss:` `faiss:PATH` FAISS, flat on the CPU

PATH is everything after the colon, absolute or from the working folder, `~` being the home folder:
`faiss:/var/lib/vultus/faces.vultus-index`. A file that does not exist is an empty index; nothing is
written before `save`. All engines read the same file.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import IndexFileMismatch, UnknownEngine
from index.protocol import FileIndex

if TYPE_CHECKING:
    from index.exact import ExactIndex
    from index.faiss import FaissIndex

__all__ = [
    "EngineChoice",
    "EngineUrl",
    "OpenedIndex",
    "choose_engine",
    "open_index",
    "open_with_marks",
    "read_url",
]

_KNOWN = ("auto", "memory", "exact", "faiss")


@dataclass(frozen=True, slots=True)
class EngineUrl:
    """A URL taken apart.

    Attributes:
        engine: one of auto, memory, exact, faiss.
        path: the file of the index; None keeps it in memory.
    """

    engine: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine a URL leads to on this machine.

    Attributes:
        engine: exact or faiss.
        reason: why, in one sentence.
    """

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenedIndex:
    """An index with what its file said.

    Attributes:
        index: the engine, ready to search.
        path: where to save it; None for an index in memory.
        marks: what the owner saved with it; empty where there was no file.
    """

    index: FileIndex
    path: Path | None
    marks: dict[str, str]


def read_url(url: str) -> EngineUrl:
    """Takes a URL apart.

    Raises:
        UnknownEngine: it names none of the known engines, or a place that the engine has not.
    """
    engine, colon, place = (url or "auto:").partition(":")
    if engine not in _KNOWN or not colon:
        known = ", ".join(f"{name}:" for name in _KNOWN)
        raise UnknownEngine(
            f"{url!r} names no engine: write one of {known} followed by nothing for an index in "
            "memory or by a path for a file."
        )
    if (engine == "memory" and place) or (place.startswith("//") and place[2:3] != "/"):
        raise UnknownEngine(
            f"{url!r} names no file: write auto:PATH, exact:PATH or faiss:PATH with a plain path."
        )
    return EngineUrl(engine, Path(place).expanduser() if place else None)


def choose_engine(url: str = "") -> EngineChoice:
    """Tells which engine `open_index` takes for a URL and why, without importing it.

    Raises:
        UnknownEngine: the URL names none of the known engines.
    """
    engine = read_url(url).engine
    if engine in ("exact", "faiss"):
        return EngineChoice(engine, f"{engine} was asked for by name.")
    if find_spec("faiss") is not None:
        return EngineChoice("faiss", "FAISS is installed.")
    return EngineChoice(
        "exact", 'FAISS is not installed, numpy searches instead: pip install "vultus[cpu]".'
    )


def open_index(url: str, dim: int) -> FileIndex:
    """Opens the index of a URL, empty where its file does not exist.

    Args:
        url: see the top of this file.
        dim: D, the length of the vectors.

    Raises:
        UnknownEngine: the URL names none of the known engines.
        EngineMissing: the engine's library is not installed.
        IndexFileBroken: the file was cut, changed or written by something else.
        IndexFileMismatch: the file holds vectors of another length.
    """
    return open_with_marks(url, dim).index


def open_with_marks(url: str, dim: int) -> OpenedIndex:
    """Opens the index of a URL, and returns with it its path and the marks it was saved with.

    Args:
        url: see the top of this file.
        dim: D, the length of the vectors.

    Raises:
        UnknownEngine: the URL names none of the known engines.
        EngineMissing: the engine's library is not installed.
        IndexFileBroken: the file was cut, changed or written by something else.
        IndexFileMismatch: the file holds vectors of another length.
    """
    engine, path = _engine_class(choose_engine(url).engine), read_url(url).path
    if path is None or not path.exists():
        return OpenedIndex(engine(dim), path, {})
    index, marks = engine.load(path)
    if index.dim != dim:
        raise IndexFileMismatch(
            f"the index file {path} holds vectors of {index.dim} numbers, {dim} were asked for: "
            "use another path, or delete it and it will be rebuilt."
        )
    return OpenedIndex(index, path, marks)


def _engine_class(engine: str) -> "type[ExactIndex | FaissIndex]":
    if engine == "faiss":
        from index.faiss import FaissIndex

        return FaissIndex
    from index.exact import ExactIndex

    return ExactIndex
