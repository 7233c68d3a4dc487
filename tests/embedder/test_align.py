import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from embedder import align as align_module
from embedder.align import REFERENCE, SIDE, Crop, align, align_all, similarity_transform
from embedder.detect import Face
from embedder.embed import Embedder
from embedder.errors import WrongArray
from embedder.photo import Encoded, Photo, Room, decode, read_bytes


def photo_of(pixels: NDArray[np.uint8]) -> Photo:
    return Photo(pixels, "", "test")


def face_at(points: NDArray[np.floating]) -> Face:
    low, high = points.min(axis=0), points.max(axis=0)
    box = np.concatenate([low, high - low]).astype(np.float32)
    return Face(box, points.astype(np.float32), 1.0)


def thing_at(x: float, y: float, w: float, h: float) -> Face:
    return Face(np.array([x, y, w, h], np.float32), None, 1.0)


def turned(points: NDArray[np.floating], scale: float, degrees: float) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return scale * points @ np.array([[cos, sin], [-sin, cos]])


def complex_fit(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.complexfloating]:
    """The best similarity as two complex numbers: target = turn · source + shift."""
    z, w = source @ [1, 1j], target @ [1, 1j]
    return np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), w, rcond=None)[0]


@pytest.mark.parametrize("seed", range(20))
def test_the_transform_is_the_least_squares_similarity(seed: int):
    rng = np.random.default_rng(seed)
    source = rng.normal(0, 50, (rng.integers(2, 9), 2)) + rng.normal(0, 500, 2)
    target = rng.normal(0, 50, source.shape)
    turn, shift = complex_fit(source, target)
    want = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]]
    assert similarity_transform(source, target) == pytest.approx(np.array(want), abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_a_known_similarity_is_recovered(seed: int):
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 1000, 2)
    moved = turned(REFERENCE, rng.uniform(0.05, 40), rng.uniform(-180, 180)) + shift
    back = similarity_transform(moved, REFERENCE)
    assert moved @ back[:, :2].T + back[:, 2] == pytest.approx(REFERENCE, abs=1e-7)


def test_a_mirrored_face_is_not_reflected():
    back = similarity_transform(REFERENCE * [-1, 1], REFERENCE)
    assert np.linalg.det(back[:, :2]) > 0


def test_points_that_all_coincide_still_give_a_crop():
    points = np.full((5, 2), 30.0)
    crop = align(photo_of(np.full((60, 60, 3), 77, np.uint8)), face_at(points))
    assert np.isfinite(crop.warp).all()
    assert (crop.pixels == 77).all()


def dotted(shape: tuple[int, int], points: NDArray[np.floating], width: float) -> Photo:
    """A dark photo with a soft light dot at each point, whose middle is known below a pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = np.zeros(shape)
    for px, py in points:
        light += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * width**2))
    return photo_of(np.repeat(np.rint(250 * light)[:, :, None], 3, axis=2).astype(np.uint8))


def middle(pixels: NDArray[np.uint8], near: NDArray[np.floating]) -> NDArray[np.float64]:
    """The centre of light within seven pixels of a place, x and y."""
    x0, y0 = np.rint(near).astype(int) - 7
    patch = pixels[y0 : y0 + 15, x0 : x0 + 15, 0].astype(float)
    y, x = np.mgrid[:15, :15]
    return np.array([(x * patch).sum(), (y * patch).sum()]) / patch.sum() + [x0, y0]


# Crop pixels a photo pixel: enlarged, one to one, and both sides of the limit of one half where
# the photo is shrunk first.
@pytest.mark.parametrize("scale", [2.0, 1.0, 0.51, 0.49, 0.3, 0.117])
@pytest.mark.parametrize("degrees", [0, 25, -130])
def test_the_points_land_where_they_should_below_a_pixel(scale: float, degrees: float):
    points = turned(REFERENCE - 56, 1 / scale, degrees)
    points += 10.3 + 75 / scale
    side = int(20 + 150 / scale)
    crop = align(dotted((side, side + 7), points, 2.2 / scale), face_at(points))
    found = np.array([middle(crop.pixels, place) for place in REFERENCE])
    assert found == pytest.approx(REFERENCE, abs=0.06)


@pytest.mark.parametrize("side", [56, 112, 160])
def test_the_reference_grows_with_the_crop(side: int):
    points = REFERENCE + np.array([40.0, 20.0])
    crop = align(photo_of(np.zeros((200, 200, 3), np.uint8)), face_at(points), side)
    landed = points @ crop.warp[:, :2].T + crop.warp[:, 2]
    assert crop.pixels.shape == (side, side, 3)
    assert landed == pytest.approx(REFERENCE * side / SIDE, abs=1e-3)


def test_shrinking_first_changes_a_smooth_picture_little():
    y, x = np.mgrid[:1500, :1300]
    waves = [127 + 100 * np.sin(x / a + y / b) for a, b in ((150, 210), (-130, 300), (400, 90))]
    photo = photo_of(np.rint(np.stack(waves, 2)).astype(np.uint8))
    for scale, degrees in ((0.45, 10), (0.2, -35), (0.09, 80)):
        points = turned(REFERENCE - 56, 1 / scale, degrees) + np.array([640, 730])
        crop = align(photo, face_at(points))
        direct = align_module._sample(photo.pixels, crop.warp, SIDE)
        assert np.abs(crop.pixels.astype(int) - direct).max() <= 4
        assert np.abs(crop.pixels.astype(int) - direct).mean() < 0.6


def test_a_large_face_is_not_aliased():
    board = (np.indices((1200, 1200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    photo = photo_of(np.repeat(board[:, :, None], 3, axis=2))
    points = turned(REFERENCE - 56, 8.3, 0) + 600
    crop = align(photo, face_at(points))
    direct = align_module._sample(photo.pixels, crop.warp, SIDE)
    assert direct.std() > 40, "bilinear sampling alone makes a pattern of it"
    assert crop.pixels.std() < 4
    assert abs(crop.pixels.mean() - 127.5) < 2


def test_beyond_the_border_the_border_is_repeated():
    photo = photo_of(np.random.default_rng(2).integers(0, 256, (112, 112, 3), dtype=np.uint8))
    crop = align(photo, face_at(REFERENCE - [30.0, 0.0]))  # crop x = photo x + 30
    want = np.concatenate([np.repeat(photo.pixels[:, :1], 30, axis=1), photo.pixels[:, :82]], 1)
    # the fit is exact to about a thousandth of a pixel
    assert np.abs(crop.pixels.astype(int) - want).max() <= 1


def test_a_large_face_over_the_border_is_repeated_too():
    pixels = np.zeros((900, 900, 3), np.uint8)
    pixels[:, :, 0] = 200
    pixels[:, 850:, 1] = 100
    points = turned(REFERENCE - 56, 6, 0) + np.array([900, 450])  # half the crop lies outside
    crop = align(photo_of(pixels), face_at(points))
    assert (crop.pixels[:, 60:] == [200, 100, 0]).all()


@pytest.mark.parametrize("offset", [-5000.0, 5000.0])
@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_a_face_outside_the_photo_is_its_border(offset: float, scale: float):
    photo = photo_of(np.full((50, 70, 3), 33, np.uint8))
    crop = align(photo, face_at(turned(REFERENCE - 56, scale, 0) + offset))
    assert (crop.pixels == 33).all()


def test_a_thing_of_the_crops_size_is_itself():
    pixels = np.random.default_rng(3).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert np.array_equal(align(photo_of(pixels), thing_at(0, 0, 112, 112)).pixels, pixels)


@pytest.mark.parametrize(("width", "height"), [(56, 112), (112, 28)])
def test_a_thing_keeps_its_shape_and_the_rest_is_grey(width: int, height: int):
    pixels = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    crop = align(photo_of(pixels), thing_at(0, 0, width, height)).pixels
    left, top = (112 - width) // 2, (112 - height) // 2
    want = np.pad(pixels, ((top, top), (left, left), (0, 0)), constant_values=127)
    assert np.array_equal(crop, want)


@pytest.mark.parametrize(("width", "height"), [(28, 28), (31, 7), (1000, 3), (3000, 1999), (1, 1)])
@pytest.mark.parametrize("side", [112, 224])
def test_a_thing_of_any_shape_fills_one_direction(width: int, height: int, side: int):
    crop = align(
        photo_of(np.full((height, width, 3), 9, np.uint8)), thing_at(0, 0, width, height), side
    )
    covered = (crop.pixels == 9).all(axis=2)
    assert (covered | (crop.pixels == 127).all(axis=2)).all()
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert max(len(rows), len(columns)) == side
    assert min(len(rows), len(columns)) == pytest.approx(
        side * min(width, height) / max(width, height), abs=1
    )


def test_a_thing_is_scaled_evenly_about_its_middle():
    photo = photo_of(np.zeros((700, 1000, 3), np.uint8))
    warp = align(photo, thing_at(100, 50, 800, 600)).warp
    assert warp[0, 0] == warp[1, 1] == pytest.approx(112 / 800)
    assert warp[0, 1] == warp[1, 0] == 0
    assert warp @ [100 + 400 - 0.5, 50 + 300 - 0.5, 1] == pytest.approx([55.5, 55.5])


def test_a_crop_is_square():
    with pytest.raises(WrongArray, match=r"Crop\.pixels must be uint8"):
        Crop(np.zeros((112, 100, 3), np.uint8), np.eye(2, 3), thing_at(0, 0, 1, 1))
    with pytest.raises(WrongArray, match=r"Crop\.warp must be float64 \(2, 3\)"):
        Crop(np.zeros((9, 9, 3), np.uint8), np.eye(3), thing_at(0, 0, 1, 1))


# Photos decoded at a reduced size


def large(portrait: Photo, side: int, face_scale: float) -> Encoded:
    """A JPEG of `side` by 3/4 `side` pixels with a portrait in it."""
    height = side * 3 // 4
    width = round(side * face_scale)
    pixels = cv2.resize(portrait.pixels, (width, width), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((height, side, 3), 120, np.uint8)
    canvas[80 : 80 + width, 200 : 200 + width] = pixels[: height - 80, : side - 200]
    bgr = cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR)
    return read_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def test_a_large_face_is_cut_from_the_reduced_photo_as_from_the_whole(
    portraits: list[Photo], embedder: Embedder
):
    cosines = []
    for portrait in portraits[:3]:
        encoded = large(portrait, 4000, 0.5)
        whole, reduced = decode(encoded), decode(encoded, least=1280)
        assert (whole.reduced, reduced.reduced) == (1, 2)
        (face,) = embedder.detector.detect(reduced)
        crops = [
            *align_all(reduced, [face]),
            *align_all(whole, [face.enlarged(2)]),
        ]
        assert np.allclose(crops[0].warp, crops[1].warp)
        assert np.array_equal(crops[0].face.box, crops[1].face.box)
        difference = crops[0].pixels.astype(int) - crops[1].pixels.astype(int)
        assert np.abs(difference).mean() < 1.5
        vectors = embedder.encoder.encode(crops).vectors
        cosines.append(float(vectors[0] @ vectors[1]))
    assert min(cosines) > 0.998


def test_a_small_face_is_cut_from_the_whole_photo_decoded_once(
    portraits: list[Photo], embedder: Embedder, monkeypatch: pytest.MonkeyPatch
):
    encoded = large(portraits[0], 4000, 0.09)
    reduced = decode(encoded, least=1280)
    (face,) = embedder.detector.detect(reduced)
    decoded = []
    real = Photo.whole

    def counted(photo: Photo, room: Room | None) -> Photo:
        decoded.append(1)
        return real(photo, room)

    monkeypatch.setattr(Photo, "whole", counted)
    crops = align_all(reduced, [face, face])
    assert decoded == [1]
    for crop in crops:
        assert np.array_equal(crop.pixels, align(decode(encoded), face.enlarged(2)).pixels)


def test_sizes_are_told_in_pixels_of_the_file(portraits: list[Photo], embedder: Embedder):
    encoded = large(portraits[0], 4000, 0.4)
    whole, reduced = decode(encoded), decode(encoded, least=1280)
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == (4000, 3000)
    one, other = (embedder.faces(photo)[0].quality for photo in (whole, reduced))
    assert other.size == pytest.approx(one.size, rel=0.02)
    assert other.yaw == pytest.approx(one.yaw, abs=3)
