"""How many bytes decoding a picture takes, told from its header.

Measured with `benchmarks/decoding_memory.py`: resident memory while a picture of 24 megapixels was
decoded, above what it was before, by pixel of the picture, rounded up. Pillow keeps four bytes a
pixel; the rest are copies on the way to an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT = 3  # bytes a pixel of the array that comes out
_PLAIN, _CONVERTED, _TRANSPARENT, _DEEP = 11, 15, 27, 34
_WHOLE_FILE = 19  # formats whose reader keeps the picture beside Pillow's
_TURNED = 4  # more where EXIF says that the picture lies on its side
_COEFFICIENTS = 6  # of a progressive JPEG, by pixel of the file, however small it is decoded


def is_deep(image: Image) -> bool:
    """Whether its pixels are grey values of more than 8 bits."""
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")


def is_transparent(image: Image) -> bool:
    """Whether it is to be laid on white."""
    return image.mode in {"LA", "PA", "La", "RGBA", "RGBa"} or "transparency" in image.info


def decoding_bytes(image: Image, reduced: int, *, turned: bool) -> int:
    """Bytes that it takes at most to decode a picture to an array; its file is not counted.

    Args:
        image: opened, not decoded; its size is what is to be decoded.
        reduced: pixels of the file to a side of one of those.
        turned: whether its pixels are to be turned upright.
    """
    if is_deep(image):
        rate = _DEEP
    elif is_transparent(image):
        rate = _TRANSPARENT
    elif image.format in {"WEBP", "HEIF"}:
        rate = _WHOLE_FILE
    else:
        rate = _PLAIN if image.mode in {"RGB", "L", "P", "1"} else _CONVERTED
    rate += _TURNED * turned
    if "progressive" in image.info or "progression" in image.info:
        rate += _COEFFICIENTS * reduced**2
    return rate * image.size[0] * image.size[1]
