"""Spherical k-means: k clusters of unit vectors, each around a direction.

FAISS does the work where it is installed, numpy otherwise: Lloyd's steps from k-means++ beginnings
(I. Dhillon, D. Modha, "Concept decompositions for large sparse text data using clustering", 2001).
Either may leave a centroid without rows; it is then moved to the row that its own centroid serves
worst, so that k clusters were asked for and k come back.

Letters: N rows, D dimensions, K clusters.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from index.arrays import unit_rows
from index.errors import WrongNumber
from index.partition import renumbered

__all__ = ["Clustering", "kmeans"]

_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB
_SAMPLE = 1 << 15  # rows that the first centroids are drawn from


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """What k-means found.

    Attributes:
        labels: int64 (N,), 0 to K - 1, numbered in the order of each cluster's first row.
        centroids: float32 (K, D), unit rows: the direction of the mean of each cluster.
        objective: the mean similarity of the rows to their centroids, higher is tighter.
    """

    labels: NDArray[np.int64]
    centroids: NDArray[np.float32]
    objective: float


def kmeans(
    vectors: NDArray[np.float32], k: int, seed: int = 0, tries: int = 3, steps: int = 25
) -> Clustering:
    """Clusters rows around k directions.

    Args:
        vectors: float32 (N, D), unit rows.
        k: how many clusters, 1 to N. None of them is empty; identical rows may then be parted.
        seed: of the first centroids, at least 0; the same seed gives the same clusters.
        tries: how often to begin anew; the tightest result is kept.
        steps: how often to move the centroids.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: k below 1 or above N, or a seed, tries or steps outside their range.
    """
    vectors = unit_rows(vectors)
    if not 1 <= k <= len(vectors):
        raise WrongNumber(f"k must be from 1 to the number of rows, {len(vectors)}, got {k}.")
    if tries < 1 or steps < 1 or seed < 0:
        raise WrongNumber(
            "tries and steps must be at least 1 and seed at least 0, "
            f"got {tries}, {steps} and {seed}."
        )
    train = _train_faiss if find_spec("faiss") is not None else _train_numpy
    labels, near = _assigned(vectors, train(vectors, k, seed, tries, steps))
    labels = renumbered(_filled(labels, near, k))
    centroids = _directions(vectors, labels, k)
    objective = float(np.vecdot(vectors, centroids[labels]).mean(dtype=np.float64))
    return Clustering(labels, centroids, objective)


def _train_faiss(
    vectors: NDArray[np.float32], k: int, seed: int, tries: int, steps: int
) -> NDArray[np.float32]:
    """Centroids (K, D) by FAISS; its limits on rows per centroid only warn or drop rows."""
    from index.faiss import import_faiss

    random = np.random.default_rng(seed)
    best, tightest = vectors[:k], -np.inf
    for _ in range(tries):
        trainer = import_faiss().Kmeans(
            vectors.shape[1],
            k,
            niter=steps,
            seed=seed,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=len(vectors),
        )
        trainer.train(vectors, init_centroids=_spread(vectors, k, random))
        tightness = float(_assigned(vectors, trainer.centroids)[1].sum(dtype=np.float64))
        if tightness > tightest:
            best, tightest = trainer.centroids, tightness
    return best


def _train_numpy(
    vectors: NDArray[np.float32], k: int, seed: int, tries: int, steps: int
) -> NDArray[np.float32]:
    """Centroids (K, D) by Lloyd's steps from k-means++ beginnings."""
    random = np.random.default_rng(seed)
    best, tightest = vectors[:k], -np.inf
    for _ in range(tries):
        centroids = _spread(vectors, k, random)
        for _ in range(steps):
            labels, near = _assigned(vectors, centroids)
            moved = _directions(vectors, _filled(labels, near, k), k)
            if np.array_equal(moved, centroids):
                break
            centroids = moved
        tightness = float(_assigned(vectors, centroids)[1].sum(dtype=np.float64))
        if tightness > tightest:
            best, tightest = centroids, tightness
    return best


def _spread(
    vectors: NDArray[np.float32], k: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Rows (K, D) far from each other: greedy k-means++ on a sample.

    Each row is the best of a few drawn by their distance from those chosen before (Arthur and
    Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007, section 6).
    """
    most = max(_SAMPLE, 4 * k)
    if len(vectors) > most:
        vectors = vectors[np.sort(random.choice(len(vectors), most, replace=False))]
    draws = 2 + int(np.log(k))
    chosen = [int(random.integers(len(vectors)))]
    gap = np.maximum(0, 1 - vectors @ vectors[chosen[0]])
    for _ in range(k - 1):
        gap[chosen[-1]] = 0
        total = gap.sum(dtype=np.float64)
        if total <= 0:  # all that is left are copies of what was chosen
            rest = np.setdiff1d(np.arange(len(vectors)), chosen)
            return vectors[[*chosen, *rest[: k - len(chosen)].tolist()]]
        drawn = np.searchsorted(np.cumsum(gap, dtype=np.float64), random.random(draws) * total)
        drawn = np.minimum(drawn, len(vectors) - 1)
        left = np.minimum(gap[:, None], np.maximum(0, 1 - vectors @ vectors[drawn].T))
        best = int(left.sum(axis=0, dtype=np.float64).argmin())
        gap = left[:, best]
        chosen.append(int(drawn[best]))
    return vectors[chosen]


def _assigned(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The closest centroid of each row and the similarity to it, both (N,)."""
    labels = np.empty(len(vectors), dtype=np.int64)
    near = np.empty(len(vectors), dtype=np.float32)
    step = max(1, _PRODUCTS // len(centroids))
    for start in range(0, len(vectors), step):
        products = vectors[start : start + step] @ centroids.T
        labels[start : start + step] = products.argmax(axis=1)
        near[start : start + step] = products.max(axis=1)
    return labels, near


def _filled(labels: NDArray[np.int64], near: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Gives each empty cluster the row that is worst served among clusters of two or more."""
    labels = labels.copy()
    sizes = np.bincount(labels, minlength=k)
    waiting = iter(np.argsort(near, kind="stable").tolist())
    for empty in np.flatnonzero(sizes == 0):
        row = next(row for row in waiting if sizes[labels[row]] > 1)
        sizes[labels[row]] -= 1
        labels[row] = empty
    return labels


def _directions(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], k: int
) -> NDArray[np.float32]:
    """Unit means (K, D) of the rows of each label; where they cancel out, the first row."""
    sums = np.zeros((k, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    first = vectors[np.unique(labels, return_index=True)[1]]
    return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), first).astype(np.float32)
