"""A folder of people as photos and vectors, with the photos that gave none.

People's folders lie directly in the folder (`DIR/Name/*.jpg`) or one level below it
(`DIR/test/Name/*.jpg`); photos directly in the folder are people of one photo (`DIR/Name.jpg`).
A person is a folder's name: two folders of one name are one person.

Letters: N photos, D dimensions, K people, C comparisons.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.embed import Embedder, FoundFace
from embedder.errors import UnusablePhoto
from embedder.photo import is_photo_name
from verify.errors import NothingToMeasure
from verify.progress import progress

_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The photos of a folder and whose they are, not yet opened.

    Attributes:
        root: the folder.
        files: N paths relative to it, with slashes.
        people: int64 (N,), the person of each photo: a place in `names`.
        names: K names.
    """

    root: Path
    files: tuple[str, ...]
    people: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def person(self, row: int) -> str:
        """The name of a photo's person."""
        return self.names[int(self.people[row])]

    def path(self, row: int) -> str:
        """The path of a photo."""
        return str(self.root / self.files[row])


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSet:
    """Photos as vectors.

    Attributes:
        listing: the photos.
        vectors: float32 (N, D), unit rows; zeros where a photo gave none or was not asked for.
        looked: bool (N,), whether the photo was opened.
        reasons: row → why the photo gave no vector.
    """

    listing: Listing
    vectors: NDArray[np.float32]
    looked: NDArray[np.bool_]
    reasons: dict[int, str]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Bool (N,), whether the photo was opened and gave no vector."""
        failed = np.zeros(len(self.listing), dtype=bool)
        failed[list(self.reasons)] = True
        return failed

    def similarities(
        self, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Similarities of pairs of photos, −inf where one gave no vector.

        Args:
            first: int64 (C,), rows.
            second: int64 (C,), rows.

        Returns:
            float32 (C,).
        """
        found = np.empty(len(first), dtype=np.float32)
        for start in range(0, len(first), 1 << 16):
            part = slice(start, start + (1 << 16))
            left, right = self.vectors[first[part]], self.vectors[second[part]]
            found[part] = np.einsum("cd,cd->c", left, right)
        failed = self.failed
        found[failed[first] | failed[second]] = -np.inf
        return found


def list_people(root: Path) -> Listing:
    """The photos of a folder of people.

    Raises:
        NothingToMeasure: there are none.
    """
    found = sorted(path.relative_to(root) for path in root.rglob("*") if is_photo_name(path))
    found = [path for path in found if path.parts and (root / path).is_file()]
    if not found:
        raise NothingToMeasure(f"{root} holds no photos: people/Name/*.jpg is needed.")
    depth = 0 if any(len(path.parts) == 2 for path in found) else 1
    who = [_person(path, depth) for path in found]
    names, people = np.unique(np.array(who), return_inverse=True)
    files = tuple(path.as_posix() for path in found)
    return Listing(root, files, people.astype(np.int64), tuple(names.tolist()))


def merged(one: Listing, other: Listing) -> Listing:
    """Two folders as one: the photos of the first, then those of the second."""
    root = Path(os.path.commonpath([one.root.resolve(), other.root.resolve()]))
    files, who = [], []
    for listing in (one, other):
        inside = listing.root.resolve().relative_to(root)
        files += [(inside / file).as_posix() for file in listing.files]
        who += [listing.person(row) for row in range(len(listing))]
    names, people = np.unique(np.array(who), return_inverse=True)
    return Listing(root, tuple(files), people.astype(np.int64), tuple(names.tolist()))


def _person(path: Path, depth: int) -> str:
    """The person of a photo, `depth` folders below the root."""
    folders = path.parts[:-1]
    return folders[min(depth, len(folders) - 1)] if folders else path.stem


def encode(
    embedder: Embedder, listing: Listing, rows: NDArray[np.int64] | None = None,
    *, rule: str = "centre", quiet: bool = False,
    seen: Callable[[int, FoundFace], None] | None = None,
) -> PhotoSet:  # fmt: skip
    """Open photos and turn the chosen face of each into a vector.

    Args:
        embedder: detector and encoder.
        listing: the photos.
        rows: int64 (M,), which of them; None: all.
        rule: which face of a photo with several: `centre` or `largest`.
        quiet: no progress bar.
        seen: called with the row and the face of each photo that has one.
    """
    asked = np.arange(len(listing)) if rows is None else np.unique(rows)
    vectors = np.zeros((len(listing), embedder.encoder.card.dim), dtype=np.float32)
    looked = np.zeros(len(listing), dtype=bool)
    looked[asked] = True
    reasons: dict[int, str] = {}
    waiting: dict[int, FoundFace] = {}
    for row in progress(asked.tolist(), "encoding", "photo", quiet=quiet):
        face = _face(embedder, listing.root / listing.files[row], rule)
        if isinstance(face, str):
            reasons[row] = face
            continue
        if seen is not None:
            seen(row, face)
        waiting[row] = face
        if len(waiting) == _BATCH:
            vectors[list(waiting)] = embedder.encode(list(waiting.values())).vectors
            waiting = {}
    if waiting:
        vectors[list(waiting)] = embedder.encode(list(waiting.values())).vectors
    return PhotoSet(listing, vectors, looked, reasons)


def _face(embedder: Embedder, path: Path, rule: str) -> FoundFace | str:
    """The chosen face of a photo, or the reason why there is none."""
    try:
        faces = embedder.faces(embedder.read(path), rule)
    except UnusablePhoto as error:
        return error.reason
    return faces[0] if faces else "face_not_found"
