import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embedder import photo as photo_module
from embedder.errors import NotAnImage, PhotoTooLarge, PhotoUnreadable, UnusablePhoto, WrongArray
from embedder.photo import Encoded, Photo, decode, is_photo_name, printable, read_bytes, read_photo

Pixels = NDArray[np.uint8]
ORIENTATION, TAKEN, MODIFIED, EXIF_IFD = 0x0112, 0x9003, 0x0132, 0x8769
# Where row 0 and column 0 of the stored picture are seen (EXIF 2.3, table of tag 274).
ROW_0 = {1: "top", 2: "top", 3: "bottom", 4: "bottom", 5: "left", 6: "right", 7: "right", 8: "left"}
COLUMN_0 = {
    1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom",
}  # fmt: skip


def blocks() -> Pixels:
    """uint8 (48, 64, 3): flat blocks of 16 pixels, all of different colours, so JPEG is close."""
    rows, columns = np.mgrid[:48, :64] // 16
    return np.stack([40 + 70 * rows, 30 + 60 * columns, 220 - 50 * rows - 10 * columns], 2).astype(
        np.uint8
    )


def ramp() -> NDArray[np.float64]:
    """float64 (48, 64) from 0 to 1."""
    return np.linspace(0, 1, 48 * 64).reshape(48, 64)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tagged(**tags: object) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        if name == "taken":
            exif.get_ifd(EXIF_IFD)[TAKEN] = value
        else:
            exif[{"orientation": ORIENTATION, "modified": MODIFIED}[name]] = value
    return exif


def stored_for(upright: Pixels, orientation: int) -> Pixels:
    """The picture a camera stores for what is seen upright, pixel by pixel from the standard."""
    height, width = upright.shape[:2]
    sideways = orientation >= 5
    out = np.zeros((width, height, 3) if sideways else (height, width, 3), np.uint8)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            seen = {ROW_0[orientation]: row, COLUMN_0[orientation]: column}
            y = seen["top"] if "top" in seen else height - 1 - seen["bottom"]
            x = seen["left"] if "left" in seen else width - 1 - seen["right"]
            out[row, column] = upright[y, x]
    return out


def close(got: Pixels, want: NDArray[np.generic], tolerance: float) -> bool:
    assert got.dtype == np.uint8
    assert got.shape == want.shape
    return float(np.abs(got.astype(float) - want.astype(float)).max()) <= tolerance


LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "PPM": {},
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_exact_pixels(kind: str):
    photo = read_photo(saved(Image.fromarray(blocks()), kind, **LOSSLESS[kind]))
    assert close(photo.pixels, blocks(), 0)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(progressive: bool):
    options = {"quality": 95, "subsampling": 0, "progressive": progressive}
    data = saved(Image.fromarray(blocks()), "JPEG", **options)
    assert close(read_photo(data).pixels, blocks(), 6)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(compression: str):
    data = saved(Image.fromarray(blocks()), "TIFF", compression=compression)
    assert close(read_photo(data).pixels, blocks(), 0)


def test_heic():
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(blocks())).save(out, quality=100, chroma=444)
    assert close(read_photo(out.getvalue()).pixels, blocks(), 6)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_is_turned_once(orientation: int):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    out = io.BytesIO()
    stored = Image.fromarray(stored_for(blocks(), orientation))
    exif = tagged(orientation=orientation).tobytes()
    heif.from_pillow(stored).save(out, quality=100, chroma=444, exif=exif)
    assert close(read_photo(out.getvalue()).pixels, blocks(), 6)


def test_without_its_reader_heic_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with pytest.raises(NotAnImage, match=r"HEIC picture.*vultus\[heic\]"):
        read_photo(head, name="IMG_1.HEIC")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_each_format_is_read_by_a_fresh_process(kind: str):
    """Pillow loads its readers bit by bit: the first picture must not depend on a second one."""
    data = saved(Image.fromarray(blocks()), kind)
    code = (
        "import sys; from embedder.photo import read_photo\n"
        "print(read_photo(sys.stdin.buffer.read()).pixels.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=False
    )
    assert done.stdout.decode().strip() == "(48, 64, 3)", done.stderr.decode()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str):
    first, second = (Image.new("RGB", (20, 10), colour) for colour in ("#ff0000", "#0000ff"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(first, kind, save_all=True, append_images=[second], duration=50, **options)
    assert close(read_photo(data).pixels, np.full((10, 20, 3), (255, 0, 0)), 0)


@pytest.mark.parametrize("kind", ["TIFF", "MPO"])
def test_of_several_pages_the_first_is_read(kind: str):
    first, second = Image.new("RGB", (32, 16), "#ff0000"), Image.new("RGB", (32, 16), "#0000ff")
    data = saved(first, kind, save_all=True, append_images=[second])
    assert close(read_photo(data).pixels, np.full((16, 32, 3), (255, 0, 0)), 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(kind: str, orientation: int):
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    image = Image.fromarray(stored_for(blocks(), orientation))
    data = saved(image, kind, exif=tagged(orientation=orientation), **options)
    tolerance = 6 if kind == "JPEG" else 0
    assert close(read_photo(data).pixels, blocks(), tolerance)
    opened = Image.open(io.BytesIO(data))
    assert close(read_photo(opened).pixels, blocks(), tolerance), "a PIL image"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_grey_is_turned_too(orientation: int):
    grey = stored_for(blocks(), orientation)[:, :, 0].astype(np.uint16) * 257
    data = saved(Image.fromarray(grey), "PNG", exif=tagged(orientation=orientation))
    assert close(read_photo(data).pixels, np.repeat(blocks()[:, :, :1], 3, axis=2), 0)


def grey_cube(values: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.repeat(np.asarray(values)[:, :, None], 3, axis=2)


def on_white(pixels: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    share = alpha[:, :, None] / 255
    return pixels * share + 255 * (1 - share)


def grey() -> tuple[bytes, NDArray[np.generic]]:
    return saved(Image.fromarray(blocks()[:, :, 0]), "PNG"), grey_cube(blocks()[:, :, 0])


def grey_jpeg() -> tuple[bytes, NDArray[np.generic]]:
    return saved(Image.fromarray(blocks()[:, :, 0]), "JPEG", quality=95), grey_cube(
        blocks()[:, :, 0]
    )


def pgm() -> tuple[bytes, NDArray[np.generic]]:
    return b"P5 64 48 255\n" + blocks()[:, :, 0].tobytes(), grey_cube(blocks()[:, :, 0])


def pgm_text() -> tuple[bytes, NDArray[np.generic]]:
    return b"P2 # a comment\n2 2\n255\n0 128\n255 7\n", grey_cube(np.array([[0, 128], [255, 7]]))


def pgm_16_bit() -> tuple[bytes, NDArray[np.generic]]:
    deep = np.rint(ramp() * 65535).astype(">u2")
    return b"P5 64 48 65535\n" + deep.tobytes(), grey_cube(np.rint(deep / 257))


def grey_alpha() -> tuple[bytes, NDArray[np.generic]]:
    alpha = np.rint(ramp() * 255)
    both = np.stack([blocks()[:, :, 0], alpha], 2).astype(np.uint8)
    want = on_white(grey_cube(blocks()[:, :, 0]).astype(float), alpha)
    return saved(Image.fromarray(both, "LA"), "PNG"), want


def colour_alpha(kind: str = "PNG", **options: object) -> tuple[bytes, NDArray[np.generic]]:
    alpha = np.rint(ramp() * 255)
    both = np.dstack([blocks(), alpha]).astype(np.uint8)
    data = saved(Image.fromarray(both, "RGBA"), kind, **options)
    return data, on_white(blocks().astype(float), alpha)


def colour_alpha_webp() -> tuple[bytes, NDArray[np.generic]]:
    return colour_alpha("WEBP", lossless=True, exact=True)


def colour_alpha_tiff() -> tuple[bytes, NDArray[np.generic]]:
    return colour_alpha("TIFF")


PALETTE = np.array([[200, 10, 10], [10, 200, 10], [10, 10, 200], [90, 80, 70]], np.uint8)


def indexed() -> Image.Image:
    image = Image.fromarray((np.mgrid[:48, :64][0] // 12).astype(np.uint8), "P")
    image.putpalette(PALETTE.tobytes())
    return image


def palette() -> tuple[bytes, NDArray[np.generic]]:
    return saved(indexed(), "PNG"), PALETTE[np.asarray(indexed())]


def palette_with_clear_colour() -> tuple[bytes, NDArray[np.generic]]:
    want = PALETTE[np.asarray(indexed())].copy()
    want[np.asarray(indexed()) == 2] = 255
    return saved(indexed(), "GIF", transparency=2), want


def palette_with_alphas() -> tuple[bytes, NDArray[np.generic]]:
    alphas = np.array([255, 0, 128, 64])
    chosen = np.asarray(indexed())
    want = on_white(PALETTE[chosen].astype(float), alphas[chosen].astype(float))
    return saved(indexed(), "PNG", transparency=bytes(alphas.tolist())), want


def clear_colour() -> tuple[bytes, NDArray[np.generic]]:
    want = blocks().copy()
    clear = tuple(int(v) for v in want[0, 0])
    want[(want == want[0, 0]).all(axis=2)] = 255
    return saved(Image.fromarray(blocks()), "PNG", transparency=clear), want


def clear_grey() -> tuple[bytes, NDArray[np.generic]]:
    values = blocks()[:, :, 0]
    want = np.where(values == values[0, 0], 255, values)
    return saved(Image.fromarray(values), "PNG", transparency=int(values[0, 0])), grey_cube(want)


def bits(kind: str) -> tuple[bytes, NDArray[np.generic]]:
    white = np.random.default_rng(1).random((48, 64)) > 0.5
    return saved(Image.fromarray(white), kind), grey_cube(white * 255)


def bits_png() -> tuple[bytes, NDArray[np.generic]]:
    return bits("PNG")


def bits_tiff() -> tuple[bytes, NDArray[np.generic]]:
    return bits("TIFF")


def cmyk(kind: str, **options: object) -> tuple[bytes, NDArray[np.generic]]:
    inks = np.dstack([blocks(), blocks()[:, :, 1] // 2])
    left = 255.0 - inks  # the light each ink lets through
    want = left[:, :, :3] * left[:, :, 3:] / 255
    return saved(Image.fromarray(inks, "CMYK"), kind, **options), want


def cmyk_jpeg() -> tuple[bytes, NDArray[np.generic]]:
    return cmyk("JPEG", quality=98)


def cmyk_tiff() -> tuple[bytes, NDArray[np.generic]]:
    return cmyk("TIFF")


def deep(kind: str) -> tuple[bytes, NDArray[np.generic]]:
    values = np.rint(ramp() * 65535).astype(np.uint16)
    return saved(Image.fromarray(values), kind), grey_cube(np.rint(values / 257))


def deep_png() -> tuple[bytes, NDArray[np.generic]]:
    return deep("PNG")


def deep_tiff() -> tuple[bytes, NDArray[np.generic]]:
    return deep("TIFF")


def deep_big_endian_tiff() -> tuple[bytes, NDArray[np.generic]]:
    values = np.rint(ramp() * 65535).astype(">u2")
    image = Image.frombytes("I;16B", (64, 48), values.tobytes())
    return saved(image, "TIFF"), grey_cube(np.rint(values / 257))


def deep_and_dark() -> tuple[bytes, NDArray[np.generic]]:
    """16 bits of which the lower eight are used: black, not a picture stretched to white."""
    values = np.rint(ramp() * 255).astype(np.uint16)
    return saved(Image.fromarray(values), "PNG"), grey_cube(np.rint(values / 257))


def deep_colour(suffix: str) -> tuple[bytes, NDArray[np.generic]]:
    values = blocks().astype(np.uint16) * 256 + 77
    return cv2.imencode(suffix, values[:, :, ::-1])[1].tobytes(), blocks()


def deep_colour_png() -> tuple[bytes, NDArray[np.generic]]:
    return deep_colour(".png")


def deep_colour_tiff() -> tuple[bytes, NDArray[np.generic]]:
    return deep_colour(".tiff")


def fractions() -> tuple[bytes, NDArray[np.generic]]:
    values = (0.25 + 0.5 * ramp()).astype(np.float32)
    return saved(Image.fromarray(values), "TIFF"), grey_cube(values * 255.0)


def measured_floats() -> tuple[bytes, NDArray[np.generic]]:
    values = (-40 + 1000 * ramp()).astype(np.float32)
    return saved(Image.fromarray(values), "TIFF"), grey_cube(ramp() * 255)


MODES: dict[Callable[[], tuple[bytes, NDArray[np.generic]]], float] = {
    grey: 0, grey_jpeg: 4, pgm: 0, pgm_text: 0, pgm_16_bit: 0.5, grey_alpha: 1, colour_alpha: 1,
    colour_alpha_webp: 1, colour_alpha_tiff: 1, palette: 0, palette_with_clear_colour: 0,
    palette_with_alphas: 1, clear_colour: 0, clear_grey: 0, bits_png: 0, bits_tiff: 0,
    cmyk_jpeg: 8, cmyk_tiff: 1, deep_png: 0.5, deep_tiff: 0.5, deep_big_endian_tiff: 0.5,
    deep_and_dark: 0.5, deep_colour_png: 1, deep_colour_tiff: 1, fractions: 0.51,
    measured_floats: 0.51,
}  # fmt: skip


@pytest.mark.parametrize("make", MODES, ids=lambda make: make.__name__)
def test_every_mode_becomes_rgb_of_eight_bits(
    make: Callable[[], tuple[bytes, NDArray[np.generic]]],
):
    data, want = make()
    photo = read_photo(data)
    assert close(photo.pixels, want, MODES[make])
    assert photo.pixels.flags.c_contiguous
    opened = read_photo(Image.open(io.BytesIO(data)))
    assert np.array_equal(opened.pixels, photo.pixels), "a PIL image gives the same pixels"


def test_floats_that_are_no_numbers_are_dark():
    values = ramp().astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = read_photo(saved(Image.fromarray(values), "TIFF")).pixels
    assert close(pixels[1:], grey_cube(ramp()[1:] * 255), 0.51)
    assert not pixels[0, :3].any()


def test_a_flat_float_picture_is_read():
    data = saved(Image.fromarray(np.full((4, 5), 7.5, np.float32)), "TIFF")
    assert read_photo(data).pixels.shape == (4, 5, 3)


def test_all_ways_in_agree(tmp_path: Path):
    data = saved(Image.fromarray(blocks()), "PNG")
    path = tmp_path / "face.png"
    path.write_bytes(data)
    from_files = [read_photo(source) for source in (path, str(path), data)]
    assert {photo.digest for photo in from_files} == {hashlib.sha256(data).hexdigest()}
    assert {photo.size for photo in from_files} == {len(data)}
    assert [photo.source for photo in from_files] == [str(path), str(path), "bytes"]
    from_memory = [read_photo(blocks()), read_photo(Image.fromarray(blocks()))]
    assert len({photo.digest for photo in from_memory}) == 1
    for photo in from_files + from_memory:
        assert np.array_equal(photo.pixels, blocks())


def test_an_array_is_grey_or_colour_and_nothing_else():
    assert close(read_photo(blocks()[:, :, 0]).pixels, grey_cube(blocks()[:, :, 0]), 0)
    assert close(read_photo(blocks()[::2, ::-1]).pixels, blocks()[::2, ::-1], 0)
    for wrong in (blocks() / 255, np.dstack([blocks(), blocks()]), blocks()[None]):
        with pytest.raises(WrongArray, match="face: a picture must be uint8"):
            read_photo(wrong, name="face")
    with pytest.raises(NotAnImage, match="empty"):
        read_photo(blocks()[:0])


def test_the_digest_of_an_array_is_of_its_shape_too():
    flat = np.zeros((4, 6, 3), np.uint8)
    digests = {read_photo(flat.reshape(shape)).digest for shape in ((4, 6, 3), (6, 4, 3))}
    assert len(digests) == 2


def test_a_photo_checks_its_pixels():
    with pytest.raises(WrongArray, match=r"Photo\.pixels must be uint8"):
        Photo(np.zeros((2, 2, 4), np.uint8), "", "x")


def test_a_name_given_is_what_messages_say():
    with pytest.raises(NotAnImage, match=r"^upload 3 is no picture"):
        read_photo(b"hello", name="upload 3")


# Bombs


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_declaring(width: int, height: int, data: bytes = b"\0") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp_declaring(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def gif_declaring(width: int, height: int) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame


BOMBS = {
    "png": png_declaring(60_000, 60_000),
    "ppm": b"P6 60000 60000 255\n" + bytes(100),
    "bmp": bmp_declaring(60_000, 60_000),
    "gif": gif_declaring(60_000, 60_000),
    "barely": png_declaring(10_001, 10_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_before_memory_is_taken(kind: str):
    code = """if True:
        import resource, sys, io
        from embedder.errors import PhotoTooLarge
        from embedder.photo import read_photo
        data = sys.stdin.buffer.read()
        read_photo(b"P5 1 1 255 0")  # the readers are loaded
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            read_photo(data)
        except PhotoTooLarge as error:
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(error.reason, grown < 16_000, grown)
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux to limit the address space")
    done = subprocess.run(
        [sys.executable, "-c", code], input=BOMBS[kind], capture_output=True, check=False
    )
    assert done.stdout.decode().startswith("too_large True"), (done.stdout, done.stderr)


def test_a_long_thin_picture_is_no_bomb():
    for width, height in ((60_000, 1), (1, 60_000)):
        data = png_declaring(width, height, bytes(height * (width + 1)))
        assert read_photo(data).pixels.shape == (height, width, 3)


def test_the_limit_is_the_callers():
    data = saved(Image.fromarray(blocks()), "PNG")
    for source in (data, blocks(), Image.fromarray(blocks())):
        assert read_photo(source, max_pixels=64 * 48).pixels.shape == (48, 64, 3)
        with pytest.raises(PhotoTooLarge, match=r"64×48 pixels; at most 3071 .*--max-pixels"):
            read_photo(source, max_pixels=64 * 48 - 1)


def test_the_limit_of_pillow_gives_way_and_comes_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_photo(saved(Image.fromarray(blocks()), "PNG")).pixels.shape == (48, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_two_threads_that_decode_leave_the_warnings_as_they_were():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        first, second = (photo_module._PILLOW.decoding(10**9) for _ in range(2))
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert Image.MAX_IMAGE_PIXELS >= 500_000_000, "the second still decodes"
        second.__exit__(None, None, None)
        assert warnings.filters == before


# Broken files


def samples() -> dict[str, bytes]:
    image = Image.fromarray(blocks())
    exif = tagged(orientation=6, taken="2020:01:02 03:04:05")
    made = {
        "jpeg": saved(image, "JPEG", exif=exif),
        "progressive": saved(image, "JPEG", progressive=True),
        "png": saved(image, "PNG", exif=exif),
        "webp": saved(image, "WEBP", exif=exif),
        "bmp": saved(image, "BMP"),
        "tiff": saved(image, "TIFF", exif=exif),
        "lzw": saved(image, "TIFF", compression="tiff_lzw"),
        "gif": saved(image.quantize(), "GIF"),
        "ppm": saved(image, "PPM"),
    }
    try:
        import pillow_heif
    except ImportError:
        return made
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, exif=exif.tobytes())
    return made | {"heic": out.getvalue()}


def survives(data: bytes) -> bool:
    """Whether bytes decode; anything but a picture or UnusablePhoto fails the test."""
    try:
        photo = read_photo(data, max_pixels=1_000_000)
    except UnusablePhoto:
        return False
    assert photo.pixels.dtype == np.uint8
    return True


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp", "bmp", "tiff", "ppm"])
def test_a_truncated_picture_is_refused(kind: str):
    """Half a picture is refused: a face in its lower, grey half would be lost unseen."""
    data = samples()[kind]
    for share in np.linspace(0.02, 0.9, 45):
        with pytest.raises(UnusablePhoto):
            read_photo(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", samples())
def test_damage_anywhere_is_survived(kind: str):
    rng = np.random.default_rng(sum(kind.encode()))
    whole = np.frombuffer(samples()[kind], np.uint8)
    assert survives(whole.tobytes())
    outcomes = set()
    for _ in range(150):
        damaged = whole[: rng.integers(1, len(whole) + 1)].copy()
        reach = len(damaged) if rng.random() < 0.5 else min(len(damaged), 300)
        for place in rng.integers(0, reach, size=rng.choice([0, 1, 2, 8])):
            damaged[place] ^= 1 << rng.integers(8)
        outcomes.add(survives(damaged.tobytes()))
    assert False in outcomes


def test_a_lazily_opened_broken_image_is_refused_like_its_file():
    data = samples()["png"]
    with pytest.raises(NotAnImage, match="image is a broken picture"):
        read_photo(Image.open(io.BytesIO(data[: len(data) * 3 // 4])))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"<html></html>", "text or markup"),
        (b"just words", "JPEG, PNG"),
        (b"\xff\xd8\xff", "face.jpg is "),
    ],
)
def test_what_is_no_picture_is_said(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "face.jpg"
    path.write_bytes(data)
    with pytest.raises(NotAnImage, match=message) as caught:
        read_photo(path)
    assert caught.value.reason == "not_an_image"
    assert str(path) in str(caught.value)


def test_a_folder_and_a_missing_file_are_said(tmp_path: Path):
    handle = os.dup(0)
    os.close(handle)
    with pytest.raises(PhotoUnreadable, match="is a folder"):
        read_photo(tmp_path)
    again = os.dup(0)
    os.close(again)
    assert again == handle, "no file was left open"
    for missing in (tmp_path / "none.jpg", tmp_path / "none" / "a.jpg"):
        with pytest.raises(PhotoUnreadable, match=r"does not exist: check the path"):
            read_photo(missing)
    with pytest.raises(PhotoUnreadable, match="cannot be opened"):
        read_photo("nul\0byte.jpg")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PhotoUnreadable, match="cannot be opened"):
        read_photo(tmp_path / "file" / "a.jpg")


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoUnreadable, match="not a regular file"):
        read_photo(tmp_path / "pipe.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_said(tmp_path: Path):
    path = tmp_path / "face.jpg"
    path.write_bytes(b"x")
    path.chmod(stat.S_IWUSR)
    with pytest.raises(PhotoUnreadable, match="Permission denied"):
        read_photo(path)


def test_a_file_of_a_gibibyte_is_refused_unread(tmp_path: Path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse: takes no room
    with pytest.raises(PhotoTooLarge, match="1073741824 bytes"):
        read_bytes(path)


def test_names_are_printable(tmp_path: Path):
    assert printable("a\nb\x1b[31m.jpg") == "a\\nb\\x1b[31m.jpg"
    assert printable(os.fsdecode(b"\xff\xfe.jpg")) == "\\xff\\xfe.jpg"
    assert printable("Zoë/脸.jpg") == "Zoë/脸.jpg"
    assert printable("half\ud83d.jpg") == "half\\ud83d.jpg"
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/two\nlines\xff.jpg"))
    with pytest.raises(PhotoUnreadable, match=r"two\\nlines\\xff\.jpg does not exist"):
        read_photo(strange)
    with pytest.raises(PhotoUnreadable, match=r"half\\ud83d\.jpg cannot be opened"):
        read_photo("half\ud83d.jpg")


def test_a_strange_name_is_read_all_the_same(tmp_path: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/two\nlines\xff.png"))
    try:
        path.write_bytes(saved(Image.fromarray(blocks()), "PNG"))
    except OSError:
        pytest.skip("this file system refuses such names")
    photo = read_photo(path)
    assert photo.source.endswith("two\\nlines\\xff.png")
    photo.source.encode("utf-8")  # can be stored


# EXIF


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_when_it_was_taken(kind: str):
    taken, modified = "2021:12:31 23:59:58", "2022:01:01 00:00:00"
    tags = {"exif": tagged(taken=taken, modified=modified)}
    if kind == "TIFF":  # Pillow writes no EXIF block of its own into a TIFF
        tags = {"tiffinfo": {MODIFIED: modified, EXIF_IFD: {TAKEN: taken}}}
    data = saved(Image.fromarray(blocks()), kind, **tags)
    assert read_photo(data).taken == datetime(2021, 12, 31, 23, 59, 58, tzinfo=UTC)


def test_without_a_moment_taken_the_last_change_counts():
    data = saved(Image.fromarray(blocks()), "JPEG", exif=tagged(modified="2022:01:01 00:00:00"))
    assert read_photo(data).taken == datetime(2022, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2021:13:01 00:00:00", ""]
)
def test_a_nonsense_moment_is_none(text: str):
    data = saved(Image.fromarray(blocks()), "JPEG", exif=tagged(taken=text))
    assert read_photo(data).taken is None


def test_without_exif_nothing_is_known():
    assert read_photo(saved(Image.fromarray(blocks()), "JPEG")).taken is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_picture(kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = read_photo(saved(Image.fromarray(blocks()), kind, **options)).pixels
    whole = tagged(orientation=1, taken="2021:12:31 23:59:58").tobytes()
    rng = np.random.default_rng(5)
    blobs = [whole[:cut] for cut in range(6, len(whole), 4)]
    for _ in range(100):
        blob = np.frombuffer(whole, np.uint8).copy()
        blob[rng.integers(6, len(blob), size=6)] = rng.integers(0, 256, 6)
        blobs.append(blob.tobytes())
    for blob in blobs:
        data = saved(Image.fromarray(blocks()), kind, exif=blob, **options)
        pixels = read_photo(data).pixels
        # the damage may have made another valid orientation of it
        assert sorted(pixels.shape) == sorted(plain.shape)
        assert int(pixels.sum()) == int(plain.sum())


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.JPG", True), ("a.heic", True), ("a.tiff", True), ("a.txt", False), ("jpg", False)],
)
def test_names_of_pictures(name: str, is_one: bool):
    assert is_photo_name(Path(name)) is is_one


# Decoding at a reduced size


def jpeg(width: int, height: int, **how: object) -> Encoded:
    """A picture with a red left, a green right and a blue lower half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 200
    pixels[:, width // 2 :, 1] = 200
    pixels[height // 2 :, :, 2] = 200
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **how)
    return read_bytes(file.getvalue())


@pytest.mark.parametrize(
    ("size", "least", "factor"),
    [((1600, 800), 400, 4), ((1600, 800), 401, 2), ((1600, 800), 801, 1), ((800, 1600), 200, 8),
     ((1602, 800), 400, 2), ((1601, 800), 400, 1), ((1600, 800), None, 1)],
)  # fmt: skip
def test_a_jpeg_is_decoded_no_larger_than_is_looked_at(
    size: tuple[int, int], least: int | None, factor: int
):
    encoded = jpeg(*size)
    whole, photo = decode(encoded), decode(encoded, least=least)
    assert photo.reduced == factor
    assert (photo.width, photo.height) == (whole.width, whole.height) == size
    assert photo.pixels.shape == (size[1] // factor, size[0] // factor, 3)
    assert (photo.digest, photo.size, photo.taken) == (whole.digest, whole.size, whole.taken)
    small = cv2.resize(whole.pixels, photo.pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - photo.pixels).mean() < 2
    assert np.array_equal(photo.whole().pixels, whole.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photo_is_upright(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = jpeg(1600, 800, exif=exif)
    whole, photo = decode(encoded), decode(encoded, least=400)
    assert photo.reduced == 4
    small = cv2.resize(whole.pixels, photo.pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - photo.pixels).mean() < 2
    assert np.array_equal(photo.whole().pixels, whole.pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_only_a_jpeg_is_reduced(kind: str):
    file = io.BytesIO()
    Image.new("RGB", (1600, 800), (9, 9, 9)).save(file, kind)
    assert decode(read_bytes(file.getvalue()), least=100).reduced == 1


def test_too_many_pixels_are_refused_before_reducing():
    with pytest.raises(PhotoTooLarge):
        decode(jpeg(1600, 800), max_pixels=1600 * 800 - 1, least=100)


def test_a_truncated_jpeg_is_broken_at_any_size():
    data = jpeg(1600, 800).data
    with pytest.raises(NotAnImage):
        decode(read_bytes(data[: len(data) // 2]), least=100)
