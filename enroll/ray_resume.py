"""Photos that need not be read again: the same path, the same size, and not changed since.

A photo is known by its bytes. To read millions of them over a network only to find them all known
would be most of the work of going on, so a run on a cluster asks the listing first: a file that was
recorded under this path with this size, and was last changed before that, is that photo. For files
the time is that of the inode, which copying back an old file does not keep.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from embedder.photo import printable
from enroll.folder import NamedPhoto
from enroll.intake import Looked
from store import schema
from store.changes import CHUNK

_MARGIN: Final = timedelta(minutes=1)  # clocks of two machines may differ


def left_out(
    photos: Sequence[NamedPhoto],
    session: Session,
    are_done: Callable[[Sequence[str]], AbstractSet[str]],
) -> dict[int, Looked]:
    """Place in the list → the photo as it is known; what must be looked at is left out.

    Args:
        photos: the photos.
        session: reads.
        are_done: which photos of these digests need not be looked at again.
    """
    found: dict[int, Looked] = {}
    for start in range(0, len(photos), CHUNK):
        same = dict(_unchanged(photos, range(start, min(start + CHUNK, len(photos))), session))
        done = are_done([looked.digest or "" for looked in same.values()])
        found |= {number: looked for number, looked in same.items() if looked.digest in done}
    return found


def _unchanged(
    photos: Sequence[NamedPhoto], numbers: range, session: Session
) -> Iterator[tuple[int, Looked]]:
    """Photos of which a record of the same path and size is younger than the file."""
    labels = {}
    for number in numbers:
        source = photos[number].source
        if isinstance(source, (str, os.PathLike)):
            labels[number] = printable(source)
    row = schema.Photo
    query = select(row.source, row.size, row.digest, row.added)
    known: dict[tuple[str, int], tuple[str, datetime]] = {}
    for source, size, digest, added in session.execute(
        query.where(row.source.in_(sorted(set(labels.values())))).order_by(row.id)
    ):
        known[source, size] = digest, added
    for number, label in labels.items():
        size, changed = _facts(photos[number])
        digest, added = known.get((label, size), ("", datetime.min.replace(tzinfo=UTC)))
        if digest and changed + _MARGIN < added:
            yield number, Looked(label, digest, size, known=True)


def _facts(photo: NamedPhoto) -> tuple[int, datetime]:
    """Size and last change, as the listing or the file system tells them; (-1, …) if neither."""
    if photo.size is not None and photo.changed is not None:
        return photo.size, photo.changed
    try:
        status = Path(photo.source).stat()  # type: ignore[arg-type]  # a path, as its caller found
    except (OSError, ValueError):
        return -1, datetime.max.replace(tzinfo=UTC) - 2 * _MARGIN
    return status.st_size, datetime.fromtimestamp(status.st_ctime, UTC)
