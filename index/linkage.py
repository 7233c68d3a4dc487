"""Average link: clusters are joined while the mean similarity between their members is above a cut.

- `average_link`: the same cut for all clusters.
- `sized_link`: a cut that falls as clusters grow, because a mean over many rows varies less than
  one similarity does: one cut then serves small clusters and large ones.
- `joined_clusters`: the second half of `sized_link`, for clusters that are there already.

For unit rows the mean similarity of two clusters is the inner product of their mean vectors, so no
matrix of distances is kept: memory is O(N D) plus one block of products. Joining never makes two
clusters more alike than their closest parts were, so every pair of clusters that are each other's
nearest may be joined at once and the result is the same as joining the closest pair first, one at a
time (F. Murtagh, "A survey of recent advances in hierarchical clustering algorithms", 1983). A
cluster whose nearest is below the cut is finished and leaves the work.

Letters: N rows, D dimensions, P pairs, C clusters still at work, E pairs of clusters to be joined.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.arrays import cut_value, pair_array, unit_rows
from index.constraints import blocks_of
from index.errors import WrongNumber
from index.partition import renumbered

__all__ = ["average_link", "average_rows", "joined_clusters", "joined_rows", "sized_link"]

_PRODUCTS = 1 << 24  # float32 similarities in memory at once: 64 MiB


def average_link(
    vectors: NDArray[np.float32],
    cut: float,
    apart: NDArray[np.int64] | None = None,
    together: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by average link, down to a mean similarity of `cut`.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: clusters are joined while their mean similarity is above it, -1 to 1.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        together: int64 (P, 2), pairs of rows that share one, however unlike they are.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a cut outside its range, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    return average_rows(unit_rows(vectors), cut_value(cut), apart, together)


def average_rows(
    vectors: NDArray[np.float32],
    cut: float,
    apart: NDArray[np.int64] | None,
    together: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """As `average_link`, for rows of any length, whose products are the similarities.

    Args:
        vectors: float32 (N, D).
        cut: clusters are joined while their mean similarity is above it.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        together: int64 (P, 2), pairs of rows that share one.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongNumber: pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    blocks = blocks_of(vectors, together, apart)
    count = len(blocks.sizes)
    work = _Work(
        rows=np.arange(count),
        sums=blocks.sums.copy(),
        sizes=blocks.sizes.copy(),
        apart=blocks.apart,
        nearest=np.full(count, -1, dtype=np.int64),
        best=np.full(count, -np.inf, dtype=np.float32),
    )
    joined_to = np.arange(count)  # a row of the cluster that each cluster's first row went into
    while len(work.rows):
        work.find_nearest()
        low, high = work.mutual(cut)
        joined_to[work.rows[high]] = work.rows[low]
        work.join(low, high, cut)
    return renumbered(followed(joined_to)[blocks.of_row])


def sized_link(
    vectors: NDArray[np.float32],
    cut: float,
    strangers: float,
    apart: NDArray[np.int64] | None = None,
    shared: float = 0.5,
    together: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Clusters by average link, then joins clusters of a and b rows down to a lower cut.

    That cut is

        strangers + (cut - strangers) * sqrt(shared + (1 - shared) * (1/a + 1/b) / 2)

    Similarities of rows that belong apart vary for two reasons: some classes are alike, and each
    row has its accidents. The mean over many pairs of rows keeps the first variance and loses the
    second, so at an equal rate of errors the cut may fall towards `strangers`. Pairs furthest above
    their cut go first.

    Args:
        vectors: float32 (N, D), unit rows.
        cut: the cut for two single rows, above `strangers`, at most 1: the similarity at a low
            false-match rate.
        strangers: the mean similarity of two rows that belong apart, -1 to 1: that at a
            false-match rate of one half.
        apart: int64 (P, 2), pairs of rows that must not share a cluster.
        shared: the part of the variance that more rows do not average away, 0 to 1; 1 is average
            link.
        together: int64 (P, 2), pairs of rows that share one, however unlike they are.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a number outside its range, or pairs of rows that do not exist.
        Contradiction: a pair that must be apart is tied together.
    """
    require_cuts(cut, strangers, shared)
    labels = average_link(vectors, cut, apart, together)
    return joined_clusters(vectors, labels, cut, strangers, apart, shared)


def joined_clusters(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    cut: float,
    strangers: float,
    apart: NDArray[np.int64] | None = None,
    shared: float = 0.5,
) -> NDArray[np.int64]:
    """Joins clusters down to the cut of their sizes, as `sized_link` does after average link.

    Args:
        vectors: float32 (N, D), unit rows.
        labels: int64 (N,), the clusters so far.
        cut: as in `sized_link`.
        strangers: likewise.
        apart: int64 (P, 2), pairs of rows whose clusters must not be joined.
        shared: as in `sized_link`.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongArray: an array of another shape, dtype or length of rows.
        WrongNumber: a number outside its range, or pairs of rows that do not exist.
    """
    require_cuts(cut, strangers, shared)
    return joined_rows(vectors, labels, cut, strangers, apart, shared)


def joined_rows(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    cut: float,
    strangers: float,
    apart: NDArray[np.int64] | None,
    shared: float,
) -> NDArray[np.int64]:
    """As `joined_clusters`, for rows of any length, whose products are the similarities.

    Args:
        vectors: float32 (N, D).
        labels: int64 (N,), the clusters so far.
        cut: as in `sized_link`.
        strangers: likewise.
        apart: int64 (P, 2), pairs of rows whose clusters must not be joined.
        shared: as in `sized_link`.

    Returns:
        int64 (N,), labels from 0 in the order of each cluster's first row.

    Raises:
        WrongNumber: pairs of rows that do not exist.
    """
    labels = renumbered(labels)
    clusters = _Clusters.of(vectors, labels, pair_array(apart, len(vectors)))
    changed = np.arange(len(clusters.sizes))
    edges = np.empty((0, 2), dtype=np.int64)
    gains = np.empty(0)
    while len(changed):
        more, more_gains = clusters.above(changed, cut - strangers, strangers, shared)
        edges, gains = np.vstack([edges, more]), np.concatenate([gains, more_gains])
        low, high = first_choices(edges, gains)
        clusters.join(low, high)
        changed = low
        kept = ~np.isin(edges, np.concatenate([low, high])).any(axis=1)
        edges, gains = edges[kept], gains[kept]
    return renumbered(followed(clusters.joined_to)[labels])


def require_cuts(cut: float, strangers: float, shared: float) -> None:
    """Checks the numbers of `sized_link`.

    Raises:
        WrongNumber: one of them is outside its range.
    """
    if not (cut_value(strangers) < cut_value(cut) and 0 <= shared <= 1):
        raise WrongNumber(
            f"strangers must be below cut and shared from 0 to 1, got strangers {strangers}, "
            f"cut {cut}, shared {shared}."
        )


def followed(joined_to: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each row ends, int64 (N,), that was joined to a lower one, and that perhaps again."""
    while not np.array_equal(joined_to, joined_to[joined_to]):
        joined_to = joined_to[joined_to]
    return joined_to


def first_choices(
    edges: NDArray[np.int64], gains: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The edges (E, 2) with gains (E,) that are the best at both their ends, as their two columns.

    Ties go by the lower cluster.
    """
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0], -gains))]
    first = np.full(int(edges.max(initial=-1)) + 1, len(edges))
    np.minimum.at(first, edges, np.arange(len(edges))[:, np.newaxis])
    chosen = edges[(first[edges] == np.arange(len(edges))[:, np.newaxis]).all(axis=1)]
    return chosen[:, 0], chosen[:, 1]


@dataclass(slots=True)
class _Clusters:
    """Clusters that are joined a few at a time.

    Attributes:
        sums: float64 (C, D), the sum of the vectors of each.
        sizes: int64 (C,), how many they are; 0 for one that was joined to another.
        apart: int64 (P, 2), clusters that must not be joined.
        joined_to: int64 (C,), the lower cluster that each was joined to, or itself.
    """

    sums: NDArray[np.float64]
    sizes: NDArray[np.int64]
    apart: NDArray[np.int64]
    joined_to: NDArray[np.int64]

    @classmethod
    def of(
        cls, vectors: NDArray[np.float32], labels: NDArray[np.int64], apart: NDArray[np.int64]
    ) -> "_Clusters":
        """Sums up the rows (N, D) of each label (N,)."""
        sizes = np.bincount(labels)
        sums = np.zeros((len(sizes), vectors.shape[1]))
        np.add.at(sums, labels, vectors)
        return cls(sums, sizes, labels[apart], np.arange(len(sizes)))

    def above(
        self, changed: NDArray[np.int64], wanted: float, strangers: float, shared: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The pairs (E, 2) above their cut with one of `changed` in them, and by how much (E,)."""
        present = np.flatnonzero(self.sizes)
        inverse = 1 / self.sizes[present]
        means = (self.sums[present] * inverse[:, np.newaxis]).astype(np.float32)
        here = np.searchsorted(present, changed)
        edges, gains = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
        step = max(1, _PRODUCTS // (4 * max(1, len(present))))
        for start in range(0, len(here), step):
            some = here[start : start + step]
            products = (means[some] @ means.T).astype(np.float64) - strangers
            spread = shared + (1 - shared) * (inverse[some, np.newaxis] + inverse) / 2
            gain = products - wanted * np.sqrt(spread)
            gain[np.arange(len(some)), some] = -np.inf
            rows, columns = np.nonzero(gain > 0)
            scaled = products[rows, columns] / np.sqrt(spread[rows, columns])
            edges.append(present[np.stack([some[rows], columns], axis=1)])
            gains.append(scaled)
        return self._allowed(np.sort(np.vstack(edges), axis=1), np.concatenate(gains))

    def join(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
        """Joins each high, int64 (J,), into its low, int64 (J,)."""
        self.sums[low] += self.sums[high]
        self.sizes[low] += self.sizes[high]
        self.sizes[high] = 0
        self.joined_to[high] = low
        self.apart = self.joined_to[self.apart]

    def _allowed(
        self, edges: NDArray[np.int64], gains: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Each pair once, without those that must stay apart."""
        count = len(self.sizes)
        codes, first = np.unique(edges[:, 0] * count + edges[:, 1], return_index=True)
        apart = np.sort(self.apart, axis=1)
        first = first[~np.isin(codes, apart[:, 0] * count + apart[:, 1])]
        return edges[first], gains[first]


@dataclass(slots=True)
class _Work:
    """The clusters that may still be joined.

    Attributes:
        rows: int64 (C,), the first row of each, ascending.
        sums: float64 (C, D), the sum of its vectors.
        sizes: int64 (C,), how many they are.
        apart: int64 (P, 2), clusters that must not be joined.
        nearest: int64 (C,), the cluster most like it; -1 where that must be found anew.
        best: float32 (C,), the mean similarity to it.
    """

    rows: NDArray[np.int64]
    sums: NDArray[np.float64]
    sizes: NDArray[np.int64]
    apart: NDArray[np.int64]
    nearest: NDArray[np.int64]
    best: NDArray[np.float32]

    def find_nearest(self) -> None:
        """Finds the nearest cluster of those that have none."""
        means = (self.sums / self.sizes[:, np.newaxis]).astype(np.float32)
        unknown = np.flatnonzero(self.nearest < 0)
        both = np.vstack([self.apart, self.apart[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        step = max(1, _PRODUCTS // max(1, len(self.rows)))
        for start in range(0, len(unknown), step):
            some = unknown[start : start + step]  # ascending
            products = means[some] @ means.T  # (some, C)
            products[np.arange(len(some)), some] = -np.inf
            here = both[np.isin(both[:, 0], some)]
            products[np.searchsorted(some, here[:, 0]), here[:, 1]] = -np.inf
            self.nearest[some] = products.argmax(axis=1)
            self.best[some] = products.max(axis=1)

    def mutual(self, cut: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs (low, high) of clusters above the cut that are each other's nearest.

        Rounding can make three near-equal clusters point at each other in a circle; then the pair
        of the highest similarity is taken.
        """
        everyone = np.arange(len(self.rows))
        above = self.best > cut
        low = np.flatnonzero(
            above & (self.nearest[self.nearest] == everyone) & (everyone < self.nearest)
        )
        if not len(low) and above.any():
            low = np.array([np.argmax(self.best)])
        high = self.nearest[low]
        return np.minimum(low, high), np.maximum(low, high)

    def join(self, low: NDArray[np.int64], high: NDArray[np.int64], cut: float) -> None:
        """Joins each high (J,) into its low (J,), and drops what nothing can be joined to."""
        self.sums[low] += self.sums[high]
        self.sizes[low] += self.sizes[high]
        stays = self.best > cut
        stays[high] = False
        stays[low] = True
        becomes = np.cumsum(stays) - 1
        changed = ~stays
        changed[low] = True
        self.nearest[changed | changed[self.nearest]] = -1
        target = becomes.copy()
        target[high] = becomes[low]
        kept = stays.copy()
        kept[high] = True
        self.apart = np.unique(target[self.apart[kept[self.apart].all(axis=1)]], axis=0)
        self.nearest = np.where(self.nearest < 0, -1, becomes[self.nearest])[stays]
        self.rows, self.sums = self.rows[stays], self.sums[stays]
        self.sizes, self.best = self.sizes[stays], self.best[stays]
