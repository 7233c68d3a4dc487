"""A recipe: every choice of a training run, frozen, saved in its checkpoints.

A recipe is plain JSON, so that it can be written by hand, read in a year, and compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from embedder.errors import BadRecipe
from embedder.objectives import Weighted


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice of a run.

    Attributes:
        name: of the encoder that comes out.
        data: where the pictures are; see `embedder.dataset.open_pictures`.
        network: a key of `embedder.network.NETWORKS`.
        init: whose weights are the start: a checkpoint's folder, an exported model's, or the name
            of an imported one (`embedder.start`); None: fresh or pretrained.
        dim: D of the vectors; None: the network's.
        dropout: share of features dropped before the last layer, 0…1.
        objectives: what is made small, with weights.
        teacher: an encoder (`sface`) whose vectors are distilled; None: no teacher.
        self_supervised: two augmented views of each picture, labels unused.
        augmentation: a key of `embedder.augment.AUGMENTATIONS`.
        by: split by `class` (person) or by `photo`.
        validation: share to validate on.
        test: share kept for the end.
        per_class: M pictures of each class in a batch.
        batch: B pictures a step, over all processes.
        chunk: pictures a forward pass holds in memory; the gradients of a larger batch are
            computed in pieces and are those of the whole batch. None: the batch at once.
        accumulate: batches whose gradients are summed before a step of the optimizer.
        steps: how many.
        optimizer: `adamw`, `sgd`, or `adamw-relative`: AdamW with the rate of each tensor times the
            root mean square of its weights, for a pretrained start whose tensors differ in size.
        rate: learning rate at its highest.
        floor: learning rate at the end, as share of `rate`.
        warmup: steps until the learning rate is there.
        decay: weight decay.
        bf16: compute in bfloat16; None: on a GPU only. A processor that has it is twice as fast.
        clip: the gradient's norm is cut to this; 0: never.
        frozen: steps during which the body is frozen and only the head learns.
        rest: how many of the body's first blocks never learn.
        norms: `learn`: batch normalisation follows the pictures it sees; `keep`: a pretrained body
            keeps the averages it came with, and the head those it has after `warm_head`.
        warm_body: training pictures a body cut out of a pretrained one is fitted to, block by
            block, before the head is (`embedder.train_body`); `sface-half` only; 0: none.
        warm_steps: steps in which that body then learns to give the last map of the pretrained one;
            0: none.
        warm_head: training pictures whose features the head is fitted to before the first step,
            by the teacher's vectors; 0: none.
        ema: how slowly the averaged weights follow, 0…1; 0: no average.
        evaluate: steps between two validations.
        judged: a key of `embedder.augment.AUGMENTATIONS`: validation is the mean of two EERs, of
            clean pictures and of pictures so changed against clean ones; `none`: clean ones alone.
        patience: validations without a better EER before the run ends; 0: never.
        checkpoint: steps between two checkpoints.
        seed: of everything.
        stop_on_collapse: end the run when the vectors fall together.
    """

    name: str = "encoder"
    data: str = ""
    network: str = "small"
    init: str | None = None
    dim: int | None = None
    dropout: float = 0.0
    objectives: tuple[Weighted, ...] = (Weighted("triplet"),)
    teacher: str | None = None
    self_supervised: bool = False
    augmentation: str = "none"
    by: str = "class"
    validation: float = 0.1
    test: float = 0.1
    per_class: int = 4
    batch: int = 128
    chunk: int | None = None
    accumulate: int = 1
    steps: int = 1000
    optimizer: str = "adamw"
    rate: float = 1e-3
    floor: float = 0.01
    warmup: int = 100
    decay: float = 1e-2
    bf16: bool | None = None
    clip: float = 5.0
    frozen: int = 0
    rest: int = 0
    norms: str = "learn"
    warm_body: int = 0
    warm_steps: int = 0
    warm_head: int = 0
    ema: float = 0.0
    evaluate: int = 200
    judged: str = "none"
    patience: int = 0
    checkpoint: int = 500
    seed: int = 0
    stop_on_collapse: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise BadRecipe(f"{name} is {value}: it must be {low:g} to {high:g}.")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise BadRecipe(f"{name} is {getattr(self, name)!r}: known are {', '.join(known)}.")
        if self.warm_steps and not self.warm_body:
            raise BadRecipe("warm_steps goes on from a fitted body: let warm_body fit one.")
        if self.per_class > self.batch:
            raise BadRecipe(f"per_class is {self.per_class}, more than the batch of {self.batch}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def but(self, **changes: Any) -> Recipe:  # noqa: ANN401 - any field's value
        """The same recipe with other choices.

        Raises:
            BadRecipe: no such field, or a value out of its range.
        """
        return from_dict({**self.to_dict(), **changes})


_RANGES = (
    ("dim", 2, 4096), ("dropout", 0, 0.95), ("validation", 0, 0.9), ("test", 0, 0.9),
    ("per_class", 1, 10_000), ("batch", 2, 1_000_000), ("chunk", 2, 1_000_000),
    ("accumulate", 1, 10_000), ("steps", 1, 1_000_000_000), ("rate", 1e-9, 100), ("floor", 0, 1),
    ("warmup", 0, 1_000_000_000), ("decay", 0, 10), ("clip", 0, 1e6), ("frozen", 0, 1_000_000_000),
    ("rest", 0, 1000), ("warm_body", 0, 1_000_000_000),
    ("warm_steps", 0, 1_000_000_000), ("warm_head", 0, 1_000_000_000),
    ("ema", 0, 0.999999), ("evaluate", 1, 1_000_000_000), ("patience", 0, 1_000_000),
    ("checkpoint", 1, 1_000_000_000), ("seed", 0, 2**32 - 1),
)  # fmt: skip
_CHOICES = {
    "optimizer": ("adamw", "adamw-relative", "sgd"), "by": ("class", "photo"),
    "norms": ("learn", "keep"),
}  # fmt: skip

_MNIST = Recipe(
    name="mnist-triplet", data="mnist.npz.xz", network="small", dropout=0.1, by="photo",
    validation=0.05, augmentation="digits", batch=200, per_class=20, steps=3000, rate=2e-3,
    bf16=True, warmup=100, ema=0.998, evaluate=500, objectives=(
        Weighted("triplet", options={"margin": 0.5, "mining": "semi-hard"}),
    ),
)  # fmt: skip
# The teacher is shown the clean face, the student one time in three a hard capture of it. With one
# rate for all tensors, what the head began with was lost within fifty steps.
_FACE = Recipe(
    name="vultus-face-1", network="sface-narrow", augmentation="hard-third", judged="captures",
    teacher="sface-mirror", warm_head=12_000, norms="keep", rest=3, bf16=True, validation=0.03,
    test=0.0, batch=64, per_class=4, steps=1800, optimizer="adamw-relative", rate=2e-3, warmup=100,
    decay=1e-4, ema=0.997, evaluate=400, checkpoint=100, seed=1, objectives=(
        Weighted("distil-vectors"), Weighted("distil-similarity", 10.0),
        Weighted("triplet", 0.05, {"margin": 0.3}),
    ),
)  # fmt: skip
RECIPES = {
    recipe.name: recipe
    for recipe in (
        _FACE,
        replace(_FACE, name="vultus-face-1-mobile", network="sface-half", augmentation="faces",
                judged="none", warm_body=2000, warm_steps=3000, rest=0, steps=4000, rate=6e-3,
                ema=0.998),
        _MNIST,
        replace(_MNIST, name="mnist-ratio", objectives=(
            Weighted("triplet-ratio", options={"unit": True, "temperature": 1.0}),)),
        replace(_MNIST, name="fashion", data="fashion_mnist.npz.xz", augmentation="garments",
                steps=6000, dropout=0.2, objectives=(
                    Weighted("arcface", options={"margin": 0.2, "scale": 16.0}),
                    Weighted("supcon", 0.5))),
        Recipe(name="omniglot", data="omniglot.npz", network="small", augmentation="digits",
               validation=0.05, test=0.0, batch=240, per_class=4, steps=3000, rate=2e-3, bf16=True,
               ema=0.998, evaluate=500, objectives=(
                   Weighted("contrastive", options={"margin": 1.0}), Weighted("supcon"))),
        Recipe(name="faces", network="sface-compact", augmentation="faces", frozen=500,
               teacher="sface", batch=256, chunk=64, per_class=4, steps=20_000, rate=5e-4,
               ema=0.999, objectives=(
                   Weighted("triplet", options={"margin": 0.3}), Weighted("distil-vectors", 2.0))),
        Recipe(name="simclr", network="mobileface", self_supervised=True, augmentation="views",
               batch=256, chunk=64, steps=5000, ema=0.999, objectives=(Weighted("nt-xent"),)),
    )
}  # fmt: skip


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """A recipe of plain JSON values.

    Raises:
        BadRecipe: an unknown field, a value of another kind or out of its range.
    """
    known = {field.name for field in fields(Recipe)}
    strange = sorted(set(values) - known)
    if strange:
        raise BadRecipe(
            f"A recipe has no {', '.join(strange)}: its fields are {', '.join(sorted(known))}."
        )
    try:
        objectives = tuple(
            one if isinstance(one, Weighted) else Weighted(**one)
            for one in values.get("objectives", Recipe().objectives)
        )
        return Recipe(**{**values, "objectives": objectives})
    except TypeError as error:
        raise BadRecipe(f"A value of the recipe is of the wrong kind ({error}).") from error


def open_recipe(given: str) -> Recipe:
    """A recipe by its built-in name, or from a JSON file.

    Raises:
        BadRecipe: neither, or a file that cannot be read.
    """
    if given in RECIPES:
        return RECIPES[given]
    path = Path(given)
    if not path.is_file():
        raise BadRecipe(f"{given} is neither a file nor a recipe: known are {', '.join(RECIPES)}.")
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadRecipe(f"{given} is no JSON that can be read ({error}).") from error
    if not isinstance(values, dict):
        raise BadRecipe(f"{given} holds no object: a recipe is one JSON object.")
    return from_dict(values)


def parse_objectives(text: str) -> tuple[Weighted, ...]:
    """Objectives written `name[:weight]`, comma-separated: `triplet,distil-vectors:2`.

    Raises:
        BadRecipe: a weight that is no number.
    """
    found = []
    for word in text.split(","):
        name, _, weight = word.strip().partition(":")
        try:
            found.append(Weighted(name, float(weight) if weight else 1.0))
        except ValueError:
            raise BadRecipe(f"{word!r}: write name:weight, for example triplet:0.5.") from None
    return tuple(found)
