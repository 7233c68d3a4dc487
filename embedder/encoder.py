"""The encoder: crops to unit vectors, whatever runtime does the arithmetic.

Letters: N crops, S crop side, D dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder import model_folder, picture, sface
from embedder.align import Crop
from embedder.arrays import expect
from embedder.card import EncoderCard
from embedder.errors import DeviceUnavailable, RuntimeMissing, UnknownModel, WrongArray
from embedder.weights import SFACE, find

DEFAULT_MODEL = "vultus-face-1"
CARDS = {
    "sface": sface.card(mirror=False),
    "sface-mirror": sface.card(mirror=True),
    "picture": picture.card(),
    **{name: model_folder.own(name).card for name in model_folder.shipped_names()},
}
_SFACE = frozenset({"sface", "sface-mirror"})
_BATCH = 32
_UNIT = 1e-3  # by how much the squared length of a row may differ from 1


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of one space.

    Attributes:
        vectors: float32 (N, D), unit rows.
        space: the vector space they live in (`EncoderCard.space`).
    """

    vectors: NDArray[np.float32]
    space: str

    def __post_init__(self) -> None:
        expect(self.vectors, np.float32, (None, None), "Embeddings.vectors")
        squares = np.einsum("nd,nd->n", self.vectors, self.vectors)
        wrong = np.flatnonzero(~(np.abs(squares - 1) <= _UNIT))  # NaN is wrong too
        if wrong.size:
            raise WrongArray(
                f"Embeddings.vectors must be finite rows of length 1: row {wrong[0]} has the "
                f"square {squares[wrong[0]]:g}. If an encoder gave it, its weights are broken."
            )

    def __len__(self) -> int:
        return len(self.vectors)


class Network(Protocol):
    """A graph opened in a runtime: (N, 3, S, S) float32 to (N, D) float32, not normalised."""

    device: str
    precision: str
    runtime: str

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            tensor: float32 (N, 3, S, S), N ≥ 1.

        Returns:
            float32 (N, D).
        """
        ...


class Encoder(Protocol):
    """What turns crops into vectors."""

    @property
    def card(self) -> EncoderCard:
        """What the weights are; it names the vector space."""
        ...

    def encode(self, crops: Sequence[Crop]) -> Embeddings:
        """Unit vectors (N, D) float32 of N crops, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkEncoder:
    """An encoder: a card and its network.

    Attributes:
        card: what the weights are.
        network: the graph, opened in a runtime.
    """

    card: EncoderCard
    network: Network

    def encode(self, crops: Sequence[Crop]) -> Embeddings:
        """Unit vectors of crops.

        Args:
            crops: N crops of side S each (N may be 0).

        Returns:
            Embeddings with vectors float32 (N, D), unit rows.

        Raises:
            WrongArray: a crop of another side than the card says.
        """
        parts = [self._encode(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]
        empty = np.empty((0, self.card.dim), dtype=np.float32)
        vectors = np.concatenate(parts) if parts else empty
        return Embeddings(vectors, self.card.space)

    def _encode(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        tensor = to_tensor(crops, self.card)  # (N, 3, S, S)
        vectors = unit_rows(self.network.run(tensor))
        if not self.card.mirror:
            return vectors
        mirrored = unit_rows(self.network.run(np.ascontiguousarray(tensor[..., ::-1])))
        return unit_rows(vectors + mirrored)


def to_tensor(crops: Sequence[Crop], card: EncoderCard) -> NDArray[np.float32]:
    """Stack crops as the network wants them.

    Args:
        crops: N crops.
        card: side S, channel order, mean and std.

    Returns:
        float32 (N, 3, S, S).
    """
    for crop in crops:
        expect(crop.pixels, np.uint8, (card.side, card.side, 3), f"A crop for {card.name}")
    stack = np.stack([c.pixels for c in crops])  # (N, S, S, 3)
    if card.order == "BGR":
        stack = stack[..., ::-1]
    tensor = stack.transpose(0, 3, 1, 2).astype(np.float32)
    if any(card.mean):
        tensor -= np.asarray(card.mean, dtype=np.float32).reshape(1, 3, 1, 1)
    if any(s != 1.0 for s in card.std):
        tensor /= np.asarray(card.std, dtype=np.float32).reshape(1, 3, 1, 1)
    return np.ascontiguousarray(tensor)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length one.

    Args:
        vectors: float32 (N, D), no row zero.

    Returns:
        float32 (N, D).
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def known_models() -> list[EncoderCard]:
    """The cards of all encoders that can be opened by name, the default first, imported last."""
    cards = [*CARDS.values(), *model_folder.imported_cards()]
    return sorted(cards, key=lambda card: card.name != DEFAULT_MODEL)


def default_model() -> str:
    """`VULTUS_MODEL`, else `vultus-face-1`."""
    return os.environ.get("VULTUS_MODEL", DEFAULT_MODEL)


def card_of(name: str) -> EncoderCard:
    """The card of an encoder by its name.

    Raises:
        UnknownModel: no such encoder; the message lists the known ones.
    """
    if name in CARDS:
        return CARDS[name]
    imported = model_folder.imported_names()
    if name in imported:
        return model_folder.imported(name).card
    raise UnknownModel(f"There is no model {name!r}: known are {', '.join([*CARDS, *imported])}.")


def open_network_encoder(
    name: str | None = None,
    *,
    device: str | None = None,
    runtime: str | None = None,
    quick: bool = False,
) -> NetworkEncoder:
    """Open an encoder by name.

    Args:
        name: `vultus-face-1`, `sface`, `sface-mirror`, `picture` or an imported one; None:
            `VULTUS_MODEL`, else `vultus-face-1`.
        device: `cpu` (default) or `cuda`; None: `VULTUS_DEVICE`, else `cpu`.
        runtime: `openvino` or `onnxruntime`; None: OpenVINO where it is installed.
        quick: for a crop or two: rather the runtime that starts first than the fastest one, where
            neither runtime nor CUDA was asked for.

    Raises:
        UnknownModel: no such encoder.
        WeightsMissing, WeightsBroken: its weights are not there or not what they should be.
        RuntimeMissing: the runtime is not installed.
        DeviceUnavailable: the device cannot be used; never a silent fallback.
    """
    card = card_of(default_model() if name is None else name)
    place = device if device is not None else os.environ.get("VULTUS_DEVICE", "cpu")
    file = _quick_file(card) if quick and runtime is None and place == "cpu" else None
    if file is not None:
        from embedder.opencv_encoder import OpenCvNetwork

        return NetworkEncoder(card, OpenCvNetwork(file))
    path, precision = graph_of(card)
    for candidate in _runtimes(_allowed(card, runtime), place):
        network = _open(candidate, str(path), place, precision)
        if network is not None:
            return NetworkEncoder(card, network)
    wanted = runtime or ("onnxruntime-gpu" if place == "cuda" else "openvino or onnxruntime")
    extra = "gpu" if place == "cuda" else "cpu"
    raise RuntimeMissing(f'{wanted} is not installed: pip install "vultus[{extra}]".')


def _quick_file(card: EncoderCard) -> Path | None:
    """The file of an encoder that OpenCV reads as it is; None where there is none of that kind."""
    if card.name in _SFACE:
        return find(SFACE)
    if card.name in model_folder.shipped_names():
        return model_folder.own(card.name).graph()
    return None


def graph_of(card: EncoderCard) -> tuple[Path, str | None]:
    """The graph of an encoder, and its precision; None: the fastest the runtime has.

    Raises:
        WeightsMissing, WeightsBroken: its weights are not there or not what they should be.
    """
    if card.name == "picture":
        # bf16 moves its vectors to cosine 0.9986, below the 0.9995 that one space demands
        return picture.model_path(), "fp32"
    if card.name in _SFACE:
        return sface.model_path(), None
    own = model_folder.own(card.name)
    return own.graph(), None if own.precision("openvino") == "bf16" else "fp32"


def _allowed(card: EncoderCard, asked: str | None) -> str | None:
    """The runtime to use; not OpenVINO where an encoder has other vectors in it."""
    carried = card.name in _SFACE or card.name == "picture"
    if carried or not model_folder.own(card.name).refuses("openvino"):
        return asked
    if asked == "openvino":
        raise DeviceUnavailable(
            f"In OpenVINO {card.name} gives other vectors than its space has (found when it was "
            "imported): use --runtime onnxruntime."
        )
    return "onnxruntime"


def _runtimes(runtime: str | None, device: str) -> Iterator[str]:
    if device not in {"cpu", "cuda"}:
        raise DeviceUnavailable(f"There is no device {device!r}: known are cpu and cuda.")
    if runtime is None:
        yield from ("onnxruntime",) if device == "cuda" else ("openvino", "onnxruntime")
    elif runtime not in {"openvino", "onnxruntime"}:
        raise UnknownModel(f"There is no runtime {runtime!r}: known are openvino, onnxruntime.")
    elif runtime == "openvino" and device == "cuda":
        raise DeviceUnavailable("OpenVINO does not run on CUDA: use --runtime onnxruntime.")
    else:
        yield runtime


def _open(runtime: str, path: str, device: str, precision: str | None) -> Network | None:
    """The graph opened in a runtime, or None where that runtime is not installed."""
    import importlib.util

    if importlib.util.find_spec(runtime) is None:
        return None
    if runtime == "openvino":
        from embedder.openvino_encoder import OpenVinoNetwork

        return OpenVinoNetwork(path, precision)
    from embedder.onnx_encoder import OnnxNetwork

    return OnnxNetwork(path, device)
