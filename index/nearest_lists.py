"""The search behind `index.nearest` for very many rows; it needs FAISS.

Letters: N rows, D dimensions, K neighbours, L lists, p lists looked into, Q rows at once.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from index.flat import merge
from index.neighbors import Neighbors
from index.products import products_by_row

__all__ = ["ListSearch", "all_compared"]

_MOST_LISTS, _TRAINED, _STEPS = 4096, 48, 6  # lists; rows a list, and steps, that make them
_BLOCK = 1 << 16  # rows whose lists are found at once
_CANDIDATES = 1 << 20  # neighbours of neighbours in memory at once


@dataclass(slots=True, eq=False)
class ListSearch:
    """The closest other rows of every row, as far as they were found.

    Attributes:
        faiss: the library.
        vectors: float32 (N, D), unit rows.
        centroids: float32 (L, D), of the lists.
        order: int64 (N,), the rows list by list.
        starts: int64 (L + 1,), where each list begins in `order`.
        seen: int16 (N, p), the lists that each row has looked into.
        ids: int64 (N, K), in any order; -1 where there are fewer.
        similarities: float32 (N, K); -inf where the id is -1.
    """

    faiss: ModuleType
    vectors: NDArray[np.float32]
    centroids: NDArray[np.float32]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    seen: NDArray[np.int16]
    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]

    @classmethod
    def of(
        cls, faiss: ModuleType, vectors: NDArray[np.float32], k: int, probes: int, seed: int
    ) -> "ListSearch":
        """Sorts the rows into about 2 √N lists, at most 4,096, and looks into the closest.

        A few steps on a sample make them: lists need not be good clusters, only even.

        Args:
            faiss: the library.
            vectors: float32 (N, D), unit rows.
            k: K.
            probes: how many lists to look into.
            seed: of the sample and of the lists.
        """
        count = len(vectors)
        lists = int(min(_MOST_LISTS, 2 * np.sqrt(count)))
        size = min(count, lists * _TRAINED)
        sample = np.random.default_rng(seed).choice(count, size, replace=False)
        means = faiss.Kmeans(
            vectors.shape[1], lists, niter=_STEPS, seed=seed + 1, spherical=True,
            min_points_per_centroid=1, max_points_per_centroid=_TRAINED,
        )  # fmt: skip
        means.train(vectors[np.sort(sample)])
        closest = _closest_lists(faiss, vectors, means.centroids, min(probes, lists))
        own = closest[:, 0]
        order = np.argsort(own, kind="stable")
        starts = np.searchsorted(own[order], np.arange(lists + 1))
        made = cls(
            faiss, vectors, means.centroids, order, starts, closest,
            np.full((count, k), -1, dtype=np.int64),
            np.full((count, k), -np.inf, dtype=np.float32),
        )  # fmt: skip
        made._look_into(closest)
        return made

    def look_further(self, probes: int) -> None:
        """Looks into the `probes` closest lists, as far as that was not done yet."""
        closest = _closest_lists(self.faiss, self.vectors, self.centroids, probes)
        for column in range(self.seen.shape[1]):
            closest[closest == self.seen[:, column, np.newaxis]] = -1
        self._look_into(closest)
        self.seen = np.hstack([self.seen, closest])

    def ask_neighbours(self) -> None:
        """Compares each row with the neighbours of its neighbours, and with those it is one of.

        What one row found is there for those that come after it; rows of one list come one after
        the other, so that their vectors are in the processor's cache.
        """
        few = self.ids.shape[1]
        step = max(1, _CANDIDATES // (few * (few + 2)))
        back = _the_other_way(self.ids)
        for start in range(0, len(self.order), step):
            rows = self.order[start : start + step]
            first = self.ids[rows]
            second = np.where(first[:, :, np.newaxis] < 0, -1, self.ids[first])
            near = np.hstack([first, back[rows], second.reshape(len(rows), -1)])
            near.sort(axis=1)
            near[:, 1:][near[:, 1:] == near[:, :-1]] = -1
            near[near == rows[:, np.newaxis]] = -1
            similarities = products_by_row(self.faiss, self.vectors, self.vectors[rows], near)
            best = np.argpartition(similarities, -few, axis=1)[:, -few:]
            self.ids[rows] = np.take_along_axis(near, best, axis=1)
            self.similarities[rows] = np.take_along_axis(similarities, best, axis=1)

    def found(self, rows: NDArray[np.int64]) -> Neighbors:
        """What was found so far for some rows, int64 (Q,); equal ones go by the lower id."""
        ids, similarities = self.ids[rows], self.similarities[rows]
        order = np.lexsort((ids, -similarities), axis=1)
        return Neighbors(
            np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)
        )

    def _look_into(self, closest: NDArray[np.int16]) -> None:
        """Compares each row with the rows of some lists, (N, p); -1 is none.

        List by list, with all the rows that look into it at once: a list is read from memory once,
        and the comparison is a product of two matrices.
        """
        codes = closest.reshape(-1)
        order = np.argsort(codes, kind="stable")  # -1 first
        starts = np.searchsorted(codes[order], np.arange(len(self.centroids) + 1))
        for number in range(len(self.centroids)):
            here = slice(self.starts[number], self.starts[number + 1])
            asking = order[starts[number] : starts[number + 1]] // closest.shape[1]
            if len(asking):
                self._compare(asking, self.order[here])

    def _compare(self, asking: NDArray[np.int64], members: NDArray[np.int64]) -> None:
        """Compares rows (Q,) with those of a list that they have not seen before."""
        few = self.ids.shape[1]
        if not len(members):
            return
        similarities, places = self.faiss.knn(
            self.vectors[asking], self.vectors[members], min(few + 1, len(members)),
            metric=self.faiss.METRIC_INNER_PRODUCT,
        )  # fmt: skip
        found = members[places]
        known = self.ids[asking]  # neighbours of neighbours may lie in this list
        useless = (found[:, :, np.newaxis] == known[:, np.newaxis]).any(axis=2)
        useless |= found == asking[:, np.newaxis]
        found[useless], similarities[useless] = -1, -np.inf
        best, ids = merge(self.similarities[asking], known, similarities, found, few)
        self.similarities[asking], self.ids[asking] = best, ids


def all_compared(
    faiss: ModuleType, vectors: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compares some rows with all: ids int64 and similarities float32, both (Q, K).

    Args:
        faiss: the library.
        vectors: float32 (N, D), unit rows, more than K.
        rows: int64 (Q,).
        k: K.
    """
    metric = faiss.METRIC_INNER_PRODUCT
    similarities, ids = faiss.knn(vectors[rows], vectors, k + 1, metric=metric)
    itself = ids == rows[:, np.newaxis]
    itself[~itself.any(axis=1), k] = True  # of more than K equal rows it may be missing
    return ids[~itself].reshape(-1, k), similarities[~itself].reshape(-1, k)


def _the_other_way(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each row, up to K rows that have it among their neighbours (N, K); -1 where fewer do."""
    count, few = ids.shape
    order = np.argsort(ids.reshape(-1), kind="stable")
    found = ids.reshape(-1)[order]
    place = np.arange(len(found)) - np.searchsorted(found, found)
    kept = (found >= 0) & (place < few)
    back = np.full((count, few), -1, dtype=np.int64)
    back[found[kept], place[kept]] = order[kept] // few
    return back


def _closest_lists(
    faiss: ModuleType, vectors: NDArray[np.float32], centroids: NDArray[np.float32], probes: int
) -> NDArray[np.int16]:
    """The lists closest to each row: int16 (N, p), closest first."""
    closest = np.empty((len(vectors), probes), dtype=np.int16)
    for start in range(0, len(vectors), _BLOCK):
        some, metric = vectors[start : start + _BLOCK], faiss.METRIC_INNER_PRODUCT
        closest[start : start + _BLOCK] = faiss.knn(some, centroids, probes, metric=metric)[1]
    return closest
