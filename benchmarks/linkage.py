"""Can two galleries of the same people be linked without their keys? An attack a row.

    VULTUS_DATA=... PYTHONPATH=. python benchmarks/linkage.py [--people 500] [--seed 0]

People of `celebmini` with two photos or more. Each gallery turns its vectors by a secret transform
of its own (`store.renewal`), one for the gallery or one for each person. The attacker has both
galleries' stored vectors, as after a leak of an opened database, and no key. The galleries hold
`other` photos of the same people, or the `same` photos, as before and after `vultus rekey`.

`AUC` tells pairs of one person from pairs of two by the attack's score: 0.5 is guessing, 1 is
certainty. `rank 1` is the share of people in A whose best match in B is right: 1/N is guessing.
Attacks that are given known pairs are measured on the other people. N people, D dimensions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pictures import aligned
from scipy.optimize import linear_sum_assignment

from store.renewal import SEED_BYTES, transform_of

Vectors = NDArray[np.float64]


def galleries(people: int, seed: int, model: str) -> tuple[Vectors, Vectors]:
    """Two photos of each person: float64 (N, D) twice, row i being person i in both."""
    photos = aligned("celebmini", model)
    rng = np.random.default_rng(seed)
    names, counts = np.unique(photos.names, return_counts=True)
    chosen = rng.permutation(names[counts >= 2])[:people]
    rows = np.array([rng.permutation(np.flatnonzero(photos.names == n))[:2] for n in chosen])
    first, second = photos.vectors[rows[:, 0]], photos.vectors[rows[:, 1]]
    return first.astype(np.float64), second.astype(np.float64)


def turned(vectors: Vectors, kind: str, rng: np.random.Generator) -> Vectors:
    """The vectors as a gallery stores them."""
    dim = vectors.shape[1]
    if kind == "none":
        return vectors
    if kind == "gallery":
        return vectors @ transform_of(rng.bytes(SEED_BYTES), dim).matrix.T
    own = [transform_of(rng.bytes(SEED_BYTES), dim).matrix for _ in vectors]
    return np.stack([matrix @ vector for matrix, vector in zip(own, vectors, strict=True)])


def direct(a: Vectors, b: Vectors) -> Vectors:
    """Cosine of the stored vectors."""
    return a @ b.T


def principal_axes(a: Vectors, b: Vectors, axes: int = 16) -> Vectors:
    """Cosine along the principal axes of each gallery, signs by the third moment."""

    def described(x: Vectors) -> Vectors:
        centred = x - x.mean(axis=0)
        _, _, vh = np.linalg.svd(centred, full_matrices=False)
        along = centred @ vh[:axes].T
        along *= np.where((along**3).sum(axis=0) < 0.0, -1.0, 1.0)
        return along / np.linalg.norm(along, axis=1, keepdims=True)

    return described(a) @ described(b).T


def gram_profiles(a: Vectors, b: Vectors) -> Vectors:
    """Correlation of each person's sorted similarities to everybody in their gallery."""

    def described(x: Vectors) -> Vectors:
        profile = np.sort(x @ x.T, axis=1)[:, :-1]  # without oneself
        profile -= profile.mean(axis=0)
        return profile / np.linalg.norm(profile, axis=1, keepdims=True)

    return described(a) @ described(b).T


def gram_matching(a: Vectors, b: Vectors, turns: int = 40) -> Vectors:
    """Graph matching of the Gram matrices from the profiles on, improved by assignment.

    Alternates an assignment with the rotation of the pairs that fit best (E. Grave et al.,
    "Unsupervised alignment of embeddings with Wasserstein Procrustes", 2019).
    """
    score = gram_profiles(a, b)
    for turn in range(turns):
        rows, columns = linear_sum_assignment(-score)
        count = max(len(a) * (turn + 1) // turns, 2 * a.shape[1])
        best = np.argsort(-score[rows, columns])[:count]
        score = (a @ rotation(a[rows[best]], b[columns[best]]).T) @ b.T
    return score


def rotation(a: Vectors, b: Vectors) -> Vectors:
    """The orthogonal matrix that takes the rows of `a` closest to those of `b` (Schönemann)."""
    u, _, vh = np.linalg.svd(b.T @ a)
    return u @ vh


def auc(score: Vectors) -> float:
    """How often a pair of one person scores above a pair of two."""
    same = np.diagonal(score)
    other = score[~np.eye(len(score), dtype=bool)]
    order = np.sort(other)
    below = np.searchsorted(order, same, "left") + np.searchsorted(order, same, "right")
    return float(below.mean() / (2 * len(order)))


def rank_one(score: Vectors) -> float:
    """The share of rows whose largest score is their own."""
    return float((score.argmax(axis=1) == np.arange(len(score))).mean())


def attacks(a: Vectors, b: Vectors) -> Iterator[tuple[str, Vectors]]:
    """Each attack's name and scores; of attacks with known pairs, on everybody else."""
    yield "direct cosine", direct(a, b)
    yield "principal axes", principal_axes(a, b)
    yield "Gram profiles", gram_profiles(a, b)
    yield "Gram matching", gram_matching(a, b)
    for known in (10, 50, 128):
        back = rotation(a[:known], b[:known])
        yield f"Procrustes, {known} known pairs", (a[known:] @ back.T) @ b[known:].T


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of people, photos and transforms")
    parser.add_argument("--model", default="sface")
    options = parser.parse_args()
    one, other = galleries(options.people, options.seed, options.model)
    rng = np.random.default_rng(options.seed + 1)
    print(f"celebmini, {len(one)} people, one photo a gallery, {options.model}, D = {one.shape[1]}")
    print(f"{'photos':7} {'transform':10} {'attack':30} {'AUC':>6} {'rank 1':>7}")
    for photos, second in (("other", other), ("same", one)):
        for kind in ("none", "gallery", "person"):
            a, b = turned(one, kind, rng), turned(second, kind, rng)
            for name, score in attacks(a, b):
                row = f"{photos:7} {kind:10} {name:30} {auc(score):6.3f} {rank_one(score):7.3f}"
                print(row, flush=True)


if __name__ == "__main__":
    main()
