"""What decoding is said to take, beside what a process takes that decodes."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.errors import PhotoTooLarge
from embedder.photo import decode, read_bytes

SIZE = (3000, 2000)
ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json, sys
from pathlib import Path
from embedder.photo import decode, read_bytes

def told(key):
    text = Path("/proc/self/status").read_text()
    return int(text.partition(key + ":")[2].split()[0]) * 1024

decode(read_bytes(sys.argv[2]))  # what is imported once
encoded, asked = read_bytes(sys.argv[1]), []
least = int(sys.argv[3]) or None
before = told("VmRSS")
decode(encoded, least=least, room=lambda need, size: asked.append((need, size)))
print(json.dumps([told("VmHWM") - before, *asked]))
"""


def jpeg(image: Image.Image, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **more)
    return out.getvalue()


def other(kind: str, **more: object) -> Callable[[Image.Image], bytes]:
    def make(image: Image.Image) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **more)
        return out.getvalue()

    return make


def lying() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


def deep(image: Image.Image) -> bytes:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return other("PNG", compress_level=1)(Image.fromarray(grey))


KINDS: dict[str, tuple[Callable[[Image.Image], bytes], int]] = {
    "JPEG": (jpeg, 0),
    "JPEG, reduced": (jpeg, 700),
    "JPEG, progressive and reduced": (lambda i: jpeg(i, progressive=True, subsampling=0), 700),
    "JPEG on its side": (lambda i: jpeg(i, exif=lying()), 0),
    "JPEG, CMYK": (lambda i: jpeg(i.convert("CMYK")), 0),
    "PNG": (other("PNG", compress_level=1), 0),
    "PNG, transparent": (lambda i: other("PNG", compress_level=1)(i.convert("RGBA")), 0),
    "PNG, 16 bit": (deep, 0),
    "WebP": (other("WEBP", quality=50), 0),
    "GIF": (lambda i: other("GIF")(i.quantize(16)), 0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_takes_no_more_than_was_said(kind: str, tmp_path: Path):
    make, least = KINDS[kind]
    blocks = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    picture = np.repeat(np.repeat(blocks, 50, axis=0), 50, axis=1)
    (tmp_path / "large").write_bytes(make(Image.fromarray(picture)))
    (tmp_path / "small").write_bytes(make(Image.fromarray(picture[:40, :40])))
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "large", tmp_path / "small", str(least)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    took, (need, size) = json.loads(done.stdout)
    assert took <= need + 2_000_000
    assert need <= 4 * took + 8_000_000  # and not so much that nothing would fit
    assert tuple(size) == ((750, 500) if least else SIZE)


def test_who_refuses_is_asked_before_any_pixel_is_decoded():
    whole = jpeg(Image.new("RGB", (640, 480)))
    broken = whole[: len(whole) // 2]

    def refuse(_need: int, _size: tuple[int, int]) -> None:
        raise PhotoTooLarge("no room")

    with pytest.raises(PhotoTooLarge, match="no room"):
        decode(read_bytes(broken), room=refuse)
