"""Is the training falling together? Four numbers of a batch, and advice when they go wrong.

A network that gives every picture the same vector makes many objectives small, or leaves them
stuck at their margin; nothing in the loss alone says so. Watched here:

    active    share of triplets whose loss is above zero (1 at first, falling as classes part)
    distance  mean distance between unit vectors of two pictures (√2 for vectors spread evenly)
    spread    how many directions the vectors use: (Σλ)² / Σλ² of their covariance's eigenvalues
    gradient  norm of the gradient before it is cut

Letters: N vectors, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional

from embedder.objectives import relations, squared_distances

EVERY = 10
_LOOKS = 5  # bad looks in a row before a warning: one batch proves nothing
_NEAR = 0.05  # mean distance below which vectors count as one
_FLAT = 1.15  # directions below which vectors count as a line
_STUCK = 12  # looks at which every triplet is active and nothing gets better


@dataclass(frozen=True, slots=True)
class Health:
    """The numbers of one look.

    Attributes:
        step: when.
        active: 0…1.
        distance: 0…2.
        spread: 1…D.
        gradient: ≥ 0.
        loss: of the batch.
    """

    step: int
    active: float
    distance: float
    spread: float
    gradient: float
    loss: float


def measure(
    step: int, vectors: Tensor, labels: Tensor, *, margin: float, gradient: float, loss: float
) -> Health:
    """Look at a batch.

    Args:
        step: when.
        vectors: float (N, D), raw.
        labels: int64 (N,).
        margin: of the triplets, on squared L2 of unit vectors.
        gradient: norm of the gradient.
        loss: of the batch.
    """
    x = functional.normalize(vectors.detach().float()[:256])
    labels = labels[:256]
    squared = squared_distances(x)
    count = max(2, len(x))
    distance = float(squared.clamp(min=0).sqrt().sum() / (count * (count - 1)))
    centred = x - x.mean(dim=0)
    scatter = centred.T @ centred
    total, squares = float(scatter.trace()), float((scatter**2).sum())
    spread = total**2 / squares if squares > 0 else 1.0
    return Health(step, active_share(squared, labels, margin), distance, spread, gradient, loss)


def active_share(squared: Tensor, labels: Tensor, margin: float) -> float:
    """Share of a batch's triplets with d(a, p) − d(a, n) + margin > 0.

    Args:
        squared: float (N, N), squared distances of unit vectors.
        labels: int64 (N,).
        margin: on squared distances.
    """
    same, other = relations(labels)
    anchor, positive = same.nonzero(as_tuple=True)
    if not len(anchor) or not bool(other.any()):
        return 0.0
    pick = slice(None, None, max(1, len(anchor) // 2000))
    anchor, positive = anchor[pick], positive[pick]
    active = squared[anchor, positive].unsqueeze(1) - squared[anchor] + margin > 0
    there = other[anchor]
    return float((active & there).sum() / there.sum().clamp(min=1))


@dataclass(slots=True)
class Monitor:
    """Remembers looks and says each kind of trouble once.

    Attributes:
        looks: all of this run.
        said: what was warned of.
    """

    looks: list[Health] = field(default_factory=list)
    said: set[str] = field(default_factory=set)

    def look(self, health: Health) -> str | None:
        """A warning with advice, or None."""
        self.looks.append(health)
        for kind, bad, advice in (
            ("nonfinite", self._nonfinite(), _NONFINITE),
            ("collapsed", self._together(), _COLLAPSED),
            ("line", self._line(), _LINE),
            ("stuck", self._stuck(), _STUCK_ADVICE),
        ):
            if bad and kind not in self.said:
                self.said.add(kind)
                return f"step {health.step}: {advice.format(h=health)}"
        return None

    def _last(self, count: int) -> list[Health]:
        return self.looks[-count:] if len(self.looks) >= count else []

    def _nonfinite(self) -> bool:
        last = self.looks[-1]
        return not all(map(math.isfinite, (last.loss, last.gradient, last.distance)))

    def _together(self) -> bool:
        """Near zero for several looks, and not on the way apart."""
        last = self._last(_LOOKS)
        near = bool(last) and all(h.distance < _NEAR for h in last)
        return near and last[-1].distance <= 1.5 * last[0].distance

    def _line(self) -> bool:
        last = self._last(_LOOKS)
        flat = bool(last) and all(h.spread < _FLAT for h in last)
        return flat and last[-1].spread <= 1.05 * last[0].spread

    def _stuck(self) -> bool:
        """Every triplet active for long, and the loss no better than at first."""
        last = self._last(_STUCK)
        half = _STUCK // 2
        if not last or any(h.active < 0.995 for h in last):
            return False
        first, second = (sum(h.loss for h in part) / half for part in (last[:half], last[half:]))
        return second > 0.98 * first


_COMMON = "lower --rate, lengthen the warm-up, use semi-hard triplets instead of hard ones"
_COLLAPSED = (
    "the vectors fall together (mean distance {h.distance:.3f}, gradient {h.gradient:.2g}): "
    + _COMMON
    + ", or begin with a smaller margin."
)
_LINE = (
    "the vectors lie on one line ({h.spread:.2f} directions in use): " + _COMMON + "; more classes "
    "a batch help, and so does an objective that knows classes (supcon, arcface)."
)
_STUCK_ADVICE = (
    "every triplet stays active ({h.active:.3f}) and the loss does not fall ({h.loss:.3f}): the "
    "margin is too large for these vectors or the learning rate too high; make either smaller."
)
_NONFINITE = (
    "loss or gradient is no number any more (loss {h.loss}, gradient {h.gradient}): lower --rate, "
    "or turn clipping on (clip in the recipe)."
)
