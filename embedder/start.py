"""Where fine-tuning begins: a run, a checkpoint, a folder `models export` wrote, or an encoder.

A graph has no batch normalisation any more: the exporter folds it into the convolutions before.
Going back, each normalisation becomes one that changes nothing but adds the bias, and what was
folded stays in the kernels: the vectors are the same, and everything can learn again. They are
compared with the graph's own before training begins.

Letters: N pictures, S side, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedder import checkpoint, model_folder
from embedder.card_file import read_card
from embedder.encoder import unit_rows
from embedder.errors import BadRecipe, CheckpointBroken, EmbedderError, ModelUnusable
from embedder.network import EmbeddingNetwork, network_card
from embedder.onnx_encoder import OnnxNetwork
from embedder.recipe import Recipe, from_dict
from embedder.weights import digest_of

if TYPE_CHECKING:
    import onnx

_PARITY = 0.9995
_PROBES = 4
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LEARNING = (nn.Conv2d, nn.Linear, nn.PReLU, *_NORMS)
_KINDS = {"Conv": nn.Conv2d, "Gemm": nn.Linear, "PRelu": nn.PReLU, "BatchNormalization": _NORMS}


@dataclass(frozen=True, slots=True)
class Model:
    """An exported encoder.

    Attributes:
        path: its graph.
        recipe: what it was trained by.
    """

    path: Path
    recipe: Recipe


def start_recipe(init: str) -> Recipe:
    """What the start was trained by, as it is to be fine-tuned.

    Args:
        init: a run's folder or a checkpoint, a folder with a graph and its card, or the name of
            an encoder that was trained here.

    Raises:
        CheckpointBroken: none of them.
    """
    model = _model(init)
    if model is not None:
        return model.recipe.but(norms="keep")
    return checkpoint.load(checkpoint.find(Path(init))).recipe


def load_start(network: EmbeddingNetwork, init: str, *, norms: str = "keep") -> None:
    """Copy the weights of a start into a network, in place.

    Args:
        network: of the start's kind and dimensions.
        init: see `start_recipe`.
        norms: of the recipe; a graph asks for `keep`.

    Raises:
        CheckpointBroken: there is no such start, or it does not fit.
        BadRecipe: normalisation would learn that is none.
    """
    model = _model(init)
    if model is None:
        saved = checkpoint.load(checkpoint.find(Path(init)))
        checkpoint.load_into(network, saved.part("average") or saved.part("network"))
        return
    if norms != "keep":
        raise BadRecipe(
            f'{init} is a graph, whose normalisation is folded into its kernels: give "norms": '
            '"keep" in the recipe, or begin with the folder of a run.'
        )
    load_graph(network, model.path, side=network_card(model.recipe.network).side)


def _model(init: str) -> Model | None:
    """The exported encoder meant, or None where it is a run's folder or should be one."""
    place = Path(init)
    if not place.exists():
        return _named(init)
    kept = (place / checkpoint.FACTS, place / "best" / checkpoint.FACTS)
    if any(file.is_file() for file in kept) or checkpoint.latest(place) is not None:
        return None
    found = (_exported(card) for card in sorted(place.glob("*.json")))
    return next((model for model in found if model is not None), None)


def _exported(path: Path) -> Model | None:
    """The graph beside a card that tells how it was trained, or None."""
    try:
        card, facts = read_card(path)
    except ModelUnusable:
        return None  # another JSON file
    for name, digest in card.digests.items():
        graph = path.with_name(name)
        if graph.is_file() and digest_of(graph) == digest and "recipe" in facts:
            return Model(graph, from_dict(facts["recipe"]))
    return None


def _named(name: str) -> Model:
    try:
        own = model_folder.own(name)
        return Model(own.graph(), from_dict(own.facts["recipe"]))
    except (EmbedderError, KeyError) as error:
        raise CheckpointBroken(
            f"There is no {name} to begin with: give the folder of a run, of a checkpoint or of "
            "an exported model, or the name of an encoder that vultus trained (vultus models "
            "list)."
        ) from error


def load_graph(network: EmbeddingNetwork, path: Path, *, side: int) -> None:
    """Copy the weights of a graph that was exported from such a network into it, in place.

    Args:
        network: of the same kind and dimensions.
        path: the ONNX file, fp32, fp16 or packed.
        side: S of its pictures.

    Raises:
        CheckpointBroken: the graph is of another network, or gives other vectors.
    """
    import onnx

    weights = _weights(onnx.load(str(path)))
    leaves = [module for module in network.modules() if isinstance(module, _LEARNING)]
    try:
        with torch.no_grad():
            _fill(leaves, weights)
    except (RuntimeError, StopIteration, KeyError, ValueError) as error:
        raise CheckpointBroken(
            f"{path} is no graph of this network ({error}): begin with a run's folder."
        ) from error
    cosine = _least_cosine(network, path, side)
    if not cosine >= _PARITY:
        raise CheckpointBroken(
            f"The weights of {path} give other vectors than it does (cosine {cosine:.4f}): it is "
            "int8 or of another network; begin with a run's folder or an fp32, fp16 or packed "
            "graph."
        )


def _weights(model: onnx.ModelProto) -> Iterator[tuple[type | tuple[type, ...], list[Any]]]:
    """What each learning node is in torch, and its weights in the order of its inputs."""
    from onnx import numpy_helper

    known = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in known:  # fp16 is stored, fp32 computed
            known[node.output[0]] = known[node.input[0]].astype(np.float32)
        if node.op_type == "Mul" and all(name in known for name in node.input):  # packed
            known[node.output[0]] = known[node.input[0]] * known[node.input[1]]
        if node.op_type in _KINDS:
            arrays = [known[name] for name in node.input[1:]]
            if node.op_type == "Gemm" and not _transposed(node):
                arrays[0] = arrays[0].T
            yield _KINDS[node.op_type], [torch.from_numpy(np.array(a, np.float32)) for a in arrays]


def _transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i == 1 for a in node.attribute)


def _fill(
    leaves: list[nn.Module], weights: Iterator[tuple[type | tuple[type, ...], list[Any]]]
) -> None:
    """Copy weights into modules, both in the order of computing."""
    pending: Any = None  # the bias of a convolution without one: the normalisation behind has it
    for leaf in leaves:
        if pending is not None and isinstance(leaf, _NORMS):
            _pass_on(leaf, pending)
            pending = None
            continue
        kind, arrays = next(weights)
        if not isinstance(leaf, kind):
            raise ValueError(f"{type(leaf).__name__} where {kind} is")
        if isinstance(leaf, nn.Conv2d | nn.Linear) and leaf.bias is None and len(arrays) == 2:
            pending = arrays.pop()
        _copy(leaf, arrays)
    if next(weights, None) is not None or pending is not None:
        raise ValueError("it has more layers")


def _copy(leaf: nn.Module, arrays: list[Any]) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    for name, array in zip(names, arrays, strict=False):
        target = getattr(leaf, name)
        target.copy_(array.reshape(target.shape))


def _pass_on(norm: Any, bias: Any) -> None:  # noqa: ANN401 - one of _NORMS, and a tensor
    """A normalisation that adds a bias and changes nothing else."""
    norm.weight.fill_(1.0)
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)
    norm.bias.copy_(bias)


def _least_cosine(network: EmbeddingNetwork, path: Path, side: int) -> float:
    """Least cosine between torch and the graph over a few pictures of coloured blocks."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (_PROBES, 3, 7, 7)).repeat(side // 7, 2).repeat(side // 7, 3)
    pictures: NDArray[np.float32] = blocks.astype(np.float32)
    mode = network.training
    with torch.no_grad():
        ours = network.eval()(torch.from_numpy(pictures)).numpy()
    network.train(mode)
    theirs = OnnxNetwork(str(path), "cpu").run(pictures)
    if ours.shape != theirs.shape:
        return float("nan")
    return float((unit_rows(ours) * unit_rows(theirs)).sum(axis=1).min())
