"""YuNet's plain graph and our decoding beside OpenCV's FaceDetectorYN."""

import threading

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from embedder import yunet
from embedder.detect import YuNetDetector, open_detector
from embedder.opencv_detector import OpenCvLooker
from embedder.photo import Photo
from embedder.weights import cache_folder, digest_of

openvino_detector = pytest.importorskip(
    "embedder.openvino_detector", reason="the extra cpu is not installed"
)
onnx_detector = pytest.importorskip(
    "embedder.onnx_detector", reason="the extra cpu is not installed"
)
NEAR = 2e-3  # pixels; what rounding in another order makes of a point


@pytest.fixture(scope="module")
def opencv(detector: YuNetDetector) -> OpenCvLooker:  # noqa: ARG001 - skips without weights
    return OpenCvLooker()


@pytest.fixture(scope="module")
def openvino(detector: YuNetDetector):  # noqa: ARG001 - skips without weights
    return openvino_detector.OpenVinoLooker()


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def looker(request: pytest.FixtureRequest, openvino):
    return openvino if request.param == "openvino" else onnx_detector.OnnxLooker("cpu")


def frames(portraits: list[Photo]) -> list[NDArray[np.uint8]]:
    """Photos at sizes that are no multiples of 32, several faces in one, and nobody."""
    made = [photo.pixels for photo in portraits[:3]]
    made += [cv2.resize(portraits[0].pixels, size) for size in ((250, 250), (333, 190), (97, 131))]
    tiles = [cv2.resize(photo.pixels, (160, 160)) for photo in portraits[:4]]
    made.append(np.concatenate(tiles, axis=1))
    made.append(np.random.default_rng(3).integers(0, 256, (64, 100, 3), dtype=np.uint8))
    made.append(np.zeros((1, 1, 3), np.uint8))
    return [np.ascontiguousarray(frame) for frame in made]


@pytest.mark.parametrize("confidence", [0.6, 0.02])
def test_boxes_points_and_scores_equal_opencvs(
    looker, opencv: OpenCvLooker, portraits: list[Photo], confidence: float
):
    """At 0.02 hundreds of candidates overlap: what is left out must be the same too."""
    most = 0
    for frame in frames(portraits):
        theirs, ours = opencv.look(frame, confidence), looker.look(frame, confidence)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype == np.float32
        assert np.abs(ours - theirs).max(initial=0) <= NEAR
        most = max(most, len(ours))
    assert most >= 4


def test_a_size_seen_again_gets_its_own_graph_and_the_same_faces(
    opencv: OpenCvLooker, portraits: list[Photo]
):
    fresh = openvino_detector.OpenVinoLooker()
    frame = cv2.resize(portraits[0].pixels, (224, 192))
    looks = [fresh.look(frame, 0.6) for _ in range(3)]
    assert {graph.size for graph in fresh._waiting} == {(-1, -1), (192, 224)}
    for rows in looks:
        assert np.abs(rows - opencv.look(frame, 0.6)).max() <= NEAR


def test_a_large_size_gets_none(detector: YuNetDetector):  # noqa: ARG001 - skips without weights
    """It would be no quicker, and take tens of megabytes."""
    fresh = openvino_detector.OpenVinoLooker()
    for _ in range(3):
        fresh.look(np.zeros((672, 640, 3), np.uint8), 0.6)
    assert {graph.size for graph in fresh._waiting} == {(-1, -1)}


def test_no_more_graphs_wait_than_there_is_room_for(opencv: OpenCvLooker, portraits: list[Photo]):
    fresh = openvino_detector.OpenVinoLooker()
    frames = [cv2.resize(portraits[0].pixels, (width, 64)) for width in (64, 96, 128)]
    seen = [fresh.look(frame, 0.6) for frame in frames * 2]
    assert len(fresh._waiting) == 4
    three = sum(graph.weight for graph in fresh._waiting if graph.size != (64, 128))
    fresh.keep(three)
    assert [graph.size for graph in fresh._waiting] == [(64, 64), (64, 96), (64, 128)]
    fresh.keep(0)
    assert fresh._waiting == []
    seen += [fresh.look(frame, 0.6) for frame in frames]
    assert fresh._waiting == []
    assert fresh._weight == 0
    for frame, rows in zip(frames * 3, seen, strict=True):
        assert np.abs(rows - opencv.look(frame, 0.6)).max(initial=0) <= NEAR


def test_a_graph_nobody_asks_for_makes_room(
    portraits: list[Photo], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(openvino_detector, "_IDLE", 3)
    fresh = openvino_detector.OpenVinoLooker()
    one, other = (cv2.resize(portraits[0].pixels, (width, 64)) for width in (64, 96))
    fresh.look(one, 0.6)
    fresh.look(one, 0.6)
    fresh.keep(sum(graph.weight for graph in fresh._waiting) + 1_000_000)
    for _ in range(2):
        fresh.look(other, 0.6)
        assert {graph.size for graph in fresh._waiting} == {(-1, -1), (64, 64)}
    fresh.look(other, 0.6)
    assert {graph.size for graph in fresh._waiting} == {(-1, -1), (64, 96)}


def test_frames_of_one_size_are_looked_at_side_by_side(
    detector: YuNetDetector,  # noqa: ARG001 - skips without weights
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(openvino_detector.os, "cpu_count", lambda: 2)
    fresh = openvino_detector.OpenVinoLooker()
    size = (64, 64)
    for _ in range(2):
        fresh.look(np.zeros((*size, 3), np.uint8), 0.6)
    with fresh._borrowed(size) as one, fresh._borrowed(size) as other:
        assert one is not other
        third = threading.Thread(target=fresh.look, args=(np.zeros((*size, 3), np.uint8), 0.6))
        third.start()
        third.join(0.2)
        assert third.is_alive()  # as many as cores: it waits
    third.join()
    assert fresh._opened[size] == 2


def test_a_graph_that_cannot_be_opened_is_not_counted(
    detector: YuNetDetector,  # noqa: ARG001 - skips without weights
    monkeypatch: pytest.MonkeyPatch,
):
    fresh = openvino_detector.OpenVinoLooker()

    def fail(size: tuple[int, int]) -> None:
        raise MemoryError(size)

    with monkeypatch.context() as patch:
        patch.setattr(fresh, "_compiled", fail)
        with pytest.raises(MemoryError):
            fresh.look(np.zeros((64, 64, 3), np.uint8), 0.6)
    assert fresh._weight == 0
    assert fresh.look(np.zeros((64, 64, 3), np.uint8), 0.6).shape == (0, 15)


def test_threads_see_what_one_sees(openvino, portraits: list[Photo]):
    found = YuNetDetector(looker=openvino)
    alone = [found.detect(photo) for photo in portraits]
    different: list[str] = []

    def look(order: list[int]) -> None:
        for i in order * 2:
            again = found.detect(portraits[i])
            if [face.box.tolist() for face in again] != [f.box.tolist() for f in alone[i]]:
                different.append(portraits[i].source)

    count = len(portraits)
    orders = [list(range(count)), list(reversed(range(count)))]
    threads = [threading.Thread(target=look, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert different == []


def test_the_detector_runs_where_the_encoder_runs(detector: YuNetDetector):  # noqa: ARG001 - skips
    assert isinstance(open_detector("yunet", "openvino")._looker, openvino_detector.OpenVinoLooker)
    assert isinstance(open_detector("yunet", "onnxruntime")._looker, OpenCvLooker)


def test_the_graph_is_verified_and_made_anew(detector: YuNetDetector):  # noqa: ARG001 - skips
    path = yunet.model_path()
    assert path.parent == cache_folder()
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\0")
    assert yunet.model_path() == path
    assert digest_of(path) == yunet._FOLDED_SHA256
    assert path.read_bytes() == good


@pytest.mark.parametrize("shape", [(1, 1), (32, 32), (33, 64), (250, 250)])
def test_padding_fills_up_with_black(shape: tuple[int, int]):
    frame = np.full((*shape, 3), 200, np.uint8)
    whole = yunet.padded(frame)
    assert all(side % 32 == 0 for side in whole.shape[:2])
    assert all(0 <= a - b < 32 for a, b in zip(whole.shape[:2], shape, strict=True))
    assert (whole[: shape[0], : shape[1]] == 200).all()
    assert whole.sum() == frame.sum()
