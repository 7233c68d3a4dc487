"""Rates below what the counts show: a generalised Pareto tail over the non-mated similarities.

Peaks over threshold (Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001,
chapter 4): above a high similarity u the excess y of a comparison of strangers follows
P(excess > y) = (1 + shape · y / scale)^(−1/shape). Fitted by maximum likelihood on the bins above
u, where each pair of people counts one. It is an assumption about what was never seen: whoever
uses it says so ("extrapolated"), and it goes no further than `REACH` times below the counts.

Letters: B bins of similarity over −1…1, E bins above u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from verify.calibration import BINS, Calibration, per_comparison
from verify.errors import UnsupportedRate

REACH = 100.0  # how many times below the smallest supported rate
_SHARE = 0.01  # of the pairs of people, at most, lie above u
_LEAST = 50.0  # pairs of people above u, for a fit
_LARGEST_SHAPE = 0.5  # beyond, the excess has no variance: no similarity has such a tail
_SMALLEST_SHAPE = -0.5  # below, the estimate is not regular (Smith, Biometrika 72, 1985)


@dataclass(frozen=True, slots=True)
class Tail:
    """A generalised Pareto tail.

    Attributes:
        start: the similarity u above which it holds.
        shape: below 0 the tail has an end, 0 is exponential, above 0 heavy.
        scale: of the excess, in similarity; positive.
        rate: false-match rate at `start`.
        pairs: how many pairs of people lie above `start`, by weight.
        errors: standard errors of shape and scale, as if pairs were independent.
    """

    start: float
    shape: float
    scale: float
    rate: float
    pairs: float
    errors: tuple[float, float]

    def threshold(self, fmr: float) -> float:
        """The similarity whose false-match rate is `fmr`, which is below `rate`; at most 1."""
        return min(self.start + self.scale * _excess(self.shape, fmr / self.rate), 1.0)

    def fmr_at(self, similarity: float) -> float:
        """False-match rate of a threshold at or above `start`."""
        return self.rate * float(_survival(self.shape, self.scale, similarity - self.start))


def _excess(shape: float, share: float) -> float:
    """The excess, in units of the scale, that a share of the peaks is above."""
    if abs(shape) < 1e-9:
        return -math.log(share)
    return math.expm1(-shape * math.log(share)) / shape


def _survival(
    shape: float, scale: float, excess: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the peaks above an excess, any shape; 0 beyond the end of the tail."""
    scaled = np.asarray(excess, np.float64) / scale
    if abs(shape) < 1e-9:
        return np.asarray(np.exp(-scaled))
    return np.asarray(np.maximum(1.0 + shape * scaled, 0.0) ** (-1.0 / shape))


@lru_cache(maxsize=8)
def _tail_of(bins: bytes) -> Tail | None:
    return fit_tail(np.frombuffer(bins, np.float64))


def tail_of(calibration: Calibration) -> Tail:
    """The tail of a calibration's non-mated similarities.

    Raises:
        UnsupportedRate: too few pairs of people to fit one.
    """
    found = _tail_of(calibration.nonmated.tobytes())
    if found is None:
        raise UnsupportedRate(
            f"The calibration on {calibration.source} has too few pairs of people "
            f"({calibration.person_pairs}) to extrapolate from: calibrate on more people with: "
            "vultus calibrate PEOPLE."
        )
    return found


def fit_tail(nonmated: NDArray[np.float64]) -> Tail | None:
    """Fit the tail above the similarity that one pair of people in a hundred reaches.

    Args:
        nonmated: float64 (B,), weight of non-mated comparisons a bin; each pair of people one.

    Returns:
        The tail; None where fewer than 50 pairs of people lie in it or they fill one bin.
    """
    survivors = np.append(np.cumsum(nonmated[::-1])[::-1], 0.0)  # (B + 1,)
    pairs = float(survivors[0])
    wanted = max(_SHARE * pairs, _LEAST)
    first = int(np.flatnonzero(survivors >= wanted)[-1]) if pairs >= wanted else -1
    if first < 0 or np.count_nonzero(nonmated[first:]) < 3:
        return None
    peaks = nonmated[first:]
    shape, scale = _most_likely(peaks)
    above = float(survivors[first])
    errors = ((1 + shape) / math.sqrt(above), scale * math.sqrt(2 * (1 + shape) / above))
    return Tail(first * 2.0 / BINS - 1.0, shape, scale, above / pairs, above, errors)


def _most_likely(peaks: NDArray[np.float64]) -> tuple[float, float]:
    """Shape and scale that make binned peaks, float64 (E,), most likely."""
    from scipy.optimize import minimize

    edges = np.arange(len(peaks) + 1) * 2.0 / BINS
    mean = float((peaks * (edges[:-1] + edges[1:]) / 2).sum() / peaks.sum())

    def surprise(parameters: NDArray[np.float64]) -> float:
        shape, scale = float(parameters[0]), math.exp(parameters[1])
        mass = -np.diff(_survival(shape, scale, edges))
        return float(-(peaks * np.log(np.maximum(mass, 1e-300))).sum())

    starts = [(shape, math.log(mean * (1 - shape))) for shape in (-0.1, 0.1)]
    bounds = [(_SMALLEST_SHAPE, _LARGEST_SHAPE), (math.log(mean) - 3, math.log(mean) + 3)]
    found = [minimize(surprise, start, method="Nelder-Mead", bounds=bounds) for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    return float(best.x[0]), math.exp(float(best.x[1]))


def extrapolated_threshold(calibration: Calibration, fmr: float, gallery_size: int = 1) -> float:
    """A threshold for a rate below what the calibration's counts support.

    It is never below the similarity that the smallest supported rate asks for.

    Args:
        calibration: the curve of the space.
        fmr: as for `Calibration.threshold`.
        gallery_size: how many templates a probe is compared with.

    Raises:
        UnsupportedRate: more than `REACH` times below the supported rate, or no tail fits.
    """
    each = per_comparison(fmr, gallery_size)
    smallest = calibration.smallest_fmr / REACH
    if each < smallest * (1 - 1e-9):
        raise UnsupportedRate(
            f"A false-match rate of {fmr:.2g} needs {each:.2g} a comparison; from the calibration "
            f"on {calibration.source} no less than {smallest:.2g} may be extrapolated: calibrate "
            "on more people with: vultus calibrate PEOPLE."
        )
    floor = calibration.threshold(max(each, min(calibration.smallest_fmr, 0.999)))
    return max(tail_of(calibration).threshold(each), floor)
