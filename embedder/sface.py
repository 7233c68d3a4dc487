"""SFace made runnable: from OpenCV Zoo's block-quantised file to a plain fp32 graph.

The official file lists its weights as graph inputs (one runtime refuses that, another demands
them) and keeps them quantised in blocks. Here the weights are dequantised and folded in, the
only input left is the picture, its batch dimension becomes symbolic, and the result is cached.
The arithmetic of the network is untouched: (x − 127.5) · 0.0078125 is its first node.

Source: Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition",
IEEE TIP 2021; weights from OpenCV Zoo, Apache-2.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder.card import ALIGNMENT, EncoderCard
from embedder.weights import SFACE, cache_folder, digest_of, find, write_atomically

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "data", "fc1"
_FOLDED = "sface-fp32-1.onnx"
_FOLDED_SHA256 = "ec26b8cca67c8a5e27283adc785ba3bd13255751bcb3686fec1863ae23785123"


def card(*, mirror: bool) -> EncoderCard:
    """The card of `sface` (one pass) or `sface-mirror` (crop and mirrored crop averaged)."""
    return EncoderCard(
        name="sface-mirror" if mirror else "sface",
        arch="SFace MobileFaceNet (MobileNet-v1 blocks, PReLU), 9.6 M parameters",
        dim=128,
        side=112,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        order="RGB",
        alignment=ALIGNMENT,
        mirror=mirror,
        digests={SFACE.name: SFACE.sha256},
        trained_on="not stated with the weights; its paper uses CASIA-WebFace, VGGFace2 and MS1MV2",
        weights_licence="Apache-2.0",
        data_licence="research data sets; read their terms before commercial use",
        source="OpenCV Zoo, face_recognition_sface 2021dec, int8 block-quantised",
    )


def model_path() -> Path:
    """Path of the folded fp32 ONNX file, made on first use and verified on every use."""
    path = cache_folder() / _FOLDED
    if path.is_file() and digest_of(path) == _FOLDED_SHA256:
        return path
    import onnx

    model = onnx.load(find(SFACE))
    fold(model)
    write_atomically(path, model.SerializeToString(deterministic=True))
    return path


def fold(model: onnx.ModelProto) -> None:
    """Dequantise the weights in place, drop them from the inputs, make the batch symbolic."""
    from onnx import numpy_helper

    graph = model.graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            quantised, scale, zero = (values[name] for name in node.input)
            axis, block = _attribute(node, "axis", 1), _attribute(node, "block_size", 0)
            values[node.output[0]] = dequantise(quantised, scale, zero, axis, block)
        elif node.op_type == "Reshape" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]].reshape(values[node.input[1]])
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:], graph.input[1:], graph.value_info[:]
    graph.node.extend(kept)
    for name in sorted(used & set(values)):
        graph.initializer.append(numpy_helper.from_array(values[name], name))
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def dequantise(
    quantised: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int, block: int
) -> NDArray[np.float32]:
    """Blocked ONNX DequantizeLinear (opset 21): (q − zero) · scale, one scale a block of an axis.

    Args:
        quantised: int8 array of any shape.
        scale: float32, the same shape with `axis` shorter by the factor `block`.
        zero: int8, shape of `scale`.
        axis: the blocked axis.
        block: entries a block.

    Returns:
        float32, shape of `quantised`.
    """
    length = quantised.shape[axis]
    spread = [np.repeat(a, block, axis=axis).take(range(length), axis=axis) for a in (scale, zero)]
    centred = quantised.astype(np.float32) - spread[1].astype(np.float32)
    return np.asarray(centred * spread[0], dtype=np.float32)
