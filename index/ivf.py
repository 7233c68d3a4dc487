"""Inverted lists of FAISS over rows that live elsewhere: they propose rows, nothing more.

A list keeps a code of each vector and the number of its row. When a row changes, its old code is
taken out of its list before anything else happens, so that what was removed is not even proposed.

Kept in a file as plain arrays, never in FAISS's own format, whose reader is no place for a file
that somebody else may have written:

- `centroids` float32 (L, D) · `sizes` int64 (L,) · `entries` int64 (N,), rows in list order
- `codes` uint8 (B,), the lists one after the other; none for ivf-flat, whose codes are the vectors
- `quantizer` float32 (P,), what the code was trained to; empty for ivf-flat and ivf-fp16

Letters: N rows, D dimensions, L lists, Q queries, A rows proposed per query, m rows given.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexFileBroken
from index.rowfile import Kept

__all__ = ["InvertedLists"]

_ROWS = 1 << 16  # assigned and encoded at once
_SAMPLE = 64  # training vectors a list: enough for FAISS, and at most a few seconds
_CODE_SAMPLE = 1 << 16  # training vectors of a code
_FEW = 8  # so few queries are each searched by all cores


class InvertedLists:
    """The lists of one kind.

    Args:
        faiss: the library.
        kind: one of `index.rules.KINDS`, not flat.
        centroids: float32 (L, D), unit rows.
    """

    __slots__ = ("_faiss", "_index", "_quantizer", "centroids", "kind")

    def __init__(self, faiss: ModuleType, kind: str, centroids: NDArray[np.float32]) -> None:
        self._faiss = faiss
        self.kind = kind
        self.centroids = centroids
        self._quantizer = faiss.IndexFlatIP(centroids.shape[1])  # the index does not own it
        self._quantizer.add(centroids)
        self._index = _empty(faiss, kind, self._quantizer, len(centroids))

    @classmethod
    def train(
        cls,
        faiss: ModuleType,
        kind: str,
        lists: int,
        vectors: NDArray[np.float32],
        unseen: NDArray[np.int64],
        seed: int = 0,
    ) -> "InvertedLists":
        """Returns lists trained on a sample of the rows, and holding all of them.

        Args:
            faiss: the library.
            kind: one of `index.rules.KINDS`, not flat.
            lists: L; cut where there are fewer rows.
            vectors: float32 (N, D), unit rows, mapped from a file or not: read block by block.
            unseen: int64 (m,), fewer than N rows to leave out of the training, so that they can
                measure it.
            seed: of the sample and of k-means.
        """
        random = np.random.default_rng(seed)
        seen = np.setdiff1d(np.arange(len(vectors)), unseen, assume_unique=True)
        lists, size = min(lists, len(seen)), min(len(seen), max(lists * _SAMPLE, _CODE_SAMPLE))
        sample = vectors[np.sort(random.choice(seen, size, replace=False))]
        few = random.permutation(size)[: lists * _SAMPLE]
        means = faiss.Kmeans(
            vectors.shape[1], lists, niter=10, spherical=True, seed=seed + 1,
            min_points_per_centroid=1, max_points_per_centroid=_SAMPLE,
        )  # fmt: skip
        means.train(sample[few])
        made = cls(faiss, kind, means.centroids)
        if kind == "ivf-pq":
            made._index.pq.cp.min_points_per_centroid = 1
        made._index.train(sample)
        made.put(np.arange(len(vectors)), vectors)
        return made

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """L, how many lists there are."""
        return len(self.centroids)

    @property
    def memory(self) -> int:
        """Bytes held: codes, row numbers and centroids."""
        code = self._index.code_size if self.kind != "ivf-pq" else self._index.pq.M // 2
        return len(self) * (int(code) + 8) + self.centroids.nbytes

    def put(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Enters rows that are not there.

        Args:
            rows: int64 (m,), their numbers.
            vectors: float32 (m, D), mapped from a file or not.
        """
        for start in range(0, len(rows), _ROWS):
            some = slice(start, start + _ROWS)
            self._index.add_with_ids(np.ascontiguousarray(vectors[some]), rows[some])

    def drop(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Takes rows out; those that are not there are passed over.

        Args:
            rows: int64 (m,), their numbers.
            vectors: float32 (N, D), the rows as they are now; those that stay have not changed.
        """
        if not len(rows):
            return
        inside = self._index.invlists
        before = [inside.list_size(number) for number in range(self.lists)]
        self._index.remove_ids(self._faiss.IDSelectorBatch(rows))
        if self.kind == "ivf-pq":
            shorter = [n for n, size in enumerate(before) if inside.list_size(n) < size]
            self._clean(shorter, vectors)

    def _clean(self, shorter: list[int], vectors: NDArray[np.float32]) -> None:
        """Writes the last block of 4-bit lists anew.

        FAISS (seen in 1.15) leaves the bits of a removed code where they were and mixes them with
        those of the next code that is added there.
        """
        inside = self._faiss.downcast_InvertedLists(self._index.invlists)
        tails = []
        for number in shorter:
            size = int(inside.list_size(number))
            kept = size - size % int(inside.n_per_block)
            if kept < size:
                numbers = self._faiss.rev_swig_ptr(inside.get_ids(number), size)
                tails.append(numbers[kept:].copy())
            inside.resize(number, kept)
        if tails:
            rows = np.concatenate(tails)
            self._index.ntotal -= len(rows)
            self.put(rows, vectors[rows])

    def propose(
        self,
        queries: NDArray[np.float32],
        count: int,
        probes: int,
        allowed: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Returns rows that may be closest, int64 (Q, A), -1 where there are fewer than A.

        Args:
            queries: float32 (Q, D), unit rows.
            count: A.
            probes: how many lists to look into, from 1 to L.
            allowed: int64 (m,), the only rows to propose; None: any.
        """
        chosen = None if allowed is None else self._selector(allowed)
        asked = self._faiss.SearchParametersIVF(nprobe=probes, sel=chosen)
        if self.kind != "ivf-pq":  # its scan has threads of its own
            self._index.parallel_mode = 1 if len(queries) <= _FEW else 0
        _, rows = self._index.search(queries, count, params=asked)
        found: NDArray[np.int64] = rows
        return found

    def keep(self) -> Kept:
        """What a file keeps of the lists."""
        sizes, entries, codes = [], [], []
        for _, size, numbers, code in self._contents():
            sizes.append(size)
            entries.append(numbers.copy())
            if self.kind != "ivf-flat":
                codes.append(code.copy())
        arrays: dict[str, NDArray[Any]] = {
            "centroids": self.centroids,
            "sizes": np.array(sizes, dtype=np.int64),
            "entries": np.concatenate(entries).astype(np.int64),
            "codes": np.concatenate(codes) if codes else np.empty(0, dtype=np.uint8),
            "quantizer": self._trained(),
        }
        return Kept({"kind": self.kind}, arrays)

    @classmethod
    def restore(
        cls, faiss: ModuleType, kept: Kept, vectors: NDArray[np.float32]
    ) -> "InvertedLists":
        """Returns the lists that `keep` described.

        Args:
            faiss: the library.
            kept: from the file of the rows.
            vectors: float32 (N, D), those rows.

        Raises:
            IndexFileBroken: the arrays do not fit each other or the rows.
        """
        arrays = kept.arrays
        sizes, entries = arrays["sizes"], arrays["entries"]
        made = cls(faiss, kept.facts["kind"], np.array(arrays["centroids"]))
        lengths = made._code_lengths(sizes)
        codes = None if made.kind == "ivf-flat" else arrays["codes"]
        sound = (
            made.centroids.shape[1] == vectors.shape[1]
            and len(sizes) == made.lists
            and sizes.min(initial=0) >= 0
            and int(sizes.sum()) == len(entries) == len(vectors)
            and np.array_equal(np.sort(entries), np.arange(len(vectors)))
            and (codes is None or len(codes) == int(lengths.sum()))
            and made._accept(np.array(arrays["quantizer"]))
        )
        if not sound:
            raise IndexFileBroken("its search structure does not fit its rows")
        made._fill(sizes, lengths, entries, vectors if codes is None else codes)
        return made

    def _fill(
        self,
        sizes: NDArray[np.int64],
        lengths: NDArray[np.int64],
        entries: NDArray[np.int64],
        source: NDArray[Any],
    ) -> None:
        """Fills empty lists; `source` is codes uint8 (B,), or vectors float32 (N, D)."""
        inside = self._index.invlists
        ends, code_ends = np.cumsum(sizes).tolist(), np.cumsum(lengths).tolist()
        for number, size in enumerate(sizes.tolist()):
            inside.resize(number, size)
        for number, size, numbers, code in self._contents():
            mine = entries[ends[number] - size : ends[number]]
            numbers[:] = mine
            if source.ndim == 2:
                code[:] = source[mine].view(np.uint8).reshape(-1)
            else:
                code[:] = source[code_ends[number] - len(code) : code_ends[number]]
        self._index.ntotal = len(entries)

    def _contents(self) -> Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.uint8]]]:
        """Each list: number, size, and its row numbers and code bytes as views into FAISS."""
        inside, view = self._index.invlists, self._faiss.rev_swig_ptr
        none = np.empty(0, dtype=np.int64)
        for number in range(self.lists):
            size = int(inside.list_size(number))
            if not size:
                yield number, 0, none, none.view(np.uint8)
                continue
            length = int(self._code_lengths(np.array([size]))[0])
            yield (
                number,
                size,
                view(inside.get_ids(number), size),
                view(inside.get_codes(number), length),
            )

    def _code_lengths(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of lists of these sizes, int64 (L,): the 4-bit codes come in blocks of vectors."""
        if self.kind != "ivf-pq":
            return sizes * int(self._index.code_size)
        blocks = self._faiss.downcast_InvertedLists(self._index.invlists)
        return -(-sizes // int(blocks.n_per_block)) * int(blocks.block_size)

    def _trained(self) -> NDArray[np.float32]:
        """What the code was trained to, float32 (P,)."""
        if self.kind == "ivf-sq8":
            learnt = self._index.sq.trained
        elif self.kind == "ivf-pq":
            learnt = self._index.pq.centroids
        else:
            return np.empty(0, dtype=np.float32)
        values: NDArray[np.float32] = self._faiss.vector_to_array(learnt)
        return values

    def _accept(self, values: NDArray[np.float32]) -> bool:
        """Takes what a code was trained to, float32 (P,); False where it does not fit."""
        index, dim = self._index, self.centroids.shape[1]
        if self.kind == "ivf-sq8":
            fits, learnt = len(values) == 2 * dim, index.sq.trained
        elif self.kind == "ivf-pq":
            fits, learnt = len(values) == dim * int(index.pq.ksub), index.pq.centroids
        else:
            fits, learnt = len(values) == 0, None
        if fits and learnt is not None:
            self._faiss.copy_array_to_vector(values, learnt)
        index.is_trained = fits
        return bool(fits)

    def _selector(self, allowed: NDArray[np.int64]) -> Any:  # noqa: ANN401 - FAISS ships no types
        bits = np.zeros(len(self), dtype=bool)
        bits[allowed] = True
        return self._faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))


def _empty(faiss: ModuleType, kind: str, quantizer: Any, lists: int) -> Any:  # noqa: ANN401 - FAISS ships no types
    """An untrained index of a kind."""
    dim, metric = quantizer.d, faiss.METRIC_INNER_PRODUCT
    if kind == "ivf-flat":
        return faiss.IndexIVFFlat(quantizer, dim, lists, metric)
    if kind == "ivf-pq":
        return faiss.IndexIVFPQFastScan(quantizer, dim, lists, _parts(dim), 4, metric)
    code = faiss.ScalarQuantizer.QT_8bit if kind == "ivf-sq8" else faiss.ScalarQuantizer.QT_fp16
    return faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, code, metric)


def _parts(dim: int) -> int:
    """How many parts the product quantizer cuts a vector into: pairs where D is even."""
    return dim // 2 if dim % 2 == 0 else dim
