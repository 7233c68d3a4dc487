"""How many clusters k-means should look for, and why.

k-means runs for candidates of k over the whole range, then for more of them around the best one.
Three measures judge each candidate:

- `silhouette`: how much closer a row is to its own cluster than to the next (P. Rousseeuw, 1987;
  simplified: by centroids), where a row takes no part in its own centroid. That correction lets the
  measure fall when clusters become too small: a row by itself counts 0.
- `bic`: the Bayesian information criterion of a mixture of von Mises-Fisher distributions of one
  concentration (A. Banerjee et al., "Clustering on the unit hypersphere using von Mises-Fisher
  distributions", 2005), in nats a row. It needs many rows a cluster.
- `links`: where a function tells how likely two rows of a similarity belong together (a
  calibration), the BCubed measure against these links: of a row's cluster, the part that it is
  linked to (precision); of the rows it is linked to, the part in its cluster (recall). It is at
  home with a few large clusters and with thousands of single rows.

`links` decides where it is given, else `silhouette`; the others are told beside it. Seeds are
repeated, and how well their partitions agree (adjusted Rand index) is told as the stability.

Letters: N rows, D dimensions, K clusters, S rows that links are measured on, L links.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.arrays import unit_rows
from index.errors import WrongNumber
from index.kmeans import Clustering, kmeans, sums_of
from index.partition import Shares

__all__ = ["Candidate", "ChosenK", "choose_k"]

Same = Callable[[NDArray[np.float32]], NDArray[Any]]

_ROWS = 20_000  # rows that candidates are tried on, at most
_JUDGED = 2_000  # rows that links are measured on, at most
_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB
_FAINT = 0.01  # a link less likely than this is none
_STEPS = 15
_COARSE, _FINE, _ZOOMS = 14, 4, 2  # candidates over the range, then around the best, so often
_LARGE_ORDER = 8.0  # from which on Bessel functions follow their expansion


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one number of clusters gives.

    Attributes:
        k: how many clusters.
        objective: mean similarity of the rows to their centroids, of the best seed.
        silhouette: -1 to 1.
        bic: nats a row, higher is better.
        precision: the part of a row's cluster that it is linked to, itself counted; None without
            links.
        recall: the part of the rows it is linked to that are in its cluster; None without links.
        links: the harmonic mean of both; None without links.
        stability: mean adjusted Rand index between the partitions of two seeds.
    """

    k: int
    objective: float
    silhouette: float
    bic: float
    precision: float | None
    recall: float | None
    links: float | None
    stability: float


@dataclass(frozen=True, slots=True)
class ChosenK:
    """The chosen number of clusters and the curve it was chosen from.

    Attributes:
        k: how many clusters.
        criterion: the measure that decided: `links` or `silhouette`.
        best: of each measure, the k where it is highest.
        candidates: the curve, by ascending k.
        rows: how many rows the candidates were tried on.
        seeds: how often k-means began for each of them.
        explanation: the choice in words.
    """

    k: int
    criterion: str
    best: dict[str, int]
    candidates: tuple[Candidate, ...]
    rows: int
    seeds: int
    explanation: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {name: getattr(self, name) for name in ("k", "criterion", "rows", "seeds")}
        curve = [asdict(candidate) for candidate in self.candidates]
        return values | {
            "best": dict(self.best),
            "candidates": curve,
            "explanation": self.explanation,
        }


def choose_k(
    vectors: NDArray[np.float32],
    same: Same | None = None,
    least: int = 2,
    most: int | None = None,
    seed: int = 0,
    seeds: int = 3,
    progress: Callable[[int], None] | None = None,
) -> ChosenK:
    """Chooses the number of clusters.

    Args:
        vectors: float32 (N, D), unit rows, N at least 1. Of more than 20,000 a sample is tried; k
            is then that of the sample, too few where the number of clusters grows with the rows.
        same: takes similarities of pairs, float32 (any shape), and returns how likely each pair
            belongs together, 0 to 1, as a float or bool array of that shape: for example
            `lambda s: s > cut`. None chooses by the silhouette.
        least: the fewest clusters, at least 1.
        most: the most; None: as many as there are rows.
        seed: of the first beginning and of the samples, at least 0.
        seeds: how often k-means begins for each candidate, at least 1.
        progress: called with each k that was tried.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: no rows, or `least`, `most`, `seed` or `seeds` outside their range.
    """
    vectors = _sampled(unit_rows(vectors), seed)
    count = len(vectors)
    most = count if most is None else min(most, count)
    if not count or least < 1 or most < min(least, count) or seeds < 1 or seed < 0:
        raise WrongNumber(
            f"k is chosen from at least one row, from least (at least 1) to most, with at least "
            f"one seed: got {count} rows, {least} to {most}, {seeds} seeds from {seed}."
        )
    judge = _Judge(vectors, seed, seeds, None if same is None else _Links.of(vectors, same, seed))
    criterion = "silhouette" if same is None else "links"
    tried: dict[int, Candidate] = {}
    grid = _spaced(min(least, most), most, _COARSE)
    for _ in range(1 + _ZOOMS):
        for k in grid:
            if k not in tried:
                tried[k] = judge.tried(k)
                if progress is not None:
                    progress(k)
        grid = _around(sorted(tried), _highest(tried, criterion))
    return _told(tried, criterion, count, seeds)


def _told(tried: dict[int, Candidate], criterion: str, rows: int, seeds: int) -> ChosenK:
    """The choice and its words."""
    measures = ["silhouette", "bic"] + (["links"] if criterion == "links" else [])
    best = {measure: _highest(tried, measure) for measure in measures}
    k = best[criterion]
    chosen = tried[k]
    why = f"k = {k}: "
    if criterion == "links":
        why += (
            f"there {chosen.precision:.1%} of the pairs inside a cluster are similar enough for "
            f"one person and {chosen.recall:.1%} of the similar pairs share a cluster, the best "
            f"balance of {len(tried)} numbers tried"
        )
    else:
        why += (
            f"there rows are closest to their own cluster against the next "
            f"(silhouette {chosen.silhouette:.3f}), the best of {len(tried)} numbers tried"
        )
    others = ", ".join(f"{name} {best[name]}" for name in measures if name != criterion)
    why += f". Other measures prefer {others}. Partitions of {seeds} seeds agree to "
    why += f"{chosen.stability:.2f} (adjusted Rand index)."
    curve = tuple(tried[k] for k in sorted(tried))
    return ChosenK(k, criterion, best, curve, rows, seeds, why)


def _sampled(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    if len(vectors) <= _ROWS:
        return vectors
    chosen = np.random.default_rng(abs(seed)).choice(len(vectors), _ROWS, replace=False)
    return vectors[np.sort(chosen)]


def _spaced(least: int, most: int, count: int) -> list[int]:
    """Numbers from least to most at equal ratios, each once."""
    return sorted(set(np.geomspace(least, most, count).round().astype(int).tolist()))


def _around(tried: list[int], best: int) -> list[int]:
    """Numbers between the best and those tried below and above it."""
    place = tried.index(best)
    below, above = tried[max(0, place - 1)], tried[min(len(tried) - 1, place + 1)]
    return _spaced(below, best, _FINE) + _spaced(best, above, _FINE)


def _highest(tried: dict[int, Candidate], measure: str) -> int:
    """The k of the highest measure; of equal ones the lowest."""
    return max(sorted(tried), key=lambda k: getattr(tried[k], measure))


@dataclass(slots=True)
class _Judge:
    """Tries numbers of clusters on rows (N, D).

    Attributes:
        vectors: float32 (N, D).
        seed: of the first beginning.
        seeds: how many beginnings.
        links: what belongs together, or None.
    """

    vectors: NDArray[np.float32]
    seed: int
    seeds: int
    links: _Links | None

    def tried(self, k: int) -> Candidate:
        """Runs k-means from each seed and measures the tightest result."""
        runs = [
            kmeans(self.vectors, k, seed=self.seed + number, tries=1, steps=_STEPS)
            for number in range(self.seeds)
        ]
        best = max(runs, key=lambda run: run.objective)
        sums = sums_of(self.vectors, best.labels, k)
        shares = None if self.links is None else self.links.agreement(best.labels)
        return Candidate(
            k=k,
            objective=best.objective,
            silhouette=_silhouette(self.vectors, best, sums),
            bic=_bic(best.labels, sums),
            precision=None if shares is None else shares.precision,
            recall=None if shares is None else shares.recall,
            links=None if shares is None else shares.f,
            stability=_stability([run.labels for run in runs]),
        )


@dataclass(slots=True)
class _Links:
    """How likely pairs of rows belong together, for some rows with all.

    Attributes:
        judged: int64 (S,), the rows.
        rows: int64 (L,), the place in `judged` of one end of each link.
        columns: int64 (L,), the row at the other end.
        weights: float64 (L,), how likely, up to 1.
    """

    judged: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], same: Same, seed: int) -> _Links:
        """Links of a sample of float32 (N, D) unit rows; a row is linked to itself."""
        count = len(vectors)
        chosen = np.random.default_rng(seed).permutation(count)[:_JUDGED]
        judged = np.sort(chosen).astype(np.int64)
        rows, columns, weights = [], [], []
        step = max(1, _PRODUCTS // count)
        for start in range(0, len(judged), step):
            some = judged[start : start + step]
            likely = np.array(same(vectors[some] @ vectors.T), dtype=np.float64)
            likely[np.arange(len(some)), some] = 1
            one, other = np.nonzero(likely > _FAINT)
            rows.append(start + one)
            columns.append(other)
            weights.append(likely[one, other])
        return cls(judged, np.concatenate(rows), np.concatenate(columns), np.concatenate(weights))

    def agreement(self, labels: NDArray[np.int64]) -> Shares:
        """BCubed precision and recall of labels (N,) against the links."""
        own = labels[self.judged]
        linked = np.bincount(self.rows, weights=self.weights, minlength=len(own))
        inside = self.weights * (own[self.rows] == labels[self.columns])
        found = np.bincount(self.rows, weights=inside, minlength=len(own))
        sizes = np.bincount(labels)[own]
        return Shares(float((found / sizes).mean()), float((found / linked).mean()))


def _silhouette(
    vectors: NDArray[np.float32], found: Clustering, sums: NDArray[np.float64]
) -> float:
    """Mean silhouette by centroids (sums are (K, D)); a row has no part in its own."""
    labels, centroids = found.labels, found.centroids
    if len(centroids) == 1:
        return 0.0
    alone = np.bincount(labels)[labels] == 1
    others = sums[labels] - vectors
    lengths = np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    own = 1 - np.vecdot(others, vectors) / lengths
    following = np.empty(len(vectors))
    step = max(1, _PRODUCTS // len(centroids))
    for start in range(0, len(vectors), step):
        products = vectors[start : start + step] @ centroids.T
        products[np.arange(len(products)), labels[start : start + step]] = -np.inf
        following[start : start + step] = 1 - products.max(axis=1)
    widths = (following - own) / np.maximum(np.maximum(following, own), 1e-9)
    return float(np.where(alone, 0.0, widths).mean())


def _bic(labels: NDArray[np.int64], sums: NDArray[np.float64]) -> float:
    """Of a hard mixture of von Mises-Fisher distributions; sums are (K, D).

    The spread around centroids is divided by N - K, not N, as for a variance: else every row by
    itself would fit without end.
    """
    (k, dim), count = sums.shape, len(labels)
    shares = np.bincount(labels, minlength=k) / count
    spread = 1 - float(np.linalg.norm(sums, axis=1).sum()) / count
    spread = spread * count / (count - k) if k < count else 1.0
    length = float(np.clip(1 - spread, 0.0, 1 - 1e-4))
    kappa = max(length * (dim - length**2) / (1 - length**2), 1e-6)
    fit = kappa * length + _log_normalizer(kappa, dim) + float((shares * np.log(shares)).sum())
    parameters = k * (dim - 1) + (k - 1) + 1
    return float(fit - parameters * np.log(count) / (2 * count))


def _log_normalizer(kappa: float, dim: int) -> float:
    """Log of the constant of the von Mises-Fisher density in `dim` dimensions."""
    order = dim / 2 - 1
    constant = order * np.log(kappa) - dim / 2 * np.log(2 * np.pi)
    return float(constant - _log_bessel(order, kappa))


def _log_bessel(order: float, x: float) -> float:
    """Log of the modified Bessel function I; for large orders M. Abramowitz, I. Stegun, 9.7.7."""
    if order < _LARGE_ORDER:
        from scipy.special import ive

        return float(np.log(ive(order, x)) + x)
    z = x / order
    root = np.sqrt(1 + z**2)
    exponent = order * (root + np.log(z / (1 + root)))
    correction = np.log1p((3 / root - 5 / root**3) / (24 * order))
    return float(exponent - np.log(2 * np.pi * order) / 2 - np.log(root) / 2 + correction)


def _stability(partitions: list[NDArray[np.int64]]) -> float:
    """Mean adjusted Rand index of two of them; 1 for a single one."""
    from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]  # no types

    pairs = list(combinations(partitions, 2))
    if not pairs:
        return 1.0
    return float(np.mean([adjusted_rand_score(one, other) for one, other in pairs]))
