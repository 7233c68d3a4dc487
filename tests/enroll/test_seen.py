"""Whether a photo may be on record, told without asking for each."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from enroll import seen
from enroll.seen import OnRecord
from store.photos import record_photo

if TYPE_CHECKING:
    from .conftest import Shelf


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_what_is_not_on_record_is_known_after_a_few(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seen, "_WORTH", 3)
    with shelf.parts.store.begin() as session:
        for number in range(20):
            record_photo(session, digest(number), "x.jpg", 1, 1, 1, outcome="rejected")
    asked = OnRecord(shelf.parts.store)
    assert [asked.may_be(digest(99)) for _ in range(5)] == [True, True, True, False, False]
    assert all(asked.may_be(digest(number)) for number in range(20))
    assert not any(asked.may_be(digest(number)) for number in range(20, 60))


def test_an_empty_gallery_has_seen_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seen, "_WORTH", 0)
    assert not OnRecord(shelf.parts.store).may_be(digest(1))
