"""One calibration out of several of one space: counts add, people are not compared across them.

Letters: S calibrations.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from verify.calibration import Calibration
from verify.errors import CannotCombine
from verify.fitting import RATES
from verify.probability import Probability, check_across, fit_logistic

_NORMAL = 1.96  # half the width of a 95 % interval, in standard errors


def combine(curves: Sequence[Calibration]) -> Calibration:
    """Add the counts of calibrations.

    The logistic curve is fitted on the sum; its check fits on each set of people and measures on
    the other, where there are two. Intervals come from those of the parts, which are independent.

    Args:
        curves: S calibrations, at least two.

    Raises:
        CannotCombine: one alone, several spaces, or the same data twice.
    """
    _require_distinct(curves)
    nonmated = np.sum([curve.nonmated for curve in curves], axis=0)
    mated = np.sum([curve.mated for curve in curves], axis=0)
    people = sum(curve.people for curve in curves)
    fitted = fit_logistic(nonmated, mated)
    check = None
    if len(curves) == 2:
        first, second = ((curve.nonmated, curve.mated) for curve in curves)
        check = check_across(first, second, people)
    digests = "".join(sorted(curve.data_digest for curve in curves))
    draft = Calibration(
        space=curves[0].space,
        source=" + ".join(curve.source for curve in curves),
        people=people,
        person_pairs=sum(curve.person_pairs for curve in curves),
        mated_people=sum(curve.mated_people for curve in curves),
        photos=sum(curve.photos for curve in curves),
        nonmated=nonmated,
        mated=mated,
        intervals={},
        data_digest=hashlib.sha256(digests.encode()).hexdigest(),
        created=datetime.now(UTC).date().isoformat(),
    )
    intervals = {rate: _interval(draft, curves, rate) for rate in RATES}
    values = draft.to_dict() | {
        "intervals": {
            repr(rate): pair for rate, pair in intervals.items() if rate >= draft.smallest_fmr
        }
    }
    curve = None if fitted is None else Probability(*fitted, reliability=check)
    return replace(Calibration.from_dict(values), probability=curve)


def _require_distinct(curves: Sequence[Calibration]) -> None:
    if len(curves) < 2:
        raise CannotCombine("Combining needs two calibrations at least.")
    spaces = {curve.space for curve in curves}
    if len(spaces) > 1:
        raise CannotCombine(
            f"Calibrations of several spaces ({', '.join(sorted(spaces))}) cannot be combined: a "
            "similarity means another thing in each."
        )
    if len({curve.data_digest for curve in curves}) < len(curves):
        raise CannotCombine("The same data twice shows no more than once: combine different data.")


def _interval(
    combined: Calibration, curves: Sequence[Calibration], rate: float
) -> tuple[float, float]:
    """95 % interval of the FMR at the combined threshold of a rate, in logarithms."""
    if rate < combined.smallest_fmr:
        return (0.0, 1.0)
    threshold = combined.threshold(rate)
    found = combined.fmr_at(threshold)
    variance = 0.0
    for curve in curves:
        share = curve.person_pairs / combined.person_pairs
        variance += (share * max(curve.fmr_at(threshold), rate) * _relative(curve, rate)) ** 2
    width = math.exp(_NORMAL * math.sqrt(variance) / max(found, rate))
    return max(found, 0.0) / width, min(max(found, rate) * width, 1.0)


def _relative(curve: Calibration, rate: float) -> float:
    """Standard error of a calibration's FMR at a rate, as a share of the rate.

    Where the calibration is too small for an interval at that rate: that of three events a pair,
    which is what a bootstrap over people gives where events are rare and independent.
    """
    pair = curve.intervals.get(rate)
    if pair is None or pair[0] <= 0.0:
        return math.sqrt(3.0 / (curve.person_pairs * rate))
    return math.log(pair[1] / pair[0]) / (2 * _NORMAL)
