"""One safetensors file per index, written whole or not at all, checked before it is believed.

The file holds the tensors `vectors` F32 (N, D), `ids` I64 (N,) and `sites` I64 (N,), and a metadata
of strings: `format`, `dim`, `marks` (JSON) and `sha256` over all of these. Above 64 MiB the vectors
are mapped, not read: opening costs one pass for the digest (0.3 s for a million rows of 128) and no
memory of its own. Fewer are copied into memory, where they lie in huge pages and comparing them all
takes four fifths of the time. They begin at a multiple of 64 bytes in the file and in memory:
products of rows that straddle a processor's cache lines take a fifth longer.

An engine may keep its search structure in the same file, so that the two never disagree: the string
`structure` (JSON: its facts, and the shapes of its tensors) and tensors `structure.NAME`, under the
same digest. Engines that do not know it pass it over.

Format: https://github.com/huggingface/safetensors#format

Letters: N rows, D dimensions.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from index.errors import IndexFileBroken
from index.rows import ALIGNED, RowStore, grown

__all__ = ["FORMAT", "IndexFile", "Kept", "read_file", "read_rows", "write_rows"]

FORMAT = "vultus-index-1"
_KINDS = {"vectors": ("F32", "<f4"), "ids": ("I64", "<i8"), "sites": ("I64", "<i8")}
_COPIED = 1 << 26  # bytes of vectors up to which they are copied: all those that stay flat
_PIECE = 1 << 22  # bytes per step of the digest
_DTYPES = {"F32": "<f4", "I64": "<i8", "U8": "|u1"}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_PREFIX = "structure."


@dataclass(frozen=True, slots=True)
class Kept:
    """What an engine keeps beside the rows.

    Attributes:
        facts: JSON values.
        arrays: by name; float32, int64 or uint8.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What a file held.

    Attributes:
        rows: the rows, their vectors mapped from the file, or copied where they are few.
        marks: what the owner saved with it.
        kept: the engine's structure, mapped; None without one.
    """

    rows: RowStore
    marks: dict[str, str]
    kept: Kept | None


def write_rows(
    path: str | Path, rows: RowStore, marks: Mapping[str, str], kept: Kept | None = None
) -> None:
    """Writes the rows and marks to `path`, readable by the owner only.

    A crash or a full disk leaves the file that was there before; after the return the new file
    survives a loss of power.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {
        "vectors": rows.vectors,
        "ids": rows.ids,
        "sites": rows.sites,
    }
    facts = {"format": FORMAT, "dim": str(rows.dim), "marks": json.dumps(dict(marks))}
    if kept is not None:
        shapes = {name: list(array.shape) for name, array in kept.arrays.items()}
        facts["structure"] = json.dumps({"facts": kept.facts, "shapes": shapes})
        arrays |= {_PREFIX + name: array for name, array in kept.arrays.items()}
    header = _header(arrays, facts | {"sha256": _digest(facts, arrays)})
    _remove_abandoned(path)
    handle, name = _temporary(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for key, array in arrays.items():
                file.write(_bytes(array, _DTYPES[_code(array, key)]))
            file.flush()
            os.fsync(file.fileno())
            Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_rows(path: str | Path) -> tuple[RowStore, dict[str, str]]:
    """Reads what `write_rows` wrote and returns the rows and the marks.

    Raises:
        FileNotFoundError: there is no such file.
        IndexFileBroken: the file was cut, changed or written by something else.
    """
    file = read_file(path)
    return file.rows, file.marks


def read_file(path: str | Path) -> IndexFile:
    """Reads what `write_rows` wrote, the engine's structure too.

    Raises:
        FileNotFoundError: there is no such file.
        IndexFileBroken: the file was cut, changed or written by something else.
    """
    path = Path(path)
    with path.open("rb"):
        pass  # a missing or forbidden file is the operating system's error, not a broken one
    try:
        with safe_open(path, framework="numpy"):
            pass  # the header is sound and its tensors fill the file without gaps
        arrays, facts = _mapped(path)
        stated = facts.pop("sha256")
        if facts["format"] != FORMAT:
            raise _broken(path, f"its format is {facts['format']!r}, not {FORMAT!r}")
        dim, marks = int(facts["dim"]), json.loads(facts["marks"])
        told = json.loads(facts.get("structure", '{"facts": null, "shapes": {}}'))
        extra = {_PREFIX + name: tuple(shape) for name, shape in told["shapes"].items()}
        kept_facts = told["facts"]
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise _broken(path, f"it cannot be read ({error})") from error
    count = len(arrays["ids"])
    shapes = {"vectors": (count, dim), "ids": (count,), "sites": (count,)} | extra
    if {key: array.shape for key, array in arrays.items()} != shapes:
        raise _broken(path, "its arrays do not fit each other")
    if _digest(facts, arrays) != stated:
        raise _broken(path, "its digest does not agree with its contents")
    ids, sites = np.array(arrays["ids"]), np.array(arrays["sites"])
    ordered = np.sort(ids)  # np.unique takes half a second for a million
    if (ordered[1:] == ordered[:-1]).any():
        raise _broken(path, "an id appears twice")
    vectors = arrays["vectors"]
    if vectors.nbytes <= _COPIED:
        vectors = grown(vectors, count, count)
    rows = RowStore(ids, vectors, sites)
    if kept_facts is None:
        return IndexFile(rows, marks, None)
    own = {key.removeprefix(_PREFIX): arrays[key] for key in extra}
    return IndexFile(rows, marks, Kept(kept_facts, own))


def _mapped(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Maps the tensors of a sound safetensors file and returns them with its metadata."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    facts = dict(header.pop("__metadata__"))
    kinds = {key: entry["dtype"] for key, entry in header.items() if not key.startswith(_PREFIX)}
    if kinds != {key: kind for key, (kind, _) in _KINDS.items()}:
        raise ValueError(f"its tensors are {sorted(header)}, not {sorted(_KINDS)}")
    arrays: dict[str, NDArray[Any]] = {}
    for key in (*_KINDS, *sorted(header.keys() - _KINDS.keys())):
        dtype = _DTYPES[header[key]["dtype"]]
        shape, (start, end) = tuple(header[key]["shape"]), header[key]["data_offsets"]
        if start == end:  # nothing to map
            arrays[key] = np.empty(shape, dtype=dtype)
        else:
            mapped = np.memmap(path, dtype=dtype, mode="r", offset=8 + length + start, shape=shape)
            arrays[key] = mapped.view(np.ndarray)
    return arrays, facts


def _header(arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for key, array in arrays.items():
        end = start + array.nbytes
        header[key] = {
            "dtype": _code(array, key),
            "shape": array.shape,
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header).encode()
    return text + b" " * (-(8 + len(text)) % ALIGNED)


def _digest(facts: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for key in (*_KINDS, *sorted(arrays.keys() - _KINDS.keys())):
        data = _bytes(arrays[key], _DTYPES[_code(arrays[key], key)])
        for start in range(0, len(data), _PIECE):
            digest.update(data[start : start + _PIECE])
    return digest.hexdigest()


def _code(array: NDArray[Any], key: str) -> str:
    """The safetensors name of a tensor's dtype."""
    return _KINDS[key][0] if key in _KINDS else _CODES[array.dtype]


def _bytes(array: NDArray[Any], dtype: str) -> memoryview:
    """The array as little-endian bytes; on little-endian machines without a copy."""
    return np.ascontiguousarray(array, dtype=dtype).reshape(-1).view(np.uint8).data


def _temporary(path: Path) -> tuple[int, str]:
    """A new file beside `path`, of mode 0600, locked until it is closed: it is not abandoned."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # taken for abandoned before it was locked


def _remove_abandoned(path: Path) -> None:
    """Deletes what a writer that was killed left beside the file: vectors must not outlive it.

    A file that is still being written is locked by its writer and stays.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes a rename last: the name of a file belongs to its folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _broken(path: Path, reason: str) -> IndexFileBroken:
    return IndexFileBroken(
        f"the index file {path} is broken: {reason}. It holds nothing that cannot be made again: "
        "delete it and it will be rebuilt."
    )
