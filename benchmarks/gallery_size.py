"""Strangers taken for somebody: what was asked, and what happens, at several gallery sizes.

    VULTUS_DATA=... python benchmarks/gallery_size.py [--draws 50] [--model sface]

Vultus scales a threshold to a gallery of N templates as if comparisons erred independently:
FPIR = 1 − (1 − FMR)^N. Half of LFW's development people calibrate; of the others, N are enrolled
with one photo each and the rest are strangers with one photo each. Larger galleries than there
are people are simulated: vectors are drawn from a normal distribution with the mean and covariance
of the people's vectors, then cut to length one, so that people in the middle of the crowd resemble
many others, as real ones do; the simulation's own curve is printed beside the real one.

Letters: K people, D dimensions, N enrolled, S strangers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from calibration_halves import curve, load
from numpy.typing import NDArray

from verify.calibration import Calibration
from verify.decision import rule_at
from verify.extremes import REACH

SIZES = (100, 200, 400)
LARGE = (400, 1600, 10_000)
RATES = (0.05, 0.01)
CALIBRATED, STRANGERS, LARGE_DRAWS = 2000, 4000, 20
Vectors = NDArray[np.float32]


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--model", default="sface")
    arguments = parser.parse_args()
    vectors, people = load(arguments.model)
    rng = np.random.default_rng(0)
    print(f"{arguments.model}: measured on {people.max() + 1} people, {arguments.draws} draws")
    print_head()
    found: dict[tuple[int, float], list[Outcome]] = {}
    for _ in range(arguments.draws):
        measure(vectors, people, rng, found)
    for (size, rate), outcomes in found.items():
        print_row(size, rate, outcomes)
    simulate(one_each(vectors, people, rng), rng)


Outcome = tuple[float, float, float, bool]  # realised, low and high of its interval, extrapolated


def measure(
    vectors: Vectors,
    people: NDArray[np.int64],
    rng: np.random.Generator,
    found: dict[tuple[int, float], list[Outcome]],
) -> None:
    """One draw of halves, galleries and strangers; adds to `found`.

    Args:
        vectors: float32 (photos, D).
        people: int64 (photos,).
        rng: draws.
        found: (N, asked) → outcomes.
    """
    order = rng.permutation(people.max() + 1)
    fitted = np.isin(people, order[: len(order) // 2])
    calibration = curve(vectors[fitted], people[fitted])
    others = one_each(vectors[~fitted], people[~fitted], rng)
    for size in SIZES:
        chosen = rng.permutation(len(others))
        gallery, strangers = others[chosen[:size]], others[chosen[size:]]
        add(calibration, gallery, strangers, found)


def one_each(vectors: Vectors, people: NDArray[np.int64], rng: np.random.Generator) -> Vectors:
    """One photo of each person at random: float32 (K, D)."""
    shuffled = rng.permutation(len(people))
    return vectors[shuffled[np.unique(people[shuffled], return_index=True)[1]]]


def add(
    calibration: Calibration,
    gallery: Vectors,
    strangers: Vectors,
    found: dict[tuple[int, float], list[Outcome]],
) -> None:
    """Count the strangers taken for somebody.

    Args:
        calibration: of other people.
        gallery: float32 (N, D).
        strangers: float32 (S, D).
        found: (N, asked) → outcomes; added to.
    """
    best = (strangers @ gallery.T).max(axis=1)
    for rate in RATES:
        rule = rule_at(calibration, rate, len(gallery), unsure=rate, extrapolate=True)
        hits = int((best >= np.float64(rule.threshold)).sum())
        low, high = interval(hits, len(best))
        outcome = (hits / len(best), low, high, rule.extrapolated)
        found.setdefault((len(gallery), rate), []).append(outcome)


def interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate (Clopper and Pearson, Biometrika 26, 1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def print_head() -> None:
    """The head of both tables."""
    print("gallery  asked FPIR  realised, mean   ratio  2.5 % … 97.5 % of draws  asked in interval")


def print_row(size: int, rate: float, outcomes: list[Outcome]) -> None:
    """One row: mean, spread, and in how many draws the realised rate's interval holds the asked."""
    realised = np.array([outcome[0] for outcome in outcomes])
    inside = np.mean([low <= rate <= high for _, low, high, _ in outcomes])
    low, high = np.quantile(realised, [0.025, 0.975])
    marked = "  extrapolated" if any(outcome[3] for outcome in outcomes) else ""
    print(
        f"{size:7}  {rate:10.2g}  {realised.mean():14.4f}  {realised.mean() / rate:6.2f}"
        f"  {low:.4f} … {high:.4f}          {inside:8.0%}{marked}"
    )


def simulate(real: Vectors, rng: np.random.Generator) -> None:
    """Galleries of simulated people.

    Args:
        real: float32 (K, D), one photo of each person.
        rng: draws.
    """
    draw = crowd(real, rng)
    print(f"simulated: {CALIBRATED} calibrate, {STRANGERS} strangers, {LARGE_DRAWS} draws each")
    compare_curves(real, draw(len(real)))
    print_head()
    found: dict[tuple[int, float], list[Outcome]] = {}
    for _ in range(LARGE_DRAWS):
        calibration = curve(draw(CALIBRATED), np.arange(CALIBRATED))
        for size in LARGE:
            add(calibration, draw(size), draw(STRANGERS), found)
    for (size, rate), outcomes in found.items():
        print_row(size, rate, outcomes)
    print(
        f"extrapolated: at most {REACH:g} times below what the pairs show; see verify/extremes.py"
    )


def crowd(real: Vectors, rng: np.random.Generator) -> Callable[[int], Vectors]:
    """Draws float32 (n, D) unit vectors with the mean and covariance of real ones, (K, D)."""
    mean = real.mean(axis=0)
    root = np.linalg.cholesky(np.cov(real.T) + 1e-9 * np.eye(real.shape[1]))

    def draw(count: int) -> Vectors:
        rows = mean + rng.normal(size=(count, len(mean))) @ root.T
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return draw


def compare_curves(real: Vectors, simulated: Vectors) -> None:
    """Thresholds of both crowds, float32 (K, D) each, at several rates."""
    told = []
    for rows in (real, simulated):
        similarity = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        told.append([f"{np.quantile(similarity, 1 - r):.3f}" for r in (1e-2, 1e-3, 1e-4, 1e-5)])
    print("thresholds at FMR 1e-2, 1e-3, 1e-4, 1e-5: real " + " ".join(told[0]), end="")
    print("; simulated " + " ".join(told[1]))


if __name__ == "__main__":
    main()
