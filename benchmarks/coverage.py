"""Do the 95 % intervals of FMR and FNMR hold the true rate in 93–97 % of evaluations?

    python benchmarks/coverage.py [RUNS]

Simulated: 200 people × 4 photos, all pairs, at the threshold where the true FMR is 1e-2 and the
true FNMR 5e-2. A score is a sum of normal terms: of both people, of the pair of people, of both
photos, and noise; the shares of the variance are printed. Non-mated scores of one person, and of
one photo, are thus correlated, mated ones of a person even more. The percentile bootstrap over
identities (500 draws, non-mated comparisons weighing the product of the multiplicities) is
printed beside the intervals that Vultus gives.

Letters: K people, T pairs of people.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from verify.evaluation import Rate
from verify.resampling import Exposure, mated_rate, nonmated_rate

PEOPLE, PHOTOS, DRAWS = 200, 4, 500
FMR, FNMR = 1e-2, 5e-2
# shares of the variance of one person, of the pair of people, of one photo
CASES = {
    "weak": (0.005, 0.30, 0.010),
    "medium": (0.05, 0.20, 0.05),
    "strong": (0.10, 0.20, 0.10),
    "very strong": (0.20, 0.20, 0.10),
}
OWN = 0.4  # a person's share of the variance of mated scores, besides its photos'
TARGET = (0.93, 0.97)
Floats = NDArray[np.float64]


def main() -> None:
    """Simulate and print one table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{runs} runs, {PEOPLE} people × {PHOTOS} photos; target {TARGET[0]:.0%}–{TARGET[1]:.0%}")
    print(f"{'correlation':12} {'person':>6} {'pair':>6} {'photo':>6} {'FMR 1e-2':>9} "
          f"{'bootstrap':>9} {'FNMR 5e-2':>9} {'bootstrap':>9}")  # fmt: skip
    for name, shares in CASES.items():
        generator = np.random.default_rng(0)
        inside = np.array([_run(generator, shares) for _ in range(runs)]).mean(axis=0)
        cells = " ".join(f"{share:6.3f}" for share in shares)
        print(f"{name:12} {cells} " + " ".join(f"{value:9.3f}" for value in inside), flush=True)


def _run(generator: np.random.Generator, shares: tuple[float, float, float]) -> list[bool]:
    """Whether each of four intervals holds the true rate in one evaluation."""
    hits = _false_matches(generator, shares)  # (K, K), above the diagonal
    first, second = np.nonzero(np.triu(hits, 1))
    times = hits[first, second]
    each = PHOTOS * PHOTOS
    exposure = Exposure(
        trials=np.full(PEOPLE, float((PEOPLE - 1) * each)),
        total=PEOPLE * (PEOPLE - 1) // 2 * each,
        pairs=PEOPLE * (PEOPLE - 1) // 2, people=PEOPLE,
    )  # fmt: skip
    fmr = nonmated_rate(np.repeat(first, times), np.repeat(second, times), exposure)
    errors = _false_non_matches(generator, shares[2])
    trials = np.full(PEOPLE, PHOTOS * (PHOTOS - 1) / 2)
    fnmr = mated_rate(errors, trials)
    weight = generator.multinomial(PEOPLE, np.full(PEOPLE, 1 / PEOPLE), DRAWS).astype(float)
    both = hits + hits.T
    pairs = (weight.sum(1) ** 2 - (weight**2).sum(1)) * each
    drawn_fmr = np.einsum("dk,dk->d", weight @ both, weight) / pairs
    drawn_fnmr = weight @ errors / (weight @ trials)
    return [
        _holds(fmr, FMR), _between(drawn_fmr, FMR), _holds(fnmr, FNMR), _between(drawn_fnmr, FNMR),
    ]  # fmt: skip


def _false_matches(
    generator: np.random.Generator, shares: tuple[float, float, float]
) -> NDArray[np.int64]:
    """False matches of each pair of people at the true threshold: int64 (K, K), upper half."""
    person, pair, photo = shares
    noise = 1 - 2 * person - pair - 2 * photo
    one, other = np.triu_indices(PEOPLE, 1)
    own = generator.standard_normal((PEOPLE, 1)) * np.sqrt(person)
    own = own + generator.standard_normal((PEOPLE, PHOTOS)) * np.sqrt(photo)  # (K, photos)
    scores = generator.standard_normal((len(one), PHOTOS, PHOTOS), dtype=np.float32)
    scores *= np.float32(np.sqrt(noise))
    together = generator.standard_normal((len(one), 1)) * np.sqrt(pair)
    scores += (own[one] + together)[:, :, None].astype(np.float32)
    scores += own[other][:, None, :].astype(np.float32)
    hits = np.zeros((PEOPLE, PEOPLE), dtype=np.int64)
    hits[one, other] = (scores >= stats.norm.isf(FMR)).sum(axis=(1, 2))
    return hits


def _false_non_matches(generator: np.random.Generator, photo: float) -> Floats:
    """False non-matches of each person at the true threshold: float64 (K,)."""
    one, other = np.triu_indices(PHOTOS, 1)
    own = generator.standard_normal((PEOPLE, 1)) * np.sqrt(OWN)
    photos = generator.standard_normal((PEOPLE, PHOTOS)) * np.sqrt(photo)
    noise = generator.standard_normal((PEOPLE, len(one))) * np.sqrt(1 - OWN - 2 * photo)
    scores = own + photos[:, one] + photos[:, other] + noise
    return (scores < stats.norm.ppf(FNMR)).sum(axis=1).astype(np.float64)


def _holds(rate: Rate, true: float) -> bool:
    return rate.low is not None and rate.high is not None and rate.low <= true <= rate.high


def _between(drawn: Floats, true: float) -> bool:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return bool(low <= true <= high)


if __name__ == "__main__":
    main()
