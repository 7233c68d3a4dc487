"""The networks that can be trained here, by name.

Every network takes float32 (N, C, S, S) in 0…255, RGB, scales it itself and gives float32 (N, D),
not normalised: the arithmetic a weights file stands for is all inside it. A grey network takes
three channels too and makes grey of them, so that each can be run as an encoder of crops.

Letters: N pictures, C channels, S side, D dimensions, K kernel.

Sources: Chen, Liu, Gao, Han, "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face
Verification on Mobile Devices", CCBR 2018 (bottlenecks of MobileNetV2, global depth-wise
convolution instead of average pooling); for SFace see `embedder.sface`, for EfficientNet-Lite0
`embedder.picture`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.errors import UnknownModel, WrongArray
from embedder.network_picture import load_picture, picture_body, picture_head

# Luma of ITU-R BT.601, as every grey picture here is made.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class NetworkCard:
    """What a network is before it has any weights.

    Attributes:
        name: how a recipe calls it.
        arch: what it is, for the card of an encoder trained with it.
        channels: C, 1 or 3.
        side: S in pixels.
        dim: D where the recipe does not say.
        pretrained: the encoder whose weights its body starts from, or None.
        make: (D, dropout) → the module.
    """

    name: str
    arch: str
    channels: int
    side: int
    dim: int
    pretrained: str | None
    make: Callable[[int, float], EmbeddingNetwork]


class Scale(nn.Module):
    """0…255 to about −1…1; three channels become one where one is wanted."""

    def __init__(self, channels: int, mean: float = 127.5) -> None:
        super().__init__()
        self.channels, self.mean = channels, mean
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Float (N, 1 or 3, S, S) in 0…255 → (N, C, S, S)."""
        if self.channels == 1 and pictures.shape[1] == 3:
            pictures = (pictures * self.luma).sum(dim=1, keepdim=True)
        return (pictures - self.mean) * 0.0078125


class EmbeddingNetwork(nn.Module):
    """A body that sees and a head that makes the vector; a body may be frozen and kept.

    Attributes:
        scale: pictures → scaled pictures.
        body: scaled pictures → feature map.
        head: feature map → vector (N, D).
    """

    def __init__(
        self, channels: int, body: nn.Module, head: nn.Module, *, mean: float = 127.5
    ) -> None:
        super().__init__()
        self.scale = Scale(channels, mean)
        self.body = body
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        """Float (N, C, S, S) in 0…255 → float (N, D), not normalised."""
        return self.head(self.body(self.scale(pictures)))


class Slope(nn.PReLU):
    """PReLU whose backward pass on a processor takes a third of the time of torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        if self.training and x.device.type == "cpu" and x.ndim == 4:
            return _Slope.apply(x, self.weight)
        return super().forward(x)


class _Slope(torch.autograd.Function):
    """(N, C, H, W) and slopes (C,) → (N, C, H, W); gradients have the shapes of their inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.save_for_backward(x, slope)
        return torch.prelu(x, slope.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401 - as above
        x, slope = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, x, 0)
        below = gradient - above
        to_x = torch.addcmul(above, below, slope.to(x.dtype).view(1, -1, 1, 1))
        if not ctx.needs_input_grad[1]:
            return to_x, None
        rows = below.mul_(x).permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # a view: channels last
        # A product with ones: `sum` would first write all of it again as float32.
        ones = torch.ones(1, len(rows), dtype=rows.dtype, device=rows.device)
        return to_x, (ones @ rows).view(-1).to(slope.dtype)


class Strided(nn.Conv2d):
    """A convolution over each channel by itself that skips positions.

    On a processor torch's gradient for what goes in takes forty times as long as the convolution;
    here it is the convolution it can be written as, of the gradient with zeros put between.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return self.by(x, self.weight, self.bias)

    def by(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same with other weights (C, 1, K, K) and bias (C,)."""
        if not self.training or x.device.type != "cpu":
            return self._conv_forward(x, weight, bias)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        y = _Strided.apply(x, weight.to(x.dtype), self.stride[0])
        return y if bias is None else y + bias.to(y.dtype).view(1, -1, 1, 1)


class _Strided(torch.autograd.Function):
    """(N, C, H, W), kernels (C, 1, K, K), stride → (N, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Gradients have the shapes of their inputs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        half = weight.shape[-1] // 2
        return functional.conv2d(x, weight, None, stride, half, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401 - as above
        x, weight = ctx.saved_tensors
        stride, channels, half = ctx.stride, len(weight), weight.shape[-1] // 2
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            spread = torch.zeros_like(x)
            spread[:, :, ::stride, ::stride] = gradient
            to_x = functional.conv2d(spread, weight.flip(2, 3), padding=half, groups=channels)
        if ctx.needs_input_grad[1]:
            to_weight = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [stride] * 2, [half] * 2, [1, 1], False, [0, 0],
                channels, [False, True, False],
            )[1]  # fmt: skip
        return to_x, to_weight, None


class Unit(nn.Sequential):
    """Convolution, batch normalisation and perhaps an activation, one after the other.

    Where the normalisation goes by the averages it has while the rest learns (`norms: keep`), it is
    multiplied into the kernels at each step: the same numbers and gradients, in two thirds of the
    time. Its scale and shift learn as ever.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H/stride, W/stride)."""
        conv, norm = self[0], self[1]
        if not self.training or norm.training:
            return super().forward(x)
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * scale
        if isinstance(conv, Strided):
            y = conv.by(x, weight, bias)
        else:
            y = functional.conv2d(
                x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
            )
        return self[2](y) if len(self) > 2 else y


def unit(
    in_channels: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1, *,
    act: Callable[[int], nn.Module] | None = Slope, eps: float = 1e-5,
) -> Unit:  # fmt: skip
    """Convolution, batch normalisation, activation; padding keeps the size at stride 1."""
    kind = Strided if stride > 1 and groups == in_channels == out else nn.Conv2d
    layers: list[nn.Module] = [
        kind(in_channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=eps),
    ]
    return Unit(*layers, *([act(out)] if act else []))


def _relu(_channels: int) -> nn.Module:
    return nn.ReLU(inplace=True)


def small(dim: int, dropout: float) -> EmbeddingNetwork:
    """Five convolutions for 28×28 grey pictures, 189 k parameters at 100 dimensions."""
    body = nn.Sequential(
        unit(1, 32, act=_relu),
        unit(32, 32, stride=2, act=_relu),  # 14×14
        unit(32, 64, act=_relu),
        unit(64, 64, stride=2, act=_relu),  # 7×7
        unit(64, 84, act=_relu),
        nn.MaxPool2d(2),  # 3×3
    )
    head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(84 * 9, dim))
    return EmbeddingNetwork(1, body, head)


class Bottleneck(nn.Module):
    """Widen 1×1, look depth-wise 3×3, narrow 1×1; added to its input where the shapes agree."""

    def __init__(
        self, in_channels: int, out: int, widen: int, stride: int, act: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        inner = widen
        self.layers = nn.Sequential(
            unit(in_channels, inner, 1, act=act),
            unit(inner, inner, 3, stride, inner, act=act),
            unit(inner, out, 1, act=None),
        )
        self.residual = stride == 1 and in_channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H/stride, W/stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


# MobileFaceNet, table 1: widening factor, channels, repeats, stride of the first.
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def mobile_face(
    dim: int, dropout: float, *, width: float = 1.0, act: Callable[[int], nn.Module] = Slope
) -> EmbeddingNetwork:
    """MobileFaceNet for 112×112: 1.0 M parameters at width 1, 2.0 M at width 1.5."""
    channels = _wide(64, width)
    layers: list[nn.Module] = [
        unit(3, channels, stride=2, act=act),
        unit(channels, channels, groups=channels, act=act),
    ]
    for widen, out, repeats, stride in _STAGES:
        for i in range(repeats):
            target = _wide(out, width)
            inner = channels * widen
            layers.append(Bottleneck(channels, target, inner, stride if i == 0 else 1, act))
            channels = target
    layers.append(unit(channels, 512, 1, act=act))
    return EmbeddingNetwork(3, nn.Sequential(*layers), global_head(512, 7, dim, dropout))


def _wide(channels: int, width: float) -> int:
    """Channels times a width, a multiple of 8 (what vector units like)."""
    return max(8, round(channels * width / 8) * 8)


def global_head(channels: int, side: int, dim: int, dropout: float = 0.0) -> nn.Sequential:
    """Global depth-wise convolution, then linear, then batch normalisation of the vector.

    Each position of the side×side map gets a weight of its own in each channel: the corner of a
    face tells less than its middle, which an average would not know.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, side, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels, dim, bias=False),
        nn.BatchNorm1d(dim),
    )


# SFace, conv_2…conv_14: output channels and stride of each depth-wise separable block.
_SFACE = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def sface_body(first_stride: int = 1) -> nn.Sequential:
    """The blocks of SFace: (N, 3, 112, 112) scaled → (N, 1024, 7, 7); 3.2 M parameters.

    With a first stride of 2 every map has half the side, the last one 4×4.
    """
    layers: list[nn.Module] = [unit(3, 32, stride=first_stride, eps=1e-3)]
    channels = 32
    for out, stride in _SFACE:
        layers.append(unit(channels, channels, 3, stride, channels, eps=1e-3))
        layers.append(unit(channels, out, 1, eps=1e-3))
        channels = out
    return nn.Sequential(*layers)


def sface_head(dim: int = 128, dropout: float = 0.0) -> nn.Sequential:
    """The head SFace came with: 6.4 M parameters in one matrix."""
    return nn.Sequential(
        nn.BatchNorm2d(1024, eps=2e-5),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(1024 * 49, dim),
        nn.BatchNorm1d(dim, eps=2e-5),
    )


def sface_compact(dim: int, dropout: float) -> EmbeddingNetwork:
    """SFace's body under a global depth-wise convolution: 3.4 M parameters at 128 dimensions."""
    return EmbeddingNetwork(3, sface_body(), global_head(1024, 7, dim, dropout))


def sface_narrow(dim: int, dropout: float) -> EmbeddingNetwork:
    """SFace with its head's matrix factored over channels: 5.1 M parameters at 128 dimensions."""
    return EmbeddingNetwork(3, sface_body(), narrow_head(1024, 7, dim, 256, dropout))


def narrow_head(
    channels: int, side: int, dim: int, inner: int, dropout: float = 0.0
) -> nn.Sequential:
    """Fewer channels first, then one matrix over all of the map, then batch normalisation.

    What a head with one matrix over all channels became can be put into it almost as it was
    (`embedder.train_head.factored`), which a global depth-wise convolution cannot.
    """
    return nn.Sequential(
        nn.Conv2d(channels, inner, 1, bias=False),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(inner * side * side, dim),
        nn.BatchNorm1d(dim),
    )


def sface_half(dim: int, dropout: float) -> EmbeddingNetwork:
    """SFace's blocks on every second pixel: a quarter of the work, 3.8 M parameters."""
    return EmbeddingNetwork(3, sface_body(first_stride=2), narrow_head(1024, 4, dim, 208, dropout))


def sface_whole(dim: int, dropout: float) -> EmbeddingNetwork:
    """SFace as it was published: 9.6 M parameters."""
    return EmbeddingNetwork(3, sface_body(), sface_head(dim, dropout))


def picture(dim: int, dropout: float) -> EmbeddingNetwork:
    """EfficientNet-Lite0 for things at 224×224: 3.4 M parameters and a linear head."""
    return EmbeddingNetwork(3, picture_body(), picture_head(dim, dropout), mean=127.0)


def _mobile(width: float, act: Callable[[int], nn.Module]) -> Callable[..., EmbeddingNetwork]:
    def make(dim: int, dropout: float) -> EmbeddingNetwork:
        return mobile_face(dim, dropout, width=width, act=act)

    return make


NETWORKS = {
    card.name: card
    for card in (
        NetworkCard("small", "five convolutions, 0.19 M parameters", 1, 28, 100, None, small),
        NetworkCard("mobileface", "MobileFaceNet, 1.0 M parameters", 3, 112, 128, None,
                    _mobile(1.0, Slope)),
        NetworkCard("mobileface-relu", "MobileFaceNet with ReLU (fuses in int8), 1.0 M parameters",
                    3, 112, 128, None, _mobile(1.0, _relu)),
        NetworkCard("mobileface-wide", "MobileFaceNet of width 1.5, 2.0 M parameters", 3, 112, 128,
                    None, _mobile(1.5, Slope)),
        NetworkCard("sface-compact", "SFace body, global depth-wise head, 3.4 M parameters", 3, 112,
                    128, "sface", sface_compact),
        NetworkCard("sface-narrow", "SFace body, 256 channels before its head, 5.1 M parameters", 3,
                    112, 128, "sface", sface_narrow),
        NetworkCard("sface-half", "SFace blocks on every second pixel, 3.8 M parameters", 3, 112,
                    128, "sface", sface_half),
        NetworkCard("sface-whole", "SFace MobileFaceNet, 9.6 M parameters", 3, 112, 128, "sface",
                    sface_whole),
        NetworkCard("picture", "EfficientNet-Lite0 body, linear head, 3.5 M parameters", 3, 224,
                    128, "picture", picture),
    )
}  # fmt: skip


def network_card(name: str) -> NetworkCard:
    """The card of a network by its name.

    Raises:
        UnknownModel: no such network; the message lists the known ones.
    """
    if name not in NETWORKS:
        raise UnknownModel(f"There is no network {name!r}: known are {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def build(
    name: str, *, dim: int | None = None, dropout: float = 0.0, pretrained: bool = True
) -> EmbeddingNetwork:
    """A network by its name, with fresh weights; a pretrained body where the card names one.

    Args:
        name: a key of `NETWORKS`.
        dim: D; None: the card's.
        dropout: share of features dropped before the last layer while training, 0…1.
        pretrained: load the body's weights; False where a checkpoint is loaded next.

    Raises:
        UnknownModel: no such network.
        WeightsMissing, WeightsBroken: the pretrained weights are not there or not what they are.
    """
    card = network_card(name)
    network = card.make(card.dim if dim is None else dim, dropout)
    if pretrained and card.pretrained == "sface":
        load_sface(network, whole=name == "sface-whole")
        if name == "sface-half":
            coarsen(network.body)
    elif pretrained and card.pretrained == "picture":
        load_picture(network.body)
    return network


def load_sface(network: EmbeddingNetwork, *, whole: bool) -> None:
    """Copy SFace's weights from its (dequantised) ONNX file into a network, in place.

    Args:
        network: one whose body is `sface_body`.
        whole: the head too (`sface_head` at 128 dimensions).

    Raises:
        WeightsMissing, WeightsBroken: the file is not there or not what it should be.
        WrongArray: the network is of another shape.
    """
    import onnx

    from embedder.sface import model_path

    values = _weights_in_order(onnx.load(str(model_path())))
    modules = [m for part in (network.body, network.head) for m in part.modules()]
    leaves = [m for m in modules if isinstance(m, _LOADED)]
    body = sum(isinstance(m, _LOADED) for m in network.body.modules())
    for module, arrays in zip(leaves[: None if whole else body], values, strict=False):
        _copy(module, arrays)


# A kernel for maps of half the side: what lay a pixel off now lies half way to the neighbour.
_COARSER = ((0.5, 0.0, 0.0), (0.5, 1.0, 0.5), (0.0, 0.0, 0.5))


def coarsen(body: nn.Module) -> None:
    """Make the depth-wise 3×3 kernels of a body see, on every second pixel, what they saw on all.

    A kernel is spread over the coarser grid by linear interpolation, which is exact where a map is
    linear between two pixels. The first convolution sees the picture itself, its stride is twice
    what it was, and it stays. So the halved body begins near the whole one, not at chance.

    Args:
        body: of depth-wise separable blocks; changed in place.
    """
    spread = torch.tensor(_COARSER)
    for module in body.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            with torch.no_grad():
                module.weight.copy_(spread @ module.weight @ spread.T)


_LOADED = (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU, nn.Linear)
# Node type → the names its inputs have in torch, the first (the data) left out.
_INPUTS: dict[str, tuple[str, ...]] = {
    "Conv": ("weight",),
    "PRelu": ("weight",),
    "Gemm": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}


def _weights_in_order(model: Any) -> list[dict[str, Tensor]]:  # noqa: ANN401 - onnx.ModelProto
    """The weights of each node of a chain, in the order of the nodes, under torch's names."""
    from onnx import numpy_helper

    known = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    return [
        {
            name: torch.from_numpy(known[key].copy())
            for name, key in zip(_INPUTS[node.op_type], node.input[1:], strict=False)
        }
        for node in model.graph.node
        if node.op_type in _INPUTS
    ]


def _copy(module: nn.Module, arrays: dict[str, Tensor]) -> None:
    state = module.state_dict()
    for name, array in arrays.items():
        if name not in state or state[name].numel() != array.numel():
            raise WrongArray(
                f"SFace's {name} {tuple(array.shape)} does not fit {module}: the network is not "
                "built of SFace's blocks."
            )
        state[name].copy_(array.reshape(state[name].shape))


def parameters_of(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in network.parameters())
