"""Photo to faces: YuNet over a short ladder of scales; `whole` for pictures of things.

Letters: F faces, P = 5 points.

YuNet finds faces of about 10 to 300 pixels in the frame it is given, and errs on a face that
fills that frame. So a photo is looked at more than once: shrunk so that its long side is
`FRAME` (faces from about 20 pixels there), shrunk much further (a face that fills the photo),
and, for a large photo, less (small faces in a group photo). What several looks found is merged.

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20, 2023; weights from OpenCV Zoo, MIT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.arrays import expect
from embedder.errors import UnknownModel
from embedder.photo import Photo
from embedder.yunet import Looker

FRAME = 640
_COARSE, _FINE = 192, 1280
_LARGE_PHOTO = 960
_SMALL_PHOTO = 320
_CONFIDENCE = 0.6
_OVERLAP = 0.3
# Face sides in the detector's frame whose points are the most exact: on a face of 95 pixels that
# leans by 20 degrees they show 5 to 10, from 150 pixels on they show 16 to 20.
_COMFORT = (150.0, 256.0)


@dataclass(frozen=True, slots=True)
class Face:
    """A found face.

    Attributes:
        box: float32 (4,), x, y, width, height in photo pixels; it may reach over the border.
        points: float32 (5, 2) in photo pixels: eyes, nose tip, mouth corners, image-left first;
            None for a picture of a thing.
        confidence: 0…1.
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32] | None
    confidence: float

    def __post_init__(self) -> None:
        expect(self.box, np.float32, (4,), "Face.box")
        if self.points is not None:
            expect(self.points, np.float32, (5, 2), "Face.points")

    def enlarged(self, factor: int) -> Face:
        """The face in a photo so many times as large."""
        points = None if self.points is None else self.points * np.float32(factor)
        return Face(self.box * np.float32(factor), points, self.confidence)


class Detector(Protocol):
    """What finds faces."""

    name: str

    @property
    def frame(self) -> int | None:
        """The longest side, in pixels, at which it looks at a photo; None: it wants them all."""
        ...

    def detect(self, photo: Photo) -> list[Face]:
        """The faces of a photo, the most confident first."""
        ...

    def keep(self, room: int) -> None:
        """Keep no more between two photos than fits into so many bytes, as far as it can."""
        ...


class WholeDetector:
    """The detector for pictures of things: the whole picture is the thing."""

    name = "whole"
    frame = None

    def detect(self, photo: Photo) -> list[Face]:
        """One `Face` without points that covers the whole photo."""
        height, width = photo.pixels.shape[:2]
        return [Face(np.array([0, 0, width, height], dtype=np.float32), None, 1.0)]

    def keep(self, room: int) -> None:
        """It keeps nothing."""


class YuNetDetector:
    """YuNet in one of its runtimes; safe to share between threads."""

    name = "yunet"
    frame = _FINE

    def __init__(self, confidence: float = _CONFIDENCE, looker: Looker | None = None) -> None:
        """Find and verify the weights.

        Args:
            confidence: faces the network is less sure of are dropped, 0…1.
            looker: the network, opened; None: in OpenCV.

        Raises:
            WeightsMissing, WeightsBroken: as `embedder.weights.find`.
        """
        self._looker = _open_looker("opencv", "cpu") if looker is None else looker
        self._confidence = confidence

    def detect(self, photo: Photo) -> list[Face]:
        """Faces of a photo, the most confident first; none is an empty list."""
        found: list[_Sighting] = []
        height, width = photo.pixels.shape[:2]
        long_side = max(height, width)
        frame = photo.pixels
        for side in _ladder(long_side):  # each smaller frame is made from the one before
            frame = _resized(frame, side)
            found += self._look(frame, (height, width))
        if not found and long_side <= _SMALL_PHOTO:
            found = self._look(_resized(photo.pixels, FRAME), (height, width))
        return [sighting.face for sighting in _merge(found)]

    def keep(self, room: int) -> None:
        """Keep no more graphs of the network than fit into so many bytes, as far as it can."""
        self._looker.keep(room)

    def _look(self, frame: NDArray[np.uint8], photo_size: tuple[int, int]) -> list[_Sighting]:
        """One look at one scale.

        Args:
            frame: uint8 (h, w, 3) RGB, the photo at some scale.
            photo_size: rows and columns of the photo, in whose pixels the faces are told.
        """
        height, width = frame.shape[:2]
        rows = self._looker.look(frame, self._confidence)
        ratio = np.array([photo_size[1] / width, photo_size[0] / height], dtype=np.float32)
        return [_sighting(row, ratio) for row in rows]


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A face as one look saw it, and how well the scale of that look suits its points."""

    face: Face
    comfort: float


def _sighting(row: NDArray[np.float32], ratio: NDArray[np.float32]) -> _Sighting:
    """A row of YuNet, float32 (15,), as a face in photo pixels (ratio: float32 (2,))."""
    side = float(np.sqrt(max(row[2] * row[3], 0.0)))
    low, high = _COMFORT
    comfort = min(side / low, 1.0) * min(high / max(side, 1.0), 1.0)
    box = np.concatenate([row[0:2] * ratio, row[2:4] * ratio])
    return _Sighting(Face(box, row[4:14].reshape(5, 2) * ratio, float(row[14])), comfort)


def _ladder(long_side: int) -> list[int]:
    """The frames, long side in pixels, a photo is looked at in, the largest first."""
    if long_side <= _SMALL_PHOTO:
        return [long_side]
    fine = [min(long_side, _FINE)] if long_side > _LARGE_PHOTO else []
    return [*fine, min(long_side, FRAME), _COARSE]


def _resized(pixels: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    """A picture, uint8 (H, W, 3), at another long side; shrunk by area, first by a whole factor."""
    height, width = pixels.shape[:2]
    given = max(height, width)
    if given == long_side:
        return pixels
    factor = given // long_side
    if factor >= 2 and min(height, width) >= factor:  # the whole factor is the fast path of OpenCV
        size = (width // factor, height // factor)
        whole = pixels[: size[1] * factor, : size[0] * factor]
        pixels = cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    scale = long_side / given
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(pixels, size, interpolation=method).astype(np.uint8, copy=False)


def _merge(found: list[_Sighting]) -> list[_Sighting]:
    """One sighting a face: of overlapping ones the most comfortable and confident is kept."""
    ranked = sorted(found, key=lambda s: -s.comfort * s.face.confidence)
    kept: list[_Sighting] = []
    for sighting in ranked:
        if not any(_same(sighting.face.box, other.face.box) for other in kept):
            kept.append(sighting)
    return sorted(kept, key=lambda s: -s.face.confidence)


def _same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two boxes, float32 (4,), are one face: they overlap, or one lies inside the other."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    one, other = float(a[2] * a[3]), float(b[2] * b[3])
    union = one + other - both
    return both > _OVERLAP * union or both > 0.7 * min(one, other)


def open_detector(name: str = "yunet", runtime: str = "opencv", device: str = "cpu") -> Detector:
    """A detector by name: `yunet` for faces, `whole` for pictures of things.

    Args:
        name: which.
        runtime: what runs it: `opencv`, `openvino` or `onnxruntime`.
        device: `cpu` or `cuda`, the latter for `onnxruntime` alone.

    Raises:
        UnknownModel: no such detector.
        DeviceUnavailable: CUDA was asked for and cannot be used.
    """
    if name == "yunet":
        return YuNetDetector(looker=_open_looker(runtime, device))
    if name == "whole":
        return WholeDetector()
    raise UnknownModel(f"There is no detector {name!r}: known are yunet, whole.")


def _open_looker(runtime: str, device: str) -> Looker:
    if runtime == "openvino":
        from embedder.openvino_detector import OpenVinoLooker

        return OpenVinoLooker()
    if device == "cuda":
        from embedder.onnx_detector import OnnxLooker

        return OnnxLooker(device)
    from embedder.opencv_detector import OpenCvLooker

    return OpenCvLooker()


def choose(faces: list[Face], photo: Photo, rule: str) -> Face:
    """One face of several, where one is wanted.

    Args:
        faces: at least one face.
        photo: the photo they were found in.
        rule: `largest`: by area; `centre`: the face maximising w·h − 2·d², d its distance from
            the middle of the photo in pixels (the rule of the LFW protocol's tools).
    """
    height, width = photo.pixels.shape[:2]

    def area(face: Face) -> float:
        return float(face.box[2] * face.box[3])

    def centred(face: Face) -> float:
        x, y, w, h = (float(v) for v in face.box)
        aside: float = (x + w / 2 - width / 2) ** 2 + (y + h / 2 - height / 2) ** 2
        return w * h - 2.0 * aside

    return max(faces, key=area if rule == "largest" else centred)
