"""The optimizer of a recipe, its learning rate, and normalisation that stands still."""

from __future__ import annotations

import math

import torch
from torch import nn

from embedder.recipe import Recipe


def optimizer_of(recipe: Recipe, network: nn.Module, objective: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD; vectors (biases, normalisation, PReLU) do not decay."""
    weights = [*network.parameters(), *objective.parameters()]
    if recipe.optimizer == "adamw-relative":
        return relative(weights, recipe.decay)
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.rate)


def relative(weights: list[nn.Parameter], decay: float) -> torch.optim.Optimizer:
    """AdamW with a group for each tensor, for `set_rate`; vectors do not decay."""
    return torch.optim.AdamW(
        [
            {"params": [p], "weight_decay": decay if p.ndim > 1 else 0.0, "relative": True}
            for p in weights
        ]
    )


_LEAST_SIZE = 1e-3  # of a tensor, for its rate: what begins at zero must be able to leave it


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; in a relative group, times the size of its weights.

    A step of AdamW changes each weight by about the rate, whatever its size. Kernels of SFace are
    about 0.02, those of a regressed head 0.004: one rate for both destroys the one or hardly moves
    the other. The size is the root mean square of a tensor as it is now (Shazeer, Stern,
    "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018, section 8), so that
    resuming needs nothing more.

    Args:
        optimizer: of `optimizer_of`; changed in place.
        rate: of the step, or for relative groups the share of its size a weight changes by.
    """
    for group in optimizer.param_groups:
        size = 1.0
        if group.get("relative"):
            (tensor,) = group["params"]
            size = max(_LEAST_SIZE, float(tensor.detach().float().square().mean().sqrt()))
        group["lr"] = rate * size


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate of a step: a straight rise, then half a cosine down to the floor."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    along = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    height = 0.5 * (1 + math.cos(math.pi * min(1.0, along)))
    return recipe.rate * (recipe.floor + (1 - recipe.floor) * height)


def still(part: nn.Module) -> None:
    """Batch normalisation by the averages it has; its scale and shift go on learning."""
    for module in part.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
