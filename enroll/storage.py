"""Photos in S3-compatible object storage, listed and read through pyarrow (extra `ray`).

Where it is comes from the variables that S3 tools read: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL,
and AWS_REGION or AWS_DEFAULT_REGION; credentials from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
~/.aws, or the machine's role.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from embedder.errors import PhotoTooLarge, PhotoUnreadable
from embedder.photo import MAX_BYTES, Encoded, printable, read_bytes
from enroll.errors import ExtraMissing, StorageUnusable

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

SCHEME = "s3://"
_TIMEOUT = 20.0  # seconds to connect, and to wait for an answer


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object: its address `s3://bucket/key`, bytes, and when it was written."""

    url: str
    size: int
    changed: datetime


def is_stored(source: object) -> bool:
    """Whether a source is an address in object storage."""
    return isinstance(source, str) and source.startswith(SCHEME)


def variables() -> dict[str, str]:
    """The variables that say where the storage is; no credentials."""
    found = {
        "AWS_ENDPOINT_URL": _first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "AWS_REGION": _first("AWS_REGION", "AWS_DEFAULT_REGION"),
    }
    return {name: value for name, value in found.items() if value is not None}


def list_files(url: str) -> list[StoredFile]:
    """All objects under an address, or the one object it names, sorted by key.

    Args:
        url: `s3://bucket/prefix`; the prefix ends at a slash or at the end of a key.

    Raises:
        StorageUnusable: it cannot be reached, is not allowed, or nothing has that address.
        ExtraMissing: pyarrow is not installed.
    """
    place = url.removeprefix(SCHEME).strip("/")
    files = _filesystem()
    from pyarrow.fs import FileSelector, FileType

    try:
        found = files.get_file_info(place)
        if found.type == FileType.NotFound:
            raise StorageUnusable(f"{printable(url)} holds nothing: check bucket and prefix.")
        alone = found.type == FileType.File
        all_there = [found] if alone else files.get_file_info(FileSelector(place, recursive=True))
    except (OSError, ValueError) as error:
        raise StorageUnusable(
            f"{printable(url)} cannot be listed ({_line(error)}): check the address, "
            "AWS_ENDPOINT_URL, AWS_REGION and the credentials."
        ) from error
    objects = [info for info in all_there if info.type == FileType.File]
    return [
        StoredFile(SCHEME + info.path, info.size, (info.mtime or datetime.now(UTC)))
        for info in sorted(objects, key=lambda info: info.path)
    ]


def size_of(source: str | os.PathLike[str] | bytes) -> int:
    """Bytes of a photo before it is fetched; 0 where that cannot be told, and fetching says why."""
    if isinstance(source, bytes):
        return 0  # they are there already
    try:
        if isinstance(source, str) and is_stored(source):
            return int(_filesystem().get_file_info(source.removeprefix(SCHEME)).size or 0)
        return Path(source).stat().st_size
    except (OSError, ValueError):
        return 0


def fetch(source: str | os.PathLike[str] | bytes, name: str | None = None) -> Encoded:
    """Read and hash a photo: a path, the bytes of a file, or an address in object storage.

    Args:
        source: what to read.
        name: what messages call it; None: its path or address.

    Raises:
        PhotoUnreadable: it is not there or may not be read.
        PhotoTooLarge: a gibibyte or more.
    """
    if not isinstance(source, str) or not is_stored(source):
        return read_bytes(source, name=name)
    label = printable(source) if name is None else name
    return read_bytes(_read(source.removeprefix(SCHEME), label), name=label)


def _read(place: str, label: str) -> bytes:
    files = _filesystem()
    try:
        with files.open_input_file(place) as opened:
            size = opened.size()
            if size >= MAX_BYTES:
                raise PhotoTooLarge(f"{label} has {size} bytes; at most {MAX_BYTES - 1}.")
            return bytes(opened.read())
    except FileNotFoundError:
        raise PhotoUnreadable(f"{label} does not exist: check the address.") from None
    except (OSError, ValueError) as error:
        raise PhotoUnreadable(f"{label} cannot be read ({_line(error)}).") from error


def _filesystem() -> S3FileSystem:
    given = variables()
    return _opened(given.get("AWS_ENDPOINT_URL"), given.get("AWS_REGION"))


@functools.lru_cache(maxsize=1)
def _opened(endpoint: str | None, region: str | None) -> S3FileSystem:
    try:
        from pyarrow.fs import S3FileSystem
    except ImportError:
        raise ExtraMissing("Photos in object storage need", "ray") from None
    parts = urlsplit(endpoint if endpoint is None or "//" in endpoint else f"https://{endpoint}")
    return S3FileSystem(
        endpoint_override=parts.netloc or None, scheme=parts.scheme or "https", region=region,
        connect_timeout=_TIMEOUT, request_timeout=_TIMEOUT,
    )  # fmt: skip


def _first(*names: str) -> str | None:
    """The value of the first variable that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _line(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
