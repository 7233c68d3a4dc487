"""An engine by its URL: `ENGINE:` in memory, or `ENGINE:PATH` in one file.

- `auto:` `auto:PATH` FAISS where it is installed, on the GPU where it finds one, else on the CPU;
  numpy otherwise; an empty URL is `auto:`
- `memory:` the same as `auto:`
- `exact:` `exact:PATH` numpy
- `faiss:` `faiss:PATH` FAISS on the CPU, flat or in inverted lists by `index.rules`
- `faiss-gpu:` `faiss-gpu:PATH` FAISS on one or several GPUs, exact
- `milvus:http://HOST:PORT/COLLECTION` `milvus:PATH.db` a Milvus server, see `index.milvus_place`

PATH is everything after the colon, absolute or from the working folder, `~` being the home folder:
`faiss:/var/lib/vultus/faces.vultus-index`. A file that does not exist is an empty index; nothing is
written before `save`. All engines read the same file.

Options follow a `?`, joined by `&`:

- `auto:` `memory:` `faiss:` `kind=` one of `index.rules.KINDS`, `recall=` above 0 and below 1
- `faiss-gpu:` `fp16=1` half the memory, `gpus=` how many, `spread=` shards or replicas
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import IndexFileMismatch, UnknownEngine, WrongNumber
from index.protocol import FileIndex, ServerIndex
from index.rules import Plan

if TYPE_CHECKING:
    from index.exact import ExactIndex
    from index.faiss import FaissIndex
    from index.gpu import GpuIndex, GpuPlan

__all__ = [
    "EngineChoice",
    "EngineUrl",
    "OpenedIndex",
    "choose_engine",
    "empty_index",
    "on_device",
    "open_index",
    "open_with_marks",
    "read_url",
]

_KNOWN = ("auto", "memory", "exact", "faiss", "faiss-gpu", "milvus")
_OPTIONS = {
    "auto": ("kind", "recall"),
    "memory": ("kind", "recall"),
    "faiss": ("kind", "recall"),
    "faiss-gpu": ("fp16", "gpus", "spread"),
}
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # the second in Windows' Linux


@dataclass(frozen=True, slots=True)
class EngineUrl:
    """A URL taken apart.

    Attributes:
        engine: one of auto, memory, exact, faiss, faiss-gpu, milvus.
        path: the file of the index; None where it is in memory or on a server.
        options: what follows the `?`, by name.
    """

    engine: str
    path: Path | None
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine a URL leads to on this machine.

    Attributes:
        engine: exact, faiss, faiss-gpu or milvus.
        reason: why, in one sentence.
    """

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenedIndex:
    """An index with what its file said.

    Attributes:
        index: the engine, ready to search.
        path: where to save it; None for an index in memory or on a server.
        marks: what the owner saved with it; empty where there was no file.
    """

    index: FileIndex | ServerIndex
    path: Path | None
    marks: dict[str, str]


def read_url(url: str) -> EngineUrl:
    """Takes a URL apart.

    Raises:
        UnknownEngine: it names none of the known engines, or a place or an option that the engine
            has not.
    """
    engine, colon, place = (url or "auto:").partition(":")
    if engine == "milvus" and colon:
        from index.milvus_place import read_place

        read_place(url)
        return EngineUrl(engine, None)
    if engine not in _KNOWN or not colon:
        known = ", ".join(f"{name}:" for name in _KNOWN)
        raise UnknownEngine(
            f"{url!r} names no engine: write one of {known} followed by nothing for an index in "
            "memory or by a path for a file."
        )
    place, _, asked = place.partition("?")
    if (engine == "memory" and place) or (place.startswith("//") and place[2:3] != "/"):
        raise UnknownEngine(
            f"{url!r} names no file: write auto:PATH, exact:PATH or faiss:PATH with a plain path."
        )
    return EngineUrl(engine, Path(place).expanduser() if place else None, _options(engine, asked))


def _options(engine: str, asked: str) -> dict[str, str]:
    """The options of an engine, `name=value&…`, checked."""
    found: dict[str, str] = {}
    for part in filter(None, asked.split("&")):
        name, _, value = part.partition("=")
        known = _OPTIONS.get(engine, ())
        if name not in known:
            choices = ", ".join(known) or "none"
            raise UnknownEngine(f"{engine}: has no option {name!r}: it has {choices}.")
        found[name] = value
    try:
        _gpu_plan(found) if engine == "faiss-gpu" else _plan(found)
    except (ValueError, WrongNumber) as error:
        raise UnknownEngine(f"{engine}: cannot take ?{asked}: {error}") from error
    return found


def _plan(options: dict[str, str]) -> Plan:
    recall = options.get("recall")
    return Plan(options.get("kind", ""), None if recall is None else float(recall))


def _gpu_plan(options: dict[str, str]) -> "GpuPlan":
    from index.gpu import GpuPlan

    half = options.get("fp16", "0")
    if half not in {"0", "1"}:
        raise ValueError(f"fp16 must be 0 or 1, got {half!r}")
    return GpuPlan(half == "1", int(options.get("gpus", "0")), options.get("spread", "shards"))


def choose_engine(url: str = "") -> EngineChoice:
    """Tells which engine `open_index` takes for a URL and why.

    Nothing is imported, but for FAISS on a machine with the driver of a GPU.

    Raises:
        UnknownEngine: the URL names none of the known engines.
    """
    asked = read_url(url)
    engine = asked.engine
    if engine in ("exact", "faiss", "faiss-gpu", "milvus"):
        return EngineChoice(engine, f"{engine} was asked for by name.")
    if find_spec("faiss") is not None:
        if not asked.options and _gpus():
            return EngineChoice("faiss-gpu", "FAISS is installed and finds a GPU.")
        return EngineChoice("faiss", "FAISS is installed.")
    return EngineChoice(
        "exact", 'FAISS is not installed, numpy searches instead: pip install "vultus[cpu]".'
    )


def _gpus() -> int:
    """How many GPUs FAISS finds; it is not asked where there is no driver."""
    if not any(driver.exists() for driver in _DRIVERS):
        return 0
    from index.gpu import gpu_count

    return gpu_count()


def on_device(url: str, device: str | None) -> str:
    """Returns the URL of the engine for a device: with `cuda`, auto: and memory: are faiss-gpu:.

    Opening that fails where there is no GPU. An engine that was asked for by name stays.

    Args:
        url: see the top of this file.
        device: `cpu`, `cuda` or None.
    """
    asked = read_url(url)
    if device != "cuda" or asked.engine not in {"auto", "memory"}:
        return url
    return f"faiss-gpu:{'' if asked.path is None else asked.path}"


def open_index(url: str, dim: int) -> FileIndex | ServerIndex:
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
    choice = choose_engine(url).engine
    if choice == "milvus":
        from index.milvus import MilvusIndex

        server = MilvusIndex.open(url, dim)
        return OpenedIndex(server, None, server.marks())
    path = read_url(url).path
    if path is None or not path.exists():
        return OpenedIndex(empty_index(url, dim), path, {})
    index, marks = _loaded(choice, read_url(url))
    if index.dim != dim:
        raise IndexFileMismatch(
            f"the index file {path} holds vectors of {index.dim} numbers, {dim} were asked for: "
            "use another path, or delete it and it will be rebuilt."
        )
    return OpenedIndex(index, path, marks)


def empty_index(url: str, dim: int) -> FileIndex | ServerIndex:
    """Returns the engine of a URL with its options, empty: its file is not looked at.

    A server keeps what it holds.

    Args:
        url: see the top of this file.
        dim: D, the length of the vectors.

    Raises:
        UnknownEngine: the URL names none of the known engines.
        EngineMissing: the engine's library is not installed, or finds no GPU.
    """
    choice, options = choose_engine(url).engine, read_url(url).options
    if choice == "milvus":
        return open_with_marks(url, dim).index
    if choice == "faiss":
        from index.faiss import FaissIndex

        return FaissIndex(dim, _plan(options))
    if choice == "faiss-gpu":
        from index.gpu import GpuIndex

        return GpuIndex(dim, _gpu_plan(options))
    from index.exact import ExactIndex

    return ExactIndex(dim)


def _loaded(
    choice: str, url: EngineUrl
) -> "tuple[ExactIndex | FaissIndex | GpuIndex, dict[str, str]]":
    """The engine with what its file holds."""
    path = url.path or Path()
    if choice == "faiss":
        from index.faiss import FaissIndex

        return FaissIndex.load(path, _plan(url.options))
    if choice == "faiss-gpu":
        from index.gpu import GpuIndex

        return GpuIndex.load(path, _gpu_plan(url.options))
    from index.exact import ExactIndex

    return ExactIndex.load(path)
