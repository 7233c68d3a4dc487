"""Search with FAISS on the CPU: flat below a number of vectors, in inverted lists above.

Flat, FAISS's brute-force kernel runs over our own rows, mapped from the file or not. There is no
second copy of the vectors, and what its index classes do otherwise than one expects (a repeated id
stored twice, an empty AssertionError for a wrong length, -3.4e38 for missing results) cannot occur.

In lists (`index.ivf`), FAISS proposes rows and they are compared here as in every other engine. The
lists are built by `train`, which `save` calls when the rule of `index.rules` asks for it: an index
that was never saved nor trained is exact at any size.

Letters: Q queries, D dimensions, R rows searched, A rows proposed.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from index.errors import EngineMissing, IndexFileBroken
from index.flat import SPARE, FlatIndex
from index.rowfile import Kept, read_file, write_rows
from index.rules import FLAT_BELOW, RECALL, Plan, structure_for
from index.tuning import Effort, best_of, effort_for, sample_of, tune

if TYPE_CHECKING:
    from index.ivf import InvertedLists

__all__ = ["FaissIndex", "Searched", "import_faiss"]

LEAST = 256  # fewer vectors are never sorted into lists
_GROWN = 4  # lists are made anew when there are so many times the vectors they were made of
_FILTERED_FLAT = 50_000  # so many rows inside the asked sites are all compared for one query,
_SHARING = 4  # and as many more for each so many queries, which share the reading of the rows


@dataclass(frozen=True, slots=True)
class Searched:
    """How an index searches.

    Attributes:
        kind: one of `index.rules.KINDS`.
        reason: why, in one sentence.
        lists: how many inverted lists; 0 for flat.
        recall: the asked part of the true neighbours; 1 for flat.
        efforts: how hard it searches for that.
        memory: bytes of the rows and of the lists.
    """

    kind: str
    reason: str
    lists: int
    recall: float
    efforts: tuple[Effort, ...]
    memory: int


class FaissIndex(FlatIndex):
    """Search by FAISS: exact, or as exact as asked.

    Args:
        dim: D, the length of every vector.
        plan: what is asked; None leaves it to the rule.

    Raises:
        EngineMissing: FAISS is not installed.
    """

    __slots__ = ("_efforts", "_faiss", "_fault", "_lists", "_trained_on", "plan")

    def __init__(self, dim: int, plan: Plan | None = None) -> None:
        self._faiss = import_faiss()
        super().__init__(dim)
        self.plan = Plan() if plan is None else plan
        self._lists: InvertedLists | None = None
        self._efforts: tuple[Effort, ...] = ()
        self._trained_on = 0
        self._fault = ""

    @property
    def exact(self) -> bool:
        """Whether a search returns the true neighbours; without lists it does."""
        return self._lists is None

    @property
    def searched(self) -> Searched:
        """How it searches at present, and why."""
        rule, memory = structure_for(len(self), self.plan), self.memory
        if self._lists is not None:
            lists, why = self._lists, rule.reason
            if lists.kind != rule.kind:
                why = f"lists made of {self._trained_on:,} vectors still serve."
            return Searched(
                lists.kind, why, lists.lists, self._recall, self._efforts, memory + lists.memory
            )
        why = rule.reason
        if self._fault:
            why = self._fault
        elif rule.kind != "flat" and len(self) < LEAST:
            why = f"fewer than {LEAST} vectors are all compared."
        elif rule.kind != "flat":
            why = f"{rule.kind} is due and not built yet: it is when the index is saved."
        return Searched("flat", why, 0, 1.0, (), memory)

    def train(self) -> None:
        """Builds the lists that the rule or the plan asks for, or drops them.

        Takes seconds for a million vectors. Where the asked recall cannot be reached the index
        stays flat, and `searched` says so.
        """
        self._forget_lists()
        count = len(self)
        wanted = structure_for(count, self.plan)
        if wanted.kind == "flat" or count < LEAST:
            return
        from index.ivf import InvertedLists

        vectors, sample = self._rows.vectors, sample_of(count)
        lists = InvertedLists.train(self._faiss, wanted.kind, wanted.lists, vectors, sample)
        efforts = tune(self._faiss, lists, vectors, sample, self._recall)
        self._trained_on = count
        if efforts:
            self._lists, self._efforts = lists, efforts
        else:
            self._fault = f"{wanted.kind} does not reach recall {self._recall:g} on these vectors."

    def save(self, path: str | Path, marks: Mapping[str, str]) -> None:
        """Writes the index, or leaves the file that was there as it was; `train`s it when due.

        Args:
            path: where to; the folder must exist.
            marks: what the owner wants to find again, such as the space and the last revision.

        Raises:
            OSError: the file cannot be written.
        """
        if self._due():
            self.train()
        write_rows(path, self._rows, marks, self._kept())

    @classmethod
    def load(cls, path: str | Path, plan: Plan | None = None) -> tuple[Self, dict[str, str]]:
        """Reads an index and its marks.

        Args:
            path: the file.
            plan: what is asked; where it leaves something open, what was asked when the file was
                written holds.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFileBroken: the file was cut, changed or written by something else.
        """
        file = read_file(path)
        index = cls(file.rows.dim, plan)
        index._rows = file.rows
        if file.kept is not None:
            try:
                index._restore(file.kept)
            except (IndexFileBroken, KeyError, TypeError, ValueError) as error:
                raise IndexFileBroken(
                    f"the index file {path} is broken: {error}. It holds nothing that cannot be "
                    "made again: delete it and it will be rebuilt."
                ) from error
        return index, file.marks

    @property
    def _recall(self) -> float:
        return RECALL if self.plan.recall is None else self.plan.recall

    def _due(self) -> bool:
        """Whether the lists are not those that the rule asks for any more."""
        count, wanted = len(self), structure_for(len(self), self.plan).kind
        if self._lists is None and not self._fault:
            return wanted != "flat" and count >= LEAST
        if self._lists is not None and wanted == "flat":
            return count < FLAT_BELOW // 2
        return count > _GROWN * self._trained_on

    def _forget_lists(self) -> None:
        self._lists, self._efforts, self._trained_on, self._fault = None, (), 0, ""

    def _kept(self) -> Kept | None:
        """What the file keeps besides the rows; None where there is nothing to say."""
        kept = Kept() if self._lists is None else self._lists.keep()
        facts = {
            "asked": self.plan.kind,
            "recall": self.plan.recall,
            "trained_on": self._trained_on,
            "fault": self._fault,
            "efforts": [list(astuple(effort)) for effort in self._efforts],
        }
        if kept.arrays or any(facts.values()):
            return Kept(kept.facts | facts, kept.arrays)
        return None

    def _restore(self, kept: Kept) -> None:
        """Takes what the file kept, as far as it is what is asked now."""
        facts = kept.facts
        before = Plan(facts["asked"], facts["recall"])
        recall = RECALL if before.recall is None else before.recall
        self.plan = Plan(self.plan.kind or before.kind, self.plan.recall or before.recall)
        if (self.plan.kind or before.kind) != before.kind or self._recall > recall:
            return
        self._trained_on, self._fault = int(facts["trained_on"]), str(facts["fault"])
        if kept.arrays:
            from index.ivf import InvertedLists

            self._efforts = tuple(Effort(*values) for values in facts["efforts"])
            self._lists = InvertedLists.restore(self._faiss, kept, self._rows.vectors)

    def _follow(self, rows: NDArray[np.int64], before: int) -> None:
        if self._lists is not None:
            gone = np.concatenate([rows[rows < before], np.arange(len(self), before)])
            self._lists.drop(gone, self._rows.vectors)
            self._lists.put(rows, self._rows.vectors[rows])

    def _closest(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64] | None, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        effort = self._effort(len(queries), rows, k)
        if self._lists is None or effort is None:
            return super()._closest(queries, rows, k)
        width = min(effort.width, len(self))
        proposed = self._lists.propose(queries, width, effort.probes, rows)
        if width > k + SPARE:
            _, proposed = best_of(self._faiss, self._rows.vectors, queries, proposed, k + SPARE)
        full = np.count_nonzero(proposed >= 0, axis=1) >= k
        if full.all():
            return self._ranked(queries, proposed, k)
        ids = np.empty((len(queries), k), dtype=np.int64)
        similarities = np.empty((len(queries), k), dtype=np.float32)
        ids[full], similarities[full] = self._ranked(queries[full], proposed[full], k)
        ids[~full], similarities[~full] = super()._closest(queries[~full], rows, k)
        return ids, similarities

    def _effort(self, queries: int, rows: NDArray[np.int64] | None, k: int) -> Effort | None:
        """How hard to search the lists; None to compare all rows."""
        if self._lists is None:
            return None
        if rows is not None and len(rows) <= _FILTERED_FLAT * max(1, queries // _SHARING):
            return None
        share = 1.0 if rows is None else len(rows) / len(self)
        return effort_for(self._efforts, k, share, self._lists.lists)

    def _nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        metric = self._faiss.METRIC_INNER_PRODUCT
        similarities, rows = self._faiss.knn(queries, vectors, count, metric=metric)
        return similarities, rows


def import_faiss() -> ModuleType:
    """Returns the library; only this function imports it.

    Raises:
        EngineMissing: it is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise EngineMissing(
            'FAISS is not installed: run pip install "vultus[cpu]", or use the engine exact:'
        ) from error
    return faiss
