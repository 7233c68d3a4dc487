"""What a network is trained to make small, by name; several combine with weights.

Every objective is a module called with raw vectors and labels and gives one number. Pictures with
one label belong together; two augmented views of an unlabelled picture share the picture's index
as label. Objectives with weights of their own (a learned head, class centres) are trained too.
`triplet`, `contrastive` and `supcon` may compare with vectors of earlier batches: the option
`memory` says with how many (`embedder.batch_memory`).

Letters: N vectors, D dimensions, a anchor, p positive, n negative, C classes, τ temperature.

Sources:
    triplet            Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015: squared L2 on unit
                       vectors, semi-hard negatives; batch-hard after Hermans, Beyer, Leibe, "In
                       Defense of the Triplet Loss for Person Re-Identification", 2017.
    triplet-ratio      Hoffer, Ailon, "Deep metric learning using triplet network", 2015, with the
                       absolute error of the two shares in place of the squared one.
    contrastive        Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant
                       Mapping", CVPR 2006.
    same-different     Koch, Zemel, Salakhutdinov, "Siamese Neural Networks for One-shot Image
                       Recognition", 2015.
    supcon             Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
    nt-xent            Chen et al., "A Simple Framework for Contrastive Learning of Visual
                       Representations" (SimCLR), ICML 2020.
    arcface            Deng, Guo, Xue, Zafeiriou, "ArcFace", CVPR 2019.
    distil-vectors     Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015,
                       on vectors instead of classes.
    distil-similarity  Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor, nn
from torch.nn import functional

from embedder.batch_memory import BatchMemory, SquaredPairs
from embedder.errors import BadRecipe


@dataclass(frozen=True, slots=True)
class Weighted:
    """One objective of a recipe.

    Attributes:
        name: a key of `OBJECTIVES`.
        weight: factor in the sum.
        options: keyword arguments of its class, for example `{"margin": 0.2}`.
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """What an objective may look at.

    Attributes:
        vectors: float (N, D), raw.
        labels: int64 (N,).
        teacher: float (N, T) unit vectors of a teacher, or None.
    """

    vectors: Tensor
    labels: Tensor
    teacher: Tensor | None = None


class TripletMargin(nn.Module):
    """max(0, |a − p|² − |a − n|² + margin) on unit vectors, averaged over the active triplets.

    `semi-hard`: negatives farther than the positive, yet inside the margin. `hard`: for each anchor
    the farthest positive and the nearest negative. `all`: every triplet of the batch. With a
    memory, positives and negatives are the remembered vectors.
    """

    def __init__(
        self, margin: float = 0.2, mining: str = "semi-hard", *, memory: int = 0, dim: int = 0
    ) -> None:
        super().__init__()
        distance = distances.LpDistance(normalize_embeddings=True, p=2, power=2)
        self.margin = margin
        self.loss = losses.TripletMarginLoss(
            margin=margin, distance=distance, reducer=reducers.AvgNonZeroReducer()
        )
        self.miner = _miner(mining, margin, distance)
        self.memory = BatchMemory(self.loss, dim, memory, self.miner) if memory else None

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0; 0 where no triplet is active."""
        vectors, labels = _labelled(batch)
        if self.memory is not None:
            return self.memory(vectors, labels)
        if self.miner is None:
            return self.loss(vectors, labels)
        with torch.no_grad():
            chosen = self.miner(vectors, labels)
        return self.loss(vectors, labels, chosen)


def _miner(mining: str, margin: float, distance: nn.Module) -> nn.Module | None:
    if mining == "semi-hard":
        return miners.TripletMarginMiner(margin, type_of_triplets="semihard", distance=distance)
    if mining == "hard":
        return miners.BatchHardMiner(distance=distance)
    if mining == "all":
        return None
    raise BadRecipe(f"There is no mining {mining!r}: known are semi-hard, hard, all.")


class TripletRatio(nn.Module):
    """p₊ = softmax over (|a − p|₁, |a − n|₁); |p₊| + |1 − p₋| averaged over all triplets.

    p is a share of the distance, so that it falls to 0 as positives come near and negatives go
    away; both terms are equal, since the shares sum to 1. On raw vectors as published, or on unit
    vectors with a temperature. `hard` looks at each anchor's farthest positive and nearest negative
    only.
    """

    def __init__(self, unit: bool = False, temperature: float = 1.0, mining: str = "all") -> None:
        super().__init__()
        if mining not in {"all", "hard"}:
            raise BadRecipe(f"There is no mining {mining!r} here: known are all, hard.")
        self.unit, self.temperature, self.mining = unit, temperature, mining

    def forward(self, batch: Batch) -> Tensor:
        """Scalar in 0…2."""
        vectors = batch.vectors.float()
        if self.unit:
            vectors = functional.normalize(vectors)
        apart = manhattan(vectors) / self.temperature  # (N, N)
        same, other = relations(batch.labels)
        if self.mining == "hard":
            positive = apart.masked_fill(~same, -torch.inf).amax(dim=1)  # (N,)
            negative = apart.masked_fill(~other, torch.inf).amin(dim=1)
            share = torch.sigmoid(positive - negative)
            return _mean(2 * share, same.any(dim=1) & other.any(dim=1))
        anchor, mate = same.nonzero(as_tuple=True)
        share = torch.sigmoid(apart[anchor, mate].unsqueeze(1) - apart[anchor])  # (pairs, N)
        return _mean(2 * share, other[anchor])


class Contrastive(nn.Module):
    """½ d² for pairs of one label, ½ max(0, margin − d)² for others; d is L2 on unit vectors.

    Either kind is averaged by itself: a batch holds far more different pairs than equal ones.
    """

    def __init__(
        self, margin: float = 1.0, unit: bool = True, *, memory: int = 0, dim: int = 0
    ) -> None:
        super().__init__()
        self.margin, self.unit = margin, unit
        distance = distances.LpDistance(normalize_embeddings=unit, p=2)
        loss = SquaredPairs(margin, distance)
        self.memory = BatchMemory(loss, dim, memory) if memory else None

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0."""
        if self.memory is not None:
            return self.memory(*_labelled(batch))
        vectors = batch.vectors.float()
        if self.unit:
            vectors = functional.normalize(vectors)
        squared = squared_distances(vectors)
        same, other = relations(batch.labels)
        # √ has no slope at 0: two vectors that agree are moved by the tiny summand, not by nan
        gap = functional.relu(self.margin - torch.sqrt(squared + 1e-12))
        return 0.5 * (_mean(squared, same) + _mean(gap**2, other))


class SameDifferent(nn.Module):
    """A learned judge of pairs: logit = w · |a − b| + c, cross-entropy, both kinds weighing alike.

    The vectors are `tanh`-free and raw: the judge scales each dimension by itself.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.judge = nn.Linear(dim, 1)
        nn.init.constant_(self.judge.weight, -1.0 / dim)
        nn.init.constant_(self.judge.bias, 1.0)

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """Log-odds that vectors show the same.

        Args:
            first: float (…, D), raw vectors.
            second: float (…, D), of a shape that broadcasts with it.

        Returns:
            float (…), natural logarithm of the odds.
        """
        return self.judge((first - second).abs()).squeeze(-1)

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0."""
        vectors = batch.vectors.float()
        logits = self.logits(vectors.unsqueeze(1), vectors.unsqueeze(0))  # (N, N)
        same, other = relations(batch.labels)
        return 0.5 * (
            _mean(functional.softplus(-logits), same) + _mean(functional.softplus(logits), other)
        )


class SupCon(nn.Module):
    """−mean over positives of log softmax of cosine/τ, over all other vectors of the batch."""

    def __init__(self, temperature: float = 0.1, *, memory: int = 0, dim: int = 0) -> None:
        super().__init__()
        self.loss = losses.SupConLoss(temperature=temperature)
        self.memory = BatchMemory(self.loss, dim, memory) if memory else None

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0."""
        asked = self.loss if self.memory is None else self.memory
        return asked(*_labelled(batch))


class NtXent(nn.Module):
    """Each positive pair's log softmax of cosine/τ against the anchor's negatives.

    With two views of each picture that is supervised contrast with one positive, which the library
    computes from N × N numbers; its NT-Xent takes N times as many.
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        self.loss = losses.NTXentLoss(temperature=temperature)
        self.two = losses.SupConLoss(temperature=temperature)

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0."""
        _, views = batch.labels.unique(return_counts=True)
        loss = self.two if bool((views == 2).all()) else self.loss
        return loss(batch.vectors.float(), batch.labels)


class ArcFace(nn.Module):
    """Softmax over cosines to C learned centres, the own class's angle made wider by a margin.

    Vectors labelled −1 are left out. Margin in radians, scale as in the paper.
    """

    def __init__(self, classes: int, dim: int, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__()
        degrees = margin * 180 / torch.pi
        self.loss = losses.ArcFaceLoss(classes, dim, margin=degrees, scale=scale)

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0."""
        vectors, labels = _labelled(batch)
        return self.loss(vectors, labels) if len(labels) else batch.vectors.sum() * 0.0


class DistilVectors(nn.Module):
    """1 − cosine to the teacher's vector, averaged."""

    def forward(self, batch: Batch) -> Tensor:
        """Scalar in 0…2."""
        return (1 - functional.cosine_similarity(batch.vectors.float(), _teacher(batch))).mean()


class DistilSimilarity(nn.Module):
    """Squared difference of student's and teacher's cosines, over all pairs of the batch."""

    def forward(self, batch: Batch) -> Tensor:
        """Scalar ≥ 0."""
        student = functional.normalize(batch.vectors.float())
        teacher = _teacher(batch)
        apart = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
        return _mean((student @ student.T - teacher @ teacher.T) ** 2, apart)


def _teacher(batch: Batch) -> Tensor:
    if batch.teacher is None:
        raise BadRecipe("This objective learns from a teacher: name one in the recipe (teacher).")
    return functional.normalize(batch.teacher.float())


OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "triplet": TripletMargin,
    "triplet-ratio": TripletRatio,
    "contrastive": Contrastive,
    "same-different": SameDifferent,
    "supcon": SupCon,
    "nt-xent": NtXent,
    "arcface": ArcFace,
    "distil-vectors": DistilVectors,
    "distil-similarity": DistilSimilarity,
}
TAUGHT = frozenset({"distil-vectors", "distil-similarity"})
_SHAPED = {
    "triplet": ("dim",),
    "contrastive": ("dim",),
    "supcon": ("dim",),
    "same-different": ("dim",),
    "arcface": ("dim", "classes"),
}


class Objective(nn.Module):
    """The weighted sum of a recipe's objectives."""

    def __init__(self, chosen: Sequence[Weighted], *, dim: int, classes: int) -> None:
        """Make them by name.

        Args:
            chosen: at least one.
            dim: D of the vectors.
            classes: C, number of training classes.

        Raises:
            BadRecipe: an unknown name or option, or none at all.
        """
        super().__init__()
        if not chosen:
            raise BadRecipe("A recipe needs at least one objective, for example triplet.")
        self.chosen = tuple(chosen)
        facts = {"dim": dim, "classes": classes}
        self.parts = nn.ModuleList([_make(one, facts) for one in chosen])

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each part's own value by name.

        Returns:
            A float32 scalar with its gradient, and detached scalars.
        """
        values = [part(batch) for part in self.parts]
        total = sum(one.weight * value for one, value in zip(self.chosen, values, strict=True))
        named = {one.name: v.detach() for one, v in zip(self.chosen, values, strict=True)}
        return total, named


def _make(one: Weighted, facts: Mapping[str, int]) -> nn.Module:
    if one.name not in OBJECTIVES:
        raise BadRecipe(f"There is no objective {one.name!r}: known are {', '.join(OBJECTIVES)}.")
    shape = {key: facts[key] for key in _SHAPED.get(one.name, ())}
    try:
        return OBJECTIVES[one.name](**shape, **one.options)
    except TypeError as error:
        raise BadRecipe(f"The objective {one.name} has no such option ({error}).") from error


def relations(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs are positive and which negative; the diagonal is in neither.

    Args:
        labels: int64 (N,); −1 is nobody's: its vectors are in no pair.

    Returns:
        Two bool (N, N).
    """
    known = (labels >= 0).unsqueeze(0) & (labels >= 0).unsqueeze(1)
    equal = labels.unsqueeze(0) == labels.unsqueeze(1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return equal & known & ~itself, ~equal & known


def _labelled(batch: Batch) -> tuple[Tensor, Tensor]:
    """Vectors as float32 and labels of what has a label."""
    known = batch.labels >= 0
    return batch.vectors[known].float(), batch.labels[known]


def squared_distances(vectors: Tensor) -> Tensor:
    """Squared L2 between all rows: float (N, D) → (N, N), never below 0."""
    squares = (vectors**2).sum(dim=1)
    return functional.relu(squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * vectors @ vectors.T)


def manhattan(vectors: Tensor) -> Tensor:
    """L1 between all rows: float (N, D) → (N, N)."""
    return torch.cdist(vectors, vectors, p=1)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen entries; 0 (with a gradient of 0) where none is chosen."""
    zero = torch.zeros((), dtype=values.dtype, device=values.device)
    return torch.where(chosen, values, zero).sum() / chosen.sum().clamp(min=1)
