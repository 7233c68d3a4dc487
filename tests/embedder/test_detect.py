import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.detect import (
    Face,
    WholeDetector,
    YuNetDetector,
    _ladder,
    _merge,
    _resized,
    _Sighting,
    choose,
    open_detector,
)
from embedder.errors import UnknownModel, WrongArray
from embedder.photo import Photo, read_photo

Pixels = NDArray[np.uint8]


def photo_of(pixels: Pixels) -> Photo:
    return Photo(np.ascontiguousarray(pixels), "", "test")


def boxed(x: float, y: float, w: float, h: float, confidence: float = 0.9) -> Face:
    return Face(np.array([x, y, w, h], np.float32), None, confidence)


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    both = np.prod(np.maximum(high - low, 0))
    return float(both / (a[2] * a[3] + b[2] * b[3] - both))


def around(photo: Photo, face: Face, margin: float, aspect: float = 1.0) -> tuple[Pixels, Face]:
    """The part of a photo around a face, width : height = aspect, and the face in it.

    What lies outside the photo is filled from its border.
    """
    x, y, w, h = (float(v) for v in face.box)
    height = max(h, w / aspect) * (1 + 2 * margin)
    width = height * aspect
    left, top = round(x + w / 2 - width / 2), round(y + h / 2 - height / 2)
    pad = round(max(width, height)) + 1
    padded = cv2.copyMakeBorder(photo.pixels, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    part = padded[top + pad : top + pad + round(height), left + pad : left + pad + round(width)]
    return part, boxed(x - left, y - top, w, h)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    method = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(pixels, (width, height), interpolation=method)


def test_each_portrait_shows_one_face(portraits: list[Photo], detector: YuNetDetector):
    for photo in portraits:
        faces = detector.detect(photo)
        assert len(faces) == 1, photo.source
        (face,) = faces
        assert 0.6 <= face.confidence <= 1
        low, high = face.box[:2], face.box[:2] + face.box[2:]
        assert ((face.points > low) & (face.points < high)).all(), "the points lie in the box"
        left_eye, right_eye, nose, left_mouth, right_mouth = face.points
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_a_face_of_twenty_pixels_in_a_frame_is_found(
    portraits: list[Photo], detector: YuNetDetector
):
    found = 0
    for photo in portraits:
        (face,) = detector.detect(photo)
        part, inside = around(photo, face, margin=0.5)
        scale = 20 / np.sqrt(inside.box[2] * inside.box[3])
        small = resized(part, round(part.shape[1] * scale), round(part.shape[0] * scale))
        frame = np.full((480, 640, 3), 110, np.uint8)
        frame[200 : 200 + small.shape[0], 400 : 400 + small.shape[1]] = small
        want = inside.box * scale + [400, 200, 0, 0]
        faces = detector.detect(photo_of(frame))
        found += len(faces) == 1 and overlap(faces[0].box, want) > 0.5
    assert found >= 0.75 * len(portraits), f"{found} of {len(portraits)}"


def test_a_face_that_fills_24_megapixels_is_found_once(
    portraits: list[Photo], detector: YuNetDetector
):
    for photo in portraits[:3]:
        (face,) = detector.detect(photo)
        part, inside = around(photo, face, margin=0.15, aspect=4 / 6)
        scale = 4000 / part.shape[1]
        faces = detector.detect(photo_of(resized(part, 4000, 6000)))
        assert len(faces) == 1, photo.source
        assert overlap(faces[0].box, inside.box * scale) > 0.5


@pytest.mark.parametrize("tile", [160, 420])
def test_several_faces_in_one_frame_are_each_found_once(
    portraits: list[Photo], detector: YuNetDetector, tile: int
):
    cells, wanted = [], []
    for photo in portraits[:6]:
        part, inside = around(photo, detector.detect(photo)[0], margin=0.4)
        cell = resized(part, tile, tile)
        cells.append(np.pad(cell, ((0, 0), (0, 40), (0, 0)), constant_values=127))
        wanted.append(inside.box * (tile / part.shape[0]))
    faces = detector.detect(photo_of(np.concatenate(cells, axis=1)))
    assert len(faces) == len(cells)
    for i, box in enumerate(wanted):
        place = box + np.array([i * (tile + 40), 0, 0, 0])
        assert sum(overlap(face.box, place) > 0.5 for face in faces) == 1


def test_the_most_confident_face_comes_first(portraits: list[Photo], detector: YuNetDetector):
    parts = [around(p, detector.detect(p)[0], margin=0.6)[0] for p in portraits[:4]]
    frame = np.concatenate([resized(part, 200, 200) for part in parts], axis=1)
    confidences = [face.confidence for face in detector.detect(photo_of(frame))]
    assert confidences == sorted(confidences, reverse=True)


def test_a_face_moves_with_its_photo(portraits: list[Photo], detector: YuNetDetector):
    """Boxes and points are told in the pixels of the photo, whatever scale was looked at."""
    face = detector.detect(portraits[0])[0]
    part, inside = around(portraits[0], face, margin=0.8)
    places = []
    for width in (256, 700, 1500):
        scale = width / part.shape[1]
        (again,) = detector.detect(photo_of(resized(part, width, width)))
        places.append(again.points / width)
        assert overlap(again.box, inside.box * scale) > 0.6
    side = np.sqrt(inside.box[2] * inside.box[3]) / part.shape[1]
    assert np.ptp(places, axis=0).max() < 0.08 * side


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (1, 3000), (3000, 1), (7, 5), (320, 320)])
def test_a_blank_picture_shows_nobody(detector: YuNetDetector, shape: tuple[int, int]):
    for value in (0, 128, 255):
        assert detector.detect(photo_of(np.full((*shape, 3), value, np.uint8))) == []


def test_noise_shows_nobody(detector: YuNetDetector):
    noise = np.random.default_rng(1).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    assert detector.detect(photo_of(noise)) == []


def test_threads_see_what_one_sees(portraits: list[Photo], detector: YuNetDetector):
    alone = [detector.detect(photo) for photo in portraits]
    differences: list[str] = []

    def look(order: list[int]) -> None:
        for i in order * 3:
            faces = detector.detect(portraits[i])
            same = len(faces) == len(alone[i]) and all(
                np.array_equal(a.box, b.box) and np.array_equal(a.points, b.points)
                for a, b in zip(faces, alone[i], strict=True)
            )
            if not same:
                differences.append(portraits[i].source)

    orders = [list(range(len(portraits))), list(reversed(range(len(portraits))))]
    threads = [threading.Thread(target=look, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differences == []


@pytest.mark.pictures
def test_the_person_of_a_development_photo_is_found(lfw: Path, detector: YuNetDetector):
    paths = sorted((lfw / "train").glob("*/*_0001.jpg"))[::5][:80]
    hits = 0
    for path in paths:
        photo = read_photo(path)
        faces = detector.detect(photo)
        if faces:
            x, y, w, h = choose(faces, photo, "centre").box
            hits += abs(x + w / 2 - 125) < 25 and abs(y + h / 2 - 125) < 25 and 60 < h < 180
    assert hits >= len(paths) - 1


# Merging


def sighting(face: Face, comfort: float = 1.0) -> _Sighting:
    return _Sighting(face, comfort)


def test_of_two_looks_at_a_face_the_better_is_kept():
    sure, comfortable = boxed(0, 0, 100, 100, 0.95), boxed(10, 5, 100, 100, 0.9)
    kept = _merge([sighting(sure, 0.5), sighting(comfortable, 1.0)])
    assert [k.face for k in kept] == [comfortable]


def test_a_box_inside_another_is_the_same_face():
    large, part = boxed(0, 0, 100, 100), boxed(30, 30, 40, 40, 0.8)
    assert [k.face for k in _merge([sighting(part), sighting(large)])] == [large]


def test_neighbours_are_two_faces_the_surer_first():
    one, other = boxed(0, 0, 100, 100, 0.7), boxed(80, 0, 100, 100, 0.9)
    assert [k.face for k in _merge([sighting(one), sighting(other)])] == [other, one]


def test_merging_nothing_is_nothing():
    assert _merge([]) == []


def test_boxes_without_area_do_not_divide_by_zero():
    assert len(_merge([sighting(boxed(5, 5, 0, 0)), sighting(boxed(5, 5, 0, 0))])) == 2


@pytest.mark.parametrize(
    ("long_side", "frames"),
    [
        (100, [100]),
        (320, [320]),
        (500, [500, 192]),
        (640, [640, 192]),
        (960, [640, 192]),
        (1000, [1000, 640, 192]),
        (6000, [1280, 640, 192]),
    ],
)
def test_the_ladder_of_scales(long_side: int, frames: list[int]):
    assert _ladder(long_side) == frames


@pytest.mark.parametrize("shape", [(3000, 2000), (641, 480), (1, 60_000), (1999, 1001)])
def test_resizing_hits_the_long_side_and_keeps_the_mean(shape: tuple[int, int]):
    y, x = np.mgrid[: shape[0], : shape[1]]
    grey = ((x / shape[1] + y / shape[0]) * 127).astype(np.uint8)
    small = _resized(cv2.merge([grey] * 3), 640)
    assert max(small.shape) == 640
    assert abs(small.shape[0] / small.shape[1] - shape[0] / shape[1]) < 0.01
    assert abs(small.mean() - grey.mean()) < 1


# Choosing, and pictures of things


def test_the_chosen_face_follows_the_formula():
    rng = np.random.default_rng(6)
    photo = photo_of(np.zeros((480, 640, 3), np.uint8))
    different = 0
    for _ in range(100):
        boxes = rng.uniform([0, 0, 10, 10], [600, 440, 300, 300], (5, 4))
        faces = [boxed(*box) for box in boxes]
        areas, centred = [], []
        for x, y, w, h in boxes:
            aside = np.hypot(x + w / 2 - 320, y + h / 2 - 240)
            areas.append(w * h)
            centred.append(w * h - 2 * aside**2)
        assert choose(faces, photo, "largest") is faces[int(np.argmax(areas))]
        assert choose(faces, photo, "centre") is faces[int(np.argmax(centred))]
        different += int(np.argmax(areas)) != int(np.argmax(centred))
    assert different, "the two rules must be told apart by these boxes"


def test_the_whole_picture_is_the_thing():
    (face,) = WholeDetector().detect(photo_of(np.zeros((30, 50, 3), np.uint8)))
    assert face.box.tolist() == [0, 0, 50, 30]
    assert face.points is None
    assert face.confidence == 1.0


def test_detectors_by_name(detector: YuNetDetector):
    assert open_detector("whole").name == "whole"
    assert open_detector().name == detector.name == "yunet"
    with pytest.raises(UnknownModel, match="known are yunet, whole"):
        open_detector("mtcnn")


def test_a_face_checks_its_arrays():
    with pytest.raises(WrongArray, match=r"Face\.box must be float32 \(4\)"):
        Face(np.zeros(4), None, 1.0)
    with pytest.raises(WrongArray, match=r"Face\.points must be float32 \(5, 2\)"):
        Face(np.zeros(4, np.float32), np.zeros((4, 2), np.float32), 1.0)
