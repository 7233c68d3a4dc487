"""Occlusion maps against an encoder whose answer is known for every place."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from embedder.align import GREY, Crop
from embedder.detect import Face
from embedder.encoder import Embeddings
from verify.occlusion import occlusion_maps
from verify.plot_files import content
from verify.plot_why import Why

SIDE = 40


def crop(pixels: np.ndarray) -> Crop:
    face = Face(np.array([0, 0, SIDE, SIDE], np.float32), None, 1.0)
    return Crop(pixels, np.eye(2, 3), face)


@dataclass
class Corner:
    """Sees the upper left quarter and the lower right one, and nothing else."""

    calls: list[int] = field(default_factory=list)

    def encode(self, crops):
        self.calls.append(len(crops))
        half = SIDE // 2
        parts = [(c.pixels[:half, :half], c.pixels[half:, half:]) for c in crops]
        means = np.array([[a.mean() - GREY, b.mean() - GREY, 20.0] for a, b in parts])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return Embeddings(means.astype(np.float32), "toy")


@pytest.fixture
def pair() -> tuple[Crop, Crop]:
    one = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    one[:20, :20] = 250  # a sign of sameness
    other = one.copy()
    one[20:, 20:] = 200  # a sign of difference
    return crop(one), crop(other)


def test_the_similarity_falls_where_the_network_looks(pair):
    encoder = Corner()
    similarity, first, second = occlusion_maps(encoder, *pair, patch=0.25, step=0.1)
    vectors = encoder.encode(list(pair)).vectors
    assert similarity == pytest.approx(float(vectors[0] @ vectors[1]))
    assert encoder.calls[:3] == [2, first.drops.size, second.drops.size], "a map is one batch"
    heat = first.heat()
    assert heat.shape == (SIDE, SIDE)
    assert heat[:18, :18].min() > 0.005, "covering what both show makes them less alike"
    assert heat[24:, 24:].max() < -0.005, "covering what only one shows makes them more alike"
    assert np.abs(heat[:9, 31:]).max() < 1e-6
    assert np.abs(second.heat()[30:, 30:]).max() < 1e-6, "there it is as grey as the patch"


def test_each_place_is_what_covering_it_gives(pair):
    similarity, first, _ = occlusion_maps(Corner(), *pair, patch=0.25, step=0.3)
    other = Corner().encode([pair[1]]).vectors[0]
    assert first.lefts.tolist() == [0, 12, 24, 30], "the last patch ends at the border"
    for i, top in enumerate(first.tops.tolist()):
        for j, left in enumerate(first.lefts.tolist()):
            pixels = pair[0].pixels.copy()
            pixels[top : top + 10, left : left + 10] = GREY
            vector = Corner().encode([crop(pixels)]).vectors[0]
            assert first.drops[i, j] == pytest.approx(similarity - vector @ other, abs=1e-6)


def test_heat_is_the_mean_over_the_patches_of_a_pixel(pair):
    _, first, _ = occlusion_maps(Corner(), *pair, patch=0.25, step=0.3)
    covering = [
        first.drops[i, j]
        for i, top in enumerate(first.tops)
        for j, left in enumerate(first.lefts)
        if top <= 32 < top + 10 and left <= 5 < left + 10
    ]
    assert len(covering) == 2
    assert first.heat()[32, 5] == pytest.approx(np.mean(covering))


@pytest.mark.parametrize(("threshold", "says"), [(0.9, "threshold 0.900"), (None, "no threshold")])
def test_a_pair_is_drawn_with_similarity_and_threshold(pair, threshold, says):
    similarity, *maps = occlusion_maps(Corner(), *pair)
    found = Why(
        ("<b>/1.jpg", "b/2.jpg"), similarity, tuple(maps), "toy", threshold, 1e-3,
        None if threshold is None else "yes", "" if threshold else "no calibration for toy",
    )  # fmt: skip
    page = content(found, "html").decode()
    assert says in page
    assert f"similarity {similarity:.3f}" in page
    assert "&lt;b&gt;/1.jpg" in page
    assert "<b>/1" not in page
    assert page.count("data:image/png;base64,") == 4
    assert "<script" not in page
    rows = content(found, "csv").decode().splitlines()
    assert len(rows) == 1 + 2 * maps[0].drops.size
