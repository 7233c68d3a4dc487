"""How sure a rate is: intervals from resampling identities, never single comparisons.

Comparisons are not independent: each person brings several photos, and a non-mated comparison
depends on two people. The unit that is resampled is therefore the person.

- Rates of errors (FMR, FNMR, FPIR, FNIR): the variance under leaving one person out (the
  delete-one jackknife, to which the bootstrap over identities tends with many draws; a non-mated
  comparison leaves with either of its two people) gives the number of independent trials that
  would be as informative, and the exact binomial interval of Clopper and Pearson is taken for that
  number: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected
  number of positive counts estimated from survey data", Survey Methodology 24, 1998, with their
  correction t(n−1). `benchmarks/coverage.py` compares it with the percentile bootstrap, which
  misses a rare rate on the low side.
- No error seen: 0 to 3 / units, the rule of three (J. A. Hanley, A. Lippman-Hand, JAMA 249, 1983).
- AUC and EER, which are no shares: percentiles of a seeded bootstrap over identities, a non-mated
  comparison weighing the product of how often its two people were drawn.

Letters: K people, C comparisons, T pairs of people, U clusters of trials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from verify.evaluation import Estimate, Rate

LEVEL = 0.95
DRAWS = 500
MOST = 100_000  # comparisons; above, the bootstrap of AUC and EER would take minutes
_RULE_OF_THREE = 3.0
_TAIL = (1 - LEVEL) / 2
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """How many non-mated comparisons stand between people.

    Attributes:
        trials: float64 (K,), comparisons that a person takes part in.
        total: comparisons in all; each is in the trials of two people.
        pairs: pairs of people with a comparison.
        people: people with a comparison.
    """

    trials: Floats
    total: int
    pairs: int
    people: int


def mated_rate(errors: Floats, trials: Floats) -> Rate:
    """A rate of errors whose trials belong to one person each: FNMR, FNIR, FPIR, FTE.

    Args:
        errors: float64 (U,), errors of each person.
        trials: float64 (U,), trials of each person; people without trials are ignored.
    """
    total, seen = float(trials.sum()), float(errors.sum())
    units = int((trials > 0).sum())
    if units == 0:
        return Rate(None, None, None, 0, 0, 0)
    share = seen / total
    influence = errors - share * trials
    ends = _ends(share, float((influence**2).sum()) / total**2, units, units)
    return _rate(share, ends, round(seen), round(total), units)


def by_person(hits: NDArray[np.bool_], people: Ints) -> Rate:
    """The rate of something among trials, people being the independent units.

    Args:
        hits: bool (U,), where it happened.
        people: int64 (U,), whose trial it is, from 0.
    """
    trials = np.bincount(people, minlength=1).astype(np.float64)
    seen = np.bincount(people, weights=hits.astype(np.float64), minlength=1)
    return mated_rate(np.asarray(seen, dtype=np.float64), trials)


def nonmated_rate(
    first: NDArray[np.integer], second: NDArray[np.integer], exposure: Exposure
) -> Rate:
    """A rate of errors whose trials belong to two people each: FMR.

    Args:
        first: int (E,), the one person of each false match, a row number of `exposure.trials`.
        second: int (E,), the other person.
        exposure: all comparisons, with errors and without.
    """
    if exposure.total == 0:
        return Rate(None, None, None, 0, 0, 0)
    k = len(exposure.trials)
    errors = (np.bincount(first, minlength=k) + np.bincount(second, minlength=k)).astype(float)
    share = len(first) / exposure.total
    influence = errors - share * exposure.trials
    variance = float((influence**2).sum()) / exposure.total**2
    ends = _ends(share, variance, exposure.people, exposure.pairs)
    return _rate(share, ends, len(first), exposure.total, exposure.pairs)


def _rate(share: float, ends: tuple[float, float], errors: int, trials: int, units: int) -> Rate:
    """A rate; unsupported where its interval says nothing at all."""
    if ends == (0.0, 1.0):
        return Rate(None, None, None, errors, trials, units)
    return Rate(share, *ends, errors, trials, units)


def _ends(share: float, variance: float, people: int, units: int) -> tuple[float, float]:
    """Both ends of the 95 % interval of a rate.

    Args:
        share: the rate.
        variance: of the rate, sum of squared influences of people / trials².
        people: how many people.
        units: independent units, for the rule of three.
    """
    if not 0.0 < share < 1.0:
        return binomial_ends(share, units, units)
    if people < 2:
        return 0.0, 1.0
    variance *= people / (people - 1)
    if variance <= 0.0:  # everybody errs alike: the spread says nothing, the number of people does
        effective = float(people)
    else:
        ratio = stats.norm.isf(_TAIL) / stats.t.isf(_TAIL, people - 1)
        effective = share * (1 - share) / variance * ratio**2
    return binomial_ends(share, effective, units)


def binomial_ends(share: float, trials: float, units: int) -> tuple[float, float]:
    """Both ends of the 95 % interval of a share of independent trials (Clopper and Pearson, 1934).

    Args:
        share: the rate, 0…1.
        trials: how many there were, or as many as would be as informative.
        units: independent units, for the rule of three where the share is 0 or 1.
    """
    rule = min(1.0, _RULE_OF_THREE / units)
    if share == 0.0:
        return 0.0, rule
    if share == 1.0:
        return 1.0 - rule, 1.0
    hits = share * trials
    low = float(stats.beta.ppf(_TAIL, hits, trials - hits + 1))
    high = float(stats.beta.isf(_TAIL, hits + 1, trials - hits))
    return low, high


def supports(units: int, rate: float) -> bool:
    """Whether a number of independent units can show a rate: 3 / units ≤ rate.

    Args:
        units: people or pairs of people.
        rate: the asked rate, above 0.
    """
    return units > 0 and _RULE_OF_THREE / units <= rate * (1 + 1e-9)


def bootstrap(
    scores: NDArray[np.floating],
    first: Ints,
    second: Ints,
    statistics: dict[str, Callable[[Floats, Floats], float]],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of statistics of the ROC, people drawn with replacement.

    Draws that hold no mated or no non-mated comparison are left out.

    Args:
        scores: float (C,).
        first: int64 (C,), the person of one side, from 0.
        second: int64 (C,), the person of the other side; equal for mated comparisons.
        statistics: name → function of FMR and FNMR, float64 (L,) each, over falling thresholds
            from (0, 1) to (1, 0).
        seed: of the draws.
        draws: how many.

    Returns:
        Name → both ends; empty where too few draws are usable.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ranked, a, b = scores[order], first[order], second[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # ends of ties
    people = int(max(a.max(), b.max())) + 1
    generator = np.random.default_rng(seed)
    values: dict[str, list[float]] = {name: [] for name in statistics}
    for _ in range(draws):
        times = np.bincount(generator.integers(people, size=people), minlength=people)
        weight = np.where(a == b, times[a], times[a] * times[b]).astype(np.float64)
        mated, nonmated = np.where(a == b, weight, 0.0), np.where(a == b, 0.0, weight)
        if mated.sum() == 0 or nonmated.sum() == 0:
            continue
        fmr = np.append(0.0, np.cumsum(nonmated)[last] / nonmated.sum())
        fnmr = np.append(1.0, 1.0 - np.cumsum(mated)[last] / mated.sum())
        for name, statistic in statistics.items():
            values[name].append(statistic(fmr, fnmr))
    tail = (1 - LEVEL) / 2
    return {
        name: (float(np.quantile(found, tail)), float(np.quantile(found, 1 - tail)))
        for name, found in values.items()
        if len(found) >= draws // 2
    }


def area(fmr: Floats, fnmr: Floats) -> float:
    """Area under the ROC by trapezoids.

    Args:
        fmr: float64 (L,), rising from 0 to 1.
        fnmr: float64 (L,), falling from 1 to 0.
    """
    return float(np.trapezoid(1.0 - fnmr, fmr))


def crossing(fmr: Floats, fnmr: Floats) -> float:
    """Equal error rate by linear interpolation.

    Args:
        fmr: float64 (L,), rising from 0 to 1.
        fnmr: float64 (L,), falling from 1 to 0.
    """
    after = int(np.argmax(fmr >= fnmr))
    before = after - 1
    gap1, gap2 = fnmr[before] - fmr[before], fmr[after] - fnmr[after]
    return float(fmr[before] + gap1 / (gap1 + gap2) * (fmr[after] - fmr[before]))


def estimates(
    values: tuple[float | None, float | None],
    scores: NDArray[np.floating],
    first: Ints,
    second: Ints,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """AUC and EER with their intervals; without where there are more than `MOST` comparisons.

    Args:
        values: AUC and EER, None where not supported.
        scores: float (C,).
        first: int64 (C,), people of one side.
        second: int64 (C,), people of the other side.
        seed: of the bootstrap.
    """
    found: dict[str, tuple[float, float]] = {}
    if None not in values and len(scores) <= MOST:
        found = bootstrap(scores, first, second, {"auc": area, "eer": crossing}, seed=seed)
    none = (None, None)
    return (
        Estimate(values[0], *found.get("auc", none)),
        Estimate(values[1], *found.get("eer", none)),
    )
