"""A trained network as ONNX: fp32 or fp16 weights, a card, and a check against torch.

fp16 stores the weights in half the bytes and computes in fp32: every runtime takes it, and nothing
overflows. The check runs both on the same pictures; below cosine 0.9995 nothing is kept.

Letters: N pictures, S side, D dimensions.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedder.card import EncoderCard
from embedder.checkpoint import Checkpoint, find, load
from embedder.encoder import unit_rows
from embedder.errors import BadRecipe, WeightsBroken
from embedder.network import network_card
from embedder.onnx_encoder import OnnxNetwork
from embedder.torch_encoder import TorchNetwork, card_of_checkpoint
from embedder.weights import digest_of

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16")
PARITY = 0.9995  # cosine two files of one vector space must have; see EncoderCard.space
_OPSET = 18
_PROBES = 16
_LARGE = 256  # weights of fewer numbers stay fp32: they save nothing


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the ONNX file.
        card_path: its card, JSON.
        card: the card.
        precision: of the weights.
        size: bytes.
        parity: least cosine between torch and the file over the probes.
    """

    path: Path
    card_path: Path
    card: EncoderCard
    precision: str
    size: int
    parity: float


def export(
    run: Path,
    folder: Path,
    *,
    precision: str = "fp32",
    pictures: NDArray[np.uint8] | None = None,
) -> Exported:
    """Write a run's best network as ONNX, with its card, and check it against torch.

    Args:
        run: a run's folder or one checkpoint.
        folder: where `<name>-<precision>.onnx` and `<name>.json` go.
        precision: `fp32` or `fp16`, of the stored weights.
        pictures: uint8 (N, S, S, C) to check with; None: sixteen made of coloured blocks.

    Raises:
        BadRecipe: an unknown precision.
        CheckpointBroken: there is no checkpoint.
        WeightsBroken: the file's vectors differ from torch's; it is deleted.
    """
    if precision not in PRECISIONS:
        raise BadRecipe(f"There is no precision {precision!r}: known are {', '.join(PRECISIONS)}.")
    saved = load(find(run))
    network = saved.network()
    folder.mkdir(parents=True, exist_ok=True)
    model = to_onnx(network, side=_side(saved))
    reference = path = _write(model, folder / f"{saved.recipe.name}-fp32.onnx")
    if precision == "fp16":
        halve(model)
        path = _write(model, folder / f"{saved.recipe.name}-fp16.onnx")
    parity = least_cosine(network, path, _probes(saved, pictures))
    digests = {file.name: digest_of(file) for file in dict.fromkeys((reference, path))}
    if path != reference:  # the space is named by the fp32 weights; the file itself may go
        reference.unlink()
    if not parity >= PARITY:
        path.unlink()
        raise WeightsBroken(
            f"{path.name} gives other vectors than torch (cosine {parity:.6f}, at least {PARITY}): "
            "it was deleted; export with --precision fp32."
        )
    card = card_of_checkpoint(saved, digests)
    card_path = folder / f"{saved.recipe.name}.json"
    facts = {**card.to_dict(), "recipe": saved.recipe.to_dict(), "parity": parity}
    card_path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Exported(path, card_path, card, precision, path.stat().st_size, parity)


def _write(model: onnx.ModelProto, path: Path) -> Path:
    import onnx

    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _side(saved: Checkpoint) -> int:
    return network_card(saved.recipe.network).side


def to_onnx(network: nn.Module, *, side: int) -> onnx.ModelProto:
    """The graph of a network: `data` float32 (N, 3, S, S) in 0…255 → `vector` float32 (N, D).

    Args:
        network: in evaluation mode.
        side: S.
    """
    import onnx

    network = network.to("cpu").eval()
    sample = torch.zeros(2, 3, side, side)
    with tempfile.TemporaryDirectory() as place, _quiet():
        path = Path(place) / "model.onnx"
        torch.onnx.export(
            network, (sample,), str(path), input_names=["data"], output_names=["vector"],
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},), opset_version=_OPSET, dynamo=True,
            external_data=False, verbose=False,
        )  # fmt: skip
        model = onnx.load(str(path))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del model.metadata_props[:]
    for node in model.graph.node:  # where in which source file it came from: nobody's business
        node.ClearField("doc_string")
        del node.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def halve(model: onnx.ModelProto) -> None:
    """Store the large weights as fp16, in place; a Cast in front of their use makes fp32 again."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts, kept = model.graph, [], []
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < _LARGE:
            kept.append(weight)
            continue
        stored = f"{weight.name}.fp16"
        kept.append(numpy_helper.from_array(array.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:], graph.value_info[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _probes(saved: Checkpoint, pictures: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """Float32 (N, 3, S, S) to compare with: given pictures, or coloured blocks."""
    side = _side(saved)
    if pictures is None:
        rng = np.random.default_rng(0)
        blocks = rng.integers(0, 256, (_PROBES, 3, 7, 7)).repeat(side // 7, 2).repeat(side // 7, 3)
        return blocks.astype(np.float32)
    rows = pictures[:_PROBES].astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(rows, (*rows.shape[:3], 3)).transpose(0, 3, 1, 2))


def least_cosine(network: nn.Module, path: Path, tensor: NDArray[np.float32]) -> float:
    """The least cosine between torch's vectors and the file's.

    Args:
        network: in evaluation mode.
        path: the ONNX file.
        tensor: float32 (N, 3, S, S).
    """
    ours = unit_rows(TorchNetwork(network).run(tensor))
    theirs = unit_rows(OnnxNetwork(str(path)).run(tensor))
    return float((ours * theirs).sum(axis=1).min())


def facts_of(exported: Exported) -> dict[str, Any]:
    """What an export says of itself, as JSON values."""
    return {
        "file": str(exported.path), "card": str(exported.card_path), "bytes": exported.size,
        "precision": exported.precision, "parity": exported.parity,
        "space": exported.card.space,
    }  # fmt: skip
