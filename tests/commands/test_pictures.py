"""Things, not people: drawn here, enrolled, calibrated, verified, identified and clustered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from conftest import Done, Vultus


SHAPES = ("disc", "ring", "bar", "cross", "corner", "stripes")


def draw(shape: str, ink: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """A shape on white, a little turned."""
    image = Image.new("RGB", (220, 180), "white")
    pen = ImageDraw.Draw(image)
    boxes = {
        "disc": [], "ring": [], "bar": [(40, 70, 180, 110)],
        "cross": [(95, 20, 125, 160), (40, 75, 180, 105)],
        "corner": [(50, 20, 80, 160), (50, 130, 180, 160)],
        "stripes": [(30, y, 190, y + 12) for y in range(30, 160, 30)],
    }  # fmt: skip
    for box in boxes[shape]:
        pen.rectangle(box, fill=ink)
    if shape in {"disc", "ring"}:
        pen.ellipse(
            (45, 25, 175, 155), fill=ink if shape == "disc" else None, outline=ink, width=14
        )
    return image.rotate(
        float(rng.uniform(-8, 8)), fillcolor="white", resample=Image.Resampling.BICUBIC
    )


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`catalogue/NAME/N.png` and `seen/NAME/N.png`: 12 things, shape by colour."""
    place = tmp_path_factory.mktemp("things")
    rng = np.random.default_rng(8)
    for shape in SHAPES:
        for colour, ink in (("red", (180, 30, 30)), ("blue", (30, 40, 170))):
            for part, count in (("catalogue", 2), ("seen", 2)):
                folder = place / part / f"{colour} {shape}"
                folder.mkdir(parents=True)
                for number in range(count):
                    draw(shape, ink, rng).save(folder / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def gallery(vultus: Vultus, things: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the catalogue in the space of `picture`, without a calibration."""
    if "ok   efficientnet" not in vultus("models", "verify").out:
        pytest.skip("the extra pictures is not installed")
    database = tmp_path_factory.mktemp("shop") / "shop.sqlite3"
    done = vultus("enroll", things / "catalogue", "--model", "picture", "--database", database)
    assert done.code == 0, done.err
    assert "24 photos enrolled" in done.out + done.err
    return database


@pytest.mark.usefixtures("gallery")
def test_the_model_is_listed_shown_and_verified(inside: Callable[..., Done]):
    assert "picture " in inside("models", "list").out
    card = json.loads(inside("models", "show", "picture").out)
    assert (card["dim"], card["side"], card["alignment"]) == (1280, 224, "whole")
    assert inside("models", "verify").code == 0


def test_without_a_calibration_nothing_is_decided(
    inside: Callable[..., Done], gallery: Path, things: Path
):
    for command in (("verify", "red disc", "--source"), ("identify",)):
        done = inside(*command, things / "seen" / "red disc" / "0.png", "--database", gallery)
        assert done.code == 3
        assert "no calibration for the space picture-1280-" in done.err
        assert "vultus calibrate PEOPLE" in done.err


def test_the_pile_is_sorted_without_a_calibration(
    inside: Callable[..., Done], things: Path, tmp_path: Path
):
    """Told how many or not."""
    at = ("--model", "picture", "--detector", "whole", "--database", tmp_path / "pile.sqlite3")
    for asked in (("--k", 12), ()):
        done = inside("cluster", things / "seen", *asked, "--format", "json", *at)
        assert done.code == 0, done.err
        clusters = done.json()["clusters"]
        assert 2 <= len(clusters) <= 12
        if asked:
            kinds = [{Path(face["file"]).parent.name for face in c["faces"]} for c in clusters]
            assert sum(len(kind) == 1 for kind in kinds) >= 10


def test_calibrated_it_verifies_and_identifies(
    inside: Callable[..., Done], gallery: Path, things: Path, tmp_path: Path
):
    own = tmp_path / "own.sqlite3"
    own.write_bytes(gallery.read_bytes())
    at = ("--model", "picture", "--detector", "whole", "--database", own)
    done = inside("calibrate", "fit", things / "seen", *at)
    assert done.code == 0, done.err
    assert "12 people, 24 photos" in done.out
    same, other = (things / "seen" / name / "0.png" for name in ("blue cross", "red disc"))
    rate = ("--fmr", "0.05", "--format", "json")
    done = inside("verify", "blue cross", "--source", same, *rate, "--database", own)
    assert (done.code, done.json()["answer"]) == (0, "yes")
    done = inside("verify", "blue cross", "--source", other, *rate, "--database", own)
    assert done.json()["answer"] == "no"
    done = inside("identify", same, "--fpir", "0.9", "--format", "json", "--database", own)
    assert done.code == 0, done.err
    assert done.json()["photos"][0]["faces"][0]["person"] == "blue cross"
