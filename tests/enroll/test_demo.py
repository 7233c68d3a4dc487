"""The demo: walks the whole way, checks its answers, and empties only what it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from enroll import demo
from enroll.errors import DemoFailed, OutputUnusable, PicturesMissing
from enroll.gallery import Gallery, open_gallery

pytestmark = pytest.mark.usefixtures("embedder")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A demo's folder, and what it told on its second run there."""
    out = tmp_path_factory.mktemp("demo") / "out"
    list(demo.run(out))
    (out / "photos" / "left from before.jpg").touch()
    return out, list(demo.run(out))


def test_it_tells_each_step(done: tuple[Path, list[str]]):
    steps = [line.split()[2] for line in done[1] if line.strip().startswith("$ vultus")]
    assert steps == [
        "enroll", "verify", "verify", "identify", "identify", "cluster", "name", "forget",
    ]  # fmt: skip
    text = "\n".join(done[1])
    assert "56 photos enrolled, 0 rejected" in text
    assert "the same again: 56 unchanged" in text
    assert "18 clusters of 108 faces; there are 18 people" in text
    assert "nobody known" in text


def test_it_can_be_run_twice_in_one_place(done: tuple[Path, list[str]]):
    out, _ = done
    assert not (out / "photos" / "left from before.jpg").exists()
    assert {path.name for path in out.iterdir() if not path.name.startswith((".", "gallery."))} == {
        "captures", "library", "photos", "sheet",
    }  # fmt: skip


def test_it_leaves_a_gallery_and_a_contact_sheet(
    done: tuple[Path, list[str]], people: dict[str, list[Path]]
):
    out, lines = done
    names = list(people)
    with open_gallery(out / "gallery.sqlite3") as gallery:
        assert [p.name for p in gallery.people()] == sorted([*names[1:], "Somebody New"])
        assert gallery.verify(names[1], people[names[1]][5]).match == "yes"
    page = out / "sheet" / "index.html"
    assert page.is_file()
    assert len(list((out / "sheet" / "faces").iterdir())) == 108 - 4  # those forgotten
    assert str(page) in lines[-1]


@pytest.mark.parametrize("name", ["thesis.txt", "photos/mine.jpg", "gallery.sqlite3", "sheet/x"])
def test_a_folder_of_somebody_elses_is_refused_and_kept(tmp_path: Path, name: str):
    precious = tmp_path / name
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.write_text("precious")
    with pytest.raises(OutputUnusable, match=r"holds other files \(.+\): choose another"):
        list(demo.run(tmp_path))
    assert precious.read_text() == "precious"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [precious]


def test_a_demos_folder_with_a_file_of_ones_own_is_refused(tmp_path: Path):
    next(demo.run(tmp_path))
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputUnusable, match=r"mine\.txt"):
        list(demo.run(tmp_path))
    assert (tmp_path / "mine.txt").exists()
    assert (tmp_path / "photos").is_dir()


def test_a_file_is_no_folder(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnusable, match="cannot be used"):
        list(demo.run(tmp_path / "file"))


def test_without_pictures_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo.resources, "files", lambda _: tmp_path)
    with pytest.raises(PicturesMissing, match="reinstall vultus"):
        list(demo.run(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_wrong_answer_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = Gallery.verify

    def always_the_first(self: Gallery, _person: str, source: str) -> object:
        return real(self, min(p.name for p in self.people()), source)

    monkeypatch.setattr(Gallery, "verify", always_the_first)
    told = []
    with pytest.raises(DemoFailed, match="is answered no, and it is not so: run vultus doctor"):
        told.extend(demo.run(tmp_path))
    assert not (tmp_path / "sheet").exists()


def test_an_incomplete_erasure_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = Gallery.forget

    def forgets_somebody_else(self: Gallery, _name: str) -> object:
        return real(self, "Somebody New")

    monkeypatch.setattr(Gallery, "forget", forgets_somebody_else)
    with pytest.raises(DemoFailed, match="is forgotten"):
        list(demo.run(tmp_path))
