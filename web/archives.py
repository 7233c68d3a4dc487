"""An uploaded zip of photos into a folder, where nothing in it can do harm.

Only photos are taken, by name; one path that points outside refuses the whole archive, and so do
encrypted files; links are left out. Bytes are counted while they are unpacked, whatever the archive
says of itself.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from embedder.photo import is_photo_name
from web.errors import BodyTooLarge, BodyUnusable

MOST_FILES = 100_000
MOST_BYTES = 8 << 30
LARGEST_FILE = 64 << 20
_CHUNK = 1 << 20
_LINK, _KIND = 0o120000, 0o170000
_ENCRYPTED = 0x1
_DIRECTORY = 64 << 20  # bytes of a table of contents: some 600 a photo
_TAIL = (1 << 16) + 256  # bytes at the end of a zip that hold its records of the end
_IN_LARGE = 0xFFFFFFFF  # what a size says that stands in the record for large archives
_DEPTH = 8  # folders of people are not deeper
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises for what it cannot read; a name that is no UTF-8 is a ValueError.
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)


def examine(archive: Path) -> None:
    """Refuse a zip that cannot be unpacked, as far as its table of contents tells.

    Raises:
        BodyUnusable: no zip, no photo in it, too many, packed in a way that is not read, or a
            path that points outside.
        BodyTooLarge: it would unpack to more than is taken.
    """
    if _directory_size(archive) > _DIRECTORY:
        raise _too_large()
    try:
        with zipfile.ZipFile(archive) as opened:
            _photos(opened)
    except _BROKEN as error:
        raise _broken(error) from error


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the photos of a zip.

    Args:
        archive: the file.
        folder: made new; files that are there already are written again.

    Returns:
        How many photos there are.

    Raises:
        BodyUnusable, BodyTooLarge: as `examine`, or what is packed is broken.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, folder)
    except _BROKEN as error:
        raise _broken(error) from error


def _directory_size(archive: Path) -> int:
    """Bytes of the table of contents, which zipfile reads as a whole; 0 where there is no end.

    From the record at the end of the file (APPNOTE.TXT of PKWARE, 4.3.16), or from the one for
    large archives before it (4.3.14).
    """
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - _TAIL))
        tail = file.read()
    end, large = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    sizes = [0]
    if 0 <= end <= len(tail) - 22:
        sizes.append(int.from_bytes(tail[end + 12 : end + 16], "little"))
    if 0 <= large <= len(tail) - 56 and sizes[-1] == _IN_LARGE:
        sizes.append(int.from_bytes(tail[large + 40 : large + 48], "little"))
    return sizes[-1]


def _broken(error: Exception) -> BodyUnusable:
    return BodyUnusable(f"The archive is no zip that can be read ({error}).", "broken_archive")


def _photos(opened: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The photos of a zip, and where each is put."""
    inside = [(entry, safe_path(entry.filename)) for entry in opened.infolist()]
    found = [(entry, path) for entry, path in inside if _wanted(entry, path)]
    if not 0 < len(found) <= MOST_FILES:
        raise BodyUnusable(
            f"The archive has {len(found)} photos; send 1 to {MOST_FILES}.", "number_of_photos"
        )
    if any(one.flag_bits & _ENCRYPTED or one.compress_type not in _METHODS for one, _ in found):
        raise BodyUnusable(
            "The archive is encrypted, or packed in a way other than deflate; pack it anew.",
            "broken_archive",
        )
    sizes = [entry.file_size for entry, _ in found]
    if max(sizes) > LARGEST_FILE or sum(sizes) > MOST_BYTES:
        raise _too_large()
    return found


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(
        f"The archive unpacks to more than is taken: {LARGEST_FILE >> 20} MiB a photo, "
        f"{MOST_BYTES >> 30} GiB in all."
    )


def _unpack(opened: zipfile.ZipFile, folder: Path) -> int:
    found, left = _photos(opened), MOST_BYTES
    for entry, inside in found:
        path = folder / inside
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with opened.open(entry) as source, path.open("wb") as target:
            size = 0
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > min(left, LARGEST_FILE):
                    raise _too_large()
                target.write(chunk)
        left -= size
    return len(found)


def _wanted(entry: zipfile.ZipInfo, path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    link = (entry.external_attr >> 16) & _KIND == _LINK
    deep = len(path.parts) > _DEPTH
    return not (entry.is_dir() or hidden or link or deep) and is_photo_name(Path(path.name))


def safe_path(name: str) -> PurePosixPath:
    """A path below a folder, whatever an archive calls it.

    Raises:
        BodyUnusable: it points outside, or no file system takes it.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = ":" in path.parts[0] if path.parts else False
    bad = path.is_absolute() or ".." in path.parts or "\0" in name or drive
    if bad or any(len(part.encode(errors="replace")) > 255 for part in path.parts):
        raise BodyUnusable(
            "The archive holds a file whose path points outside of it.", "unsafe_path"
        )
    return path
