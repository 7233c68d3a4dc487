from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.align import Crop, align
from embedder.detect import Face, YuNetDetector
from embedder.embed import Embedder
from embedder.photo import Photo, read_photo
from embedder.quality import _HEAD, OPEN_GATE, Gate, Quality, measure, pose

GOOD = Quality(
    size=120, confidence=0.9, sharpness=0.3, brightness=0.5, contrast=0.2, clipped=0.01,
    yaw=0, pitch=0, roll=0,
)  # fmt: skip


def repainted(crop: Crop, pixels: NDArray[np.generic]) -> Crop:
    return replace(crop, pixels=np.clip(pixels, 0, 255).astype(np.uint8))


def falls(values: list[float]) -> bool:
    return all(before > after for before, after in pairwise(values))


def test_blur_lowers_the_sharpness(crops: list[Crop]):
    for crop in crops[:5]:
        levels = [crop] + [
            repainted(crop, cv2.GaussianBlur(crop.pixels, (0, 0), sigma)) for sigma in (1, 2, 4)
        ]
        assert falls([measure(level).sharpness for level in levels])


def test_sharpness_does_not_depend_on_the_light(crops: list[Crop]):
    crop = crops[0]
    darker = repainted(crop, crop.pixels * 0.5)
    assert measure(darker).sharpness == pytest.approx(measure(crop).sharpness, rel=0.05)


def test_darkening_lowers_brightness_and_contrast(crops: list[Crop]):
    levels = [measure(repainted(crops[0], crops[0].pixels * share)) for share in (1, 0.6, 0.2)]
    assert falls([level.brightness for level in levels])
    assert falls([level.contrast for level in levels])


def test_brightness_and_contrast_have_their_units(crops: list[Crop]):
    half = np.zeros((112, 112, 3))
    half[:, 56:] = 255
    measured = measure(repainted(crops[0], half))
    assert measured.brightness == pytest.approx(0.5)
    assert measured.contrast == pytest.approx(0.5)
    assert measured.clipped == 1.0
    flat = measure(repainted(crops[0], np.full((112, 112, 3), 51)))
    assert (flat.sharpness, flat.contrast, flat.clipped) == (0, 0, 0)
    assert flat.brightness == pytest.approx(0.2)


def test_too_much_or_too_little_light_is_clipped(crops: list[Crop]):
    for push in (200, -200):
        pixels = crops[0].pixels.astype(float)
        shares = [measure(repainted(crops[0], pixels + push * f)).clipped for f in (1, 0.5, 0)]
        assert falls(shares)


def test_what_surrounds_the_face_is_not_measured(crops: list[Crop]):
    framed = crops[0].pixels.copy()
    framed[:15] = framed[97:] = 255
    framed[:, :15] = framed[:, 97:] = 0
    assert measure(repainted(crops[0], framed)) == measure(crops[0])


def test_the_size_is_the_side_of_the_box(crops: list[Crop]):
    box = np.array([5, 5, 40, 90], np.float32)
    measured = measure(replace(crops[0], face=Face(box, None, 0.75)))
    assert measured.size == pytest.approx(60)
    assert measured.confidence == 0.75
    assert (measured.yaw, measured.pitch, measured.roll) == (0, 0, 0)


def test_a_shrunk_photo_has_a_smaller_and_softer_face(
    portraits: list[Photo], detector: YuNetDetector
):
    for photo in portraits:
        measured = []
        for share in (1.0, 0.5, 0.25):
            height, width = (round(n * share) for n in photo.pixels.shape[:2])
            small = cv2.resize(photo.pixels, (width, height), interpolation=cv2.INTER_AREA)
            (face,) = detector.detect(replace(photo, pixels=small))
            measured.append(measure(align(replace(photo, pixels=small), face)))
        sizes = [m.size for m in measured]
        assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.25)
        assert sizes[2] == pytest.approx(sizes[0] / 4, rel=0.35)
        assert measured[2].sharpness < measured[0].sharpness


def test_a_portrait_passes_the_gate_and_its_blur_is_far_softer(face_crops: list[Crop]):
    for crop in face_crops:
        sharp = measure(crop)
        assert Gate().reasons(sharp) == []
        blurred = measure(repainted(crop, cv2.GaussianBlur(crop.pixels, (0, 0), 4)))
        assert blurred.sharpness < min(0.08, 0.35 * sharp.sharpness)


def test_a_smooth_shade_has_no_edges(crops: list[Crop]):
    """Neither the border of the measured part nor the rounding of pixels counts as sharp."""
    y, x = np.mgrid[:112, :112]
    shade = np.stack([60 + 0.9 * x + 0.3 * y, 40 + 0.7 * x + 0.5 * y, 90 + 0.8 * x], 2)
    assert measure(repainted(crops[0], shade)).sharpness < 0.06


# Pose


def turning(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """A rotation matrix (3, 3) in the head's axes: x to image right, y down, z to the camera.

    The head nods, then turns, and is then seen by a camera that leans: each positive to image
    right, up and clockwise.
    """
    a, b, c = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    lean = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return lean @ turn @ nod


def projected(turn: NDArray[np.float64], scale: float = 1.3) -> NDArray[np.float32]:
    """The five points of the plain head through a weak-perspective camera, float32 (5, 2)."""
    return (scale * (_HEAD @ turn.T)[:, :2] + [210, 170]).astype(np.float32)


@pytest.mark.parametrize("degrees", [-60, -30, -5, 0, 10, 45, 70])
@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
def test_each_turn_is_read_in_degrees(axis: str, degrees: float):
    turns = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0} | {axis: degrees}
    measured = dict(zip(turns, pose(projected(turning(**turns))), strict=True))
    assert measured == pytest.approx(turns, abs=0.05)


@pytest.mark.parametrize("seed", range(30))
def test_turns_together_are_where_nose_and_eyes_point(seed: int):
    rng = np.random.default_rng(seed)
    turn = turning(*rng.uniform([-50, -40, -60], [50, 40, 60]))
    nose, eyes = turn @ [0, 0, 1], turn @ [1, 0, 0]
    yaw = np.degrees(np.arcsin(nose[0]))  # how far the nose points to image right
    pitch = np.degrees(np.arctan2(-nose[1], nose[2]))  # how far it points up
    roll = np.degrees(np.arctan2(eyes[1], eyes[0]))  # how the line of the eyes leans
    measured = pose(projected(turn, scale=rng.uniform(0.1, 20)))
    assert measured == pytest.approx((yaw, pitch, roll), abs=0.05)


def test_a_turned_photo_turns_the_roll(portraits: list[Photo], detector: YuNetDetector):
    turns = []
    for photo in portraits:
        rolls = []
        for degrees in (-12, 12):  # OpenCV turns counter-clockwise
            large = cv2.resize(photo.pixels, (600, 600), interpolation=cv2.INTER_CUBIC)
            matrix = cv2.getRotationMatrix2D((300, 300), -degrees, 1.0)
            pixels = cv2.warpAffine(large, matrix, (600, 600), borderMode=cv2.BORDER_REPLICATE)
            rolls.append(pose(detector.detect(replace(photo, pixels=pixels))[0].points)[2])
        turns.append(rolls[1] - rolls[0])
    assert np.median(turns) == pytest.approx(24, abs=6)


def test_a_mirrored_face_turns_the_other_way(face_crops: list[Crop]):
    for crop in face_crops:
        points = crop.face.points
        mirrored = (points * [-1, 1])[[1, 0, 2, 4, 3]].astype(np.float32)
        yaw, pitch, roll = pose(points)
        assert pose(mirrored) == pytest.approx((-yaw, pitch, -roll), abs=0.1)


def test_points_that_all_coincide_have_numbers():
    assert np.isfinite(pose(np.full((5, 2), 7, np.float32))).all()


@pytest.mark.pictures
def test_most_development_people_pass_the_gate(lfw: Path, embedder: Embedder):
    paths = sorted((lfw / "train").glob("*/*_0001.jpg"))[::7][:40]
    reasons = [
        Gate().reasons(found.quality)
        for path in paths
        for found in embedder.faces(read_photo(path), "centre")
    ]
    assert sum(not r for r in reasons) >= 0.95 * len(paths)


# The gate


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, []),
        ({"size": 19.9}, ["face_too_small"]),
        ({"confidence": 0.59}, ["low_quality"]),
        ({"sharpness": 0.049}, ["low_quality"]),
        ({"contrast": 0.03}, ["low_quality"]),
        ({"clipped": 0.61}, ["low_quality"]),
        ({"yaw": -66}, ["extreme_pose"]),
        ({"yaw": 66}, ["extreme_pose"]),
        ({"pitch": 51}, ["extreme_pose"]),
        ({"pitch": -51}, ["extreme_pose"]),
        ({"roll": 170}, []),
        ({"size": 1, "sharpness": 0, "yaw": 90}, ["face_too_small", "low_quality", "extreme_pose"]),
    ],
)
def test_the_gate_says_what_falls_short(change: dict[str, float], reasons: list[str]):
    quality = replace(GOOD, **change)
    assert Gate().reasons(quality) == reasons
    assert OPEN_GATE.reasons(quality) == []


def test_a_value_on_the_limit_passes():
    gate = Gate()
    limits = {
        name: getattr(gate, name)
        for name in ("size", "confidence", "sharpness", "contrast", "clipped", "yaw", "pitch")
    }
    assert gate.reasons(replace(GOOD, **limits)) == []


def test_measures_as_plain_values(crops: list[Crop]):
    values = measure(crops[0]).to_dict()
    assert set(values) == set(Quality.__slots__)
    assert all(type(value) is float for value in values.values())
