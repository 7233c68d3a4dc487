"""What a calibration shows of its encoder: rates, curve and charts of the data it was fitted on.

The counts behind a calibration are an evaluation of verification on its people, each pair of
people and each person with two photos counting one. The interval of an FMR is the calibration's
own (bootstrap over people). That of an FNMR is Clopper and Pearson's (Biometrika 26, 1934) with
the people as trials: shares of one person's pairs vary at most as much as yes or no would, so it
is rather too wide than too narrow. Where no error was seen, the rule of three holds.

Letters: B bins of similarity, L points of a curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.calibration import BINS, Calibration
from verify.evaluation import Curve, Estimate, Histogram, OperatingPoint, Rate
from verify.fitting import RATES
from verify.report import (
    HEADLINE_FMR,
    Chart,
    genuine_turned_away,
    headline_point,
    reliability_chart,
    strangers_pass,
    verification_charts,
)
from verify.resampling import binomial_ends, crossing

_JOINED = 10  # bins of the calibration in one of the histogram
_PARTS = 1000  # a comparison is counted in thousandths: it weighs less than one pair of people


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The error rates behind a calibration.

    Attributes:
        calibration: whose they are.
        points: FNMR at the false-match rates that the data supports, the largest first.
        eer: the equal error rate; None in it where there is no pair of photos of one person.
        summary: what the rates mean, in a sentence.
        charts: ROC, DET, similarities and, where it was checked, reliability.
    """

    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    eer: Estimate
    summary: str
    charts: tuple[Chart, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the charts are SVG."""
        about = self.calibration
        return {
            "source": about.source,
            "space": about.space,
            "created": about.created,
            "people": about.people,
            "photos": about.photos,
            "person_pairs": about.person_pairs,
            "mated_people": about.mated_people,
            "smallest_fmr": about.smallest_fmr,
            "summary": self.summary,
            "eer": self.eer.value,
            "points": [point.to_dict() for point in self.points],
            "charts": [
                {"title": one.title, "svg": one.svg, "reading": one.reading} for one in self.charts
            ],
        }


def report_of(calibration: Calibration) -> CalibrationReport:
    """The report of a calibration, from its counts alone."""
    curve, eer = _curve(calibration), Estimate(None)
    if len(curve.thresholds):
        eer = Estimate(crossing(curve.false_accepts, curve.false_rejects))
    points = tuple(_point(calibration, rate) for rate in _rates(calibration))
    point = headline_point(points, HEADLINE_FMR)
    check = None if calibration.probability is None else calibration.probability.reliability
    drawn = verification_charts(
        curve, points, eer, _histogram(calibration), point, min(calibration.smallest_fmr, 0.1)
    )
    return CalibrationReport(
        calibration, points, eer, _words(calibration, point), (*drawn, *reliability_chart(check))
    )


def _rates(calibration: Calibration) -> list[float]:
    """The rates that have an interval, else those that the data supports; the largest first."""
    kept = [rate for rate in calibration.intervals if rate >= calibration.smallest_fmr]
    return sorted(
        kept or [rate for rate in RATES if rate >= calibration.smallest_fmr], reverse=True
    )


def _point(calibration: Calibration, rate: float) -> OperatingPoint:
    threshold = calibration.threshold(rate)
    fmr, fnmr = calibration.fmr_at(threshold), calibration.fnmr_at(threshold)
    pairs, people = calibration.person_pairs, calibration.mated_people
    given = calibration.intervals.get(rate)
    return OperatingPoint(
        rate,
        threshold,
        _rate(fmr, pairs, given or binomial_ends(fmr, pairs, pairs)),
        Rate(None, None, None, 0, 0, 0)
        if fnmr is None
        else _rate(fnmr, people, binomial_ends(fnmr, people, people)),
    )


def _rate(share: float, units: int, ends: tuple[float, float]) -> Rate:
    """A share of weighed trials; one error at least where it is above 0."""
    return Rate(share, *ends, math.ceil(share * units - 1e-9), units, units)


def _curve(calibration: Calibration) -> Curve:
    """FMR and FNMR at the edges of the bins, without those where neither changes."""
    if calibration.mated_people == 0:
        return Curve(np.empty(0), np.empty(0), np.empty(0))
    accepts = _from_above(calibration.nonmated)
    rejects = 1.0 - _from_above(calibration.mated)
    moved = (np.diff(accepts) != 0) | (np.diff(rejects) != 0)  # (B,)
    kept = np.append(True, moved) | np.append(moved, True)
    return Curve(np.linspace(1.0, -1.0, BINS + 1)[kept], accepts[kept], rejects[kept])


def _from_above(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the weight at or above each edge, float64 (B + 1,), from the highest: 0 … 1."""
    shares = np.append(0.0, np.cumsum(bins[::-1]) / bins.sum())
    return np.asarray(np.minimum(shares, 1.0))


def _histogram(calibration: Calibration) -> Histogram:
    """The bins joined, in thousandths of a pair of people or of a person."""
    joined = [
        np.rint(bins.reshape(-1, _JOINED).sum(axis=1) * _PARTS).astype(np.int64)
        for bins in (calibration.mated, calibration.nonmated)
    ]
    return Histogram(np.linspace(-1.0, 1.0, BINS // _JOINED + 1), *joined)


def _words(calibration: Calibration, point: OperatingPoint | None) -> str:
    if point is None:
        return (
            f"{calibration.person_pairs:,} pairs of people and {calibration.mated_people:,} people "
            "with two photos are too few to state both error rates."
        )
    return (
        f"{strangers_pass(point.fmr)}; {genuine_turned_away(point.fnmr)}: that is what a threshold "
        f"of {point.threshold:.3f} gives against one template."
    )
