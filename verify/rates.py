"""ROC, DET, AUC, EER and thresholds from mated and non-mated scores.

A comparison matches where its score is at or above the threshold. A comparison with a photo that
gave no vector has the score −inf (`FAILED`): it matches at no threshold, so a mated one is always
a false non-match, as ISO/IEC 19795-1 counts failures to acquire. Non-mated scores come sorted, so
that every figure costs a binary search, with 10 scores or 10⁸.

Mated and non-mated scores of one call have one dtype, float32 or float64.

Letters: M mated scores, S non-mated scores, C comparisons, L points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.errors import NothingToMeasure
from verify.evaluation import Curve, Histogram, Spread
from verify.scores import best_threshold

FAILED = np.float32(-np.inf)
CURVE_POINTS = 1000
_BINS = 200
Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Operating:
    """The two errors at one threshold, as counts.

    Attributes:
        threshold: the similarity.
        false_matches: non-mated scores at or above it.
        nonmated: how many non-mated scores there are.
        false_non_matches: mated scores below it.
        mated: how many mated scores there are.
    """

    threshold: float
    false_matches: int
    nonmated: int
    false_non_matches: int
    mated: int

    @property
    def fmr(self) -> float:
        """False-match rate."""
        return self.false_matches / self.nonmated

    @property
    def fnmr(self) -> float:
        """False-non-match rate."""
        return self.false_non_matches / self.mated


def at_or_above(ranked: Scores, thresholds: float | Scores) -> NDArray[np.int64]:
    """How many scores are at or above each threshold.

    Args:
        ranked: float (S,), rising.
        thresholds: one, or float (L,).

    Returns:
        int64, of the thresholds' shape.
    """
    asked = np.asarray(thresholds, dtype=np.float64)
    keys = asked.astype(ranked.dtype)  # without this numpy would copy 10⁸ scores to float64
    low = keys.astype(np.float64) < asked
    keys = np.where(low, np.nextafter(keys, np.array(np.inf, ranked.dtype)), keys)
    return np.asarray(len(ranked) - np.searchsorted(ranked, keys, "left"), dtype=np.int64)


def operating(mated: Scores, nonmated: Scores, threshold: float) -> Operating:
    """Count both errors at a threshold.

    Args:
        mated: float (M,), rising.
        nonmated: float (S,), rising.
        threshold: the similarity.
    """
    matched = int(at_or_above(mated, threshold))
    return Operating(
        threshold, int(at_or_above(nonmated, threshold)), len(nonmated),
        len(mated) - matched, len(mated),
    )  # fmt: skip


def threshold_at(nonmated: Scores, rate: float) -> float:
    """The lowest threshold that at most a share of non-mated scores reach; −1 if all may.

    Args:
        nonmated: float (S,), rising, S at least 1.
        rate: the share, 0…1.

    Raises:
        NothingToMeasure: no scores.
    """
    if len(nonmated) == 0:
        raise NothingToMeasure("A threshold at a false-match rate needs non-mated comparisons.")
    allowed = int(np.floor(rate * len(nonmated) + 1e-9))
    if allowed >= len(nonmated):
        return -1.0
    first_refused = nonmated[len(nonmated) - 1 - allowed]
    if np.isneginf(first_refused):
        return -1.0
    return float(np.nextafter(first_refused, np.array(np.inf, nonmated.dtype)))


def auc(mated: Scores, nonmated: Scores) -> float | None:
    """Area under the ROC: how often a mated score is above a non-mated one, ties counted half.

    None without mated or without non-mated scores.

    Args:
        mated: float (M,).
        nonmated: float (S,), rising.
    """
    if len(mated) == 0 or len(nonmated) == 0:
        return None
    keys = mated.astype(nonmated.dtype)
    below = np.searchsorted(nonmated, keys, "left").astype(np.float64)
    upto = np.searchsorted(nonmated, keys, "right").astype(np.float64)
    return float((below + upto).mean() / (2 * len(nonmated)))


def eer(mated: Scores, nonmated: Scores) -> float | None:
    """Equal error rate: where the ROC, joined by straight lines, meets FMR = FNMR, as in facenet.

    None without mated or without non-mated scores.

    Args:
        mated: float (M,), rising.
        nonmated: float (S,), rising.
    """
    if len(mated) == 0 or len(nonmated) == 0:
        return None
    # FMR − FNMR falls as the threshold rises: the last score where it is not negative, and the next
    lower = max(_last_loose(ranked, mated, nonmated) for ranked in (mated, nonmated))
    above = [_next(ranked, lower) for ranked in (mated, nonmated)]
    x2, y2 = _rates(mated, nonmated, lower)
    x1, y1 = _rates(mated, nonmated, min(above))
    share = (y1 - x1) / ((y1 - x1) + (x2 - y2))
    return x1 + share * (x2 - x1)


def _last_loose(ranked: Scores, mated: Scores, nonmated: Scores) -> float:
    """The highest of some scores at which FMR ≥ FNMR; −inf where there is none."""
    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high) // 2
        false_match, false_non_match = _rates(mated, nonmated, float(ranked[middle]))
        if false_match >= false_non_match:
            low = middle + 1
        else:
            high = middle
    return float(ranked[low - 1]) if low else -np.inf


def _next(ranked: Scores, score: float) -> float:
    """The lowest of some scores above one; inf, where nothing matches, if there is none."""
    place = int(np.searchsorted(ranked, ranked.dtype.type(score), "right"))
    return float(ranked[place]) if place < len(ranked) else np.inf


def _rates(mated: Scores, nonmated: Scores, threshold: float) -> tuple[float, float]:
    found = operating(mated, nonmated, threshold)
    return found.fmr, found.fnmr


def error_curve(mated: Scores, nonmated: Scores, points: int | None = CURVE_POINTS) -> Curve:
    """FMR and FNMR over thresholds, from the highest: the ROC (1 − FNMR over FMR) and the DET.

    Args:
        mated: float (M,), rising, M at least 1.
        nonmated: float (S,), rising, S at least 1.
        points: about how many, dense where either error is rare; None: every distinct score.

    Raises:
        NothingToMeasure: no mated or no non-mated scores.
    """
    if len(mated) == 0 or len(nonmated) == 0:
        raise NothingToMeasure("A curve needs mated and non-mated comparisons.")
    chosen = [_spaced(s, points) for s in (mated, nonmated)]
    thresholds = np.unique(np.concatenate([s.astype(np.float64) for s in chosen]))[::-1]
    ends = (thresholds[:0], np.array([-np.inf]))[int(np.isfinite(thresholds[-1]))]
    thresholds = np.concatenate([[np.inf], thresholds, ends])
    return Curve(
        thresholds=thresholds,
        false_accepts=at_or_above(nonmated, thresholds) / len(nonmated),
        false_rejects=1.0 - at_or_above(mated, thresholds) / len(mated),
    )


def _spaced(ranked: Scores, points: int | None) -> Scores:
    """Scores at ranks that lie close together near both ends (logarithmically) and evenly."""
    n = len(ranked)
    if points is None or n <= points // 2:
        return ranked
    near = np.geomspace(1, n, points // 6).astype(np.int64) - 1
    places = np.concatenate([near, n - 1 - near, np.linspace(0, n - 1, points // 6).astype(int)])
    return np.asarray(ranked[np.unique(places)])


def histogram(mated: Scores, nonmated: Scores, bins: int = _BINS) -> Histogram:
    """Counts a bin of similarity over −1…1, failed comparisons left out.

    Args:
        mated: float (M,), rising.
        nonmated: float (S,), rising.
        bins: how many, B.
    """
    edges = np.linspace(-1.0, 1.0, bins + 1)
    inner = edges[1:-1]

    def counts(ranked: Scores) -> NDArray[np.int64]:
        valid = int((ranked > -np.inf).sum()) if len(ranked) < bins else _finite(ranked)
        above = np.concatenate([[valid], at_or_above(ranked, inner), [0]])
        return np.asarray(-np.diff(above), dtype=np.int64)

    return Histogram(edges, counts(mated), counts(nonmated))


def _finite(ranked: Scores) -> int:
    """How many of rising scores are not −inf."""
    return len(ranked) - int(np.searchsorted(ranked, ranked.dtype.type(-np.inf), "right"))


@dataclass(frozen=True, slots=True)
class Folds:
    """Accuracy and validation rate over folds.

    Attributes:
        accuracy: at the most accurate threshold of the other folds; None where those do not hold
            both kinds of comparisons.
        validation: 1 − FNMR at the threshold that has the asked FAR on the other folds, or None.
        far: mean FMR at that threshold, or None.
    """

    accuracy: Spread | None
    validation: Spread | None
    far: float | None


def cross_validate(
    scores: Scores,
    same: NDArray[np.bool_],
    folds: NDArray[np.int64],
    splits: Iterable[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    far: float,
) -> Folds:
    """Choose thresholds on some comparisons, measure them on others, as LFW's protocol does.

    Args:
        scores: float (C,).
        same: bool (C,), whether both sides are one person.
        folds: int64 (C,), the fold that a comparison is measured in; −1: in none.
        splits: pairs of bool (C,): which comparisons are measured, and which choose for them.
        far: the false-accept rate of the validation rate's threshold.
    """
    right, accepted = np.zeros(len(scores), bool), np.zeros(len(scores), bool)
    for tested, choosing in splits:
        if not tested.any():
            continue
        valid = choosing & np.isfinite(scores)  # failed ones err or not whatever the threshold
        if not (same & valid).any() or not (~same & valid).any():
            return Folds(None, None, None)
        cut = best_threshold(scores[valid], same[valid])
        strict = threshold_at(np.sort(scores[choosing & ~same]), far)
        right[tested] = (scores[tested] >= np.float64(cut)) == same[tested]
        accepted[tested] = scores[tested] >= np.float64(strict)
    measured = folds >= 0
    accuracy = _over_folds(right, folds, measured)
    validation = _over_folds(accepted, folds, measured & same)
    false_accepts = _over_folds(accepted, folds, measured & ~same)
    return Folds(accuracy, validation, None if false_accepts is None else false_accepts.mean)


def _over_folds(
    hits: NDArray[np.bool_], folds: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> Spread | None:
    """Mean and standard deviation of a share over the folds that hold something."""
    if not chosen.any():
        return None
    total = np.bincount(folds[chosen])
    shares = np.bincount(folds[chosen], weights=hits[chosen])[total > 0] / total[total > 0]
    return Spread(float(shares.mean()), float(shares.std()), len(shares))
