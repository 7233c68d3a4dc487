"""Enrolment: what becomes of every kind of photo, whatever happens on the way."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from embedder.quality import OPEN_GATE
from enroll import person as module
from enroll.batches import batches
from enroll.cluster import cluster_library
from enroll.folder import NamedPhoto, PeopleFolder, read_people
from enroll.forget import forget
from enroll.person import CONFLICT, EnrolmentRules, enroll_people, same_face
from store import bulk
from store.errors import SpaceMismatch
from store.templates import LibraryFaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from enroll.person import Outcome

    from .conftest import Shelf


@pytest.fixture
def ann(people: dict[str, list[Path]]) -> list[Path]:
    """Pictures of the first person."""
    return next(iter(people.values()))


@pytest.fixture
def bob(people: dict[str, list[Path]]) -> list[Path]:
    """Pictures of the second person."""
    return list(people.values())[1]


def told(outcomes: list[Outcome]) -> list[tuple[str, str | None]]:
    return [(outcome.status, outcome.reason) for outcome in outcomes]


def pictures(name: str, *pixels: NDArray[np.uint8]) -> PeopleFolder:
    """Arrays as a folder of one person."""
    from pathlib import Path

    return PeopleFolder(Path(), tuple(NamedPhoto(p, name) for p in pixels), "arrays", 0)


def sheet_of(portraits: list[list[NDArray[np.uint8]]], *who: int) -> NDArray[np.uint8]:
    """The first picture of people side by side."""
    return np.hstack([portraits[number][0] for number in who])


# --- good photos


def test_a_good_photo_is_enrolled(shelf: Shelf, album: Callable[..., Path], ann: list[Path]):
    folder = album({"Ann": ann[:1]})
    (outcome,) = shelf.enroll(folder)
    assert outcome.to_dict() == {
        "file": str(folder / "Ann" / "1.jpg"), "person": "Ann", "status": "enrolled",
        "reason": None, "detail": "", "faces": 1,
    }  # fmt: skip
    assert shelf.counts() == {"people": 1, "photos": 1, "faces": 1, "templates": 1, "changes": 1}
    ((name, source, kept, *_),) = shelf.contents()
    assert (name, source, kept) == ("Ann", str(folder / "Ann" / "1.jpg"), "enrolled")


def test_the_outcomes_come_in_the_folders_order(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    folder = album({name: people[name][:3] for name in list(people)[:3]})
    outcomes = shelf.enroll(folder, EnrolmentRules(jobs=3))
    assert [o.file for o in outcomes] == [str(photo.source) for photo in read_people(folder).photos]


def test_what_is_kept_of_a_face(shelf: Shelf, album: Callable[..., Path], ann: list[Path]):
    shelf.enroll(album({"Ann": ann[:1]}))
    ((crop, vector, w, confidence, points, quality),) = shelf.ask(
        "SELECT crop, vector, w, confidence, points, quality FROM faces JOIN templates"
    )
    with Image.open(BytesIO(crop)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (112, 112))
        red, _, blue = np.asarray(image.convert("RGB"), dtype=float).mean(axis=(0, 1))
    assert red > blue  # skin: the channels were not swapped
    assert np.linalg.norm(np.frombuffer(vector, "<f4")) == pytest.approx(1, abs=1e-5)
    assert w > 50
    assert 0.6 <= confidence <= 1
    assert len(eval(points)) == 5  # noqa: S307 - five pairs of numbers that we wrote
    assert "sharpness" in quality


def test_the_second_run_changes_nothing_and_writes_nothing(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path], picture: Callable[..., Path]
):
    folder = album({"Ann": ann[:3]})
    picture(np.full((64, 64, 3), 90, np.uint8), "photos/Ann/0-nobody.png")
    first = shelf.enroll(folder)
    before = shelf.dump()
    file = shelf.parts.index.path
    kept = (file.read_bytes(), file.stat().st_mtime_ns)
    second = shelf.enroll(folder)
    assert told(first) == [("rejected", "face_not_found"), *[("enrolled", None)] * 3]
    assert told(second) == [("rejected", "face_not_found"), *[("unchanged", None)] * 3]
    assert "--retry" in second[0].detail
    assert shelf.dump() == before
    assert (file.read_bytes(), file.stat().st_mtime_ns) == kept


def test_the_second_run_decodes_nothing(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path], monkeypatch: pytest.MonkeyPatch
):
    folder = album({"Ann": ann[:2]})
    shelf.enroll(folder)
    monkeypatch.setattr("enroll.intake.decode", lambda *_, **__: pytest.fail("decoded"))
    assert told(shelf.enroll(folder)) == [("unchanged", None)] * 2


def test_a_photo_is_known_by_its_bytes_not_its_path(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path]
):
    shelf.enroll(album({"Ann": ann[:1]}))
    moved = album({"Ann": [ann[1], ann[0]]}, "moved")
    assert told(shelf.enroll(moved)) == [("enrolled", None), ("unchanged", None)]


def test_the_index_follows_and_is_saved(
    enrolled: Shelf, open_shelf: Callable[..., Shelf], people: dict[str, list[Path]]
):
    parts = enrolled.parts
    assert len(parts.index) == 8 == enrolled.count("templates")
    assert parts.index.path.is_file()
    assert enrolled.ask("SELECT engines.rev, gallery.rev FROM engines, gallery") == [(8, 8)]
    name = next(iter(people))
    enrolled.enroll(people[name][5].parent, name=name)
    assert len(parts.index) == 12
    again = open_shelf(enrolled.database).parts
    assert len(again.index) == 12


def test_arrays_of_one_name_keep_their_own_faces(
    shelf: Shelf, embedder: object, portraits: list[list[NDArray[np.uint8]]]
):
    rules = EnrolmentRules(allow_lookalikes=True)
    assert told(shelf.enroll(pictures("Ann", *portraits[0][:3]), rules)) == [("enrolled", None)] * 3
    vectors = {row[0] for row in shelf.ask("SELECT vector FROM templates")}
    alone = {embedder.embed([p], "largest")[0].vectors[0].tobytes() for p in portraits[0][:3]}
    kept = np.stack([np.frombuffer(v, "<f4") for v in sorted(vectors)])
    wanted = np.stack([np.frombuffer(v, "<f4") for v in sorted(alone)])
    assert len(kept) == 3
    assert (kept @ wanted.T).max(axis=0) == pytest.approx(1, abs=1e-3)


# --- photos that are refused


def rejected_pictures(
    portraits: list[list[NDArray[np.uint8]]],
) -> dict[str, tuple[NDArray[np.uint8], str]]:
    face = portraits[0][0]
    tiny = np.full((320, 320, 3), 120, np.uint8)
    tiny[100:140, 100:140] = cv2.resize(face, (40, 40), interpolation=cv2.INTER_AREA)
    strong = np.clip((face.astype(np.float32) - 128) * 2 + 128, 0, 255).astype(np.uint8)
    return {
        "nobody": (np.full((200, 200, 3), 77, np.uint8), "face_not_found"),
        "two": (sheet_of(portraits, 0, 1), "multiple_faces"),
        "tiny": (tiny, "face_too_small"),
        "blurred": (cv2.GaussianBlur(strong, (0, 0), 7), "low_quality"),
        "dark": ((face * 0.2).astype(np.uint8), "low_quality"),
    }


@pytest.mark.parametrize("kind", ["nobody", "two", "tiny", "blurred", "dark"])
def test_a_bad_photo_is_rejected_with_its_reason(
    shelf: Shelf,
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
    kind: str,
):
    pixels, reason = rejected_pictures(portraits)[kind]
    path = picture(pixels, f"{kind}.png")
    (outcome,) = shelf.enroll(path, name="Ann")
    assert (outcome.status, outcome.reason, outcome.faces) == ("rejected", reason, 0)
    assert outcome.detail
    assert shelf.counts() == {"people": 0, "photos": 1, "faces": 0, "templates": 0, "changes": 0}
    assert shelf.ask("SELECT outcome, reason FROM photos") == [("rejected", reason)]


def test_what_is_no_image_is_rejected(shelf: Shelf, tmp_path: Path, ann: list[Path]):
    folder = tmp_path / "photos" / "Ann"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_text("<html>")
    (folder / "2.jpg").write_bytes(ann[0].read_bytes()[:2000])
    (folder / "3.jpg").touch()
    (folder / "4.jpg").symlink_to("nowhere.jpg")
    assert told(shelf.enroll(folder.parent)) == [("rejected", "not_an_image")] * 4
    assert shelf.count("photos") == 3  # what could not be read has no digest to be known by


def test_too_many_pixels_are_rejected(
    open_shelf: Callable[..., Shelf], ann: list[Path], portraits: list[list[NDArray[np.uint8]]]
):
    shelf = open_shelf(max_pixels=320 * 320 - 1)
    assert told(shelf.enroll(ann[0], name="Ann")) == [("rejected", "too_large")]
    assert told(shelf.enroll(pictures("Ann", portraits[0][0]))) == [("rejected", "too_large")]


def test_an_open_gate_lets_a_dark_face_in(
    shelf: Shelf, picture: Callable[..., Path], portraits: list[list[NDArray[np.uint8]]]
):
    path = picture(rejected_pictures(portraits)["dark"][0], "dark.png")
    assert told(shelf.enroll(path, EnrolmentRules(gate=OPEN_GATE))) == [("enrolled", None)]


def test_a_name_that_cannot_be_stored_is_rejected_and_the_others_go_on(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path]
):
    folder = album({"A" * 201: ann[:1], "Ann": ann[1:2]})
    assert told(shelf.enroll(folder)) == [("rejected", "invalid_name"), ("enrolled", None)]


# --- several faces


@pytest.mark.parametrize(
    ("rule", "faces"), [("reject", 0), ("largest", 1), ("centre", 1), ("all", 2)]
)
def test_two_faces_under_each_rule(
    shelf: Shelf,
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
    rule: str,
    faces: int,
):
    path = picture(sheet_of(portraits, 0, 1), "two.png")
    (outcome,) = shelf.enroll(path, EnrolmentRules(on_multiple=rule), name="Both")
    assert outcome.faces == faces == shelf.count("templates")
    assert outcome.status == ("enrolled" if faces else "rejected")


def test_a_photo_with_several_faces_is_looked_at_again_under_another_rule(
    shelf: Shelf, picture: Callable[..., Path], portraits: list[list[NDArray[np.uint8]]]
):
    path = picture(sheet_of(portraits, 0, 1), "two.png")
    assert told(shelf.enroll(path)) == [("rejected", "multiple_faces")]
    assert told(shelf.enroll(path, EnrolmentRules(on_multiple="largest"))) == [("enrolled", None)]
    assert told(shelf.enroll(path)) == [("unchanged", None)]


def test_a_small_bystander_does_not_matter(
    shelf: Shelf, picture: Callable[..., Path], portraits: list[list[NDArray[np.uint8]]]
):
    scene = np.full((320, 640, 3), 120, np.uint8)
    scene[:, :320] = portraits[0][0]
    scene[200:296, 400:496] = cv2.resize(portraits[1][0], (96, 96), interpolation=cv2.INTER_AREA)
    (outcome,) = shelf.enroll(picture(scene, "scene.png"))
    assert (outcome.status, outcome.faces) == ("enrolled", 1)
    assert shelf.ask("SELECT x < 320 FROM faces") == [(1,)]


def test_a_refused_face_leaves_no_trace_in_the_check_of_the_next(
    shelf: Shelf,
    album: Callable[..., Path],
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
    people: dict[str, list[Path]],
):
    """Bob's photo shows Ann beside a third person, who may still be enrolled under her own name."""
    names = list(people)
    folder = album({"A": people[names[0]][:1], "C": people[names[2]][1:2]})
    picture(np.hstack([portraits[2][0], portraits[0][1]]), "photos/B/1.png")
    outcomes = shelf.enroll(folder, EnrolmentRules(on_multiple="all"))
    assert told(outcomes) == [("enrolled", None), ("rejected", CONFLICT), ("enrolled", None)]


# --- whose photo


def test_the_same_bytes_under_two_names_conflict(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path]
):
    first, second = shelf.enroll(album({"Ann": ann[:1], "Bob": ann[:1]}))
    assert first.status == "enrolled"
    assert (second.status, second.reason) == ("rejected", CONFLICT)
    assert "enrolled as Ann" in second.detail
    assert shelf.ask("SELECT name FROM people") == [("Ann",)]


def test_the_same_person_under_another_name_conflicts(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path]
):
    shelf.enroll(album({"Ann": ann[:2]}))
    (outcome,) = shelf.enroll(album({"Bob": ann[2:3]}, "more"))
    assert (outcome.status, outcome.reason) == ("rejected", CONFLICT)
    assert "like Ann" in outcome.detail
    assert shelf.ask("SELECT name FROM people") == [("Ann",)]


def test_a_lookalike_can_be_allowed_also_after_it_was_rejected(
    shelf: Shelf, album: Callable[..., Path], ann: list[Path]
):
    shelf.enroll(album({"Ann": ann[:2]}))
    twin = album({"Twin": ann[2:3]}, "more")
    assert told(shelf.enroll(twin)) == [("rejected", CONFLICT)]
    (outcome,) = shelf.enroll(twin, EnrolmentRules(allow_lookalikes=True))
    assert outcome.status == "enrolled"
    assert outcome.detail.startswith("warning: the face is")
    assert sorted(shelf.ask("SELECT name FROM people")) == [("Ann",), ("Twin",)]


def test_names_that_differ_in_letter_case_are_different_people(
    shelf: Shelf, people: dict[str, list[Path]]
):
    for name, pages in zip(("ANN", "Ann", "ann"), people.values(), strict=False):
        assert told(shelf.enroll(pages[0], name=name)) == [("enrolled", None)]
    assert sorted(shelf.ask("SELECT name FROM people")) == [("ANN",), ("Ann",), ("ann",)]


def test_rejected_photos_are_looked_at_again_only_when_asked(
    shelf: Shelf, picture: Callable[..., Path], portraits: list[list[NDArray[np.uint8]]]
):
    path = picture(rejected_pictures(portraits)["dark"][0], "dark.png")
    shelf.enroll(path)
    lenient = EnrolmentRules(gate=OPEN_GATE)
    assert told(shelf.enroll(path, lenient)) == [("rejected", "low_quality")]
    again = EnrolmentRules(gate=OPEN_GATE, retry=True)
    assert told(shelf.enroll(path, again)) == [("enrolled", None)]
    assert told(shelf.enroll(path, again)) == [("unchanged", None)]
    assert shelf.ask("SELECT outcome, reason FROM photos") == [("enrolled", None)]


def test_site_and_expiry_are_recorded(shelf: Shelf, ann: list[Path]):
    end = datetime(2031, 5, 1, tzinfo=UTC)
    shelf.enroll(ann[0], EnrolmentRules(site="annex", expires=end), name="Ann")
    query = "SELECT people.name, sites.name, expires FROM people JOIN sites ON sites.id = site_id"
    ((name, site, expires),) = shelf.ask(query)
    assert (name, site) == ("Ann", "annex")
    assert str(expires).startswith("2031-05-01 00:00")


def test_a_photo_enrolled_at_one_site_is_not_called_unchanged_at_another(
    shelf: Shelf, ann: list[Path]
):
    shelf.enroll(ann[0], name="Ann")
    (outcome,) = shelf.enroll(ann[0], EnrolmentRules(site="annex"), name="Ann")
    assert (outcome.status, outcome.reason) == ("rejected", CONFLICT)
    assert outcome.detail == "this file is enrolled in another site"


@pytest.mark.parametrize("good_first", [False, True], ids=["bad-first", "good-first"])
def test_a_rejected_photo_is_forgotten_with_the_person_it_was_said_to_show(
    shelf: Shelf, ann: list[Path], picture: Callable[..., Path], good_first: bool
):
    picture(np.full((64, 64, 3), 90, np.uint8), f"photos/Ann/{'z' if good_first else '0'}.png")
    folder = picture(np.full((64, 64, 3), 80, np.uint8), "photos/Bob/1.png").parents[1]
    shutil.copy(ann[0], folder / "Ann" / "5.jpg")
    shelf.enroll(folder)
    forget(shelf.parts, "Ann")
    assert shelf.ask("SELECT source FROM photos") == [(str(folder / "Bob" / "1.png"),)]


# --- dry run


def test_a_dry_run_tells_the_same_and_stores_nothing(
    shelf: Shelf,
    album: Callable[..., Path],
    picture: Callable[..., Path],
    people: dict[str, list[Path]],
):
    names = list(people)
    folder = album({
        "A": people[names[0]][:2], "B": people[names[0]][2:3], "C": people[names[2]][:1],
    })  # fmt: skip
    picture(np.full((64, 64, 3), 90, np.uint8), "photos/C/nobody.png")
    dry = shelf.enroll(folder, EnrolmentRules(dry_run=True))
    assert not any(shelf.counts().values())
    assert shelf.ask("SELECT space, rev FROM gallery") == [(None, 0)]
    assert told(dry) == [
        ("enrolled", None), ("enrolled", None), ("rejected", CONFLICT),
        ("enrolled", None), ("rejected", "face_not_found"),
    ]  # fmt: skip
    assert told(shelf.enroll(folder)) == told(dry)


# --- batches and interruptions


def crowd(people: dict[str, list[Path]], album: Callable[..., Path]) -> Path:
    """Four people, a photo of whom is also under another name, in eleven files."""
    names = list(people)[:4]
    photos = {name: people[name][:2] for name in names}
    photos |= {"Other": [people[names[0]][0], people[names[1]][3]], "Zed": people[names[2]][:1]}
    return album(photos)


@pytest.mark.parametrize("most", [1, 3])
def test_batches_do_not_change_the_result(
    open_shelf: Callable[..., Shelf],
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
):
    folder = crowd(people, album)
    whole, cut = open_shelf(tmp_path / "whole.db"), open_shelf(tmp_path / "cut.db")
    monkeypatch.setattr(module, "batches", partial(batches, most=64, longest=1e9))
    usual = whole.enroll(folder)
    monkeypatch.setattr(module, "batches", partial(batches, most=most, longest=1e9))
    other = cut.enroll(folder)
    assert told(other) == told(usual)
    assert ("rejected", CONFLICT) in told(usual)
    same_contents(cut, whole)


def same_contents(one: Shelf, other: Shelf) -> None:
    """The same rows; vectors of batches of another size agree but for rounding."""
    left, right = one.contents(), other.contents()
    assert [row[:3] for row in left] == [row[:3] for row in right]
    assert [row[4] for row in left] == [row[4] for row in right]
    for a, b in zip(left, right, strict=True):
        assert (a[5] is None) == (b[5] is None)
        if a[5] is not None:
            similarity = float(np.frombuffer(a[5], "<f4") @ np.frombuffer(b[5], "<f4"))
            assert similarity == pytest.approx(1, abs=1e-3)
    assert len(one.parts.index) == len(other.parts.index) == one.count("templates")


class Broken(Exception):
    """What the tests throw in."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "batches", partial(batches, most=3, longest=1e9))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_run_that_is_closed_is_continued_by_the_next(
    open_shelf: Callable[..., Shelf],
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    tmp_path: Path,
    after: int,
):
    folder = crowd(people, album)
    whole, cut = open_shelf(tmp_path / "whole.db"), open_shelf(tmp_path / "cut.db")
    whole.enroll(folder)
    run = enroll_people(cut.parts, read_people(folder))
    first = [next(run) for _ in range(after)]
    run.close()
    assert cut.count("photos") == -(-after // 3) * 3
    assert len(cut.parts.index) == cut.count("templates")
    second = cut.enroll(folder)
    statuses = [o.status for o in second[: len(first)]]
    assert statuses == ["unchanged" if o.status == "enrolled" else o.status for o in first]
    same_contents(cut, whole)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("place", ["_photo_row", "_face_row", "_template_row"])
def test_a_failure_inside_a_commit_undoes_that_commit_whole(
    open_shelf: Callable[..., Shelf],
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
):
    folder = crowd(people, album)
    whole, cut = open_shelf(tmp_path / "whole.db"), open_shelf(tmp_path / "cut.db")
    whole.enroll(folder)
    calls = 0
    real = getattr(bulk, place)

    def fails_at_the_fifth(*args: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Broken
        return real(*args, **more)

    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(bulk, place, fails_at_the_fifth)
        with pytest.raises(Broken):
            seen.extend(enroll_people(cut.parts, read_people(folder)))
        assert calls == 5
    assert cut.counts() == {"people": 2, "photos": 3, "faces": 3, "templates": 3, "changes": 3}
    assert len(cut.parts.index) == 3
    cut.enroll(folder)
    same_contents(cut, whole)


@pytest.mark.usefixtures("small_batches")
def test_a_failure_after_the_commit_loses_nothing(
    shelf: Shelf,
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    open_shelf: Callable[..., Shelf],
    monkeypatch: pytest.MonkeyPatch,
):
    def fails(*_: object) -> None:
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(module, "refresh", fails)
        with pytest.raises(Broken):
            shelf.enroll(crowd(people, album))
    assert shelf.count("templates") == 3
    assert len(open_shelf(shelf.database).parts.index) == 3


# --- spaces and libraries


def test_the_space_is_pinned_and_another_model_refused(
    shelf: Shelf, open_shelf: Callable[..., Shelf], ann: list[Path]
):
    shelf.enroll(ann[0], name="Ann")
    assert shelf.ask("SELECT space FROM gallery") == [(shelf.parts.card.space,)]
    before = shelf.dump()
    other = open_shelf(shelf.database, model="sface-mirror")
    for rules in (EnrolmentRules(), EnrolmentRules(dry_run=True)):
        with pytest.raises(SpaceMismatch, match="use the model it was enrolled with"):
            other.enroll(ann[1], rules, name="Ann")
    assert shelf.dump() == before


def test_photos_of_a_library_get_their_name_and_are_not_doubled(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    names = list(people)[:2]
    folder = album({name: people[name][:2] for name in names})
    cluster_library(shelf.parts, folder)
    before = shelf.counts()
    ids = shelf.ask("SELECT id, vector FROM templates ORDER BY id")
    assert told(shelf.enroll(folder)) == [("enrolled", None)] * 4
    assert shelf.counts() == before | {"people": 2, "changes": 4}
    assert shelf.ask("SELECT id, vector FROM templates ORDER BY id") == ids
    assert shelf.ask("SELECT DISTINCT outcome FROM photos") == [("library",)]
    assert len(shelf.parts.index) == 4
    assert told(shelf.enroll(folder)) == [("unchanged", None)] * 4


def test_of_a_library_photo_of_two_only_the_chosen_face_gets_the_name(
    shelf: Shelf, picture: Callable[..., Path], portraits: list[list[NDArray[np.uint8]]]
):
    path = picture(sheet_of(portraits, 0, 1), "library/two.png")
    cluster_library(shelf.parts, path.parent)
    shelf.enroll(path, EnrolmentRules(on_multiple="largest"), name="Big")
    rows = shelf.ask(
        "SELECT person_id FROM templates JOIN faces ON face_id = faces.id ORDER BY w*h"
    )
    assert rows == [(None,), (1,)]


def test_the_same_face_is_told_from_two_faces():
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((3, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(3)
    kept = LibraryFaces(rows + 10, rows, rows, vectors)
    assert same_face(kept, vectors[1]) == 11
    assert same_face(kept, -vectors[1]) is None
    empty = LibraryFaces(rows[:0], rows[:0], rows[:0], np.zeros((0, 0), np.float32))
    assert same_face(empty, vectors[1]) is None


def test_threads_and_the_index_are_left_in_order_when_a_run_is_closed(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    import threading

    def starts() -> Iterator[Outcome]:
        return enroll_people(shelf.parts, read_people(crowd(people, album)))

    run = starts()
    next(run)
    run.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("vultus-look")]
    assert shelf.ask("SELECT rev FROM engines") == shelf.ask("SELECT rev FROM gallery")
