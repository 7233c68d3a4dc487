"""Counting errors: thresholds, accuracy, and open-set identification rates.

Terms of ISO/IEC 19795-1: FMR, FNMR for comparisons; FPIR, FNIR for searches of a gallery.

Letters: C comparisons, P mated probes, S strangers' probes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.errors import NothingToMeasure


def best_threshold(similarities: NDArray[np.floating], same: NDArray[np.bool_]) -> float:
    """The threshold with the highest accuracy; of several, the middle of the widest gap.

    Args:
        similarities: float (C,).
        same: bool (C,), whether both sides are one person.

    Raises:
        NothingToMeasure: no mated or no non-mated comparison.
    """
    _require_both(same)
    order = np.argsort(similarities, kind="stable")
    ranked, truth = similarities[order].astype(np.float64), same[order]
    # cut i: comparisons i… are called same; cuts inside ties are not reachable
    rejected = np.concatenate([[0], np.cumsum(~truth)])
    accepted = truth.sum() - np.concatenate([[0], np.cumsum(truth)])
    least, most = min(-1.0, ranked[0]), max(1.0, np.nextafter(ranked[-1], np.inf))
    edges = np.concatenate([[least], ranked, [most]])
    gaps = np.diff(edges)
    right = np.where(gaps > 0, rejected + accepted, -1)
    right[0] = accepted[0]  # reached even where the lowest similarity is the least there is
    widest = np.argmax(np.where(right == right.max(), gaps, -1.0))
    low, high = float(edges[widest]), float(edges[widest + 1])
    return max((low + high) / 2, float(np.nextafter(low, np.inf))) if high > low else low


def accuracy(
    similarities: NDArray[np.floating], same: NDArray[np.bool_], threshold: float
) -> float:
    """Share of comparisons on the right side of a threshold.

    Args:
        similarities: float (C,).
        same: bool (C,).
        threshold: "same" at or above it.
    """
    # np.float64: numpy rounds a plain float to the precision of float32 similarities
    return float(((similarities >= np.float64(threshold)) == same).mean())


@dataclass(frozen=True, slots=True)
class OpenSetRates:
    """Open-set identification at one threshold.

    Attributes:
        rank1: share of mated probes whose most similar person is the right one, any similarity.
        fnir: share of mated probes not identified: below the threshold or as somebody else.
        fpir: share of strangers' probes at or above the threshold.
        threshold: the similarity.
    """

    rank1: float
    fnir: float
    fpir: float
    threshold: float


def open_set_rates(
    best: NDArray[np.floating],
    right: NDArray[np.bool_],
    strangers: NDArray[np.floating],
    fpir: float,
) -> OpenSetRates:
    """FNIR at the lowest threshold whose FPIR on the strangers is not above the asked one.

    Args:
        best: float (P,), each mated probe's largest similarity to the gallery.
        right: bool (P,), whether that was the right person.
        strangers: float (S,), each stranger's largest similarity to the gallery.
        fpir: the asked rate, 0…1.

    Raises:
        NothingToMeasure: no mated probe or no stranger.
    """
    if len(best) == 0 or len(strangers) == 0:
        raise NothingToMeasure("Open-set rates need probes of enrolled people and of strangers.")
    ranked = np.sort(strangers.astype(np.float64))[::-1]
    allowed = int(np.floor(fpir * len(ranked) + 1e-9))
    # float64, which numpy does not round to the precision of float32 similarities
    threshold = np.nextafter(ranked[allowed], 2.0) if allowed < len(ranked) else np.float64(-1.0)
    identified = right & (best >= threshold)
    return OpenSetRates(
        rank1=float(right.mean()),
        fnir=1.0 - float(identified.mean()),
        fpir=float((strangers >= threshold).mean()),
        threshold=float(threshold),
    )


def _require_both(same: NDArray[np.bool_]) -> None:
    if same.all() or not same.any():
        raise NothingToMeasure(
            f"Of {len(same)} comparisons {int(same.sum())} are of one person: both mated and "
            "non-mated ones are needed."
        )
