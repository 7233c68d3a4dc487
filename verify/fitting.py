"""Fitting a calibration: from vectors with names to the curve.

Letters: N photos, D dimensions, K people, C comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from verify.calibration import BINS, Calibration, bins_of
from verify.errors import NothingToMeasure
from verify.probability import Probability, check_held_out, fit_logistic

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_BLOCK = 512
_DRAWS = 1000
_FOLDS = 5  # of people, for the check of the probabilities


def fit(
    vectors: NDArray[np.float32],
    names: Sequence[str],
    *,
    space: str,
    source: str,
    data_digest: str,
    seed: int = 0,
) -> Calibration:
    """Fit the curve similarity → FMR/FNMR on every pair of photos of a set.

    Args:
        vectors: float32 (N, D), unit rows.
        names: N names, one a photo; photos of one name are of one person.
        space: the vector space of the vectors.
        source: what to call the data.
        data_digest: hex sha256 of the data.
        seed: of the bootstrap.

    Raises:
        NothingToMeasure: fewer than two people.
    """
    people = np.unique(np.asarray(names), return_inverse=True)[1]  # (N,)
    counts = np.bincount(people)  # (K,)
    if len(counts) < 2:
        raise NothingToMeasure(
            f"{source} shows {len(counts)} people: a calibration needs two people at least, and "
            "several hundred to support small rates."
        )
    k = len(counts)
    fold = np.random.default_rng(seed).permutation(k) % _FOLDS  # (K,)
    by_folds, mated_by_fold = _histograms(vectors, people, fold)
    nonmated, mated = by_folds.sum(axis=(0, 1)), mated_by_fold.sum(axis=0)
    draft = Calibration(
        space=space,
        source=source,
        people=k,
        person_pairs=k * (k - 1) // 2,
        mated_people=int((counts >= 2).sum()),
        photos=len(people),
        nonmated=nonmated,
        mated=mated,
        intervals={},
        data_digest=data_digest,
        created=datetime.now(UTC).date().isoformat(),
    )
    intervals = _intervals(draft, vectors, people, seed)
    curve = fit_logistic(nonmated, mated)
    check = check_held_out(by_folds, mated_by_fold, k)
    rounded = Calibration.from_dict(draft.to_dict() | {"intervals": intervals})
    return replace(
        rounded, probability=None if curve is None else Probability(*curve, reliability=check)
    )


def _histograms(
    vectors: NDArray[np.float32], people: NDArray[np.int64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight a bin, kept apart by the folds of the people compared.

    Args:
        vectors: float32 (N, D), unit rows.
        people: int64 (N,).
        fold: int64 (K,), the fold of each person, 0…F−1.

    Returns:
        Non-mated float64 (F, F, B), whose sum is the pairs of people, and mated float64 (F, B),
        whose sum is the people with two photos or more.
    """
    counts = np.bincount(people)
    shape = (2, _FOLDS, _FOLDS, BINS)  # non-mated and mated
    total = np.zeros(shape)
    for similarities, first, second in comparisons(vectors, people):
        same = first == second
        own = np.maximum(counts[first] * (counts[first] - 1) / 2, 1)
        weight = 1.0 / np.where(same, own, counts[first] * counts[second])
        cell = np.ravel_multi_index(
            (same.astype(np.int64), fold[first], fold[second], bins_of(similarities)), shape
        )
        total += np.bincount(cell, weight, total.size).reshape(shape)
    return total[0], np.einsum("ffb->fb", total[1])


def comparisons(
    vectors: NDArray[np.float32], people: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]]:
    """Every pair of photos once, in blocks of bounded memory.

    Args:
        vectors: float32 (N, D), unit rows.
        people: int64 (N,), the person of each row.

    Yields:
        Similarities float32 (C,), and the people of both sides, int64 (C,) each.
    """
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        similarities = block @ vectors[start:].T
        row, column = np.triu_indices(len(block), 1, similarities.shape[1])
        yield similarities[row, column], people[start + row], people[start + column]


def _intervals(
    calibration: Calibration, vectors: NDArray[np.float32], people: NDArray[np.int64], seed: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the FMR at the thresholds of `RATES`: people drawn with replacement.

    Args:
        calibration: the curve.
        vectors: float32 (N, D).
        people: int64 (N,).
        seed: of the draws.
    """
    supported = [rate for rate in RATES if rate >= calibration.smallest_fmr]
    counts = np.bincount(people)
    k = len(counts)
    draws = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=_DRAWS)  # (draws, K)
    weight = draws.astype(np.float64)
    pairs = (weight.sum(1) ** 2 - (weight**2).sum(1)) / 2
    found = {}
    for rate in supported:
        share = _share_above(calibration.threshold(rate), vectors, people)  # (K, K)
        rates = (np.einsum("ij,ij->i", weight @ share, weight) / 2) / pairs
        low, high = np.quantile(rates, [0.025, 0.975])
        found[repr(rate)] = (float(low), float(high))
    return found


def _share_above(
    threshold: float, vectors: NDArray[np.float32], people: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of two people's photo pairs at or above a threshold: float64 (K, K), diagonal 0."""
    counts = np.bincount(people)
    hits = np.zeros((len(counts), len(counts)))
    for similarities, first, second in comparisons(vectors, people):
        above = (similarities >= np.float64(threshold)) & (first != second)
        np.add.at(hits, (first[above], second[above]), 1.0)
    return (hits + hits.T) / np.outer(counts, counts)
