"""A trained network as ONNX: fp32, fp16, packed or int8, a card, and a check against torch.

fp16 stores the weights in half the bytes and computes in fp32: every runtime takes it, and nothing
overflows. packed stores the largest matrices in a quarter of the bytes too, in 8 bits with a factor
an output, and computes in fp32 as well. int8 is static quantisation (`embedder.quantize`). The
check runs both on the same pictures, for int8 on such as took no part in the calibration; below
cosine 0.9995 the file is no longer of the vector space, and is kept only as an encoder of its own.

Letters: N pictures, S side, D dimensions.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedder.card import PARITY, EncoderCard
from embedder.card_file import NAME, read_card
from embedder.checkpoint import Checkpoint, find, load, towards_start
from embedder.encoder import unit_rows
from embedder.errors import BadRecipe, ModelUnusable, WeightsBroken
from embedder.network import network_card
from embedder.onnx_encoder import OnnxNetwork
from embedder.quantize import (
    MOST_PICTURES,
    calibration_split,
    hushed,
    quantise,
    slow_activations,
)
from embedder.torch_encoder import TorchNetwork, card_of_checkpoint
from embedder.weights import digest_of

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16", "packed", "int8")
_OPSET = 18
_PROBES = 16
_BLOCK = 64
_LARGE = 256  # weights of fewer numbers stay fp32: they save nothing
_LARGEST = 1 << 20  # a matrix of so many numbers is packed


@dataclass(frozen=True, slots=True)
class Statement:
    """What whoever exports an encoder says of it; None: as its training gives it.

    Attributes:
        name: of the encoder.
        weights_licence: SPDX name of the licence of the weights.
        data_licence: of what it was trained on; `own`: pictures of whoever trained it.
        trained_on: in words.
        alignment: how a picture becomes a crop; see `EncoderCard`.
    """

    name: str | None = None
    weights_licence: str | None = None
    data_licence: str | None = None
    trained_on: str | None = None
    alignment: str | None = None

    def on(self, card: EncoderCard) -> EncoderCard:
        """A card with what is said."""
        said = {name: getattr(self, name) for name in Statement.__slots__}
        return replace(card, **{name: value for name, value in said.items() if value is not None})


_SILENT = Statement()


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the ONNX file.
        card_path: its card, JSON.
        card: the card.
        precision: of the weights.
        size: bytes.
        parity: least cosine between torch and the file over the pictures compared.
        mean: their mean cosine.
        compared: how many pictures.
        own_space: whether its vectors cannot be compared with those of the fp32 weights.
        remarks: what else to know, in sentences.
    """

    path: Path
    card_path: Path
    card: EncoderCard
    precision: str
    size: int
    parity: float
    mean: float
    compared: int
    own_space: bool = False
    remarks: tuple[str, ...] = ()


def export(
    run: Path,
    folder: Path,
    *,
    precision: str = "fp32",
    pictures: NDArray[np.uint8] | None = None,
    own_space: bool = False,
    start_share: float = 0.0,
    statement: Statement = _SILENT,
) -> Exported:
    """Write a run's best network as ONNX, with its card, and check it against torch.

    Args:
        run: a run's folder or one checkpoint.
        folder: where `<name>-<precision>.onnx` and `<name>.json` go.
        precision: `fp32`, `fp16` or `packed`, of the stored weights, or `int8`, of all arithmetic.
        pictures: uint8 (N, S, S, C) to check with; None: sixteen made of coloured blocks. For
            int8 they are needed: three quarters calibrate, the others judge.
        own_space: where int8 vectors differ too much, keep them as those of another encoder,
            `<name>-int8`, with a space of its own.
        start_share: share of the weights the run began with, 0…1; 0: what it learnt as it is.
        statement: name and licences for the card.

    Raises:
        BadRecipe: an unknown precision, or int8 without pictures.
        BadData: too few pictures to calibrate with.
        CheckpointBroken: there is no checkpoint, or no start to mix with.
        WeightsBroken: the file's vectors differ from torch's; nothing is kept.
    """
    saved = load(find(run))
    name = saved.recipe.name if statement.name is None else statement.name
    _check_asked(precision, pictures, name)
    network = saved.network()
    if start_share:
        towards_start(network, run, start_share)
    model = to_onnx(network, side=_side(saved))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as place:
        reference = path = _write(model, Path(place) / f"{name}-fp32.onnx")
        probes, remarks = _probes(saved, pictures), _remarks(model, precision)
        if precision in ("fp16", "packed"):
            shrink(model, packed=precision == "packed")
        elif precision == "int8":
            learnt, judged = calibration_split(len(probes))
            model, probes = quantise(model, probes[learnt]), probes[judged]
        if precision != "fp32":
            path = _write(model, Path(place) / f"{name}-{precision}.onnx")
        cosines = cosines_of(network, path, probes)
        apart = not float(cosines.min()) >= PARITY
        if apart and not (precision == "int8" and own_space):
            raise WeightsBroken(_too_far(path.name, precision, cosines))
        digests = {file.name: digest_of(file) for file in dict.fromkeys((reference, path))}
        if apart:  # no file of the fp32 weights' space
            del digests[reference.name]
        path = path.replace(folder / path.name)
    card = replace(card_of_checkpoint(saved, digests), name=name)
    card = statement.on(card)
    if apart:
        card = replace(card, name=f"{name}-int8", arch=f"{card.arch}, int8")
    done = Exported(
        path, folder / f"{card.name}.json", card, precision, path.stat().st_size,
        float(cosines.min()), float(cosines.mean()), len(cosines), apart, remarks,
    )  # fmt: skip
    _write_card(done, saved, start_share)
    return done


def _check_asked(precision: str, pictures: NDArray[np.uint8] | None, name: str) -> None:
    """Make sure that what is asked for can be done; `pictures`: uint8 (N, S, S, C) or None."""
    if precision not in PRECISIONS:
        raise BadRecipe(f"There is no precision {precision!r}: known are {', '.join(PRECISIONS)}.")
    if precision == "int8" and pictures is None:
        raise BadRecipe("int8 needs pictures to calibrate with: give --calibration DIR.")
    if not NAME.fullmatch(name):
        raise BadRecipe(
            f"{name!r} cannot be the name of an encoder: letters, digits, dots, dashes and "
            "underscores can (--name)."
        )


def _remarks(model: onnx.ModelProto, precision: str) -> tuple[str, ...]:
    """What speaks against a precision for a network."""
    slow = slow_activations(model) if precision == "int8" else ()
    if not slow:
        return ()
    return (
        (
            f"The network has {', '.join(slow)}, which does not fuse with a convolution: int8 will "
            "be no faster. A network with ReLU is (mobileface-relu)."
        ),
    )


def _too_far(file: str, precision: str, cosines: NDArray[np.float64]) -> str:
    """Why a file is not kept, and what to do; `cosines`: float64 (N,)."""
    told = (
        f"{file} gives other vectors than torch: on {len(cosines)} pictures the cosine is "
        f"{cosines.min():.6f} at least and {cosines.mean():.6f} in the mean, {PARITY} is needed to "
        "share a vector space. Nothing was kept; "
    )
    if precision == "int8":
        return told + (
            "export with --precision fp16, or with --own-space: then it is an encoder of its own, "
            "with galleries and calibrations of its own."
        )
    return told + "export with --precision fp32."


def _write_card(done: Exported, saved: Checkpoint, start_share: float) -> None:
    """Write the card; files of the same space that lie beside it stay in it."""
    card, folder = done.card, done.card_path.parent
    if done.card_path.is_file():
        with contextlib.suppress(ModelUnusable):
            before, _ = read_card(done.card_path)
            if before.space == card.space:
                kept = {k: v for k, v in before.digests.items() if (folder / k).is_file()}
                card = replace(card, digests={**card.digests, **kept, **card.digests})
    recipe = saved.recipe.to_dict()  # places on this machine are nobody's business
    recipe |= {key: Path(recipe[key]).name for key in ("data", "init") if recipe[key]}
    facts = {
        **card.to_dict(), "recipe": recipe, "precision": done.precision, "parity": done.parity,
        "mean_cosine": done.mean, "compared": done.compared, "start_share": start_share,
    }  # fmt: skip
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    done.card_path.write_text(text, encoding="utf-8")


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
    with warnings.catch_warnings(), hushed():
        warnings.simplefilter("ignore")
        yield


def shrink(model: onnx.ModelProto, *, packed: bool = False) -> None:
    """Store the large weights in fewer bits, in place; nodes in front of their use make fp32 again.

    Only the file is smaller: everything is computed in fp32, and no activation is rounded.

    Args:
        model: its weights are fp32.
        packed: matrices (O, …) of a million numbers or more as int8, with a factor for each output
            (its largest weight / 127); all others as fp16.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph, nodes, kept = model.graph, [], []
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < _LARGE:
            kept.append(weight)
        elif packed and array.size >= _LARGEST:
            rows = tuple(range(1, array.ndim))
            factor = np.maximum(np.abs(array).max(axis=rows, keepdims=True), 1e-30) / 127
            stored, wide, by = (f"{weight.name}.{end}" for end in ("int8", "wide", "factor"))
            kept.append(numpy_helper.from_array(np.rint(array / factor).astype(np.int8), stored))
            kept.append(numpy_helper.from_array(factor.astype(np.float32), by))
            nodes.append(helper.make_node("Cast", [stored], [wide], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [wide, by], [weight.name]))
        else:
            stored = f"{weight.name}.fp16"
            kept.append(numpy_helper.from_array(array.astype(np.float16), stored))
            nodes.append(helper.make_node("Cast", [stored], [weight.name], to=TensorProto.FLOAT))
    nodes += graph.node
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
    rows = pictures[:MOST_PICTURES].astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(rows, (*rows.shape[:3], 3)).transpose(0, 3, 1, 2))


def cosines_of(network: nn.Module, path: Path, tensor: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine between torch's vector and the file's, of each picture.

    Args:
        network: in evaluation mode.
        path: the ONNX file.
        tensor: float32 (N, 3, S, S).

    Returns:
        float64 (N,), −1…1.
    """
    ours, theirs = TorchNetwork(network), OnnxNetwork(str(path))
    found = [
        (unit_rows(ours.run(block)) * unit_rows(theirs.run(block))).sum(axis=1, dtype=np.float64)
        for block in (tensor[i : i + _BLOCK] for i in range(0, len(tensor), _BLOCK))
    ]
    return np.concatenate(found)


def facts_of(exported: Exported) -> dict[str, Any]:
    """What an export says of itself, as JSON values."""
    return {
        "file": str(exported.path), "card": str(exported.card_path), "bytes": exported.size,
        "precision": exported.precision, "parity": exported.parity,
        "mean_cosine": exported.mean, "compared": exported.compared,
        "space": exported.card.space, "own_space": exported.own_space,
        "remarks": list(exported.remarks),
    }  # fmt: skip
