"""Bytes to Photo: upright RGB uint8, whatever the file was.

Letters: H rows, W columns.

The header is read first and the pixels only when their number is allowed, so that a
decompression bomb never allocates. The file is opened once, read once and hashed once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedder.arrays import expect
from embedder.decoding_memory import decoding_bytes, is_deep, is_transparent
from embedder.errors import NotAnImage, PhotoTooLarge, PhotoUnreadable

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image"
# Told before any pixel is decoded: the bytes that decoding takes, and width and height of what
# comes out. It may wait until there is room, or refuse the photo.
Room: TypeAlias = Callable[[int, tuple[int, int]], None]

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff",
    ".gif", ".heic", ".heif", ".hif", ".pgm", ".ppm", ".pnm",
})  # fmt: skip
# MPO (two JPEGs in one file) is opened by Pillow's JPEG reader and has no name of its own.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "HEIF")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_EXIF_IFD, _TAKEN, _MODIFIED, _ORIENTATION = 0x8769, 0x9003, 0x0132, 0x0112
_TURNED = range(2, 9)  # orientations that are not upright
_REDUCTIONS = (8, 4, 2)  # what a JPEG decoder leaves out of each block at next to no cost
_WHITE = (255, 255, 255, 255)
# What Pillow's readers raise on broken files; Exception alone would hide defects of this module.
_BROKEN = (
    OSError, ValueError, SyntaxError, LookupError, EOFError, TypeError, AttributeError,
    ArithmeticError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded picture.

    Attributes:
        pixels: uint8 (H, W, 3), RGB, 0…255, upright (EXIF orientation applied).
        digest: hex sha256 of the file's bytes (of shape and pixels for an array).
        source: where it came from, for messages and the store.
        size: bytes of the file.
        taken: when the camera says it was taken (its local time, no zone known), or None.
        reduced: pixels of the file to a side of one of `pixels`: 1, or 2, 4, 8 where it was
            decoded at a half, a quarter or an eighth.
        encoded: the file, for decoding it once more; kept where it is reduced.
    """

    pixels: NDArray[np.uint8]
    digest: str
    source: str
    size: int = 0
    taken: datetime | None = None
    reduced: int = 1
    encoded: Encoded | None = None

    def __post_init__(self) -> None:
        expect(self.pixels, np.uint8, (None, None, 3), "Photo.pixels")

    @property
    def width(self) -> int:
        """Pixels of the upright file."""
        return int(self.pixels.shape[1]) * self.reduced

    @property
    def height(self) -> int:
        """Pixels of the upright file."""
        return int(self.pixels.shape[0]) * self.reduced

    def whole(self, room: Room | None = None) -> Photo:
        """The photo with all its pixels; it is decoded again where it was reduced."""
        if self.encoded is None:
            return self
        return decode(self.encoded, max_pixels=self.width * self.height, room=room)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of a picture file, hashed and not yet decoded.

    Attributes:
        data: the file's bytes.
        digest: hex sha256 of `data`.
        source: where it came from.
    """

    data: bytes
    digest: str
    source: str


def read_photo(source: Source, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Photo:
    """Decode a picture from a path, bytes, an array or a PIL image.

    Args:
        source: a path; the bytes of a file; uint8 (H, W, 3) RGB or (H, W) grey; a PIL image.
        max_pixels: refuse pictures with more pixels than this.
        name: what messages call the picture; default the path or a description.

    Raises:
        PhotoUnreadable: the path is missing, not a regular file, or not readable.
        PhotoTooLarge: more than `max_pixels` pixels or a gibibyte of data.
        NotAnImage: the bytes are not a picture, or a broken one.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "array", max_pixels)
    if isinstance(source, (str, os.PathLike, bytes)):
        return decode(read_bytes(source, name=name), max_pixels=max_pixels)
    label = name or "image"
    _check_pixels(source.size, label, max_pixels)
    try:
        pixels = _to_rgb(_upright(source))  # a file opened lazily is decoded here
    except (*_BROKEN, MemoryError) as error:
        raise _broken(label, error) from error
    return Photo(pixels, _digest_pixels(pixels), label, pixels.nbytes)


def read_bytes(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> Encoded:
    """Read and hash a file without decoding it: how an enrolment knows what it has seen.

    Raises:
        PhotoUnreadable: missing, a folder, a device or a pipe, or no permission.
        PhotoTooLarge: a gibibyte or more.
    """
    if isinstance(source, bytes):
        return Encoded(source, hashlib.sha256(source).hexdigest(), name or "bytes")
    label = name or printable(source)
    data = _read_regular(source, label)
    return Encoded(data, hashlib.sha256(data).hexdigest(), label)


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and stored: undecodable bytes and controls escaped."""
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair: no file can have that name
        text = os.fspath(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _read_regular(path: str | os.PathLike[str], label: str) -> bytes:
    try:
        # O_NONBLOCK: opening a pipe without a writer must not wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PhotoUnreadable(f"{label} does not exist: check the path.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PhotoUnreadable(f"{label} cannot be opened ({why}).") from error
    try:
        return _read_handle(handle, label)
    finally:
        os.close(handle)


def _read_handle(handle: int, label: str) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise PhotoUnreadable(f"{label} is {kind}: give a picture file.")
    if status.st_size >= MAX_BYTES:
        raise PhotoTooLarge(f"{label} has {status.st_size} bytes; at most {MAX_BYTES - 1}.")
    try:
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise PhotoUnreadable(f"{label} cannot be read ({error.strerror}).") from error


def decode(
    encoded: Encoded,
    *,
    max_pixels: int = MAX_PIXELS,
    least: int | None = None,
    room: Room | None = None,
) -> Photo:
    """Decode a file's bytes to an upright RGB Photo; an animation gives its first frame.

    Args:
        encoded: the file.
        max_pixels: refuse pictures with more pixels than this.
        least: a JPEG may be decoded at a half, a quarter or an eighth of its size, its long side
            no less than so many pixels; None: at its size.
        room: is asked for the memory first; None: there is enough.

    Raises:
        PhotoTooLarge: more than `max_pixels` pixels, found before any is decoded; or `room` raised
            it.
        NotAnImage: not a picture, a broken one, or HEIC without the extra `heic`.
    """
    with _PILLOW.decoding(max_pixels), _opened(encoded) as image:
        _check_pixels(image.size, encoded.source, max_pixels)
        try:
            reduced = 1 if least is None else _reduce(image, least)
            if room is not None:
                # Pillow decodes a PNG to tell its EXIF
                turned = image.format == "PNG" or _lies(image)
                room(decoding_bytes(image, reduced, turned=turned), image.size)
            taken = _taken(image)
            pixels = _to_rgb(_upright(image))
        except (*_BROKEN, MemoryError) as error:
            raise _broken(encoded.source, error) from error
    kept = None if reduced == 1 else encoded
    return Photo(pixels, encoded.digest, encoded.source, len(encoded.data), taken, reduced, kept)


def _reduce(image: Image, least: int) -> int:
    """Have a JPEG decoded smaller, where its sides can be divided: by how much."""
    if image.format not in {"JPEG", "MPO"}:
        return 1
    width, height = image.size
    for factor in _REDUCTIONS:
        even = width % factor == 0 and height % factor == 0
        if even and max(width, height) >= factor * least:
            image.draft(None, (width // factor, height // factor))
            return width // image.size[0]
    return 1


@contextlib.contextmanager
def _opened(encoded: Encoded) -> Iterator[Image]:
    from PIL import Image, UnidentifiedImageError

    formats = _FORMATS if _enable_heif(encoded) else _FORMATS[:-1]
    try:
        image = Image.open(io.BytesIO(encoded.data), formats=formats)
    except UnidentifiedImageError:
        raise NotAnImage(
            f"{encoded.source} is no picture that can be read: {_guess(encoded.data)}."
        ) from None
    except Image.DecompressionBombError as error:
        raise PhotoTooLarge(f"{encoded.source} has too many pixels ({error}).") from error
    except _BROKEN as error:
        raise _broken(encoded.source, error) from error
    with image:
        yield image


class _PillowManners:
    """Pillow's process-wide settings while any thread decodes; the last one puts them back.

    Its warnings are kept quiet (an EXIF oddity is no error) and its pixel limit gives way to a
    larger one of ours. `warnings.catch_warnings` alone, left by two threads in the order they
    came, would silence the process for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restore = contextlib.ExitStack()

    @contextlib.contextmanager
    def decoding(self, max_pixels: int) -> Iterator[None]:
        """Hold the settings; Pillow itself refuses what has more than `max_pixels` pixels."""
        from PIL import Image

        with self._lock:
            if self._inside == 0:
                self._restore.enter_context(warnings.catch_warnings())
                self._restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
            if Image.MAX_IMAGE_PIXELS is not None:  # Pillow refuses twice this number
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, -(-max_pixels // 2))
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._restore.close()


_PILLOW = _PillowManners()


def _enable_heif(encoded: Encoded) -> bool:
    """Register the HEIC reader when the bytes need it; say what to install when it is missing."""
    head = encoded.data[:12]
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return False
    try:
        import pillow_heif
    except ImportError:
        raise NotAnImage(
            f'{encoded.source} is a HEIC picture: to read it, pip install "vultus[heic]".'
        ) from None
    pillow_heif.register_heif_opener()
    return True


def _guess(data: bytes) -> str:
    if not data:
        return "the file is empty, so save or copy it again"
    starts = {b"%PDF": "a PDF", b"PK\x03\x04": "a zip archive", b"<": "text or markup"}
    found = next((kind for magic, kind in starts.items() if data.startswith(magic)), None)
    if found:
        return f"it looks like {found}"
    return "JPEG, PNG, WebP, BMP, TIFF, GIF, PNM and HEIC are read"


def _broken(source: str, error: BaseException) -> NotAnImage:
    why = str(error).split("\n", 1)[0] or type(error).__name__
    return NotAnImage(f"{source} is a broken picture ({why}): save or copy it again.")


def _check_pixels(size: tuple[int, int], label: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PhotoTooLarge(
            f"{label} has {width}×{height} pixels; at most {max_pixels} are read "
            "(raise it with --max-pixels)."
        )
    if width * height == 0:
        raise NotAnImage(f"{label} is empty ({width}×{height} pixels).")


def _taken(image: Image) -> datetime | None:
    """When the photo was taken, from EXIF; None when it does not say or says nonsense."""
    try:
        exif = image.getexif()
        text = exif.get_ifd(_EXIF_IFD).get(_TAKEN) or exif.get(_MODIFIED)
        moment = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - EXIF has no zone
    except _BROKEN:
        return None
    return moment.replace(tzinfo=UTC)


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    image.load()  # broken pixels fail here, so that what fails below is the EXIF block
    try:
        if not _lies(image):
            return image  # exif_transpose would copy the pixels
        turned = ImageOps.exif_transpose(image)
    except _BROKEN:
        return image  # an EXIF block too broken to read says nothing about orientation
    return image if turned is None else turned


def _lies(image: Image) -> bool:
    """Whether EXIF says that it is not upright."""
    try:
        return image.getexif().get(_ORIENTATION, 1) in _TURNED
    except _BROKEN:
        return False


def _to_rgb(image: Image) -> NDArray[np.uint8]:
    """Any mode to uint8 (H, W, 3): deep greys scaled, transparency laid on white."""
    from PIL import Image

    if is_deep(image):
        return np.repeat(_deep_grey(np.asarray(image))[:, :, None], 3, axis=2)
    if is_transparent(image):
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, _WHITE)
        image = Image.alpha_composite(paper, layer)
    upright = image if image.mode == "RGB" else image.convert("RGB")
    return np.ascontiguousarray(upright, dtype=np.uint8)


def _deep_grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """16-bit, 32-bit and float grey to 0…255.

    Args:
        values: (H, W), any real dtype. Integers up to 65535 count as 16-bit; floats within 0…1
            as fractions of white; anything else is stretched between its extremes.

    Returns:
        uint8 (H, W).
    """
    known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(known.min()), float(known.max())
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    span = high - low if high > low else 1.0
    return np.rint((known - low) / span * 255).astype(np.uint8)


def _from_array(array: NDArray[Any], label: str, max_pixels: int) -> Photo:
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    expect(array, np.uint8, (None, None, 3), f"{label}: a picture")
    _check_pixels((array.shape[1], array.shape[0]), label, max_pixels)
    pixels = np.ascontiguousarray(array)
    return Photo(pixels, _digest_pixels(pixels), label, pixels.nbytes)


def _digest_pixels(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def is_photo_name(path: Path) -> bool:
    """Whether a file name ends like a picture this module reads."""
    return path.suffix.lower() in SUFFIXES
