"""From a similarity to the probability that both photos show one person.

A logistic curve (Platt, "Probabilistic outputs for support vector machines", 1999) is fitted on the
two histograms of a calibration, where each pair of people and each person with two photos counts
one. Both kinds are weighed equal, so that the curve gives the log-likelihood ratio; a prior turns
it into a probability: logit(probability) = slope · similarity + intercept + logit(prior).

Letters: B bins of similarity over −1…1, G bins of probability over 0…1, F folds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.5
GROUPS = 10  # bins of probability in the reliability check
_STEPS = 100


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities hold on people whom the fit has not seen.

    Mated and non-mated comparisons are weighed as the prior says. Brier (1950): the mean squared
    difference from what was true, 0 is perfect. ECE (Naeini et al., AAAI 2015): the mean
    difference between what a bin promises and what it holds.

    Attributes:
        people: how many people were held out, each once.
        predicted: float64 (G,), mean probability of the comparisons in each bin.
        observed: float64 (G,), share of them that are mated.
        weight: float64 (G,), share of all comparisons in the bin; the sum is 1.
        brier: 0…1.
        ece: 0…1.
    """

    people: int
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    weight: NDArray[np.float64]
    brier: float
    ece: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {
            "people": self.people,
            "predicted": _rounded(self.predicted),
            "observed": _rounded(self.observed),
            "weight": _rounded(self.weight),
            "brier": _short(self.brier),
            "ece": _short(self.ece),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reliability:
        """Values of `to_dict`; raises ValueError or LookupError where they are not that."""
        return cls(
            people=int(values["people"]),
            predicted=_groups(values["predicted"]),
            observed=_groups(values["observed"]),
            weight=_groups(values["weight"]),
            brier=float(values["brier"]),
            ece=float(values["ece"]),
        )


@dataclass(frozen=True, slots=True)
class Probability:
    """The logistic curve of a calibration.

    Attributes:
        slope: of the log-likelihood ratio over similarity; positive.
        intercept: the log-likelihood ratio at similarity 0.
        reliability: the check on held-out people, or None where there was none.
    """

    slope: float
    intercept: float
    reliability: Reliability | None = None

    def at(self, similarity: float, prior: float = PRIOR) -> float:
        """Probability that a comparison of this similarity is of one person.

        Args:
            similarity: −1…1.
            prior: probability before the pictures were seen, between 0 and 1.

        Raises:
            ValueError: the prior is no probability.
        """
        if not 0.0 < prior < 1.0:
            raise ValueError(f"A prior lies between 0 and 1, not at {prior:g}.")
        odds = self.slope * similarity + self.intercept + math.log(prior) - math.log1p(-prior)
        return 1.0 / (1.0 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {
            "slope": _short(self.slope),
            "intercept": _short(self.intercept),
            "prior_of_reliability": PRIOR,
            "reliability": None if self.reliability is None else self.reliability.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Probability:
        """Values of `to_dict`; raises ValueError or LookupError where they are not that."""
        slope, intercept = float(values["slope"]), float(values["intercept"])
        if not (math.isfinite(slope) and math.isfinite(intercept) and slope > 0):
            raise ValueError(f"a logistic curve of slope {slope}, intercept {intercept}")
        check = values["reliability"]
        return cls(slope, intercept, None if check is None else Reliability.from_dict(check))


def fit_logistic(
    nonmated: NDArray[np.float64], mated: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Slope and intercept of the log-likelihood ratio, by Newton's method on weighted bins.

    Targets are drawn in by Platt's (n + 1) / (n + 2), which keeps the slope finite where mated
    and non-mated similarities do not overlap.

    Args:
        nonmated: float64 (B,), weight a bin.
        mated: float64 (B,), weight a bin.

    Returns:
        Slope and intercept; None where either kind is missing or the slope is not positive.
    """
    counts = float(nonmated.sum()), float(mated.sum())
    if min(counts) <= 0.0:
        return None
    centres = _centres(len(nonmated))
    design = np.stack([centres, np.ones_like(centres)], axis=1)  # (B, 2)
    shares = nonmated / counts[0], mated / counts[1]
    targets = 1 / (counts[0] + 2), (counts[1] + 1) / (counts[1] + 2)
    weight = shares[0] + shares[1]
    target = shares[0] * targets[0] + shares[1] * targets[1]  # weight times target
    found = np.zeros(2)
    for _ in range(_STEPS):
        found, done = _newton(found, design, weight, target)
        if done:
            break
    return (float(found[0]), float(found[1])) if found[0] > 0 else None


def _newton(
    found: NDArray[np.float64],
    design: NDArray[np.float64],
    weight: NDArray[np.float64],
    target: NDArray[np.float64],
) -> tuple[NDArray[np.float64], bool]:
    """One damped step: the new (2,) parameters, and whether it was too short to matter.

    Args:
        found: float64 (2,), slope and intercept.
        design: float64 (B, 2).
        weight: float64 (B,), of the comparisons in a bin.
        target: float64 (B,), weight times the probability aimed at.
    """
    probability = _sigmoid(design @ found)
    gradient = design.T @ (weight * probability - target)
    curvature = (design * (weight * probability * (1 - probability))[:, None]).T @ design
    step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
    scale, before = 1.0, _loss(design @ found, weight, target)
    while scale > 1e-6 and _loss(design @ (found - scale * step), weight, target) > before:
        scale /= 2
    return found - scale * step, bool(np.abs(scale * step).max() < 1e-9)


def _loss(
    odds: NDArray[np.float64], weight: NDArray[np.float64], target: NDArray[np.float64]
) -> float:
    """Cross-entropy of log-odds, float64 (B,), against weighted targets."""
    return float((weight * np.logaddexp(0.0, odds) - target * odds).sum())


def _sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -odds))


def check_held_out(
    nonmated: NDArray[np.float64], mated: NDArray[np.float64], people: int
) -> Reliability | None:
    """Fit on F − 1 folds of people, measure on the pairs among the people of the other, F times.

    Args:
        nonmated: float64 (F, F, B), weight a bin of the pairs of people of two folds; symmetric
            pairs may lie on either side of the diagonal.
        mated: float64 (F, B), weight a bin of the mated comparisons of a fold's people.
        people: how many people there are.

    Returns:
        The check; None where no fold has both kinds of comparisons on both sides.
    """
    folds = len(mated)
    sums = np.zeros((2, 2, GROUPS))
    squares = np.zeros(2)
    for fold in range(folds):
        others = np.arange(folds) != fold
        curve = fit_logistic(
            nonmated[np.ix_(others, others)].sum(axis=(0, 1)), mated[others].sum(axis=0)
        )
        if curve is not None:
            _add(curve, nonmated[fold, fold], mated[fold], sums, squares)
    return _reliability(sums, squares, people)


def check_across(
    first: tuple[NDArray[np.float64], NDArray[np.float64]],
    second: tuple[NDArray[np.float64], NDArray[np.float64]],
    people: int,
) -> Reliability | None:
    """Fit on one set of people and measure on another, both ways.

    Args:
        first: non-mated and mated weight a bin, float64 (B,) each.
        second: likewise, of other people.
        people: how many people both show.

    Returns:
        The check; None where either set lacks a kind of comparison.
    """
    sums = np.zeros((2, 2, GROUPS))
    squares = np.zeros(2)
    for fitted, held_out in ((first, second), (second, first)):
        curve = fit_logistic(*fitted)
        if curve is not None:
            _add(curve, *held_out, sums, squares)
    return _reliability(sums, squares, people)


def _add(
    curve: tuple[float, float],
    nonmated: NDArray[np.float64],
    mated: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Count what a curve says of held-out comparisons.

    Args:
        curve: slope and intercept.
        nonmated: float64 (B,), weight a bin.
        mated: float64 (B,), likewise.
        sums: float64 (2, 2, G), kind × (weight, weighted probability) × bin; added to.
        squares: float64 (2,), squared differences a kind; added to.
    """
    probability = _sigmoid(curve[0] * _centres(len(mated)) + curve[1])
    place = np.minimum((probability * GROUPS).astype(np.int64), GROUPS - 1)
    for kind, weights in enumerate((nonmated, mated)):
        sums[kind, 0] += np.bincount(place, weights, GROUPS)
        sums[kind, 1] += np.bincount(place, weights * probability, GROUPS)
        squares[kind] += float((weights * (probability - kind) ** 2).sum())


def _reliability(
    sums: NDArray[np.float64], squares: NDArray[np.float64], people: int
) -> Reliability | None:
    totals = sums[:, 0].sum(axis=1)
    if min(totals) <= 0:
        return None
    share = np.array([1 - PRIOR, PRIOR]) / totals
    weight = (sums[:, 0] * share[:, None]).sum(axis=0)
    safe = np.where(weight > 0, weight, 1.0)
    predicted = (sums[:, 1] * share[:, None]).sum(axis=0) / safe
    observed = sums[1, 0] * share[1] / safe
    ece = float((weight * np.abs(predicted - observed)).sum())
    return Reliability(people, predicted, observed, weight, float((squares * share).sum()), ece)


def _centres(count: int) -> NDArray[np.float64]:
    """Middles of bins over −1…1, float64 (B,)."""
    return (np.arange(count) + 0.5) * 2.0 / count - 1.0


def _groups(values: object) -> NDArray[np.float64]:
    """Read float64 (G,); ValueError where it is not that."""
    bins = np.asarray(values, np.float64)
    if bins.shape != (GROUPS,) or not np.isfinite(bins).all():
        raise ValueError(f"a reliability check has {GROUPS} bins")
    return bins


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [_short(value) for value in values.tolist()]
