"""Checkpoints: a folder with `state.safetensors` and `state.json`; never a pickle.

    run/step-00000500/state.safetensors   network, averaged weights, objectives, optimizer
                      state.json          recipe, step, best EER, classes, shape
    run/best/…                            the averaged weights at the best validation
    run/start/…                           the weights it began with, where these were trained ones

A folder is written under another name, synced, and renamed: it is there whole, or not there. One
that it replaces steps aside first, and is put back if the new one never came.
All chance of a run follows from seed and step, so no state of a generator needs keeping.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from embedder.errors import CheckpointBroken
from embedder.network import EmbeddingNetwork, build
from embedder.recipe import Recipe, from_dict

STATE, FACTS = "state.safetensors", "state.json"
_KEPT = 2
_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        recipe: of the run.
        facts: JSON: `step`, `classes`, `dim`, `best`, and what else the loop remembers.
        tensors: by name: `network.…`, `average.…`, `objective.…`, `optimizer.<i>.…`.
    """

    recipe: Recipe
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one part, without its prefix; each of the shape its module has."""
        head = prefix + "."
        return {k.removeprefix(head): v for k, v in self.tensors.items() if k.startswith(head)}

    def network(self) -> EmbeddingNetwork:
        """The network in evaluation mode: the averaged weights where there are any."""
        network = build(
            self.recipe.network, dim=self.facts["dim"], dropout=self.recipe.dropout,
            pretrained=False,
        )  # fmt: skip
        load_into(network, self.part("average") or self.part("network"))
        network.eval()
        return network


def load_into(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy tensors into a module.

    Args:
        module: what they belong to.
        tensors: by the names, and of the shapes and dtypes, of its state dict; all of them.

    Raises:
        CheckpointBroken: names or shapes do not agree.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointBroken(
            f"The checkpoint does not fit this network ({str(error).splitlines()[0]}): it was "
            "written by another version or recipe."
        ) from error


def save(folder: Path, tensors: dict[str, Tensor], recipe: Recipe, facts: dict[str, Any]) -> None:
    """Write a checkpoint in place of whatever is there, all of it or nothing.

    Args:
        folder: its place; the parent is made.
        tensors: by name, of any shape and dtype; see `Checkpoint`.
        recipe: of the run.
        facts: JSON values.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        alone = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
        save_file(alone, work / STATE)
        text = json.dumps({"recipe": recipe.to_dict(), **facts}, indent=1)
        (work / FACTS).write_text(text)
        for name in (STATE, FACTS, "."):
            _sync(work / name)
        if folder.exists():
            shutil.rmtree(_aside(folder), ignore_errors=True)
            folder.rename(_aside(folder))
        work.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(_aside(folder), ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _aside(folder: Path) -> Path:
    """Where a checkpoint waits until the one that replaces it is there."""
    return folder.with_name(f".{folder.name}.before")


def _put_back(folder: Path) -> None:
    """Bring back what stepped aside for a checkpoint that never came: its writer was killed."""
    if not folder.exists() and _aside(folder).exists():
        _aside(folder).rename(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointBroken: it is not there, or cannot be read.
    """
    try:
        facts = json.loads((folder / FACTS).read_text())
        recipe = from_dict(facts.pop("recipe"))
        return Checkpoint(recipe, facts, load_file(folder / STATE))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointBroken(
            f"{folder} is no checkpoint that can be read ({error}): give the folder that holds "
            f"{STATE}, or begin anew."
        ) from error


def find(place: Path) -> Path:
    """A checkpoint's folder: the given one, its `best`, or its latest step.

    Raises:
        CheckpointBroken: there is none.
    """
    if (place / FACTS).is_file():
        return place
    _put_back(place / "best")
    if (place / "best" / FACTS).is_file():
        return place / "best"
    last = latest(place)
    if last is None:
        raise CheckpointBroken(f"{place} holds no checkpoint: give the folder of a run.")
    return last


def towards_start(network: EmbeddingNetwork, run: Path, share: float) -> None:
    """Mix a network's weights with those its run began with, in place.

    What was known before comes back, and less of what was learnt is lost than the share says: the
    losses of fine-tuned weights are about convex between the two (Wortsman and others, "Robust
    fine-tuning of zero-shot models", CVPR 2022).

    Args:
        network: of the run.
        run: the run's folder.
        share: of the start, 0…1.

    Raises:
        CheckpointBroken: the run kept no start, or one of another network.
    """
    if not (run / "start" / FACTS).is_file():
        raise CheckpointBroken(
            f"{run} holds no start to mix with: only runs that began with trained weights keep one."
        )
    mixed = load(run / "start").network()
    ours, theirs = network.state_dict(), mixed.state_dict()
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        raise CheckpointBroken(f"{run / 'start'} is of another network.")
    with torch.no_grad():
        for key, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[key], share)


def latest(run: Path) -> Path | None:
    """The checkpoint with the highest step of a run, or None."""
    found = [p for p in run.glob("step-*") if _NAME.fullmatch(p.name) and (p / FACTS).is_file()]
    return max(found, key=lambda p: p.name, default=None)


def at_step(run: Path, step: int) -> Path:
    """Where a run's checkpoint of a step lies."""
    return run / f"step-{step:08}"


def prune(run: Path) -> None:
    """Delete all but the two newest checkpoints of steps, and what a killed run left half done."""
    _put_back(run / "best")
    steps = sorted(p for p in run.glob("step-*") if _NAME.fullmatch(p.name))
    for folder in [*steps[:-_KEPT], *run.glob(".step-*"), *run.glob(".best.*")]:
        shutil.rmtree(folder, ignore_errors=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's memory, by `<number of the parameter>.<name>`.

    Returns:
        Means and squares of gradients (AdamW) or momenta (SGD), float of their parameter's shape,
        and counts of steps, float32 (); AdamW's `step`, `exp_avg`, `exp_avg_sq`.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, in place.

    Args:
        optimizer: a fresh one over the same parameters in the same order.
        tensors: `<number>.<name>` → a tensor of that parameter's shape, or () for counts.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
