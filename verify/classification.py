"""How well vectors tell classes apart: nearest neighbours, and k-means without labels.

For closed sets of classes, where every picture is of one of them (kinds of shoes, digits), rates
over pairs of classes say little: ten classes are 45 pairs. Here a picture is named by its nearest
neighbours among the others, or among those of another folder, and clusters found without labels
are matched with the classes.

Sources: T. Cover, P. Hart, "Nearest neighbor pattern classification", IEEE Trans. Information
Theory 13(1), 1967; H. Kuhn, "The Hungarian method for the assignment problem", 1955.

Letters: N pictures, M known pictures, Q queries, D dimensions, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.kmeans import kmeans
from index.partition import Agreement, agreement
from verify.errors import NothingToMeasure
from verify.evaluation import FORMAT, Rate
from verify.output import as_table
from verify.plot import Cloud
from verify.resampling import binomial_ends

NEIGHBOURS = 5
_BLOCK = 1024
_SHOWN = 10
Ints = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClassRates:
    """One class.

    Attributes:
        name: its name.
        pictures: how many queries are of it.
        recall: the share of them that were named rightly.
        precision: of the queries that were given its name, the share that is of it; None where
            none was.
    """

    name: str
    pictures: int
    recall: float
    precision: float | None


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """What `vultus evaluate classification` found.

    Attributes:
        source: what the vectors came from, in words.
        protocol: how it was measured, in words.
        classes: K.
        known: how many pictures were known.
        queries: how many were named.
        neighbours: how many neighbours voted.
        accuracy: the share that was named rightly, pictures taken as independent.
        nearest: the share whose one nearest neighbour is of its class.
        balanced: the mean of the classes' recalls.
        each: one a class, by name.
        confusions: (class, name given, how many), the most frequent first.
        kmeans: the share in the right cluster of k-means with k = K, clusters and classes matched
            one to one; None where classes outnumber the queries.
        clusters: how these clusters agree with the classes; None likewise.
        left_out: reason code → how many pictures gave no vector.
    """

    source: str
    protocol: str
    classes: int
    known: int
    queries: int
    neighbours: int
    accuracy: Rate
    nearest: Rate
    balanced: float
    each: tuple[ClassRates, ...]
    confusions: tuple[tuple[str, str, int], ...]
    kmeans: float | None
    clusters: Agreement | None
    left_out: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.clusters
        return {
            "format": FORMAT,
            "kind": "classification",
            "source": self.source,
            "protocol": self.protocol,
            "classes": self.classes,
            "known": self.known,
            "queries": self.queries,
            "neighbours": self.neighbours,
            "accuracy": self.accuracy.to_dict(),
            "nearest": self.nearest.to_dict(),
            "balanced_accuracy": self.balanced,
            "each": [
                {"name": c.name, "pictures": c.pictures, "recall": c.recall,
                 "precision": c.precision}
                for c in self.each
            ],
            "confusions": [
                {"class": true, "named": said, "count": count}
                for true, said, count in self.confusions
            ],
            "kmeans_accuracy": self.kmeans,
            "nmi": None if found is None else found.nmi,
            "ari": None if found is None else found.ari,
            "left_out": dict(self.left_out),
        }  # fmt: skip

    def text(self) -> str:
        """Lines for a terminal."""
        lines = [
            f"k-NN accuracy (k = {self.neighbours}): {self.accuracy}",
            f"nearest neighbour: {self.nearest}",
            f"balanced over classes: {self.balanced:.4f}",
        ]
        if self.kmeans is not None and self.clusters is not None:
            lines.append(
                f"k-means (k = {self.classes}): {self.kmeans:.4f}, NMI {self.clusters.nmi:.4f}, "
                f"ARI {self.clusters.ari:.4f}"
            )
        worst = sorted(self.each, key=lambda one: one.recall)[:_SHOWN]
        rows = [(one.name, one.pictures, one.recall, one.precision) for one in worst]
        head = "class" if len(worst) == len(self.each) else f"class (worst {_SHOWN})"
        lines += ["", as_table(rows, (head, "pictures", "recall", "precision"))]
        if self.confusions:
            often = self.confusions[:_SHOWN]
            lines += ["", as_table(often, ("class", "taken for", "pictures"))]
        lines += ["", f"{self.source}; {self.protocol}"]
        if self.left_out:
            why = ", ".join(f"{reason} {count}" for reason, count in self.left_out.items())
            lines.append(f"{sum(self.left_out.values())} pictures left out: {why}")
        return "\n".join(lines)


def classification(
    known: Cloud, queries: Cloud | None = None, *, neighbours: int = NEIGHBOURS, seed: int = 0
) -> ClassificationResult:
    """Name pictures by their neighbours, and cluster them.

    Args:
        known: what is known.
        queries: what is to be named; None: each of `known` by all others.
        neighbours: how many vote, one vote each; ties go to the class of the nearest of them.
        seed: of k-means.

    Raises:
        NothingToMeasure: fewer than two classes, or too few pictures.
    """
    asked = known if queries is None else queries
    names = sorted(set(known.labels) | set(asked.labels))
    place = {name: number for number, name in enumerate(names)}
    own = np.array([place[label] for label in known.labels], np.int64)
    truth = np.array([place[label] for label in asked.labels], np.int64)
    _check(known, asked, own, alone=queries is None)
    most = len(own) - 1 if queries is None else len(own)
    neighbours = min(neighbours, most)
    near = nearest_rows(known.vectors, None if queries is None else asked.vectors, neighbours)
    said = voted(own[near], len(names))
    rights, first = said == truth, own[near[:, 0]] == truth
    each = _each(names, truth, said)
    share, clusters = _clustered(asked.vectors, truth, len(np.unique(truth)), seed)
    wrong = Counter(zip(truth[~rights].tolist(), said[~rights].tolist(), strict=True))
    return ClassificationResult(
        source=known.source if queries is None else f"{known.source}; queries {asked.source}",
        protocol="each picture by all others (leave one out)" if queries is None
        else "queries by the known pictures",
        classes=len(names), known=len(own), queries=len(truth), neighbours=neighbours,
        accuracy=_rate(rights), nearest=_rate(first),
        balanced=float(np.mean([one.recall for one in each])), each=each,
        confusions=tuple((names[a], names[b], count) for (a, b), count in wrong.most_common()),
        kmeans=share, clusters=clusters,
        left_out=dict(Counter(known.left_out) + Counter({} if queries is None else asked.left_out)),
    )  # fmt: skip


def _check(known: Cloud, asked: Cloud, own: Ints, *, alone: bool) -> None:
    """Raise where nothing can be measured."""
    classes = len(np.unique(own))
    if classes < 2 or not len(asked.labels):
        raise NothingToMeasure(
            f"{known.source} has {classes} classes and {len(asked.labels)} pictures to name: a "
            "folder per class with two classes and more is needed (DIR/Name/*.jpg)."
        )
    if alone and int(np.bincount(own).max()) < 2:
        raise NothingToMeasure(
            f"No class of {known.source} has two pictures: there is nothing to name them by."
        )
    if known.vectors.shape[1] != asked.vectors.shape[1]:
        raise NothingToMeasure(
            f"The vectors have {known.vectors.shape[1]} and {asked.vectors.shape[1]} dimensions: "
            "both must come from one encoder."
        )


def nearest_rows(known: Vectors, queries: Vectors | None, count: int) -> Ints:
    """The most similar known rows of each query.

    Args:
        known: float32 (M, D), unit rows.
        queries: float32 (Q, D), unit rows; None: the known ones, none of which is its own
            neighbour.
        count: how many, at most M (M − 1 without queries).

    Returns:
        int64 (Q, count), the nearest first; equal ones by their row.
    """
    asked = known if queries is None else queries
    found = np.empty((len(asked), count), np.int64)
    for start in range(0, len(asked), _BLOCK):
        scores = asked[start : start + _BLOCK] @ known.T
        if queries is None:
            rows = np.arange(len(scores))
            scores[rows, start + rows] = -np.inf
        found[start : start + _BLOCK] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return found


def voted(labels: Ints, classes: int) -> Ints:
    """The class that most neighbours are of; of equal ones that whose first one is nearest.

    Args:
        labels: int64 (Q, k), the nearest first.
        classes: K.

    Returns:
        int64 (Q,).
    """
    rows = np.arange(len(labels))
    votes = np.zeros((len(labels), classes))
    for place in range(labels.shape[1]):
        # a nearer neighbour counts a trifle more, less than a vote in sum
        votes[rows, labels[:, place]] += 1 + 2.0 ** -(place + 2)
    return np.asarray(votes.argmax(axis=1), np.int64)


def _each(names: list[str], truth: Ints, said: Ints) -> tuple[ClassRates, ...]:
    found = []
    for number, name in enumerate(names):
        mine, given = truth == number, said == number
        if not mine.any():
            continue
        right = int((mine & given).sum())
        precision = right / int(given.sum()) if given.any() else None
        found.append(ClassRates(name, int(mine.sum()), right / int(mine.sum()), precision))
    return tuple(found)


def _clustered(
    vectors: Vectors, truth: Ints, classes: int, seed: int
) -> tuple[float | None, Agreement | None]:
    """K-means with as many clusters as classes, and how it agrees with them."""
    from scipy.optimize import linear_sum_assignment

    if classes > len(vectors):
        return None, None
    labels = kmeans(vectors, classes, seed).labels
    _, numbers = np.unique(truth, return_inverse=True)
    table = np.zeros((int(labels.max()) + 1, classes), np.int64)
    np.add.at(table, (labels, numbers), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(truth)), agreement(labels, truth)


def _rate(rights: NDArray[np.bool_]) -> Rate:
    """A share with its 95 % interval; `rights`: bool (Q,)."""
    count, right = len(rights), int(rights.sum())
    low, high = binomial_ends(right / count, count, count)
    return Rate(right / count, low, high, right, count, count)
