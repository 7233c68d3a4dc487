"""What decoding a picture takes of memory, by kind of file, beside what `--max-memory` counts on.

    python benchmarks/decoding_memory.py [--megapixels 24]

Pictures of coloured squares are written in many formats; each is decoded in a process of its own,
whose resident memory (VmRSS before, VmHWM after) is read from /proc. Bytes a pixel of the file.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from embedder.photo import decode, read_bytes

SQUARE = 50
REDUCED = "JPEG, reduced"


def main() -> None:
    """Write, decode, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=int, default=24)
    parser.add_argument("--decode", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        measure(*options.decode)
        return
    side = int((options.megapixels * 1e6 / 6) ** 0.5) // SQUARE * SQUARE
    print("| kind | file MB | bytes a pixel | counted on |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        small = kinds(SQUARE * 2, SQUARE)
        for name, data in kinds(3 * side, 2 * side).items():
            large, first = Path(place) / name, Path(place) / f"small {name}"
            large.write_bytes(data)
            first.write_bytes(small[name])
            done = subprocess.run(  # noqa: S603 - this script
                [sys.executable, __file__, "--decode", str(large), str(first)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            took, counted = map(float, done.stdout.split())
            print(f"| {name} | {len(data) / 1e6:.1f} | {took:.1f} | {counted:.1f} |")


def kinds(width: int, height: int) -> dict[str, bytes]:
    """The same picture in many formats."""
    random = np.random.default_rng(0)
    squares = random.integers(0, 256, (height // SQUARE, width // SQUARE, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(squares, SQUARE, axis=0), SQUARE, axis=1)
    image = Image.fromarray(pixels)
    lying = Image.Exif()
    lying[0x112] = 6

    def saved(one: Image.Image, kind: str, **more: object) -> bytes:
        out = io.BytesIO()
        one.save(out, kind, **more)
        return out.getvalue()

    quick = {"compress_level": 1}
    grey = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    return {
        "JPEG": saved(image, "JPEG"),
        REDUCED: saved(image, "JPEG"),
        "JPEG, progressive": saved(image, "JPEG", progressive=True, subsampling=0),
        "JPEG on its side": saved(image, "JPEG", exif=lying),
        "JPEG, CMYK": saved(image.convert("CMYK"), "JPEG"),
        "PNG": saved(image, "PNG", **quick),
        "PNG, transparent": saved(image.convert("RGBA"), "PNG", **quick),
        "PNG, palette and transparent": saved(image.quantize(9), "PNG", transparency=3, **quick),
        "PNG, 16 bit": saved(grey, "PNG", **quick),
        "TIFF, float": saved(Image.fromarray(pixels[:, :, 0].astype(np.float32)), "TIFF"),
        "TIFF": saved(image, "TIFF"),
        "WebP": saved(image, "WEBP", quality=50),
        "GIF": saved(image.quantize(9), "GIF"),
        "BMP": saved(image, "BMP"),
    }


def measure(large: Path, small: Path) -> None:
    """What decoding one file took and was said to take, bytes a pixel of the file."""
    decode(read_bytes(small))  # what is imported once
    encoded, asked = read_bytes(large), []
    least = 640 if large.name == REDUCED else None
    before = _told("VmRSS")
    photo = decode(encoded, least=least, room=lambda need, _: asked.append(need))
    took, pixels = _told("VmHWM") - before, photo.width * photo.height
    print(took / pixels, asked[0] / pixels)


def _told(key: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition(f"{key}:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
