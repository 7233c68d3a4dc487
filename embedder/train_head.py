"""A fresh head fitted to a teacher's vectors on features of a body that came trained.

The body is run once a picture; the head alone learns from the kept features, many times over in
the time of one pass of the body. Training then begins near the teacher, not at chance.

A head of the factored form (`embedder.network.narrow_head`) need not learn at all: it is the whole
head's matrix cut to the directions of the channels in which features vary most, as they count for
the vector: reduced-rank regression (Izenman, "Reduced-rank regression for the multivariate linear
model", Journal of Multivariate Analysis 5, 1975), with one covariance for all positions. Its matrix
is then the one whose vectors are nearest to the teacher's in the least squares (ridge regression:
Hoerl, Kennard, Technometrics 12, 1970), the penalty chosen on pictures left out.

Letters: N pictures, C channels, H side of the feature map, P = H·H positions, D dimensions, K
channels of the factored head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_BATCH, _EPOCHS, _RATE = 256, 12, 2e-3
_DUAL = 0.03  # penalty of `reduced`, in shares of a picture's mean square
_PENALTIES = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0)


def fit_head(head: nn.Module, features: Tensor, teacher: Tensor, *, seed: int) -> float:
    """Train a head until its vectors point where the teacher's do; seeded, in place.

    Args:
        head: feature map (N, C, H, H) → (N, D).
        features: float16 (N, C, H, H), on the head's device.
        teacher: float (N, D), unit rows.
        seed: of the order of the pictures.

    Returns:
        Mean cosine with the teacher over the last pass.
    """
    order = torch.Generator().manual_seed(seed)
    steps = -(-len(features) // _BATCH)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, _EPOCHS * steps)
    head.train()
    cosine = 0.0
    for _ in range(_EPOCHS):
        total = 0.0
        drawn = torch.randperm(len(features), generator=order).to(features.device)
        for rows in drawn.split(_BATCH):
            if len(rows) < 2:
                continue  # batch normalisation needs two
            near = functional.cosine_similarity(head(features[rows].float()), teacher[rows])
            optimizer.zero_grad(set_to_none=True)
            (1 - near.mean()).backward()
            optimizer.step()
            schedule.step()
            total += float(near.detach().sum())
        cosine = total / len(features)
    return cosine


def factored(head: nn.Sequential, whole: nn.Sequential, features: Tensor) -> float:
    """Put a whole head's function into a narrower one, in place, on the features of a body.

    Args:
        head: `narrow_head`: (N, C, H, H) → (N, D).
        whole: `sface_head` of the same body.
        features: float16 (N, C, H, H).

    Returns:
        Mean cosine between the two heads' vectors over the features.
    """
    weight, bias = _affine(whole, features.shape[1])  # (D, C, P), (D,)
    _narrow(head, weight, bias, features)
    with torch.no_grad():
        head.eval(), whole.eval()
        near = [
            functional.cosine_similarity(head(part.float()), whole(part.float()))
            for part in features.split(_BATCH)
        ]
    return float(torch.cat(near).mean())


def reduced(head: nn.Sequential, features: Tensor, teacher: Tensor, *, most: int = 6000) -> float:
    """Choose a factored head's channels where there is no whole head to cut, in place.

    The whole matrix is regressed to the teacher first, in the dual form, whose cost goes by the
    pictures and not by the (more) features.

    Args:
        head: `narrow_head`: (N, C, H, H) → (N, D).
        features: float16 (N, C, H, H).
        teacher: float (N, D), unit rows.
        most: pictures looked at.

    Returns:
        Mean cosine of the narrow head's vectors with the teacher's over those pictures.
    """
    features, teacher = features[:most], teacher[:most]
    rows, aim = features.flatten(1).float(), teacher.mean(dim=0)
    centre = rows.mean(dim=0)
    rows -= centre
    gram = rows @ rows.T
    gram.diagonal().add_(_DUAL * float(gram.diagonal().mean()))
    solved = torch.cholesky_solve(teacher - aim, torch.linalg.cholesky(gram))  # (N, D)
    matrix = solved.T @ rows  # (D, C·P)
    _narrow(head, matrix.view(len(matrix), features.shape[1], -1), aim - matrix @ centre, features)
    with torch.no_grad():
        head.eval()
        found = torch.cat([head(part.float()) for part in features.split(_BATCH)])
    return float(functional.cosine_similarity(found, teacher).mean())


def _narrow(head: nn.Sequential, weight: Tensor, bias: Tensor, features: Tensor) -> None:
    """Put a matrix over all channels into a narrow head: (D, C, P), (D,), features (N, C, H, H)."""
    mean, covariance = _moments(features)  # (C, P), (C, C)
    values, axes = torch.linalg.eigh(covariance)
    spread = values.clamp(min=float(values.max()) * 1e-9).sqrt()
    dim, channels, positions = weight.shape
    flat = weight.permute(0, 2, 1).reshape(-1, channels)  # (D·P, C)
    left, sizes, right = torch.linalg.svd(flat @ (axes * spread), full_matrices=False)
    inner = head[0].out_channels  # K
    down = right[:inner] @ (axes / spread).T  # (K, C)
    up = (left[:, :inner] * sizes[:inner]).view(dim, positions, inner).permute(0, 2, 1)
    lost = weight - (up.permute(0, 2, 1) @ down).permute(0, 2, 1)  # (D, C, P)
    with torch.no_grad():
        head[0].weight.copy_(down.view_as(head[0].weight))
        head[3].weight.copy_(up.reshape(dim, -1))
        head[3].bias.copy_(bias + (lost * mean).sum(dim=(1, 2)))
        norm = head[4]
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)


def regressed(
    head: nn.Sequential, features: Tensor, teacher: Tensor, *, anew: bool = False
) -> float:
    """Move a factored head's matrix to the best for a teacher, in closed form, in place.

    What the matrix gives already is kept: only what the teacher's vectors differ by is regressed,
    so that a high penalty leaves the head as it was.

    Args:
        head: `narrow_head`, its channels chosen (`factored`): (N, C, H, H) → (N, D).
        features: float16 (N, C, H, H); each tenth is left out, to choose the penalty by.
        teacher: float (N, D), unit rows.
        anew: the matrix has learnt from these very pictures and is not kept.

    Returns:
        Mean cosine with the teacher over the pictures left out, before these are added.
    """
    down, matrix = head[0], head[3]
    with torch.no_grad():
        head.eval()
        rows = torch.cat([down(part.float()).flatten(1) for part in features.split(_BATCH)])
        given = matrix(rows)
        long = float(given.norm(dim=1).mean())  # as the vectors were
        if anew:
            matrix.weight.zero_()
            matrix.bias.zero_()
            given = torch.zeros_like(given)
        lacking = teacher * long - given
        out = torch.arange(len(rows), device=rows.device) % 10 == 9
        some = _Moments.of(rows[~out], lacking[~out])
        tried = {}
        for penalty in _PENALTIES:
            weight, bias = some.solved(penalty)
            found = given[out] + rows[out] @ weight + bias
            tried[penalty] = float(functional.cosine_similarity(found, teacher[out]).mean())
        best = max(tried, key=lambda penalty: tried[penalty])
        weight, bias = _Moments.of(rows, lacking).solved(best)
        matrix.weight.add_(weight.T)
        matrix.bias.add_(bias)
    return tried[best]


@dataclass(frozen=True, slots=True)
class _Moments:
    """What a least-squares fit needs of its rows.

    Attributes:
        centre: float (F,), mean row.
        aim: float (D,), mean of what is wanted.
        within: float64 (F, F), covariance of rows.
        across: float64 (F, D), covariance of rows with what is wanted.
    """

    centre: Tensor
    aim: Tensor
    within: Tensor
    across: Tensor

    @classmethod
    def of(cls, rows: Tensor, wanted: Tensor) -> _Moments:
        """Of rows float (N, F) and what is wanted, float (N, D)."""
        centre, aim = rows.mean(dim=0), wanted.mean(dim=0)
        apart = rows - centre
        return cls(centre, aim, (apart.T @ apart).double() / len(rows),
                   (apart.T @ (wanted - aim)).double() / len(rows))  # fmt: skip

    def solved(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Matrix float (F, D) and bias (D,) at a penalty, in shares of the mean variance."""
        ridge = self.within.clone()
        ridge.diagonal().add_(penalty * float(self.within.diagonal().mean()))
        weight = torch.cholesky_solve(self.across, torch.linalg.cholesky(ridge)).float()
        return weight, self.aim - self.centre @ weight


def _affine(whole: nn.Sequential, channels: int) -> tuple[Tensor, Tensor]:
    """A whole head as one matrix (D, C, P) and a bias (D,): its normalisations folded in."""
    first, _, _, matrix, last = whole
    with torch.no_grad():
        scale, shift = _folded(first)  # (C,)
        weight = matrix.weight.view(matrix.out_features, channels, -1)
        bias = matrix.bias + (weight * shift.view(1, -1, 1)).sum(dim=(1, 2))
        stretch, move = _folded(last)  # (D,)
        return weight * scale.view(1, -1, 1) * stretch.view(-1, 1, 1), bias * stretch + move


def _folded(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation by its averages, as a factor and a summand."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C, P) of each position, and the covariance (C, C) of channels around it."""
    count, channels = features.shape[:2]
    rows = features.reshape(count, channels, -1)
    mean = rows.mean(dim=0, dtype=torch.float32)
    total = torch.zeros(channels, channels, device=features.device)
    for part in rows.split(_BATCH):
        apart = (part.float() - mean).permute(0, 2, 1).reshape(-1, channels)
        total += apart.T @ apart
    return mean, total / (count * rows.shape[2])
