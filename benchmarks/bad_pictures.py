"""Broken, hostile and strange picture files, made from a seed, each with what is documented for it.

Used by bad_inputs.py. A case is a file and the set of outcomes that are right for it.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ENROLLED = frozenset({"enrolled", "unchanged"})
BROKEN = frozenset({"not_an_image"})
LARGE = frozenset({"too_large"})
NOBODY = frozenset({"face_not_found", "face_too_small"})
POOR = NOBODY | {"low_quality", "extreme_pose"}
DOCUMENTED = ENROLLED | BROKEN | LARGE | POOR | {"multiple_faces", "identity_similarity_conflict"}
# Damage may leave a picture of the person, of nobody, of a face in pieces, or none.
DAMAGED = DOCUMENTED
KINDS = ("JPEG", "progressive", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIX = {"progressive": ".jpg", "JPEG": ".jpg", "PPM": ".ppm"}


@dataclass(frozen=True)
class Case:
    """One file of the corpus.

    Attributes:
        name: its name in the folder, as bytes the file system takes.
        make: writes it to a path.
        allowed: the outcomes that are right; empty: the file must not be taken for a picture.
    """

    name: bytes
    make: Callable[[bytes], None]
    allowed: frozenset[str]


def drawing(seed: int) -> random.Random:
    """Random numbers that come again with the seed."""
    return random.Random(seed)  # noqa: S311 - repeatable, no secret


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file of a kind."""
    out = io.BytesIO()
    if kind == "progressive":
        kind, options = "JPEG", {**options, "progressive": True}
    if kind == "WEBP":
        options.setdefault("lossless", True)
    image.save(out, kind, **options)
    return out.getvalue()


def _file(name: str, data: bytes, allowed: frozenset[str]) -> Case:
    return Case(os.fsencode(name), lambda path: Path(os.fsdecode(path)).write_bytes(data), allowed)


def _suffix(kind: str) -> str:
    return SUFFIX.get(kind, "." + kind.lower())


def truncated(image: Image.Image, number: int, seed: int) -> Iterator[Case]:
    """Files cut off anywhere but in their last bytes."""
    draw = drawing(seed)
    files = {kind: encoded(image, kind) for kind in KINDS}
    for i in range(number):
        kind = KINDS[i % len(KINDS)]
        data = files[kind]
        cut = draw.randrange(len(data) * 19 // 20)
        # A GIF or a TIFF without its last rows may still be one, by the letter of its format.
        allowed = BROKEN | (POOR | ENROLLED if kind in {"GIF", "TIFF"} else frozenset())
        yield _file(f"cut-{i:04}{_suffix(kind)}", data[:cut], allowed)


def flipped(image: Image.Image, number: int, seed: int) -> Iterator[Case]:
    """Files with 1 to 64 bits turned over, anywhere."""
    draw = drawing(seed)
    files = {kind: encoded(image, kind) for kind in KINDS}
    for i in range(number):
        kind = KINDS[i % len(KINDS)]
        data = bytearray(files[kind])
        for _ in range(1 << draw.randrange(7)):
            place = draw.randrange(len(data)) if draw.random() < 0.5 else draw.randrange(400)
            data[place] ^= 1 << draw.randrange(8)
        yield _file(f"flip-{i:04}{_suffix(kind)}", bytes(data), DAMAGED)


def scrambled(image: Image.Image, number: int, seed: int) -> Iterator[Case]:
    """Files with a block of noise or of zeros, or with two blocks exchanged."""
    draw = drawing(seed)
    files = {kind: encoded(image, kind) for kind in KINDS}
    for i in range(number):
        kind = KINDS[i % len(KINDS)]
        data = bytearray(files[kind])
        size = draw.randrange(1, len(data) // 2)
        here, there = sorted(draw.sample(range(len(data) - size), 2))
        match i % 3:
            case 0:
                data[here : here + size] = draw.randbytes(size)
            case 1:
                data[here : here + size] = bytes(size)
            case _:
                first, second = data[here : here + size], data[there : there + size]
                data[there : there + size], data[here : here + size] = first, second
        yield _file(f"scramble-{i:04}{_suffix(kind)}", bytes(data), DAMAGED)


def misnamed(image: Image.Image, seed: int) -> Iterator[Case]:
    """What is not what its name says."""
    draw = drawing(seed)
    for kind in KINDS:
        yield _file(f"named-{kind}-as.png", encoded(image, kind), ENROLLED)
        yield _file(f"named-{kind}-as.JPG", encoded(image, kind), ENROLLED)
    for i, data in enumerate([
        b"", b"\0", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM",
        b"II*\0", b"RIFF\0\0\0\0WEBP", b"%PDF-1.7\n", b"PK\x03\x04", b"<html></html>", b"\x7fELF",
        b"#!/bin/sh\n",
        b"P6 0 0 255\n", b"P6 4 4 255\n", b"P6 -1 5 255\n", b"P6 99999999999 1 255\n",
        "Ünïcödé".encode(),
        b"\0" * 100_000, b"\xff" * 100_000, draw.randbytes(100_000), b"text " * 10_000,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0\0\0\x18ftypheic" + bytes(200),
        b"\0\0\0\x18ftypavif" + bytes(200), b"\0\0\0\x0cjP  \r\n\x87\n", b"8BPS\0\1" + bytes(30),
    ]):  # fmt: skip
        yield _file(f"nothing-{i:02}.jpg", data, BROKEN | LARGE)


def _png(width: int, height: int, bits: int, colour: int, body: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def sizes() -> Iterator[Case]:
    """Pictures too small, too long, too large, and bombs."""
    for width, height in [(1, 1), (2, 2), (1, 5000), (5000, 1), (1, 60000), (60000, 1), (16, 16)]:
        flat = Image.new("RGB", (width, height), (120, 90, 70))
        yield _file(f"size-{width}x{height}.png", encoded(flat, "PNG"), NOBODY)
        yield _file(f"size-{width}x{height}.jpg", encoded(flat, "JPEG"), NOBODY)
    zeros = zlib.compress(bytes(2_000_000), 9)
    for i, (width, height) in enumerate([
        (10_001, 10_000), (50_000, 50_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1),
        (100_000, 100_000), (65_535, 65_535), (1_000_000, 101),
    ]):  # fmt: skip
        yield _file(f"bomb-{i}.png", _png(width, height, 1, 0, zeros), LARGE | BROKEN)
        yield _file(
            f"bomb-{i}.ppm", f"P6 {width} {height} 255\n".encode() + b"\0" * 64, LARGE | BROKEN
        )
        tall = struct.pack("<HH", min(width, 65535), min(height, 65535))
        yield _file(
            f"bomb-{i}.gif",
            b"GIF89a" + tall + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + tall + b"\0\2\2D\1\0;",
            LARGE | BROKEN,
        )
        bmp = struct.pack(
            "<2sIHHIIiiHHIIiiII",
            b"BM",
            54,
            0,
            0,
            54,
            40,
            width % 2**31,
            height % 2**31,
            1,
            24,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        yield _file(f"bomb-{i}.bmp", bmp + bytes(64), LARGE | BROKEN)
    exact = _png(10_000, 10_000, 1, 0, zlib.compress(bytes(1251 * 10_000), 9))
    yield _file("hundred-megapixels.png", exact, NOBODY)


def modes(image: Image.Image) -> Iterator[Case]:
    """Every kind of pixel: all of them show the person."""
    grey = image.convert("L")
    deep = np.asarray(grey, np.float64)
    for mode in ("CMYK", "L", "YCbCr"):
        yield _file(f"mode-{mode}.jpg", encoded(image.convert(mode), "JPEG"), ENROLLED)
    for mode in ("L", "LA", "RGBA"):
        yield _file(f"mode-{mode}.png", encoded(image.convert(mode), "PNG"), ENROLLED)
    yield _file("mode-P.png", encoded(image.quantize(256), "PNG"), ENROLLED)
    yield _file("mode-1.png", encoded(image.convert("1"), "PNG"), ENROLLED | POOR)
    yield _file(
        "mode-I16.png", encoded(Image.fromarray((deep * 257).astype(np.uint16)), "PNG"), ENROLLED
    )
    for name, values in {
        "F01": deep / 255, "F255": deep, "I32": (deep * 1e6).astype(np.int32), "negative": -deep,
        "wide": deep * 1e30,
    }.items():  # fmt: skip
        array = values if values.dtype == np.int32 else values.astype(np.float32)
        allowed = DOCUMENTED if name == "negative" else ENROLLED
        yield _file(f"mode-{name}.tif", encoded(Image.fromarray(array), "TIFF"), allowed)
    for name, value in {"nan": np.nan, "inf": np.inf, "minus": -np.inf}.items():
        array = np.full((120, 120), value, np.float32)
        yield _file(f"mode-{name}.tif", encoded(Image.fromarray(array), "TIFF"), NOBODY)
    spoiled = (deep / 255).astype(np.float32)
    spoiled[:3] = np.nan
    yield _file("mode-some-nan.tif", encoded(Image.fromarray(spoiled), "TIFF"), ENROLLED)
    other = Image.new("RGB", image.size, (200, 30, 30))
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        many = encoded(image, kind, save_all=True, append_images=[other] * 5)
        yield _file(f"frames.{kind.lower()}", many, ENROLLED)


def stored_turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """An upright picture as a camera stores it, and the EXIF that says so: orientation 1 to 8."""
    # what is done to it, so that turning by its orientation brings it back
    ways = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation not in ways:
        return image, exif
    return image.transpose(Image.Transpose(ways[orientation])), exif


def metadata(image: Image.Image, number: int, seed: int) -> Iterator[Case]:
    """Orientation, and blocks of EXIF and colour profile that are nonsense."""
    draw = drawing(seed)
    for orientation in range(1, 9):
        stored, exif = stored_turned(image, orientation)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            data = encoded(stored, kind, exif=exif)
            yield _file(f"orientation-{orientation}{_suffix(kind)}", data, ENROLLED)
    for i in range(number):
        noise = draw.randbytes(draw.randrange(1, 400))
        kind = ("JPEG", "PNG", "WEBP")[i % 3]
        what = {"exif": (b"Exif\0\0" + noise)} if i % 2 else {"icc_profile": noise}
        yield _file(f"block-{i:03}{_suffix(kind)}", encoded(image, kind, **what), ENROLLED)


def faces(image: Image.Image) -> Iterator[Case]:
    """No face, many, upside-down, tiny, half outside, black, blurred, noise."""
    width, height = image.size
    landscape = Image.new("RGB", (640, 480), (140, 180, 220))
    ImageDraw.Draw(landscape).polygon([(0, 480), (300, 200), (640, 480)], fill=(90, 120, 60))
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    several = frozenset({"multiple_faces"})
    wall = Image.new("RGB", (25 * 120, 20 * 120))
    for place in range(500):
        wall.paste(image.resize((120, 120)), (place % 25 * 120, place // 25 * 120))
    two = Image.new("RGB", (2 * width, height))
    two.paste(image, (0, 0))
    two.paste(image, (width, 0))
    tiny = landscape.copy()
    tiny.paste(image.resize((18, 18)), (300, 100))
    made = {
        "none": (landscape, NOBODY),
        "noise": (Image.fromarray(noise), NOBODY),
        "black": (Image.new("RGB", (400, 400)), NOBODY),
        "white": (Image.new("RGB", (400, 400), (255, 255, 255)), NOBODY),
        "five-hundred": (wall, several),
        "two": (two, several),
        "upside-down": (image.transpose(Image.Transpose.ROTATE_180), POOR | ENROLLED),
        "tiny": (tiny, NOBODY),
        "half": (image.crop((width // 2, 0, width, height)), POOR | ENROLLED),
        "third": (image.crop((0, 0, width, height // 3)), POOR | ENROLLED),
        "dark": (image.point(lambda v: v // 40), POOR | ENROLLED),
        "coarse": (image.resize((24, 24)).resize(image.size), POOR | ENROLLED),
    }
    for name, (picture, allowed) in made.items():
        for kind in ("JPEG", "PNG"):
            yield _file(f"face-{name}{_suffix(kind)}", encoded(picture, kind), allowed)


def named(image: Image.Image, seed: int) -> Iterator[Case]:
    """Names that break careless programs; every file is good (each has bytes of its own)."""
    draw = drawing(seed)
    names = [
        b"new\nline.jpg", b"tab\t.jpg", b"bell\a.jpg", b"\x1b[31mred.jpg", b"invalid-\xff\xfe.jpg",
        b"latin-\xe9.jpg", "right-\u202eto-left.jpg".encode(), "עברית.jpg".encode(), b" space .jpg",
        b"-rf.jpg", b"--help.jpg", b"'quote'.jpg", b'"double".jpg', b"semi;colon.jpg",
        b"$(reboot).jpg",
        b"percent%s%n.jpg", b"{brace}.jpg", b"a,comma.jpg", b"back\\slash.jpg", b"<b>.jpg",
        b"&amp;.jpg",
        "emoji-\U0001f9d1.jpg".encode(), "nfd-e\u0301.jpg".encode(), "nfc-\u00e9.jpg".encode(),
        b"l" * 251 + b".jpg", b"CON.jpg", b"x.jpg.jpg", b"UPPER.JPEG", b"dots...jpg", b"0.jpg",
        b"star*.jpg",
        "zero\u200bwidth.jpg".encode(), b"[glob].jpg", b"~.jpg", b"=cmd.jpg",
        b"'; DROP TABLE people; --.jpg",
    ]  # fmt: skip
    for name in names:
        data = encoded(image, "JPEG", comment=draw.randbytes(8))
        yield Case(name, lambda path, data=data: _write(path, data), ENROLLED)  # type: ignore[misc]


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 - a name that is no text
        file.write(data)


def _closed(make: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Make it so that nobody may look into it."""

    def made(path: bytes) -> None:
        make(path)
        Path(os.fsdecode(path)).chmod(0)

    return made


def _socket(path: bytes) -> None:
    """A socket; its own path may be too long for the system's call, a name beside it is not."""
    short = Path(tempfile.mkdtemp()) / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short))
    shutil.move(short, Path(os.fsdecode(path)))
    short.parent.rmdir()


def _sparse(path: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 - as the others
        file.truncate(1 << 30)


def _link(to: bytes) -> Callable[[bytes], None]:
    return lambda path: Path(os.fsdecode(path)).symlink_to(os.fsdecode(to))


def no_files(image: Image.Image, good: bytes) -> Iterator[Case]:
    """What has a picture's name and is no file, or may not be read: pipes, devices, links."""
    data = encoded(image, "JPEG", comment=b"nobody may read it")
    yield Case(b"unreadable.jpg", _closed(lambda path: _write(path, data)), BROKEN)
    yield Case(b"closed folder", _closed(os.mkdir), BROKEN)
    yield Case(b"socket.jpg", _socket, BROKEN)
    yield Case(b"sparse.jpg", _sparse, LARGE)
    yield Case(b"pipe.jpg", os.mkfifo, BROKEN)
    yield Case(b"folder.jpg", os.mkdir, frozenset())
    yield Case(b"loop.jpg", _link(b"loop.jpg"), BROKEN)
    yield Case(b"dangling.jpg", _link(b"nowhere.jpg"), BROKEN)
    yield Case(b"zero.jpg", _link(b"/dev/zero"), BROKEN)
    yield Case(b"null.jpg", _link(b"/dev/null"), BROKEN)
    yield Case(b"random.jpg", _link(b"/dev/urandom"), BROKEN)
    yield Case(b"process.jpg", _link(b"/proc/self/mem"), BROKEN)
    yield Case(b"up.jpg", _link(b".."), frozenset())
    yield Case(b"around", _link(b"."), frozenset())
    yield Case(b"one.jpg", _link(b"another.jpg"), BROKEN)
    yield Case(b"another.jpg", _link(b"one.jpg"), BROKEN)
    yield Case(b"tty.jpg", _link(b"/dev/tty"), BROKEN)
    yield Case(b"link.jpg", _link(good), ENROLLED)


def corpus(image: Image.Image, cases: int, seed: int, good: bytes) -> list[Case]:
    """All cases: the fixed ones, and damaged files up to the number asked for.

    Args:
        image: a photo that is enrolled.
        cases: how many in all.
        seed: of everything random.
        good: path of a good photo, for links.
    """
    fixed = [
        *misnamed(image, seed), *sizes(), *modes(image), *metadata(image, 120, seed), *faces(image),
        *named(image, seed), *no_files(image, good),
    ]  # fmt: skip
    rest = max(0, cases - len(fixed))
    return [
        *fixed,
        *truncated(image, rest // 3, seed + 1),
        *scrambled(image, rest // 3, seed + 2),
        *flipped(image, rest - 2 * (rest // 3), seed + 3),
    ]
