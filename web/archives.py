"""An uploaded zip of photos into a folder, where nothing in it can do harm.

Only photos are taken, by name; a path is made of its own cleaned parts below the folder, links and
encrypted files are refused, and bytes are counted while they are unpacked, whatever the archive
says of itself.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from embedder.photo import is_photo_name
from web.errors import BodyUnusable

MOST_FILES = 100_000
MOST_BYTES = 8 << 30
LARGEST_FILE = 64 << 20
_CHUNK = 1 << 20
_LINK, _KIND = 0o120000, 0o170000
_DEPTH = 8


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the photos of a zip.

    Args:
        archive: the file.
        folder: made new; files that are there already are written again.

    Returns:
        How many photos there are.

    Raises:
        BodyUnusable: no zip, a broken one, or one that would not fit.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BodyUnusable(f"The archive is no zip that can be read ({error}).") from error


def _unpack(opened: zipfile.ZipFile, folder: Path) -> int:
    entries = [entry for entry in opened.infolist() if _wanted(entry)]
    if len(entries) > MOST_FILES:
        raise BodyUnusable(f"The archive has {len(entries)} photos; at most {MOST_FILES}.")
    left = MOST_BYTES
    for entry in entries:
        path = folder / safe_path(entry.filename)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with opened.open(entry) as source, path.open("wb") as target:
            size = 0
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > min(left, LARGEST_FILE):
                    raise BodyUnusable("The archive unpacks to more than is taken.", "too_large")
                target.write(chunk)
        left -= size
    return len(entries)


def _wanted(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    hidden = any(p.startswith((".", "__MACOSX")) and p != ".." for p in path.parts)
    link = (entry.external_attr >> 16) & _KIND == _LINK
    return not (entry.is_dir() or hidden or link) and is_photo_name(Path(path.name))


def safe_path(name: str) -> PurePosixPath:
    """A path below a folder, whatever an archive calls it.

    Raises:
        BodyUnusable: it points outside, or is deeper than folders of people are.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    bad = path.is_absolute() or ".." in path.parts or "\0" in name or ":" in path.parts[0]
    if bad or len(path.parts) > _DEPTH or any(len(part.encode()) > 255 for part in path.parts):
        raise BodyUnusable("The archive holds a file whose path points outside of it.")
    return path
