"""The kinds of places training pictures lie in, each read as a stream of items.

    folder/Name/*.jpg           a folder per class (deeper folders belong to the class)
    folder/*.jpg                unlabelled
    x.tar, folder/*.tar         shards: `Name/1.jpg`, or WebDataset's `key.jpg` with `key.cls`
    x.zip, folder/*.zip         `Name/1.webp`; without folders, or in `unlabelled/`, unlabelled
    x.npz, x.npz.xz             `x_train, y_train, x_test, y_test`, or `ink` with `part, alphabet,
                                character` (Omniglot packed to bits)
    folder/*-idx3-ubyte[.gz]    MNIST's own files

A picture and its class travel together; official parts (train, test) are kept.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.errors import BadData, UnusablePhoto
from embedder.photo import SUFFIXES, read_photo

TRAIN, VALIDATION, TEST, UNSAID = 0, 1, 2, -1
UNLABELLED = "unlabelled"  # the folder of an archive whose pictures have no class


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a source.

    Attributes:
        label: its class, or None.
        given: the part an official split puts it in, or −1.
        pixels: decodes it: uint8 (H, W, 1 or 3).
    """

    label: str | None
    given: int
    pixels: Callable[[], NDArray[np.uint8]]


def items_of(place: Path) -> Iterator[Item]:
    """The pictures of a source, in an order that does not depend on the file system.

    Raises:
        BadData: nothing is there, it is of no known kind, or a file in it is broken.
    """
    return _reader_of(place)(place)


def stamp_of(place: Path) -> list[object]:
    """What tells one state of a source from another: each file's path, size and time of change."""
    if not place.exists():
        raise BadData(f"{place} does not exist: check the path of the training pictures.")
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [
        [str(f.resolve()), status.st_size, status.st_mtime_ns]
        for f in files
        if f.is_file() and (status := f.stat())
    ]


def _reader_of(place: Path) -> Callable[[Path], Iterator[Item]]:
    if not place.exists():
        raise BadData(f"{place} does not exist: check the path of the training pictures.")
    if place.is_dir():
        if any(place.glob("*.tar")):
            return _shards
        if any(place.glob("*.zip")):
            return _zips
        return _idx if any(place.glob("*idx3-ubyte*")) else _folder
    suffixes = "".join(place.suffixes[-2:])
    for ending, reader in ((".tar", _shards), (".zip", _zip), (".npz", _npz), (".npz.xz", _npz)):
        if suffixes.endswith(ending):
            return reader
    raise BadData(
        f"{place} is of no kind that can be trained on: give a folder per class, a flat folder, "
        ".tar shards, a .zip, an .npz(.xz) or a folder of idx files."
    )


def _folder(place: Path) -> Iterator[Item]:
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            parts = path.relative_to(place).parts
            label = parts[0] if len(parts) > 1 else None
            yield Item(label, UNSAID, partial(_decoded, path, str(path)))


def _decoded(source: Path | bytes, name: str) -> NDArray[np.uint8]:
    try:
        return read_photo(source, name=name).pixels
    except UnusablePhoto as error:
        raise BadData(f"{error} Remove it from the training pictures, or mend it.") from error


def _zip(place: Path) -> Iterator[Item]:
    try:
        with zipfile.ZipFile(place) as archive:
            for name in sorted(archive.namelist()):
                if PurePosixPath(name).suffix.lower() in SUFFIXES:
                    yield _in_archive(name, archive.read(name), place)
    except zipfile.BadZipFile as error:
        raise BadData(f"{place} is no zip file that can be read ({error}).") from error


def _zips(place: Path) -> Iterator[Item]:
    for archive in sorted(place.glob("*.zip")):
        yield from _zip(archive)


def _in_archive(name: str, data: bytes, place: Path, label: str | None = None) -> Item:
    parts = PurePosixPath(name).parts
    if label is None and len(parts) > 1:
        label = None if parts[-2] == UNLABELLED else parts[-2]
    return Item(label, UNSAID, partial(_decoded, data, f"{place}:{name}"))


def _shards(place: Path) -> Iterator[Item]:
    for shard in sorted(place.glob("*.tar")) if place.is_dir() else [place]:
        try:
            with tarfile.open(shard) as archive:
                yield from _shard(archive, shard)
        except tarfile.TarError as error:
            raise BadData(f"{shard} is no tar file that can be read ({error}).") from error


def _shard(archive: tarfile.TarFile, shard: Path) -> Iterator[Item]:
    """Pictures of one shard; a `.cls` beside a picture names its class, before or after it."""
    members = sorted((m for m in archive.getmembers() if m.isfile()), key=lambda m: m.name)
    classes = {
        m.name.removesuffix(".cls"): _bytes(archive, m).decode().strip()
        for m in members
        if m.name.endswith(".cls")
    }
    for member in members:
        path = PurePosixPath(member.name)
        if path.suffix.lower() in SUFFIXES:
            label = classes.get(str(path.with_suffix("")))
            yield _in_archive(member.name, _bytes(archive, member), shard, label)


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _npz(place: Path) -> Iterator[Item]:
    try:
        if place.suffix == ".xz":
            with lzma.open(place) as file:
                arrays = np.load(io.BytesIO(file.read()), allow_pickle=False)
        else:
            arrays = np.load(place, allow_pickle=False)
        names = set(arrays.files)
    except (OSError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise BadData(f"{place} is no .npz file that can be read ({error}).") from error
    if {"ink", "alphabet", "character", "part"} <= names:
        yield from _omniglot(arrays)
    elif {"x_train", "y_train"} <= names:
        for part, given in (("train", TRAIN), ("test", TEST)):
            if f"x_{part}" in names:
                yield from _array(arrays[f"x_{part}"], arrays[f"y_{part}"], given)
    else:
        raise BadData(f"{place} holds {sorted(names)}: wanted are x_train and y_train.")


def _array(pixels: NDArray[np.uint8], labels: NDArray[Any], given: int) -> Iterator[Item]:
    width = len(str(labels.max(initial=0)))
    for picture, label in zip(pixels, labels.ravel(), strict=True):
        shaped = picture if picture.ndim == 3 else picture[..., None]
        yield Item(f"{label:0{width}}", given, partial(np.asarray, shaped))


def _omniglot(arrays: Any) -> Iterator[Item]:  # noqa: ANN401 - numpy's NpzFile
    """Ink becomes white on black; the class is `alphabet/character`; evaluation is the test."""
    ink, alphabet, character = (
        arrays["ink"],
        arrays["alphabet"].astype(str),
        arrays["character"].astype(str),
    )
    part = arrays["part"].astype(str)
    for i in range(len(ink)):
        label = f"{alphabet[i]}/{character[i]:0>4}"
        given = TEST if part[i] == "evaluation" else UNSAID
        yield Item(label, given, partial(_ink, ink[i]))


def _ink(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uint8 (H, W/8) packed bits → uint8 (H, 105, 1), 0 or 255."""
    bits = np.unpackbits(packed, axis=-1)[..., : packed.shape[0]]
    return np.asarray(bits * np.uint8(255), np.uint8)[..., None]


def _idx(place: Path) -> Iterator[Item]:
    for prefix, given in (("train", TRAIN), ("t10k", TEST), ("test", TEST)):
        for path in sorted(place.glob(f"{prefix}*idx3-ubyte*")):
            labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
            yield from _array(_idx_array(path), _idx_array(labels), given)


def _idx_array(path: Path) -> NDArray[np.uint8]:
    """An idx file: two zero bytes, the type (8: uint8), the number of axes, their lengths, data."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, axes = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{axes}I", data, 4)
        if zero or kind != 8:
            raise BadData(f"{path} is no idx file of bytes: its header says type {kind}.")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, struct.error, ValueError) as error:
        raise BadData(f"{path} is no idx file that can be read ({error}).") from error
