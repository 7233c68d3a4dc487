"""Which photos a folder holds, and whose they are.

Two layouts are known, and a folder may mix them: `people/Name/*.jpg`, a folder a person, and
`people/Name.jpg`, a photo a person. A single file is a photo of its name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath

from embedder.photo import Source, is_photo_name, printable
from enroll.errors import FolderUnusable, NothingToEnroll
from store.names import clean_name

SHEET_FILES = frozenset({"clusters.json", "index.html"})
SHEET_FOLDERS = ("faces", "people")


@dataclass(frozen=True, slots=True)
class NamedPhoto:
    """A photo, usually a file, and the person it is said to show.

    Attributes:
        source: where it is, or what it is.
        name: the person.
        size: bytes of the file, where the listing told them.
        changed: when it was last written, where the listing told it.
    """

    source: Source
    name: str
    size: int | None = None
    changed: datetime | None = None


@dataclass(frozen=True, slots=True)
class PeopleFolder:
    """A folder of people.

    Attributes:
        root: the folder.
        photos: its photos, sorted by path.
        layout: in words: what was detected.
        ignored: files that do not end like a picture.
    """

    root: Path
    photos: tuple[NamedPhoto, ...]
    layout: str
    ignored: int


def read_people(root: Path, name: str | None = None) -> PeopleFolder:
    """Find the photos under a folder and whose they are.

    Args:
        root: a folder, or one photo.
        name: everything is of this person, whatever the layout.

    Raises:
        FolderUnusable: it does not exist or cannot be read.
        NothingToEnroll: no photo in it.
        InvalidName: the given name cannot be stored.
    """
    name = None if name is None else clean_name(name)
    if stat.S_ISREG(_mode(root)):
        own = NamedPhoto(root, name_of(root, root.parent) if name is None else name)
        return PeopleFolder(root.parent, (own,), "one photo", 0)
    paths, ignored = find_photos(root)
    photos = tuple(
        NamedPhoto(path, name_of(path, root) if name is None else name) for path in paths
    )
    deep = sum(path.parent != root for path in paths)
    layout = layout_of([photo.name for photo in photos], deep, name)
    return PeopleFolder(root, photos, layout, ignored)


def find_photos(root: Path) -> tuple[list[Path], int]:
    """All photos under a folder, sorted by path, and how many other files there are.

    Hidden files and folders are passed over, and the thumbnails and links of a contact sheet;
    links to folders are not followed, so a loop of links ends. A folder below that may not be
    listed stands among the photos, so that it is told of like a photo that cannot be read.

    Raises:
        FolderUnusable: it does not exist or cannot be read.
        NothingToEnroll: no photo in it.
    """
    label = printable(root)
    if not stat.S_ISDIR(_mode(root)):
        raise FolderUnusable(f"{label} is no folder: give a folder of photos, or one photo.")
    closed: list[Path] = []
    files = list(_walk(root, closed))
    if root in closed or not os.access(root, os.R_OK | os.X_OK):
        raise FolderUnusable(f"{label} may not be read: check its permissions.")
    photos = [path for path in files if is_photo_name(path)]
    if not photos and not closed:
        raise NothingToEnroll(
            f"{label} holds no photo ({len(files)} other files): name a folder with pictures, "
            "people/Name/*.jpg or people/Name.jpg."
        )
    return sorted([*photos, *closed]), len(files) - len(photos)


def _mode(root: Path) -> int:
    """What a path is, as `stat` tells it."""
    try:
        return root.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        why = "does not exist"
    except (OSError, ValueError) as error:
        why = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise FolderUnusable(f"{printable(root)} {why}: give a folder of photos, or one photo.")


def _walk(root: Path, closed: list[Path]) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        closed.append(Path(error.filename))

    for folder, folders, files in os.walk(root, onerror=refused):
        ours = SHEET_FOLDERS if set(files) >= SHEET_FILES else ()
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in ours)
        yield from (Path(folder) / name for name in files if not name.startswith("."))


def name_of(path: PurePath, root: PurePath) -> str:
    """Whose photo it is by its place: its folder's below the root, or else its own name."""
    inside = path.relative_to(root)
    return printable(inside.parts[0] if len(inside.parts) > 1 else inside.stem)


def layout_of(names: Sequence[str], deep: int, given: str | None) -> str:
    """What was detected, in words.

    Args:
        names: the person of each photo.
        deep: how many photos lie in a folder of their person.
        given: the name that was given for all, or None.
    """
    photos, people = len(names), len(set(names))
    if given is not None:
        return f"{photos} photos, all of {given}"
    if deep == photos:
        return f"a folder a person: {people} people, {photos} photos"
    if deep == 0:
        return f"a photo a person: {people} people"
    return (
        f"both layouts: {deep} photos in folders of people, {photos - deep} photos named "
        f"after their person, {people} people"
    )
