"""A body cut out of a trained one, fitted to it block by block in closed form.

Each convolution in turn is set to what is nearest, in the least squares, to what the trained body
computes at the same place: its inputs are the features of the fitted blocks before it, its aims the
trained body's outputs before their activation. What a block got wrong, the next one makes up for
as far as a linear map can (He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural
Networks", ICCV 2017, section 3.2, reconstructs pruned blocks so). No gradient is followed, and a
thousand pictures are enough.

Then the whole cut body may imitate the trained one's last map by gradient: a map tells thousands of
numbers of a picture where a vector tells a hundred (Romero and others, "FitNets: Hints for Thin
Deep Nets", ICLR 2015).

Letters: N pictures, B of a batch, C channels in, O channels out, H side of a map, h of the last
one, P positions of the map that comes out, T taps of a kernel, G groups, W = T·C/G inputs of an
output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from embedder.optimizer import rate_at, relative, set_rate, still
from embedder.recipe import Recipe

_BATCH = 32
_TOGETHER = 64  # B of a step of `imitate`
_STEP = 3e-2  # its learning rate at the highest, as share of the size of the weights
_RISE = 50  # steps until it is there
_PENALTY = 1e-4  # of the mean variance of the inputs


def fit_body(body: nn.Sequential, whole: nn.Sequential, pictures: Tensor) -> float:
    """Set the convolutions and normalisations of a body to follow another, in place.

    Args:
        body: blocks of convolution, normalisation and activation (`embedder.network.unit`).
        whole: as many such blocks with as many channels, whose maps may be larger by a whole
            factor: every second position is then looked at.
        pictures: float (N, 3, H, H), scaled as the bodies take them.

    Returns:
        Mean cosine over positions of the two bodies' last maps.
    """
    seen = known = pictures.half()
    body.eval(), whole.eval()
    with torch.no_grad():
        for block, trained in zip(body, whole, strict=True):
            aims = _through(trained[:2], known)
            known = _through(trained[2], aims)
            fit_block(block, seen, _thinned(aims, seen, block[0]))
            seen = _through(block, seen)
        known = _thinned(known, seen, None)
        near = [
            functional.cosine_similarity(a.float(), b.float())
            for a, b in zip(seen.split(_BATCH), known.split(_BATCH), strict=True)
        ]
    return float(torch.cat(near).mean())


def fit_block(block: nn.Sequential, inputs: Tensor, aims: Tensor) -> None:
    """Set one block's convolution and normalisation by least squares, in place.

    Args:
        block: a convolution over all channels or over each by itself, then its normalisation.
        inputs: (N, C, H, H).
        aims: (N, O, H', H'), wanted before the activation; of the shape the convolution gives.
    """
    conv, norm = block[0], block[1]
    apart = conv.groups > 1
    taps = conv.kernel_size[0] ** 2
    groups = conv.groups
    width = taps * conv.in_channels // groups  # inputs of one output
    outs = 1 if apart else conv.out_channels
    exact = {"dtype": torch.float64, "device": inputs.device}
    within = torch.zeros(groups, width, width, **exact)
    across = torch.zeros(groups, width, outs, **exact)
    sums = torch.zeros(groups, width, **exact)
    totals = torch.zeros(groups, outs, **exact)
    count = 0
    for x, y in zip(inputs.split(_BATCH), aims.split(_BATCH), strict=True):
        rows = functional.unfold(
            x.float(), conv.kernel_size, padding=conv.padding, stride=conv.stride
        )  # (n, C·T, P)
        rows = rows.view(len(x), groups, width, -1).permute(1, 2, 0, 3).flatten(2)  # (G, W, n·P)
        wanted = y.float().view(len(y), groups, outs, -1).permute(1, 2, 0, 3).flatten(2)
        within += (rows @ rows.mT).double()
        across += (rows @ wanted.mT).double()
        sums += rows.sum(dim=2).double()
        totals += wanted.sum(dim=2).double()
        count += rows.shape[2]
    centre, aim = sums / count, totals / count
    within = within / count - centre.unsqueeze(2) * centre.unsqueeze(1)
    across = across / count - centre.unsqueeze(2) * aim.unsqueeze(1)
    ridge = within.diagonal(dim1=1, dim2=2).mean(dim=1) * _PENALTY + 1e-8
    within.diagonal(dim1=1, dim2=2).add_(ridge.unsqueeze(1))
    weight = torch.linalg.solve(within, across)  # (G, W, outs)
    spread = (across * weight).sum(dim=1).clamp(min=1e-8).sqrt()  # of what the convolution gives
    conv.weight.copy_(weight.mT.reshape(conv.weight.shape))
    norm.running_mean.copy_((centre.unsqueeze(2) * weight).sum(dim=1).flatten())
    norm.running_var.copy_((spread**2).flatten())
    norm.weight.copy_(torch.sqrt(spread**2 + norm.eps).flatten())
    norm.bias.copy_(aim.flatten())


def imitate(
    body: nn.Sequential, whole: nn.Sequential, pictures: Callable[[NDArray[np.int64]], Tensor],
    rows: NDArray[np.int64], *, steps: int, seed: int, bf16: bool,
) -> float:  # fmt: skip
    """Train a body to give the last map of another, in place; normalisations keep their averages.

    The maps to be learnt are computed once and kept as float16.

    Args:
        body: (B, 3, H, H) → (B, O, h, h).
        whole: the same with a larger map, whose every second position is aimed at; or as large.
        pictures: rows int64 (B,) → float (B, 3, H, H), scaled as the bodies take them.
        rows: int64 (N,), of the pictures.
        steps: of 64 pictures each.
        seed: of their order.
        bf16: compute in bfloat16.

    Returns:
        Mean squared difference of the last tenth of the steps, in shares of the variance of each
        channel of what is aimed at: 1 is what its mean alone would give.
    """
    device = next(body.parameters()).device
    half = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
    order = np.random.default_rng(seed)
    whole.eval()
    with torch.no_grad(), half:
        side = body(pictures(rows[:1])).shape[-1]
        parts = [
            _spaced(whole(pictures(rows[i : i + _TOGETHER])), side).half()
            for i in range(0, len(rows), _TOGETHER)
        ]
    aims = torch.cat(parts)
    del parts
    spread = aims[: 64 * _TOGETHER].float().std(dim=(0, 2, 3)).clamp(min=1e-4).view(1, -1, 1, 1)
    body.train()
    still(body)
    optimizer = relative(list(body.parameters()), 0.0)
    course, told = Recipe(steps=steps, rate=_STEP, warmup=_RISE), []
    for step in range(steps):
        drawn = np.sort(order.choice(len(rows), min(_TOGETHER, len(rows)), replace=False))
        set_rate(optimizer, rate_at(course, step))
        with half:
            found = body(pictures(rows[drawn])).float()
        wanted = aims[torch.from_numpy(drawn)].float()
        loss = functional.mse_loss(found / spread, wanted / spread)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        told.append(float(loss.detach()))
    return float(np.mean(told[-max(1, steps // 10) :]))


def _spaced(maps: Tensor, side: int) -> Tensor:
    """Evenly spaced positions of (N, O, H, H), so many a side."""
    step = -(-maps.shape[-1] // side)
    return maps[:, :, ::step, ::step]


def _through(part: nn.Module, maps: Tensor) -> Tensor:
    """Float16 maps through a part of a body, a few at a time: float16."""
    return torch.cat([part(some.float()).half() for some in maps.split(_BATCH)])


def _thinned(aims: Tensor, seen: Tensor, conv: nn.Conv2d | None) -> Tensor:
    """Those positions of (N, O, H, H) that a convolution over `seen` gives; its own if None."""
    return _spaced(aims, seen.shape[-1] if conv is None else -(-seen.shape[-1] // conv.stride[0]))
