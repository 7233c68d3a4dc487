"""Pictures inside a page: small JPEG copies as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from embedder.errors import UnusablePhoto
from embedder.photo import read_photo
from verify.evaluation import Example

SIDE = 112
_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a pair.

    Attributes:
        person: whose photo it is.
        file: the end of its path, folder and name: no place on the machine.
        uri: the picture itself; None where the file cannot be read any more.
    """

    person: str
    file: str
    uri: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that were taken wrongly.

    Attributes:
        first: a picture.
        second: the other.
        similarity: of the two; None where one gave no vector.
    """

    first: Picture
    second: Picture
    similarity: float | None


def pairs(examples: Iterable[Example]) -> list[Pair]:
    """Examples with their pictures, each file read once.

    Args:
        examples: the pairs; a file that is missing or broken gives a pair without that picture.
    """
    read: dict[str, str | None] = {}
    found = []
    for example in examples:
        for path in (example.first, example.second):
            if path not in read:
                read[path] = thumbnail(path)
        first = Picture(example.first_person, ending(example.first), read[example.first])
        second = Picture(example.second_person, ending(example.second), read[example.second])
        found.append(Pair(first, second, example.similarity))
    return found


def thumbnail(path: str) -> str | None:
    """A picture file as the data URI of a JPEG of at most 112 × 112, or None if it cannot be read.

    Args:
        path: the file; its metadata is left behind.
    """
    from PIL import Image

    try:
        small = Image.fromarray(read_photo(path).pixels)
    except UnusablePhoto:
        return None
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def ending(path: str) -> str:
    """The folder and the name of a file, without where that folder lies."""
    return "/".join(PurePath(path).parts[-2:])
