"""Which photos a folder holds and whose they are; no picture is opened here."""

import os
from pathlib import Path
from typing import Self

import pytest

from embedder.photo import printable
from enroll import folder as module
from enroll.errors import FolderUnusable, NothingToEnroll
from enroll.folder import find_photos, read_people
from store.errors import InvalidName


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def pairs(root: Path, name: str | None = None) -> list[tuple[str, str]]:
    found = read_people(root, name)
    return [(Path(photo.source).relative_to(root).as_posix(), photo.name) for photo in found.photos]


def test_a_folder_a_person(tmp_path: Path):
    touch(tmp_path, "Bob/2.jpg", "Ann/1.jpg", "Ann/deep/er/0.PNG", "Bob/1.jpeg")
    assert pairs(tmp_path) == [
        ("Ann/1.jpg", "Ann"),
        ("Ann/deep/er/0.PNG", "Ann"),
        ("Bob/1.jpeg", "Bob"),
        ("Bob/2.jpg", "Bob"),
    ]
    assert read_people(tmp_path).layout == "a folder a person: 2 people, 4 photos"


def test_a_photo_a_person(tmp_path: Path):
    touch(tmp_path, "Bob.jpg", "Ann Lee.webp")
    assert pairs(tmp_path) == [("Ann Lee.webp", "Ann Lee"), ("Bob.jpg", "Bob")]
    assert read_people(tmp_path).layout == "a photo a person: 2 people"


def test_both_layouts_at_once(tmp_path: Path):
    touch(tmp_path, "Ann/1.jpg", "Ann.jpg", "Bob.jpg")
    assert sorted(pairs(tmp_path)) == [("Ann.jpg", "Ann"), ("Ann/1.jpg", "Ann"), ("Bob.jpg", "Bob")]
    layout = read_people(tmp_path).layout
    assert layout.startswith("both layouts: 1 photos in folders")
    assert layout.endswith("2 photos named after their person, 2 people")


def test_the_order_does_not_depend_on_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = ["B/2.jpg", "B/10.jpg", "A/1.jpg", "z.jpg", "a.jpg"]
    touch(tmp_path, *names)
    usual = [photo.source for photo in read_people(tmp_path).photos]
    listed = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            self.entries = sorted(listed(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> os.DirEntry[str]:
            if not self.entries:
                raise StopIteration
            return self.entries.pop(0)

    monkeypatch.setattr(os, "scandir", Backwards)
    assert [photo.source for photo in read_people(tmp_path).photos] == usual == sorted(usual)


def test_one_photo_is_of_its_name(tmp_path: Path):
    touch(tmp_path, "Ann Lee.jpg", "Bob.jpg")
    found = read_people(tmp_path / "Ann Lee.jpg")
    assert [(photo.source, photo.name) for photo in found.photos] == [
        (tmp_path / "Ann Lee.jpg", "Ann Lee")
    ]
    assert found.layout == "one photo"


def test_a_given_name_overrides_every_layout(tmp_path: Path):
    touch(tmp_path, "Ann/1.jpg", "Bob.jpg")
    assert {name for _, name in pairs(tmp_path, "Cy")} == {"Cy"}
    assert read_people(tmp_path, "Cy").layout == "2 photos, all of Cy"
    assert read_people(tmp_path / "Bob.jpg", "Cy").photos[0].name == "Cy"


def test_an_empty_name_is_not_taken_for_no_name(tmp_path: Path):
    touch(tmp_path, "Ann/1.jpg")
    with pytest.raises(InvalidName, match="cannot be empty"):
        read_people(tmp_path, " ")


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path):
    touch(tmp_path, "Ann/1.jpg", "Ann/._1.jpg", ".thumbnails/2.jpg", ".DS_Store")
    found = read_people(tmp_path)
    assert [photo.name for photo in found.photos] == ["Ann"]
    assert found.ignored == 0


def test_other_files_are_counted(tmp_path: Path):
    touch(tmp_path, "Ann/1.jpg", "Ann/notes.txt", "Ann/1.jpg.bak", "Thumbs.db", "Ann/noend")
    assert read_people(tmp_path).ignored == 4


def test_a_folder_that_ends_like_a_picture_is_a_person(tmp_path: Path):
    touch(tmp_path, "ann.jpg/1.jpg")
    assert pairs(tmp_path) == [("ann.jpg/1.jpg", "ann.jpg")]


def test_loops_of_links_end(tmp_path: Path):
    touch(tmp_path, "Ann/1.jpg")
    (tmp_path / "Ann" / "again").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    assert sorted(pairs(tmp_path)) == [("Ann/1.jpg", "Ann"), ("self.jpg", "self")]


def test_a_link_to_a_photo_is_a_photo(tmp_path: Path):
    touch(tmp_path, "elsewhere/x.jpg", "people/Ann/1.jpg")
    (tmp_path / "people" / "Ann" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "x.jpg")
    assert len(pairs(tmp_path / "people")) == 2


def test_an_empty_folder_is_told_with_what_to_do(tmp_path: Path):
    touch(tmp_path, "readme.txt")
    with pytest.raises(NothingToEnroll, match=r"holds no photo \(1 other files\): name a folder"):
        read_people(tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path):
    with pytest.raises(FolderUnusable, match="does not exist: give a folder of photos"):
        read_people(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a" * 300, "nul\0.jpg"], ids=["too-long", "nul"])
def test_a_path_that_cannot_exist_is_told(tmp_path: Path, name: str):
    with pytest.raises(FolderUnusable, match="cannot be read"):
        read_people(tmp_path / name)


def test_a_pipe_is_no_folder(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FolderUnusable, match="is no folder"):
        read_people(tmp_path / "pipe")


def test_the_thumbnails_and_links_of_a_contact_sheet_are_no_photos(tmp_path: Path):
    touch(tmp_path, "a/1.jpg", "sheet/clusters.json", "sheet/index.html", "sheet/faces/7.jpg")
    touch(tmp_path, "sheet/people/0001/1.jpg", "sheet/mine.jpg", "faces/2.jpg", "people/3.jpg")
    found, ignored = find_photos(tmp_path)
    inside = [path.relative_to(tmp_path).as_posix() for path in found]
    assert inside == ["a/1.jpg", "faces/2.jpg", "people/3.jpg", "sheet/mine.jpg"]
    assert ignored == 2


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "Ann/1.jpg")
    monkeypatch.setattr(module.os, "access", lambda *_: False)  # holds for root too
    with pytest.raises(FolderUnusable, match="may not be read: check its permissions"):
        find_photos(tmp_path)


def test_a_folder_below_that_may_not_be_listed_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path, "Ann/1.jpg", "Bob/1.jpg", "Cid/in/1.jpg", "notes.txt")
    scan = os.scandir

    def scandir(path: str) -> object:  # holds for root too
        if Path(path).name in {"Bob", "in"}:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(module.os, "scandir", scandir)
    assert pairs(tmp_path) == [("Ann/1.jpg", "Ann"), ("Bob", "Bob"), ("Cid/in", "Cid")]
    assert find_photos(tmp_path)[1] == 1
    with pytest.raises(FolderUnusable, match="Bob may not be read: check its permissions"):
        find_photos(tmp_path / "Bob")
    (tmp_path / "Ann").rename(tmp_path / "in")
    assert find_photos(tmp_path)[0] == [tmp_path / name for name in ("Bob", "Cid/in", "in")]


NASTY = [b"J\xe9r\xf4me", b"two\nlines", b"bell\x07"]


@pytest.mark.parametrize("raw", NASTY, ids=["latin-1", "newline", "control"])
@pytest.mark.parametrize("layout", ["folder", "photo", "one"])
def test_names_that_cannot_be_printed_are_escaped(tmp_path: Path, raw: bytes, layout: str):
    root = os.fsencode(tmp_path)
    path = os.path.join(root, raw, b"1.jpg") if layout == "folder" else os.path.join(root, raw)  # noqa: PTH118 - bytes
    path = path if layout == "folder" else path + b".jpg"
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
    try:
        with open(path, "wb"):  # noqa: PTH123 - bytes
            pass
    except OSError as error:
        pytest.skip(f"this file system takes no such name ({error})")
    found = read_people(Path(os.fsdecode(path)) if layout == "one" else tmp_path)
    (photo,) = found.photos
    assert photo.name.isprintable()
    photo.name.encode()
    assert photo.name == printable(os.fsdecode(raw))
    assert os.fsencode(photo.source) == path
    assert found.layout.isprintable()
