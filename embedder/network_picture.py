"""The body of the encoder `picture` in torch: EfficientNet-Lite0 with ImageNet's weights.

The blocks are those of `embedder.picture`, which makes the ONNX file of the same weights and names
their source. Padding is TensorFlow's SAME: at stride 2 the pixel that is left over lies at the
right and at the bottom, so that sides are multiples of 32 here.

Letters: N pictures, S side, O channels out.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from embedder.picture import DIM, Block, blocks
from embedder.state_dict import read_state_dict
from embedder.weights import PICTURE, find

_EPSILON = 1e-3


class Summed(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, O, H, W) → float (N, O, H, W)."""
        return x + super().forward(x)


def lite_unit(
    channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, act: bool = True
) -> nn.Sequential:
    """Convolution padded as SAME, batch normalisation, ReLU6."""
    around, left_over = divmod(kernel - stride, 2)
    pad = [nn.ZeroPad2d((around, around + 1, around, around + 1))] if left_over else []
    padding = 0 if left_over else around
    return nn.Sequential(
        *pad,
        nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=_EPSILON),
        *([nn.ReLU6(inplace=True)] if act else []),
    )


def picture_body() -> nn.Sequential:
    """The network up to its 1280 features: scaled (N, 3, S, S) → (N, 1280, S/32, S/32)."""
    return nn.Sequential(
        lite_unit(3, 32, 3, 2), *(_block(one) for one in blocks()), lite_unit(320, DIM)
    )


def _block(one: Block) -> nn.Sequential:
    layers = [
        *([lite_unit(one.channels, one.inner)] if one.expanded else []),
        lite_unit(one.inner, one.inner, one.kernel, one.stride, one.inner),
        lite_unit(one.inner, one.width, act=False),
    ]
    return Summed(*layers) if one.skipped else nn.Sequential(*layers)


def picture_head(dim: int, dropout: float) -> nn.Sequential:
    """Mean over places, as the classifier had it, then a linear layer: (N, 1280, …) → (N, D)."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(DIM, dim)
    )


def load_picture(body: nn.Module) -> None:
    """Copy the weights that the carrier package holds into a `picture_body`, in place.

    Raises:
        WeightsMissing, WeightsBroken: the file is not there or not what it should be.
        CheckpointRefused: it holds anything but plain tensors.
    """
    values = read_state_dict(find(PICTURE).read_bytes())
    modules = (m for m in body.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d))
    with torch.no_grad():
        for name, module in zip(_names(), modules, strict=True):
            state = module.state_dict()
            for key, tensor in state.items():
                tensor.copy_(torch.from_numpy(values[f"{name}.{key}"].copy()))


def _names() -> list[str]:
    """Convolutions and normalisations in the order of the modules, as the state dict has them."""
    inside = chain.from_iterable(_names_of(one) for one in blocks())
    return ["_conv_stem", "_bn0", *inside, "_conv_head", "_bn1"]


def _names_of(one: Block) -> list[str]:
    widen = ["_expand_conv", "_bn0"] if one.expanded else []
    layers = [*widen, "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    return [f"{one.name}.{layer}" for layer in layers]
