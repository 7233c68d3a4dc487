"""Vectors into clusters: a whole library at once, or new faces beside what was found before.

Letters: N faces, D dimensions, P pairs of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from enroll.clustering_known import Known
from index.incremental import join
from index.levelled import levelled_link
from index.linkage import sized_link
from index.partition import match_labels

Method = Literal["link", "graph", "density", "kmeans"]
METHODS: Final[tuple[Method, ...]] = ("link", "graph", "density", "kmeans")
AUTO: Final = "auto"
_SMALL, _TRIES = 1_000_000, 10  # products a step up to which k-means can begin anew so often


@dataclass(frozen=True, slots=True)
class Way:
    """How vectors are to be clustered.

    Attributes:
        method: one of `METHODS`.
        k: for k-means: how many, or None: it is chosen.
        seed: of k-means.
        cuts: as `verify.cuts.cuts_of` gives them; None: no calibration says what is alike.
    """

    method: Method
    k: int | None
    seed: int
    cuts: tuple[float, float] | None

    @property
    def words(self) -> str:
        """The method for people to read."""
        cut = "" if self.cuts is None else f", cut at similarity {self.cuts[0]:.3f}"
        if self.method == "kmeans" and self.k is not None:
            return f"k-means, k = {self.k}"
        names = {
            "link": "average link",
            "graph": "average link along a graph of neighbours",
            "density": "density (HDBSCAN), refined",
            "kmeans": "k-means, k chosen" + (", refined" if self.cuts is not None else ""),
        }
        return names[self.method] + cut

    @property
    def grows(self) -> bool:
        """Whether new faces can join what was found before: a cut says who takes them."""
        return self.cuts is not None and (self.method != "kmeans" or self.k is None)


def clustered(
    vectors: NDArray[np.float32], known: Known, way: Way
) -> tuple[NDArray[np.int64], Mapping[str, Any] | None]:
    """Cluster all faces of a library.

    Args:
        vectors: float32 (N, D), unit rows.
        known: pairs of rows 0 to N - 1.
        way: how.

    Returns:
        int64 (N,), labels from 0; and how k was chosen, if it was.

    Raises:
        VectorIndexError: k is less than 1 or more than N.
    """
    if way.method == "kmeans":
        return _around_centres(vectors, known, way)
    if way.cuts is None:
        raise ValueError(f"{way.method} needs the cuts of a calibration.")
    cut, strangers = way.cuts
    if way.method == "link":
        found = levelled_link(vectors, cut, strangers, known.apart, together=known.together)
        return found, None
    if way.method == "graph":
        from index.graph import graph_link

        labels = graph_link(vectors, cut, strangers, apart=known.apart, together=known.together)
        return labels, None
    from index.density import hdbscan
    from index.refine import refine

    begun = hdbscan(vectors, cut, apart=known.apart, together=known.together)
    return refine(vectors, begun, cut, strangers, known.apart, known.together).labels, None


def _around_centres(
    vectors: NDArray[np.float32], known: Known, way: Way
) -> tuple[NDArray[np.int64], Mapping[str, Any] | None]:
    from index.choose_k import choose_k
    from index.kmeans import kmeans
    from index.refine import refine

    if way.k is not None:
        tries = _TRIES if len(vectors) * way.k <= _SMALL else 3
        found = kmeans(vectors, way.k, way.seed, tries, apart=known.apart, together=known.together)
        return found.labels, None
    if way.cuts is None:
        chosen = choose_k(vectors, seed=way.seed)
        found = kmeans(vectors, chosen.k, way.seed, apart=known.apart, together=known.together)
        return found.labels, chosen.to_dict()
    cut, strangers = way.cuts
    chosen = choose_k(vectors, lambda similarities: similarities > cut, seed=way.seed)
    begun = kmeans(vectors, chosen.k, way.seed).labels
    refined = refine(vectors, begun, cut, strangers, known.apart, known.together)
    return refined.labels, chosen.to_dict()


def grown(
    vectors: NDArray[np.float32],
    before: NDArray[np.int64],
    known: Known,
    cuts: tuple[float, float],
) -> NDArray[np.int64]:
    """Let new faces join the clusters that are there.

    Clusters that what is known contradicts by now (somebody was split, two were merged) are found
    anew, by themselves; all others stay as they are.

    Args:
        vectors: float32 (N, D), unit rows.
        before: int64 (N,), the clusters of the run before, from 0; -1 for new faces.
        known: pairs of rows 0 to N - 1.
        cuts: the cut, and the similarity of strangers.

    Returns:
        int64 (N,): a number of `before`, or one above all of them.
    """
    labels = _corrected(vectors, before, known, cuts)
    old, new = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if not len(new):
        return labels
    place = np.empty(len(labels), dtype=np.int64)
    place[np.concatenate([old, new])] = np.arange(len(labels))
    labels[new] = join(
        vectors[new], vectors[old], labels[old], *cuts, place[known.apart], place[known.together]
    )
    return labels


def _corrected(
    vectors: NDArray[np.float32],
    before: NDArray[np.int64],
    known: Known,
    cuts: tuple[float, float],
) -> NDArray[np.int64]:
    """The clusters before, int64 (N,), with those found anew that are known to be wrong."""
    labels = before.copy()
    one, other = (before[known.apart[:, side]] for side in (0, 1))
    torn, (here, there) = one[(one == other) & (one >= 0)], before[known.together].T
    loose = (here != there) & (here >= 0) & (there >= 0)
    wrong = np.unique(np.concatenate([torn, here[loose], there[loose]]))
    rows = np.flatnonzero(np.isin(before, wrong) & (before >= 0))
    if not len(rows):
        return labels
    apart, together = (
        np.searchsorted(rows, pairs[np.isin(pairs, rows).all(axis=1)])
        for pairs in (known.apart, known.together)
    )
    found = sized_link(vectors[rows], *cuts, apart, together=together)
    kept = match_labels(before[rows], found)
    fresh = ~np.isin(kept, wrong)
    kept[fresh] += int(before.max()) - int(before[rows].max())  # above all, not those alone
    labels[rows] = kept
    return labels
