"""The development pictures, found by `VULTUS_DATA`, and their vectors.

Vectors go through the whole way (decode, detect, align, encode) and are kept in the cache folder
under a key made of the pictures' digests and the encoder's space, so that the scripts of this
folder share them.

Letters: N photos, D dimensions.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from embedder.align import Crop
from embedder.detect import Face
from embedder.embed import Embedder, open_embedder
from embedder.weights import cache_folder

_BATCH = 64


@dataclass(frozen=True)
class Vectors:
    """A set of photos as vectors.

    Attributes:
        names: str (N,), the person of each photo.
        numbers: int64 (N,), the number of the photo in its file name.
        vectors: float32 (N, D), unit rows.
        digest: hex sha256 over the names and bytes of the files.
        missed: files in which no face was found; they have no row.
    """

    names: NDArray[np.str_]
    numbers: NDArray[np.int64]
    vectors: NDArray[np.float32]
    digest: str
    missed: tuple[str, ...]


def data_folder() -> Path:
    """The folder of the development pictures; says what to set where it is missing."""
    given = os.environ.get("VULTUS_DATA")
    if not given or not Path(given).is_dir():
        sys.exit(
            "Set VULTUS_DATA to the folder of the development pictures (see docs/measured.md)."
        )
    return Path(given)


def lfw(part: str, model: str) -> Vectors:
    """Vectors of `lfw-dev/<part>`, one face a photo by the rule `centre`."""
    files = sorted((data_folder() / "lfw-dev" / part).glob("*/*.jpg"))
    sources = [(file.parent.name, file.name, file.read_bytes) for file in files]
    embedder = open_embedder(model)

    def crop(data: bytes) -> Crop | None:
        faces = embedder.faces(embedder.read(data), "centre")
        return faces[0].crop if faces else None

    return _through(sources, embedder, crop, f"lfw-dev/{part}")


def aligned(set_name: str, model: str) -> Vectors:
    """Vectors of one set of the zips of aligned faces, by the detector `whole`."""
    sources = []
    for path in sorted(data_folder().glob("faces-labelled-*.zip")):
        archive = zipfile.ZipFile(path)
        for name in sorted(archive.namelist()):
            if name.startswith(f"{set_name}_") and name.endswith(".webp"):
                person, file = name.split("/")
                sources.append((person, file, lambda a=archive, n=name: a.read(n)))

    def crop(data: bytes) -> Crop:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        box = np.array([0, 0, *pixels.shape[1::-1]], dtype=np.float32)
        return Crop(pixels, np.eye(2, 3), Face(box, None, 1.0))

    return _through(sources, open_embedder(model, detector="whole"), crop, set_name)


def _through(
    sources: list[tuple[str, str, Callable[[], bytes]]],
    embedder: Embedder,
    crop: Callable[[bytes], Crop | None],
    title: str,
) -> Vectors:
    digest = hashlib.sha256()
    for person, file, read in sources:
        digest.update(f"{person}/{file}\0".encode() + hashlib.sha256(read()).digest())
    key = hashlib.sha256(f"{digest.hexdigest()} {embedder.space} 1".encode()).hexdigest()[:20]
    kept = cache_folder() / f"benchmark-{key}.npz"
    if not kept.is_file():
        _encode(sources, embedder, crop, title, kept)
    with np.load(kept) as data:
        return Vectors(
            data["names"], data["numbers"], data["vectors"], digest.hexdigest(),
            tuple(data["missed"].tolist()),
        )  # fmt: skip


def _encode(
    sources: list[tuple[str, str, Callable[[], bytes]]],
    embedder: Embedder,
    crop: Callable[[bytes], Crop | None],
    title: str,
    kept: Path,
) -> None:
    names, numbers, missed, parts = [], [], [], []
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(sources), desc=title) as bar:
        for some in _slices(sources):
            cuts = list(pool.map(lambda source: crop(source[2]()), some))
            found = [(s, c) for s, c in zip(some, cuts, strict=True) if c is not None]
            missed += [f"{s[0]}/{s[1]}" for s, c in zip(some, cuts, strict=True) if c is None]
            parts.append(embedder.encoder.encode([c for _, c in found]).vectors)
            names += [s[0] for s, _ in found]
            numbers += [int(re.findall(r"\d+", s[1])[-1]) for s, _ in found]
            bar.update(len(some))
    np.savez(
        kept,
        names=np.array(names), numbers=np.array(numbers, dtype=np.int64),
        vectors=np.concatenate(parts), missed=np.array(missed, dtype=str),
    )  # fmt: skip


def _slices(
    sources: list[tuple[str, str, Callable[[], bytes]]],
) -> Iterator[list[tuple[str, str, Callable[[], bytes]]]]:
    return (sources[start : start + _BATCH] for start in range(0, len(sources), _BATCH))
