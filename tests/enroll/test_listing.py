"""Photos from a list; object storage is tested with a server in test_ray_engine.py."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import pytest

from enroll.errors import FolderUnusable, NothingToEnroll, StorageUnusable
from enroll.listing import read_list, read_photos
from store.errors import InvalidName

if TYPE_CHECKING:
    from pathlib import Path


def listed(tmp_path: Path, text: bytes, name: str | None = None) -> list[tuple[object, str]]:
    file = tmp_path / "list.txt"
    file.write_bytes(text)
    return [(photo.source, photo.name) for photo in read_list(str(file), name).photos]


def test_the_person_is_the_folder_unless_the_list_says_so(tmp_path: Path):
    text = (
        b"people/Ann/1.jpg\r\n\n  \nx/2.jpg\tBob Ray \nCid.jpg\ns3://b/in/Dan/3.jpg\ns3://b/Eve.jpg"
    )
    assert listed(tmp_path, b"\xef\xbb\xbf" + text) == [
        ("people/Ann/1.jpg", "Ann"),
        ("x/2.jpg", "Bob Ray"),
        ("Cid.jpg", "Cid"),
        ("s3://b/in/Dan/3.jpg", "Dan"),
        ("s3://b/Eve.jpg", "Eve"),
    ]


def test_one_name_for_all(tmp_path: Path):
    assert listed(tmp_path, b"b.jpg\tBob\na.jpg", " Ann ") == [("b.jpg", "Ann"), ("a.jpg", "Ann")]
    with pytest.raises(InvalidName):
        listed(tmp_path, b"a.jpg", "\0")


def test_names_that_are_no_utf8_are_kept(tmp_path: Path):
    ((source, name),) = listed(tmp_path, b"d/\xff.jpg")
    assert os.fsencode(str(source)) == b"d/\xff.jpg"
    assert name == "d"


def test_what_is_said_of_it(tmp_path: Path):
    file = tmp_path / "l"
    file.write_text("Ann/1.jpg\nAnn/2.jpg\nBob/1.jpg")
    assert read_list(str(file)).layout == "a list: 2 people, 3 photos"


def test_standard_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Ann/1.jpg\n")))
    assert [photo.name for photo in read_list("-").photos] == ["Ann"]


def test_a_list_that_is_empty_or_missing(tmp_path: Path):
    with pytest.raises(NothingToEnroll, match="lists no photo"):
        listed(tmp_path, b"\n \n")
    with pytest.raises(FolderUnusable, match="--list"):
        read_list(str(tmp_path / "none"))


def test_a_folder_is_read_as_ever(tmp_path: Path):
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "1.jpg").touch()
    assert [photo.name for photo in read_photos(str(tmp_path)).photos] == ["Ann"]


def test_storage_where_nobody_answers(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: vultus[ray]")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(StorageUnusable, match=r"s3://b/people cannot be listed .*AWS_ENDPOINT_URL"):
        read_photos("s3://b/people")
