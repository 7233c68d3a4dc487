import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.detect import Face, choose
from embedder.embed import Embedder
from embedder.photo import Photo
from verify import pad_recapture
from verify.pad import Shot
from verify.pad_passive import MEASURES, RecaptureGate, Weights, measure, shipped
from verify.pad_recapture import SPECIES, retaken

Frame = NDArray[np.uint8]


def whole(pixels: Frame) -> Shot:
    """A picture that is all face."""
    height, width = pixels.shape[:2]
    box = np.array([0, 0, width, height], np.float32)
    return Shot(Photo(np.ascontiguousarray(pixels), "", "x"), Face(box, None, 1.0))


def named(shot: Shot) -> dict[str, float]:
    found = measure(shot)
    assert found is not None
    assert found.shape == (len(MEASURES),)
    assert found.dtype == np.float32
    return dict(zip(MEASURES, found.tolist(), strict=True))


def noise(side: int = 128) -> Frame:
    grey = np.random.default_rng(3).normal(128, 12, (side, side, 1))
    return np.clip(np.repeat(grey, 3, axis=2), 0, 255).astype(np.uint8)


def test_a_grid_is_a_peak_of_the_spectrum():
    y, x = np.mgrid[:128, :128]
    grid = 14 * np.sin(2 * np.pi * (x * 0.23 + y * 0.11))
    plain = noise()
    dotted = np.clip(plain + grid[..., None], 0, 255).astype(np.uint8)
    coloured = plain.copy()
    coloured[..., 0] = np.clip(plain[..., 0] + grid, 0, 255)
    assert named(whole(dotted))["peaks"] > named(whole(plain))["peaks"] + 2
    assert named(whole(coloured))["chroma_peaks"] > named(whole(plain))["chroma_peaks"] + 2


def test_washed_out_black():
    plain = noise().astype(int)
    washed = (plain // 2 + 100).astype(np.uint8)
    assert named(whole(washed))["black"] > named(whole(plain.astype(np.uint8)))["black"]


@pytest.mark.parametrize(("edges", "share"), [("", 0), ("l", 0.25), ("lr", 0.5), ("lrtb", 1.0)])
def test_edges_of_a_sheet_beside_the_face(edges: str, share: float):
    pixels = np.full((320, 320, 3), 128, np.uint8)
    for edge in edges:
        place = {"l": np.s_[:, :40], "r": np.s_[:, 280:], "t": np.s_[:40], "b": np.s_[280:]}[edge]
        pixels[place] = 250
    box = np.array([110, 90, 100, 130], np.float32)
    assert named(Shot(Photo(pixels, "", "x"), Face(box, None, 1.0)))["border"] == share


def test_a_face_too_small_is_undecided():
    small = whole(noise(24))
    assert measure(small) is None
    result = RecaptureGate().check([small])
    assert (result.outcome, result.reasons) == ("undecided", ("face_too_small",))


def test_a_face_over_the_edge_of_the_photo():
    box = np.array([-40, -40, 120, 120], np.float32)
    assert measure(Shot(Photo(noise(), "", "x"), Face(box, None, 1.0))) is not None


def test_the_two_thresholds():
    base = shipped()
    row = measure(whole(noise()))
    score = float(base.score(row[None])[0])
    for attack, undecided, outcome in [
        (score, score - 1, "attack"),
        (score + 1, score, "undecided"),
        (score + 2, score + 1, "bona_fide"),
    ]:
        weights = Weights(
            base.centre, base.scale, base.weight, base.bias, attack, undecided, base.source
        )
        result = RecaptureGate(weights).check([whole(noise())])
        assert result.outcome == outcome
        assert result.score == pytest.approx(score)
        assert result.threshold == attack
        assert set(result.measures) == set(MEASURES)
        assert bool(result.reasons) is (outcome != "bona_fide")


def test_the_weights_are_kept_as_they_are():
    kept = shipped()
    again = Weights.from_dict(json.loads(json.dumps(kept.to_dict())))
    assert again.to_dict() == kept.to_dict()
    assert kept.undecided < kept.attack
    assert "lfw-dev/train" in kept.source


def test_recaptures_are_repeatable_and_keep_their_size(portraits: list[list[Frame]]):
    pixels = portraits[0][0][100:180, 110:210]
    for make in (retaken, *SPECIES.values()):
        first, again = (make(pixels, np.random.default_rng(4)) for _ in range(2))
        assert first.dtype == np.uint8
        assert first.shape == pixels.shape
        assert (first == again).all()
        assert not (first == make(pixels, np.random.default_rng(5))).all()


def test_a_screen_of_dots_keeps_the_tone():
    grey = np.full((160, 160, 3), 0.7, np.float32)
    assert pad_recapture._halftone(grey, 8.0).mean() == pytest.approx(0.7, abs=0.08)


def test_coarse_prints_score_above_the_people_they_show(
    embedder: Embedder, people: dict[str, list[Path]]
):
    gate = RecaptureGate()
    shown, real = [], []
    for number, paths in enumerate(list(people.values())[:3]):
        pixels = embedder.read(paths[0]).pixels
        photo = Photo(np.ascontiguousarray(pixels[60:220, 80:240]), "", "cut")  # quicker to print
        face = choose(embedder.detector.detect(photo), photo, "centre")
        copy = SPECIES["print"](photo.pixels, np.random.default_rng(number))
        real.append(gate.check([Shot(photo, face)]).score)
        shown.append(gate.check([Shot(Photo(copy, "", "print"), face)]).score)
    assert min(shown) > max(real)
