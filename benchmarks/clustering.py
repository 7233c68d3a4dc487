"""Clustering of faces, by method; the confusable people; the number of clusters that k-means finds.

    VULTUS_DATA=... python benchmarks/clustering.py [--model sface-mirror] [--embedded FILE.npz ...]

Cuts follow from the calibration, which was fitted on the people of the train list; methods and
their parameters were chosen on other people (docs/clustering.md). Rows marked "by hand" are
scikit-learn's with the parameter that is best on these very labels: what could be had, not what
one gets. `--embedded` takes `vectors.npz` of runs (`examples/mnist_triplets.py --out RUN` and
`fashion_mnist.py` write it: the test set through the encoder that was trained), or `VULTUS_RUNS`
names the folder of the runs: k is then chosen without a calibration.

Letters: N photos, D dimensions, P pairs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pictures import _through, data_folder, lfw

from embedder.align import Crop
from embedder.embed import open_embedder
from index.choose_k import choose_k
from index.density import dbscan, hdbscan
from index.graph import graph_link, whispers
from index.kmeans import kmeans
from index.levelled import levelled_link
from index.linkage import average_link, sized_link
from index.partition import bcubed
from index.refine import refine
from verify.calibration import calibration_for
from verify.cuts import cuts_of

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]
SEED, CONFUSABLE, MANY, DRAWS = 0, 200, 10, 100


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sface-mirror")
    runs = sorted(Path(os.environ.get("VULTUS_RUNS", "none")).glob("*/vectors.npz"))
    parser.add_argument("--embedded", type=Path, nargs="*", default=runs)
    options = parser.parse_args()
    photos = lfw("test", options.model)
    people, truth = np.unique(photos.names, return_inverse=True)
    calibration = calibration_for(open_embedder(options.model).space)
    cuts = cuts_of(calibration)
    print(f"{options.model}: {len(truth)} photos of {len(people)} people, cuts {cuts}, seed {SEED}")
    found = print_methods(photos.vectors, truth, cuts)
    print_confusable(photos.vectors, truth, found)
    often = np.isin(truth, np.flatnonzero(np.bincount(truth) >= MANY))
    sets = {
        f"people with {MANY} photos": (photos.vectors[often], truth[often]),
        "ORL": orl(options.model),
        "lfw-dev/test": (photos.vectors, truth),
    }
    print_k(sets, cuts, options.embedded)


def print_methods(vectors: Rows, truth: Labels, cuts: tuple[float, float]) -> dict[str, Labels]:
    """The table of methods; returns the labels of ours."""
    cut, strangers = cuts

    def automatic() -> Labels:
        k = choose_k(vectors, lambda s: s > cut, seed=SEED).k
        return refine(vectors, kmeans(vectors, k, seed=SEED).labels, cut, strangers).labels

    def finished() -> Labels:
        return refine(vectors, sized_link(vectors, cut, strangers), cut, strangers).labels

    ours: dict[str, Callable[[], Labels]] = {
        "the default": lambda: levelled_link(vectors, cut, strangers),
        "levelled link": lambda: levelled_link(vectors, cut, strangers, share=0),
        "sized link": lambda: sized_link(vectors, cut, strangers),
        "sized link, refined": finished,
        "k-means auto, refined": automatic,
        "graph link": lambda: graph_link(vectors, cut, strangers),
        "whispers": lambda: whispers(vectors, cut),
        "whispers, refined": lambda: refine(vectors, whispers(vectors, cut), cut, strangers).labels,
        "hdbscan": lambda: hdbscan(vectors, cut),
        "hdbscan, refined": lambda: refine(vectors, hdbscan(vectors, cut), cut, strangers).labels,
        "k-means, true k": lambda: kmeans(vectors, len(np.unique(truth)), seed=SEED).labels,
    }
    print(f"{'method':24} {'P':>6} {'R':>6} {'F':>7} {'clusters':>8} {'s':>5}")
    found = {}
    for name, method in ours.items():
        begun = time.perf_counter()
        found[name] = method()
        _print_row(name, found[name], truth, time.perf_counter() - begun)
    for name, way in {"DBSCAN": dbscan, "average link": average_link}.items():
        tried = {c: way(vectors, c) for c in np.arange(0.36, 0.60, 0.01).round(2).tolist()}
        best = max(tried, key=lambda c: bcubed(tried[c], truth).f)
        found[f"{name} by hand, {best}"] = tried[best]
        _print_row(f"{name} by hand, {best}", tried[best], truth, 0.0)
    return found


def _print_row(name: str, labels: Labels, truth: Labels, seconds: float) -> None:
    b = bcubed(labels, truth)
    figures = f"{b.precision:6.3f} {b.recall:6.3f} {b.f:7.4f}"
    print(f"{name:24} {figures} {len(np.unique(labels)):8} {seconds:5.1f}", flush=True)


def print_confusable(vectors: Rows, truth: Labels, found: dict[str, Labels]) -> None:
    """Photos in a cluster that the other person of the pair dominates, by kind of pair."""
    alike = confusable(vectors, truth)
    photos = int(np.bincount(truth)[alike].sum())
    random = np.random.default_rng(SEED)
    drawn = [random_pairs(random, int(truth.max()) + 1) for _ in range(DRAWS)]
    sized = [pairs_of_the_size(random, truth, alike) for _ in range(DRAWS)]
    print(f"\nphotos in a cluster dominated by the other: {CONFUSABLE} most alike pairs ({photos}")
    print("photos, those of somebody in several pairs as often); pairs drawn at random, mean of")
    print(f"{DRAWS} draws and the range of the middle 95 %; all pairs of people; random pairs of")
    print("people with as many photos as those of the most alike pairs, mean of the draws")
    for name in (
        "the default",
        "levelled link",
        "sized link",
        "k-means auto, refined",
        "graph link",
        *(name for name in found if "by hand" in name),
    ):
        labels = found[name]
        shares = [dominated(labels, truth, pairs) for pairs in drawn]
        low, high = np.quantile(shares, [0.025, 0.975])
        told = f"{dominated(labels, truth, alike):.3%} {np.mean(shares):.4%}"
        told += f" ({low:.3%} to {high:.3%}) {expected(labels, truth):.5%}"
        like = np.mean([dominated(labels, truth, pairs) for pairs in sized])
        print(f"{name:24} {told} {like:.4%}")


def random_pairs(random: np.random.Generator, people: int) -> NDArray[np.int64]:
    """`CONFUSABLE` pairs of two people: int64 (P, 2)."""
    drawn = random.integers(people, size=(2 * CONFUSABLE, 2))
    return drawn[drawn[:, 0] != drawn[:, 1]][:CONFUSABLE]


def pairs_of_the_size(
    random: np.random.Generator, truth: Labels, alike: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each pair (P, 2), two other people with as many photos, drawn at random: int64 (P, 2)."""
    counts = np.bincount(truth)
    others = [random.choice(np.flatnonzero(counts == counts[who])) for who in alike.ravel()]
    pairs = np.array(others).reshape(-1, 2)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def expected(labels: Labels, truth: Labels) -> float:
    """What `dominated` is over all pairs of people there are: what random draws scatter around."""
    counts = np.zeros((labels.max() + 1, truth.max() + 1), dtype=np.int32)
    np.add.at(counts, (labels, truth), 1)
    wrong = 0
    for row in counts[(counts > 0).sum(axis=1) > 1]:
        here = row[row > 0]
        wrong += int((here[:, np.newaxis] * (here[:, np.newaxis] < here)).sum())
    return wrong / (len(truth) * int(truth.max()))


def confusable(vectors: Rows, truth: Labels) -> NDArray[np.int64]:
    """The pairs of people with the highest similarity of two of their photos: int64 (P, 2)."""
    products = vectors @ vectors.T
    rows, columns = np.nonzero(np.triu(products > 0.3, 1))
    other = truth[rows] != truth[columns]
    pairs = np.sort(np.stack([truth[rows], truth[columns]], axis=1)[other], axis=1)
    order = np.argsort(-products[rows, columns][other], kind="stable")
    _, first = np.unique(pairs[order], axis=0, return_index=True)
    return pairs[order][np.sort(first)[:CONFUSABLE]]


def dominated(labels: Labels, truth: Labels, pairs: NDArray[np.int64]) -> float:
    """Of the photos of each pair of people, the share in a cluster that the other dominates."""
    counts = np.zeros((labels.max() + 1, truth.max() + 1), dtype=np.int32)
    np.add.at(counts, (labels, truth), 1)
    wrong = total = 0
    for one, other in pairs.tolist():
        for mine, theirs in ((one, other), (other, one)):
            wrong += int(counts[counts[:, theirs] > counts[:, mine], mine].sum())
            total += int(counts[:, mine].sum())
    return wrong / total


def orl(model: str) -> tuple[Rows, Labels]:
    """Vectors of ORL's 400 small grey photos, by the usual detector."""
    embedder = open_embedder(model)

    def crop(data: bytes) -> Crop | None:
        faces = embedder.faces(embedder.read(data), "centre")
        return faces[0].crop if faces else None

    files = sorted((data_folder() / "orl").glob("*/*.pgm"))
    sources = [(file.parent.name, file.name, file.read_bytes) for file in files]
    photos = _through(sources, embedder, crop, "orl")
    return photos.vectors, np.unique(photos.names, return_inverse=True)[1]


def print_k(
    sets: dict[str, tuple[Rows, Labels]], cuts: tuple[float, float], files: list[Path]
) -> None:
    """The number of clusters chosen, of known ones."""
    cut, strangers = cuts
    print(f"\n{'set':24} {'true':>5} {'k':>5} {'refined':>7}  explanation")
    for name, (vectors, truth) in sets.items():
        chosen = choose_k(vectors, lambda s: s > cut, seed=SEED)
        start = kmeans(vectors, chosen.k, seed=SEED).labels
        refined = int(refine(vectors, start, cut, strangers).labels.max()) + 1
        true = len(np.unique(truth))
        print(f"{name:24} {true:5} {chosen.k:5} {refined:7}  {chosen.explanation}", flush=True)
    for file in files:
        with np.load(file) as data:
            chosen = choose_k(data["vectors"].astype(np.float32), seed=SEED)
            true, name = len(np.unique(data["labels"])), file.parent.name
        print(f"{name:24} {true:5} {chosen.k:5} {'':7}  {chosen.explanation}")
    if not files:
        print("MNIST, Fashion-MNIST: skipped, neither --embedded nor VULTUS_RUNS names a run")


if __name__ == "__main__":
    main()
