"""What OpenVINO compiled, kept between runs, and known by sha256 like every other file of weights.

OpenVINO's own cache (CACHE_DIR) takes a file as it is: one turned bit in it gave vectors that were
wrong and looked right. So graphs are exported and imported here, behind a digest of their bytes. A
file that is not what was written is compiled anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedder.weights import cache_folder, write_atomically

# OpenVINO's converter reports usage to a server when this package is importable. Nothing leaves
# the machine here: with the entry None its import fails and OpenVINO uses its own empty stub.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None blocks an import

import openvino  # type: ignore[import-untyped]  # noqa: E402 - no types; after the line above

__all__ = ["compiled", "openvino"]

_DIGEST = hashlib.sha256().digest_size
_KEPT = 200  # files; a detector has one for each size of frame it met twice


def compiled(
    core: Any,  # noqa: ANN401 - OpenVINO ships no types
    source: str,
    part: str,
    options: Mapping[str, object],
    build: Callable[[], Any],
) -> Any:  # noqa: ANN401 - OpenVINO ships no types
    """A graph compiled for the CPU: from the cache where it lies there unharmed, else anew.

    Args:
        core: an `openvino.Core`.
        source: path of the ONNX file; another file, or the same one changed, is another graph.
        part: which part of it, for which shapes.
        options: what the compilation is asked for.
        build: makes the graph to compile; None, if there is no such part, is remembered too.

    Returns:
        An `openvino.CompiledModel`, or None.
    """
    file = cache_folder() / "openvino" / f"{_key(core, source, part, options)}.graph"
    kept = _unharmed(file)
    if kept == b"":
        return None
    if kept is not None:
        with suppress(
            RuntimeError
        ):  # of another build of OpenVINO, though it says the same version
            return core.import_model(io.BytesIO(kept), "CPU", dict(options))
    graph = build()
    if graph is None:
        _keep(file, b"")
        return None
    model = core.compile_model(graph, "CPU", dict(options))
    _keep(file, model.export_model().getvalue())
    return model


def _key(core: Any, source: str, part: str, options: Mapping[str, object]) -> str:  # noqa: ANN401
    status = Path(source).stat()
    known = [
        openvino.get_version(), core.get_property("CPU", "FULL_DEVICE_NAME"),
        sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        str(Path(source).resolve()), status.st_size, status.st_mtime_ns, part, dict(options),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


def _unharmed(file: Path) -> bytes | None:
    """The graph in a file; None where there is none, or not the one that was written."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    graph = data[_DIGEST:]
    return graph if _digest(file, graph) == data[:_DIGEST] else None


def _keep(file: Path, graph: bytes) -> None:
    """Write a graph behind its digest, and forget the oldest; a full disk only costs time."""
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(file, _digest(file, graph) + graph)
        others = sorted(file.parent.glob("*.graph"), key=lambda one: one.stat().st_mtime_ns)
        for old in others[:-_KEPT]:
            old.unlink(missing_ok=True)


def _digest(file: Path, graph: bytes) -> bytes:
    """Of the name too, so that one graph does not pass for another."""
    return hashlib.sha256(file.stem.encode() + graph).digest()
