"""The whole way of a user, each step a process: enrol, ask, sort, name, forget."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus


def clusters(sheet: Path) -> list[dict]:
    return json.loads((sheet / "clusters.json").read_text(encoding="utf-8"))["clusters"]


def test_from_enrolment_to_forgetting(vultus: Vultus, own: Gallery, tmp_path: Path):
    name, probe = own.genuine
    assert vultus("verify", name, "--source", probe, *own.at).code == 0
    assert vultus("verify", own.names[1], "--source", probe, *own.at).code == 1

    library, sheet = tmp_path / "library", tmp_path / "sheet"
    library.mkdir()
    strangers = [file for file in own.strangers if file.parent == own.strangers[0].parent]
    for number, file in enumerate([probe, *strangers]):
        shutil.copy(file, library / f"{number}.jpg")
    done = vultus("cluster", library, "--out", sheet, "--links", *own.at)
    assert done.code == 0, done.err
    assert f"Contact sheet: {sheet / 'index.html'}" in done.out
    assert "<html" in (sheet / "index.html").read_text(encoding="utf-8")
    first = clusters(sheet)[0]
    assert (first["cluster"], first["name"], first["size"]) == (1, None, len(strangers))
    assert len(list((sheet / "people").iterdir())) == 2
    (folder,) = (sheet / "people").glob("*1*")
    assert {link.resolve() for link in folder.iterdir()} == {
        (library / f"{number}.jpg").resolve() for number in range(1, 1 + len(strangers))
    }

    unknown = strangers[0]
    assert vultus("identify", unknown, *own.at).code == 1
    assert vultus("name", "1", "Somebody New", *own.at).code == 0
    done = vultus("identify", unknown, *own.at, "--format", "csv")
    assert (done.code, done.out.split(",")[1]) == (0, "Somebody New")

    done = vultus("forget", "Somebody New", "--yes", *own.at)
    assert done.code == 0
    assert vultus("identify", unknown, *own.at).code == 1
    done = vultus("doctor", *own.at)
    assert done.code == 0, done.out
    assert "in step" in done.out


def test_enrolling_again_does_nothing(vultus: Vultus, own: Gallery):
    before = own.content()
    done = vultus("enroll", own.folder, *own.at)
    assert done.code == 0
    assert "0 photos enrolled, 24 unchanged, 0 rejected" in done.out
    assert "Nothing to do" in done.out
    assert own.content() == before


@pytest.mark.usefixtures("weights")
def test_both_layouts_and_a_single_photo(vultus: Vultus, album: Path, tmp_path: Path):
    people = tmp_path / "people"
    one, other, third = sorted((album / "people").iterdir())[:3]
    shutil.copytree(one, people / one.name)
    shutil.copy(other / "1.jpg", people / f"{other.name}.jpg")
    at = ("--database", tmp_path / "g.sqlite3")
    done = vultus("enroll", people, *at)
    assert done.code == 0
    assert "both layouts: 6 photos in folders of people, 1 photos named after" in done.err
    assert vultus("enroll", third / "1.jpg", "--name", third.name, *at).code == 0
    table = vultus("people", "list", *at).out
    assert all(person.name in table for person in (one, other, third))


@pytest.fixture
def film(tmp_path: Path) -> Callable[[list[Path]], Path]:
    """A Motion JPEG video that shows pictures one after the other, a second each."""

    def write(pictures: list[Path]) -> Path:
        path = tmp_path / "clip.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 8.0, (320, 320))
        if not writer.isOpened():
            pytest.skip("this build of OpenCV writes no Motion JPEG")
        for picture in pictures:
            for _ in range(8):
                writer.write(cv2.imread(str(picture)))
        writer.release()
        return path

    return write


def test_a_video(
    vultus: Vultus,
    shared: Gallery,
    spoiled: Callable[[str], Path],
    tmp_path: Path,
    film: Callable[[list[Path]], Path],
):
    with Image.open(spoiled("faceless.png")) as image:
        image.resize((320, 320)).save(tmp_path / "grey.png")
    clip = film([tmp_path / "grey.png", *shared.probes[shared.names[0]]])
    for name, code in ((shared.names[0], 0), (shared.names[1], 1)):
        done = vultus("verify", name, "--source", clip, *shared.at, "--format", "json")
        assert done.code == code, done


def test_a_video_without_a_face(
    inside: Callable[..., Done],
    shared: Gallery,
    spoiled: Callable[[str], Path],
    tmp_path: Path,
    film: Callable[[list[Path]], Path],
):
    with Image.open(spoiled("faceless.png")) as image:
        image.resize((320, 320)).save(tmp_path / "grey.png")
    clip = film([tmp_path / "grey.png"])
    done = inside("verify", shared.names[0], "--source", clip, *shared.at, "--format", "json")
    assert (done.code, done.json()["error"]["reason"]) == (2, "face_not_found")


def test_another_model_in_a_gallery_of_its_own(vultus: Vultus, shared: Gallery, tmp_path: Path):
    at = ("--database", tmp_path / "mirror.sqlite3")
    done = vultus("enroll", shared.folder, *at, "--model", "sface-mirror", "--quiet")
    assert done.code == 0, done
    name, probe = shared.genuine
    # no --model: the gallery knows which it was made with
    for who, code in ((name, 0), (shared.names[1], 1)):
        done = vultus("verify", who, "--source", probe, *at, "--format", "json")
        assert done.code == code
        assert done.json()["model"].startswith("sface-mirror-128-")
    done = vultus("verify", name, "--source", probe, *at, "--model", "sface")
    assert done.code == 3


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures each of two things, no face in them."""
    place = tmp_path_factory.mktemp("things")
    rng = np.random.default_rng(3)
    for name, colour in (("Mug", (30, 90, 160)), ("Leaf", (60, 150, 40))):
        (place / name).mkdir()
        for number in (1, 2):
            grain = rng.integers(150, 220, (200, 300, 3), dtype=np.uint8)
            image = Image.fromarray(grain)
            pen = ImageDraw.Draw(image)
            box = (50 + 5 * number, 40, 200, 160)
            (pen.rectangle if name == "Mug" else pen.ellipse)(box, fill=colour)
            image.save(place / name / f"{number}.png")
    return place


@pytest.mark.usefixtures("weights")
def test_pictures_of_things_are_doubted(vultus: Vultus, things: Path, tmp_path: Path):
    """The shipped curve is of faces: it is used, and stderr says that it does not fit."""
    whole = ("--detector", "whole", "--database", tmp_path / "things.sqlite3")
    assert vultus("enroll", things / "Mug" / "1.png", "--name", "Mug", *whole).code == 0
    done = vultus("verify", "Mug", "--source", things / "Mug" / "2.png", *whole)
    assert done.code in (0, 1, 2)
    assert "The error rates are those of faces" in done.err
    assert "vultus calibrate FOLDER --detector whole" in done.err
    done = vultus("calibrate", things, *whole)
    assert done.code == 3, "two things are one pair: too few to say anything"
    assert "Traceback" not in done.err


def test_a_face_in_a_picture_of_a_thing_is_not_found(
    inside: Callable[..., Done], things: Path, shared: Gallery
):
    done = inside("verify", shared.names[0], "--source", things / "Mug" / "1.png", *shared.at)
    assert (done.code, "face" in done.err) == (2, True)
