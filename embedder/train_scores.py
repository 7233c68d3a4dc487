"""How good vectors are, in three numbers the tutorials use.

Letters: N vectors, D dimensions, k clusters or neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


def knn_accuracy(
    known: Vectors, names: Labels, queries: Vectors, truth: Labels, *, k: int = 5
) -> float:
    """Share of queries whose k nearest neighbours vote for the right class.

    Args:
        known: float32 (N, D).
        names: int64 (N,).
        queries: float32 (Q, D).
        truth: int64 (Q,).
        k: neighbours.
    """
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]  # no types

    voted = KNeighborsClassifier(k, algorithm="brute").fit(known, names).predict(queries)
    return float(np.mean(voted == truth))


def kmeans_accuracy(vectors: Vectors, truth: Labels, *, seed: int = 0) -> float:
    """Share of vectors in the right cluster of k-means, clusters and classes matched one to one.

    Args:
        vectors: float32 (N, D); k is the number of classes.
        truth: int64 (N,).
        seed: of the starts.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]  # it ships no types

    classes, numbers = np.unique(truth, return_inverse=True)
    clusters = KMeans(len(classes), n_init=10, random_state=seed).fit_predict(vectors)
    table = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(table, (clusters, numbers), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(truth))


def one_shot_accuracy(
    vectors: Vectors,
    truth: Labels,
    *,
    ways: int = 20,
    episodes: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """One example a class, one query: share of episodes in which the nearest example is right.

    Args:
        vectors: float32 (N, D), unit rows.
        truth: int64 (N,).
        ways: classes an episode.
        episodes: how many, seeded.
        seed: of them.

    Returns:
        Accuracy, and half the width of its 95 % interval (normal approximation).
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(truth == c) for c in np.unique(truth)]
    right = 0
    for _ in range(episodes):
        chosen = rng.choice(len(groups), ways, replace=False)
        pairs = [rng.choice(groups[c], 2, replace=False) for c in chosen]
        shown = vectors[[pair[0] for pair in pairs]]
        query = vectors[pairs[0][1]]
        right += int(np.argmax(shown @ query) == 0)
    share = right / episodes
    return share, 1.96 * float(np.sqrt(share * (1 - share) / episodes))
