"""Which photos to enrol, from wherever they are listed: a folder, object storage, or a list.

A list is a text file of one path or `s3://` address a line, with the person after a tab where the
name of its folder is not theirs.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from embedder.photo import is_photo_name, printable
from enroll.errors import FolderUnusable, NothingToEnroll
from enroll.folder import NamedPhoto, PeopleFolder, layout_of, name_of, read_people
from enroll.storage import SCHEME, is_stored, list_files
from store.names import clean_name


def read_photos(place: str, name: str | None = None) -> PeopleFolder:
    """The photos of a folder or of a prefix of object storage, and whose they are.

    Args:
        place: a folder, one photo, or `s3://bucket/prefix`, laid out as folders are.
        name: everything is of this person, whatever the layout.

    Raises:
        FolderUnusable, StorageUnusable: it is not there or cannot be read.
        NothingToEnroll: no photo in it.
        InvalidName: the given name cannot be stored.
    """
    return _read_storage(place, name) if is_stored(place) else read_people(Path(place), name)


def read_list(file: str, name: str | None = None) -> PeopleFolder:
    """The photos a file lists, in its order.

    Args:
        file: its path; `-` is standard input. Paths in it count from the working folder.
        name: everything is of this person, whatever the list says.

    Raises:
        FolderUnusable: the file cannot be read.
        NothingToEnroll: it lists nothing.
        InvalidName: the given name cannot be stored.
    """
    name = None if name is None else clean_name(name)
    photos = tuple(_listed(line, name) for line in _lines(file))
    if not photos:
        raise NothingToEnroll(
            f"{printable(file)} lists no photo: one path or s3:// address a line, with the person "
            "after a tab where the folder is not called so."
        )
    people = len({photo.name for photo in photos})
    return PeopleFolder(Path(), photos, f"a list: {people} people, {len(photos)} photos", 0)


def _lines(file: str) -> Iterator[str]:
    """The lines that say something; names of files that are not UTF-8 are kept as they are."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise FolderUnusable(f"{printable(file)} cannot be read ({why}): check --list.") from error
    for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n"):
        if line.strip():
            yield line.removesuffix("\r")


def _listed(line: str, name: str | None) -> NamedPhoto:
    source, _, person = line.partition("\t")
    path = PurePosixPath(source)
    folder = "" if source.startswith(SCHEME) and len(path.parts) < 4 else path.parent.name
    return NamedPhoto(source, name or person.strip() or printable(folder or path.stem))


def _read_storage(url: str, name: str | None) -> PeopleFolder:
    name = None if name is None else clean_name(name)
    files = list_files(url)
    root = PurePosixPath(url.removeprefix(SCHEME).strip("/"))
    if [file.url for file in files] == [f"{SCHEME}{root}"]:
        root = root.parent  # one photo
    photos, kinds = [], Counter[str]()
    for file in files:
        path = PurePosixPath(file.url.removeprefix(SCHEME))
        inside = path.relative_to(root)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if not is_photo_name(Path(path)):
            kinds["other"] += 1
            continue
        kinds["deep"] += len(inside.parts) > 1
        person = name_of(path, root) if name is None else name
        photos.append(NamedPhoto(file.url, person, file.size, file.changed))
    if not photos:
        raise NothingToEnroll(
            f"{printable(url)} holds no photo ({kinds['other']} other files): name a prefix with "
            "pictures, people/Name/*.jpg or people/Name.jpg."
        )
    layout = layout_of([photo.name for photo in photos], kinds["deep"], name)
    return PeopleFolder(Path(root), tuple(photos), layout, kinds["other"])
