"""YuNet made runnable anywhere: its graph as plain fp32, and its answers as faces.

Letters: N frames, H × W their pixels (multiples of 32), F faces, A anchors.

The official file keeps its weights quantised in blocks, which only OpenCV reads. As for SFace they
are dequantised and folded in once, and the result is cached; frame count and size become symbolic,
and the twelve outputs (class, objectness, box and points of three strides) become one. Decoding
follows the network's paper: an anchor a place of each of three strides, its score the geometric
mean of class and objectness, its box and points relative to the place; then the best of boxes that
overlap. `tests/embedder/test_yunet.py` proves the whole equal to OpenCV's FaceDetectorYN.

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20, 2023; weights from OpenCV Zoo, MIT.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.sface import fold
from embedder.weights import YUNET, cache_folder, digest_of, find, write_atomically

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "input", "anchors"
STRIDES = (8, 16, 32)
OVERLAP = 0.3
TOP = 5000
_KINDS = ("cls", "obj", "bbox", "kps")  # 1, 1, 4 and 10 numbers an anchor
_MULTIPLE = STRIDES[-1]
_FOLDED = "yunet-fp32-1.onnx"
_FOLDED_SHA256 = "9992ca5f46bf28703ffa09a2ae1afad2b65666b673beb24308c4ab67b5f2afb9"
_GRIDS = 64  # sizes of frames whose anchors are remembered


class Looker(Protocol):
    """The network of the detector, opened in a runtime; safe to share between threads."""

    runtime: str

    def look(self, frame: NDArray[np.uint8], confidence: float) -> NDArray[np.float32]:
        """The faces of one frame.

        Args:
            frame: uint8 (h, w, 3) RGB, any size.
            confidence: faces the network is less sure of are left out, 0…1.

        Returns:
            float32 (F, 15): x, y, width, height, five points (x, y) each, confidence; in pixels
            of the frame, the surest first.
        """
        ...

    def keep(self, room: int) -> None:
        """Keep no more between two looks than fits into so many bytes, as far as it can."""
        ...


def model_path() -> Path:
    """Path of the plain fp32 ONNX file, made on first use and verified on every use.

    Its input is float32 (N, 3, H, W), BGR, 0…255; its output float32 (N, A, 16): class,
    objectness, box and points of each anchor, strides in order, row by row.
    """
    path = cache_folder() / _FOLDED
    if path.is_file() and digest_of(path) == _FOLDED_SHA256:
        return path
    import onnx

    model = onnx.load(find(YUNET))
    fold(model)
    _any_size(model)
    _one_output(model)
    write_atomically(path, model.SerializeToString(deterministic=True))
    return path


def _any_size(model: onnx.ModelProto) -> None:
    """Make count and size of the frames symbolic."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.int64 and values.shape == (3,):  # (1, −1, C): for one frame only
            values = np.array([0, *values[1:]], np.int64)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    sides = model.graph.input[0].type.tensor_type.shape.dim[2:]
    for side, name in zip(sides, ("H", "W"), strict=True):
        side.dim_param = name


def _one_output(model: onnx.ModelProto) -> None:
    """Join the outputs: what is said of an anchor side by side, then the strides."""
    from onnx import TensorProto, helper

    graph = model.graph
    strides = []
    for stride in STRIDES:
        said = [f"{kind}_{stride}" for kind in _KINDS]
        strides.append(f"{OUTPUT}_{stride}")
        graph.node.append(helper.make_node("Concat", said, strides[-1:], axis=2))
    graph.node.append(helper.make_node("Concat", strides, [OUTPUT], axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", "A", 16]))


def padded(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame with black at its right and bottom, so that its sides are multiples of 32.

    Args:
        frame: uint8 (h, w, 3).

    Returns:
        uint8 (H, W, 3).
    """
    height, width = frame.shape[:2]
    below, beside = -height % _MULTIPLE, -width % _MULTIPLE
    if below == beside == 0:
        return np.ascontiguousarray(frame)
    out = np.zeros((height + below, width + beside, 3), np.uint8)
    out[:height, :width] = frame
    return out


def decode(
    anchors: NDArray[np.float32], height: int, width: int, confidence: float
) -> NDArray[np.float32]:
    """What the network said of one frame, as faces.

    Args:
        anchors: float32 (A, 16).
        height: H, pixels of the padded frame.
        width: W.
        confidence: faces the network is less sure of are left out, 0…1.

    Returns:
        float32 (F, 15) as `Looker.look`.
    """
    scores = np.sqrt(np.clip(anchors[:, 0], 0, 1) * np.clip(anchors[:, 1], 0, 1))
    kept = np.flatnonzero(scores >= np.float32(confidence))
    said, grid = anchors[kept], _grid(height, width)[kept]
    place, stride = grid[:, :2], grid[:, 2:]
    rows = np.empty((len(kept), 15), np.float32)
    size = np.exp(said[:, 4:6]) * stride
    rows[:, 0:2] = (place + said[:, 2:4]) * stride - size / np.float32(2)
    rows[:, 2:4] = size
    rows[:, 4:14] = (said[:, 6:].reshape(-1, 5, 2) + place[:, None]).reshape(-1, 10) * stride
    rows[:, 14] = scores[kept]
    if len(rows) < 2:
        return rows
    boxes = rows[:, :4].astype(np.int32).tolist()  # whole pixels, as OpenCV compares them
    best = cv2.dnn.NMSBoxes(boxes, rows[:, 14].tolist(), confidence, OVERLAP, top_k=TOP)
    return rows[np.asarray(best, dtype=np.int64).reshape(-1)]


@lru_cache(_GRIDS)
def _grid(height: int, width: int) -> NDArray[np.float32]:
    """Column, row and stride of each anchor of a frame, float32 (A, 3)."""
    parts = []
    for stride in STRIDES:
        rows, columns = np.divmod(np.arange(height // stride * (width // stride)), width // stride)
        parts.append(np.stack([columns, rows, np.full_like(rows, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)
