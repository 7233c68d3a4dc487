"""Training pictures: decoded once, one size, uint8 in a memory-mapped cache.

So the network, not the decoder, is the limit, and a second run starts at once. The cache is named
by a digest of what was read (paths, sizes, times of change) and how (side, channels).

Letters: N pictures, S side, C channels, T dimensions of a teacher.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.arrays import expect
from embedder.dataset_readers import Item, items_of, stamp_of
from embedder.errors import BadData
from embedder.weights import cache_folder

_FORMAT = 1
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one size with labels.

    Attributes:
        pixels: uint8 (N, S, S, C), RGB or grey, 0…255; memory-mapped where it comes from a cache.
        labels: int64 (N,), index into `names`; −1 without a label.
        names: the classes.
        given: int8 (N,), the part an official split puts a picture in (see `dataset_split.PARTS`);
            −1 where there is none.
        teacher: float32 (N, T), a teacher's unit vectors, or None.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    given: NDArray[np.int8]
    teacher: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        side = self.pixels.shape[1]
        expect(self.pixels, np.uint8, (count, side, side, None), "Pictures.pixels")
        expect(self.labels, np.int64, (count,), "Pictures.labels")
        expect(self.given, np.int8, (count,), "Pictures.given")
        if self.teacher is not None:
            expect(self.teacher, np.float32, (count, None), "Pictures.teacher")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """S in pixels."""
        return int(self.pixels.shape[1])

    def taught(self, vectors: NDArray[np.float32]) -> Pictures:
        """The same pictures with a teacher's unit vectors, float32 (N, T)."""
        return replace(self, teacher=vectors)


def from_arrays(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer] | None = None,
    given: NDArray[np.integer] | None = None,
) -> Pictures:
    """Pictures that are in memory.

    Args:
        pixels: uint8 (N, S, S) or (N, S, S, C).
        labels: integers ≥ 0 (N,), used as class names; None: unlabelled.
        given: the part of each, 0 train, 1 validation, 2 test, −1 unsaid; None: all unsaid.
    """
    count = len(pixels)
    shaped = pixels if pixels.ndim == 4 else pixels[..., None]
    part = np.full(count, -1, np.int8) if given is None else given.astype(np.int8)
    if labels is None:
        return Pictures(shaped, np.full(count, -1, np.int64), (), part)
    classes, numbers = np.unique(labels, return_inverse=True)
    return Pictures(shaped, numbers.astype(np.int64), tuple(map(str, classes)), part)


def open_pictures(
    source: str | os.PathLike[str],
    *,
    side: int,
    channels: int = 3,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Pictures:
    """Pictures of a source, from the cache where they were read before.

    Args:
        source: a folder with a folder per class, a flat folder without labels, a folder of tar
            shards or one `.tar`, a `.zip` of pictures in folders, an `.npz` / `.npz.xz`, or a
            folder of idx files; see `embedder.dataset_readers`.
        side: S; pictures of another size are fitted into S×S with their aspect ratio kept.
        channels: 3 (RGB) or 1 (grey).
        cache: the folder of caches; None: inside Vultus' cache.
        progress: called with the number of pictures read so far.

    Raises:
        BadData: the source is missing, of no known kind, holds no picture, or one is broken.
    """
    place = Path(source)
    facts = [_FORMAT, side, channels, *stamp_of(place)]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    folder = (cache_folder() / "pictures" if cache is None else cache) / digest
    if not (folder / "index.json").is_file():
        _write(folder, items_of(place), side, channels, progress)
    return _read(folder)


def _read(folder: Path) -> Pictures:
    index = json.loads((folder / "index.json").read_text())
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy")
    return Pictures(pixels, labels, tuple(index["names"]), np.load(folder / "given.npy"))


def _write(
    folder: Path,
    items: Iterator[Item],
    side: int,
    channels: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Decode everything into a folder of its own, then give it its name: all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        _fill(work, items, side, channels, progress)
        if not (folder / "index.json").is_file():
            work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(
    work: Path,
    items: Iterator[Item],
    side: int,
    channels: int,
    progress: Callable[[int], None] | None,
) -> None:
    labels: list[str | None] = []
    given: list[int] = []
    raw = work / "pixels.raw"
    with raw.open("wb") as file:
        for item in items:
            file.write(fitted(item.pixels(), side, channels).tobytes())
            labels.append(item.label)
            given.append(item.given)
            if progress is not None and len(labels) % _BLOCK == 0:
                progress(len(labels))
    if not labels:
        raise BadData("The source holds no picture: give a folder per class, or see --help.")
    shape = (len(labels), side, side, channels)
    _as_npy(raw, work / "pixels.npy", shape)
    names = sorted({label for label in labels if label is not None})
    number: Mapping[str | None, int] = {name: i for i, name in enumerate(names)}
    np.save(work / "labels.npy", np.array([number.get(x, -1) for x in labels], np.int64))
    np.save(work / "given.npy", np.array(given, np.int8))
    (work / "index.json").write_text(json.dumps({"names": names, "shape": shape}))


def _as_npy(raw: Path, path: Path, shape: tuple[int, ...]) -> None:
    """Copy raw bytes behind the header of an .npy file, and delete them."""
    source = np.memmap(raw, np.uint8, "r", shape=shape)
    target = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for i in range(0, shape[0], _BLOCK):
        target[i : i + _BLOCK] = source[i : i + _BLOCK]
    target.flush()
    del source, target
    raw.unlink()


def fitted(pixels: NDArray[np.uint8], side: int, channels: int) -> NDArray[np.uint8]:
    """A picture fitted into a square, its aspect ratio kept, the rest filled from its border.

    Args:
        pixels: uint8 (H, W, 1 or 3).
        side: S.
        channels: C, 1 or 3.

    Returns:
        uint8 (S, S, C).
    """
    import cv2

    height, width = pixels.shape[:2]
    if (height, width) != (side, side):
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(pixels, size, interpolation=how)
        left, top = (side - size[0]) // 2, (side - size[1]) // 2
        pixels = np.asarray(
            cv2.copyMakeBorder(
                small, top, side - size[1] - top, left, side - size[0] - left, cv2.BORDER_REPLICATE
            ),
            np.uint8,
        )
    return _channels(pixels.reshape(side, side, -1), channels)


def _channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    import cv2

    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[..., None]
