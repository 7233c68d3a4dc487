"""Does a calibration keep its promise on other people? Halves of LFW's development people.

    VULTUS_DATA=... python benchmarks/calibration_halves.py [--draws 50] [--model sface]

Fitted on a random half of the people, applied to the other half, many times. Three tables: the
rate realised beside the one asked, with two intervals; the probabilities on the other half; and
tails extrapolated from few people (see verify/extremes.py), judged by many.

The interval of a calibration says where the rate of its threshold lies over all people there might
be. What is realised on the other half errs on its own, by as much: the second interval is that of
the difference, in logarithms.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray
from pictures import Vectors, lfw

from verify.calibration import Calibration
from verify.errors import VerifyError
from verify.extremes import extrapolated_threshold
from verify.fitting import fit
from verify.probability import check_across

RATES = (1e-2, 1e-3)
FEW = 150
BEYOND = (3e-4, 1e-4, 3e-5, 1e-5)


def main() -> None:
    """Draw, fit, apply, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--model", default="sface")
    arguments = parser.parse_args()
    vectors, people = load(arguments.model)
    rng = np.random.default_rng(0)
    halves = [half(vectors, people, rng) for _ in range(arguments.draws)]
    print(
        f"{arguments.model}: {people.max() + 1} people, {len(people)} photos, {len(halves)} draws"
    )
    print_rates(halves)
    print_probabilities(halves)
    print_tails(vectors, people, arguments.draws, rng)


def load(model: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors float32 (N, D) of both lists of LFW's view 1, and the person of each, int64 (N,)."""
    parts: list[Vectors] = [lfw("train", model), lfw("test", model)]
    names = np.concatenate([part.names for part in parts])
    return np.concatenate([part.vectors for part in parts]), np.unique(names, return_inverse=True)[
        1
    ].astype(np.int64)


def half(
    vectors: NDArray[np.float32], people: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Calibration, Calibration]:
    """Calibrations of a random half of the people and of the others."""
    order = rng.permutation(people.max() + 1)
    first = np.isin(people, order[: len(order) // 2])
    return curve(vectors[first], people[first]), curve(vectors[~first], people[~first])


def curve(vectors: NDArray[np.float32], people: NDArray[np.int64]) -> Calibration:
    """A calibration of float32 (N, D) and int64 (N,)."""
    names = [str(person) for person in people]
    return fit(vectors, names, space="lfw", source="lfw", data_digest="0" * 64)


def print_rates(halves: list[tuple[Calibration, Calibration]]) -> None:
    """Asked and realised rates, and how often the realised one lies in its interval."""
    print("asked FMR  realised, mean  5 % … 95 % of draws  in the fit's interval  in its own")
    for rate in RATES:
        found, inside, own = [], 0, 0
        for fitted, others in halves:
            threshold = fitted.threshold(rate)
            realised = others.fmr_at(threshold)
            found.append(realised)
            low, high = fitted.intervals[rate]
            inside += low <= realised <= high
            spread = math.hypot(_width(fitted, rate), _width(others, rate))
            own += abs(math.log(realised / rate)) <= spread
        low, high = np.quantile(found, [0.05, 0.95])
        share, own_share = inside / len(halves), own / len(halves)
        print(
            f"{rate:9.0e}  {np.mean(found):14.2e}  {low:.2e} … {high:.2e}  {share:21.0%}"
            f"  {own_share:10.0%}"
        )


def _width(calibration: Calibration, rate: float) -> float:
    """Half the width of an interval, in logarithms."""
    low, high = calibration.intervals[rate]
    return math.log(high / low) / 2


def print_probabilities(halves: list[tuple[Calibration, Calibration]]) -> None:
    """Brier score, ECE and what the bins hold, on people who were not fitted on."""
    checks = [
        check_across((a.nonmated, a.mated), (b.nonmated, b.mated), a.people + b.people)
        for a, b in halves
    ]
    found = [check for check in checks if check is not None]
    brier, ece = (np.mean([getattr(check, name) for check in found]) for name in ("brier", "ece"))
    print(f"probabilities on the other half: Brier {brier:.4f}, ECE {ece:.4f}")
    print("  predicted " + " ".join(f"{v:5.2f}" for v in np.mean([c.predicted for c in found], 0)))
    print("  observed  " + " ".join(f"{v:5.2f}" for v in np.mean([c.observed for c in found], 0)))
    print("  weight    " + " ".join(f"{v:5.3f}" for v in np.mean([c.weight for c in found], 0)))


def print_tails(
    vectors: NDArray[np.float32],
    people: NDArray[np.int64],
    draws: int,
    rng: np.random.Generator,
) -> None:
    """Thresholds extrapolated from one photo each of few people, judged on everybody else."""
    first = vectors[np.unique(people, return_index=True)[1]]
    similarity = first @ first.T
    found: dict[float, list[float]] = {rate: [] for rate in BEYOND}
    for _ in range(draws):
        order = rng.permutation(len(first))
        few, many = order[:FEW], order[FEW:]
        fitted = curve(first[few], few)
        others = similarity[np.ix_(many, many)][np.triu_indices(len(many), 1)]
        for rate in BEYOND:
            try:
                threshold = extrapolated_threshold(fitted, rate)
            except VerifyError:
                continue
            found[rate].append(float((others >= threshold).mean()) / rate)
    pairs = FEW * (FEW - 1) // 2
    print(f"extrapolated from {FEW} people ({pairs} pairs, which support {3 / pairs:.1e}):")
    print("asked FMR  realised / asked: median, mean, 5 % … 95 % of draws")
    for rate, ratios in found.items():
        low, high = np.quantile(ratios, [0.05, 0.95])
        print(
            f"{rate:9.0e}  {np.median(ratios):.2f}, {np.mean(ratios):.2f}, {low:.2f} … {high:.2f}"
            f"  ({len(ratios)} draws)"
        )


if __name__ == "__main__":
    main()
