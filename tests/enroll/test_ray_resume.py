"""Which photos a run leaves out before it reads them."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from enroll.folder import NamedPhoto
from enroll.ray_resume import left_out
from store.photos import record_photo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .conftest import Shelf

DIGEST = "ab" * 32
HOUR = timedelta(hours=1)


@pytest.fixture
def photo(shelf: Shelf, tmp_path: Path) -> NamedPhoto:
    """A photo on record, as its listing tells of it: unchanged for an hour."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"seven..")
    with shelf.parts.store.begin() as session:
        record_photo(session, DIGEST, str(path), 7, 0, 0, outcome="rejected", reason="low_quality")
    return NamedPhoto(path, "Ann", 7, datetime.now(UTC) - HOUR)


def all_of(digests: Sequence[str]) -> set[str]:
    return set(digests)


def known(shelf: Shelf, *photos: NamedPhoto) -> list[int]:
    with shelf.parts.store.read() as session:
        return list(left_out(photos, session, all_of))


def test_what_has_not_changed_is_left_out(shelf: Shelf, photo: NamedPhoto):
    other = NamedPhoto("elsewhere.jpg", "Bob", 7, datetime.now(UTC) - HOUR)
    with shelf.parts.store.read() as session:
        found = left_out([other, photo, photo], session, all_of)
    assert list(found) == [1, 2]
    assert (found[1].digest, found[1].known, found[1].source) == (DIGEST, True, str(photo.source))


def test_another_size_or_a_later_change_is_looked_at(shelf: Shelf, photo: NamedPhoto):
    assert known(shelf, replace(photo, size=8)) == []
    assert known(shelf, replace(photo, changed=datetime.now(UTC) + HOUR)) == []
    assert known(shelf, replace(photo, changed=datetime.now(UTC))) == []  # clocks differ


def test_what_is_not_done_is_looked_at(shelf: Shelf, photo: NamedPhoto):
    with shelf.parts.store.read() as session:
        assert left_out([photo], session, lambda _: set()) == {}


def test_a_file_is_asked_itself(shelf: Shelf, photo: NamedPhoto):
    bare = NamedPhoto(photo.source, "Ann")
    assert known(shelf, bare) == []  # it was written this minute
    with shelf.parts.store.begin() as session:
        record_photo(session, DIGEST, str(photo.source), 7, 0, 0, outcome="rejected").added += HOUR
    os.utime(photo.source, (0, 0))  # a copied-back time of change says nothing
    assert known(shelf, bare) == [0]
    photo.source.unlink()  # type: ignore[union-attr]
    assert known(shelf, bare) == []


def test_pictures_in_memory_are_never_left_out(shelf: Shelf):
    assert known(shelf, NamedPhoto(b"bytes", "Ann")) == []
