"""Spherical k-means: k clusters of unit vectors, each around a direction.

FAISS does the work where it is installed, numpy otherwise: Lloyd's steps from k-means++ beginnings
(I. Dhillon, D. Modha, "Concept decompositions for large sparse text data using clustering", 2001);
FAISS on the GPU where it sees one. Either may leave a centroid without rows; it is then moved (by
FAISS beside the largest cluster, by us to the row that its own centroid serves worst), so that k
clusters were asked for and k come back; how often that happened is told.

Of very many rows the centroids are found on a sample; every row is then given its centroid.

Letters: N rows, D dimensions, K clusters, P pairs, B blocks of rows that share a cluster.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from index.arrays import unit_rows
from index.constraints import Blocks, blocks_of, seated
from index.errors import WrongNumber
from index.partition import renumbered

__all__ = ["Clustering", "assigned", "kmeans", "sums_of"]

_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB
_SMALL = 1 << 24  # similarities a step up to which one thread is enough
_SAMPLE = 1 << 15  # rows that the first centroids are drawn from
_TRAINED, _TRAINED_EACH = 1 << 17, 256  # rows to train on, at least, and for each centroid


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """What k-means found.

    Attributes:
        labels: int64 (N,), 0 to K - 1, numbered in the order of each cluster's first row.
        centroids: float32 (K, D), unit rows: the direction of the mean of each cluster.
        objective: the mean similarity of the rows to their centroids, higher is tighter.
        reseeded: how often a centroid was left without rows and was moved, in the try that was
            kept.
        trained_on: how many rows the centroids were found on; N but where there are very many.
    """

    labels: NDArray[np.int64]
    centroids: NDArray[np.float32]
    objective: float
    reseeded: int = 0
    trained_on: int = 0


def kmeans(
    vectors: NDArray[np.float32],
    k: int,
    seed: int = 0,
    tries: int = 3,
    steps: int = 25,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
) -> Clustering:
    """Clusters rows around k directions.

    Args:
        vectors: float32 (N, D), unit rows.
        k: how many clusters, 1 to N. None of them is empty; identical rows may then be parted.
        seed: of the first centroids, at least 0; the same seed gives the same clusters.
        tries: how often to begin anew; the tightest result is kept.
        steps: how often to move the centroids.
        apart: int64 (P, 2), pairs of rows that must not share a cluster; where all k clusters are
            closed to a row it has a new one of its own.
        together: int64 (P, 2), pairs of rows that share one. With pairs of either kind a few more
            or fewer clusters than k may come back.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: k below 1 or above N, or a seed, tries, steps or pairs outside their range.
        Contradiction: a pair that must be apart is tied together.
    """
    vectors = unit_rows(vectors)
    if not 1 <= k <= len(vectors):
        raise WrongNumber(f"k must be from 1 to the number of rows, {len(vectors)}, got {k}.")
    if tries < 1 or steps < 1 or seed < 0:
        raise WrongNumber(
            "tries and steps must be at least 1 and seed at least 0, "
            f"got {tries}, {steps} and {seed}."
        )
    sample = _sample(vectors, k, seed)
    train = _train_faiss if find_spec("faiss") is not None else _train_numpy
    centroids, reseeded = train(sample, k, seed, tries, steps)
    labels, near = assigned(vectors, centroids)
    reseeded += k - len(np.unique(labels))
    labels = _filled(labels, near, k)
    if apart is not None or together is not None:
        centroids = _directions(vectors, labels, k)
        labels = _bound(labels, centroids, blocks_of(vectors, together, apart))
    labels = renumbered(labels)
    centroids = _directions(vectors, labels, int(labels.max()) + 1)
    objective = float(np.vecdot(vectors, centroids[labels]).mean(dtype=np.float64))
    return Clustering(labels, centroids, objective, reseeded, len(sample))


def assigned(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the closest centroid of each row and the similarity to it, both (N,).

    Args:
        vectors: float32 (N, D), unit rows.
        centroids: float32 (K, D), unit rows, K at least 1.
    """
    labels = np.empty(len(vectors), dtype=np.int64)
    near = np.empty(len(vectors), dtype=np.float32)
    step = max(1, _PRODUCTS // len(centroids))
    for start in range(0, len(vectors), step):
        products = vectors[start : start + step] @ centroids.T
        labels[start : start + step] = products.argmax(axis=1)
        near[start : start + step] = products.max(axis=1)
    return labels, near


def _sample(vectors: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
    """The rows to train on: all of them, but where there are very many."""
    most = max(_TRAINED, _TRAINED_EACH * k)
    if len(vectors) <= most:
        return vectors
    chosen = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    return vectors[np.sort(chosen)]


def _train_faiss(
    vectors: NDArray[np.float32], k: int, seed: int, tries: int, steps: int
) -> tuple[NDArray[np.float32], int]:
    """Centroids (K, D) by FAISS and how many it moved; its limits on rows are lifted."""
    from index.faiss import import_faiss

    faiss = import_faiss()
    random = np.random.default_rng(seed)
    best, tightest, moved = vectors[:k], -np.inf, 0
    for _ in range(tries):
        trainer = faiss.Kmeans(
            vectors.shape[1],
            k,
            niter=steps,
            seed=seed,
            spherical=True,
            gpu=faiss.get_num_gpus() > 0,
            min_points_per_centroid=1,
            max_points_per_centroid=len(vectors),
        )
        with _threads(faiss, 1 if len(vectors) * k < _SMALL else None):
            trainer.train(vectors, init_centroids=_spread(vectors, k, random))
        tightness = float(trainer.obj[-1])  # the sum of the similarities
        if tightness > tightest:
            best, tightest = trainer.centroids, tightness
            moved = sum(int(step["nsplit"]) for step in trainer.iteration_stats)
    return best, moved


@contextmanager
def _threads(faiss: ModuleType, count: int | None) -> Iterator[None]:
    """Lets FAISS use so many threads; on little work they mostly wait for each other."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _train_numpy(
    vectors: NDArray[np.float32], k: int, seed: int, tries: int, steps: int
) -> tuple[NDArray[np.float32], int]:
    """Centroids (K, D) by Lloyd's steps from k-means++ beginnings, and how many were moved."""
    random = np.random.default_rng(seed)
    best, tightest, fewest = vectors[:k], -np.inf, 0
    for _ in range(tries):
        centroids, moved = _spread(vectors, k, random), 0
        for _ in range(steps):
            labels, near = assigned(vectors, centroids)
            moved += k - len(np.unique(labels))
            stepped = _directions(vectors, _filled(labels, near, k), k)
            if np.array_equal(stepped, centroids):
                break
            centroids = stepped
        tightness = float(assigned(vectors, centroids)[1].sum(dtype=np.float64))
        if tightness > tightest:
            best, tightest, fewest = centroids, tightness, moved
    return best, fewest


def _bound(
    labels: NDArray[np.int64], centroids: NDArray[np.float32], blocks: Blocks
) -> NDArray[np.int64]:
    """Labels (N,) where each block is in one cluster, and blocks apart are in different ones."""
    first = np.unique(blocks.of_row, return_index=True)[1]
    seats = labels[first]  # (B,), right for all that nothing binds
    bound = np.unique(np.concatenate([np.flatnonzero(blocks.sizes > 1), blocks.apart.reshape(-1)]))
    scores = blocks.sums[bound] @ centroids.T / blocks.sizes[bound, np.newaxis]
    given = seated(scores, np.searchsorted(bound, blocks.apart))
    seats[bound] = np.where(given < 0, len(centroids) + np.arange(len(bound)), given)
    return seats[blocks.of_row]


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
    sums = sums_of(vectors, labels, k)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    first = vectors[np.unique(labels, return_index=True)[1]]
    return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), first).astype(np.float32)


def sums_of(vectors: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Returns the sum of the rows of each label: float64 (K, D).

    Args:
        vectors: float32 (N, D).
        labels: int64 (N,), 0 to K - 1.
        k: K.
    """
    members = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), (k, len(labels)))
    return np.asarray(members @ vectors, dtype=np.float64)
