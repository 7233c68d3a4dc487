"""FAISS on one or several NVIDIA GPUs: where the blocks of `index.blocks` live.

A GPU compares with shortened mantissas where its tensor cores do (TF32, 11 bits), and stores 16-bit
numbers when asked (11 bits too). By the inequality of Cauchy and Schwarz a similarity of unit rows
is then wrong by at most 2 · 2^-11 < 1e-3, so proposals are certain where they differ by 2e-3: more
are asked for until they do, and the host computes what is returned.

Letters: Q queries, D dimensions, R rows, G GPUs.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.blocks import BLOCK, Block, BlockIndex, FaissBlock, Found
from index.errors import GpuMissing, WrongNumber
from index.faiss import import_faiss
from index.rowfile import read_rows

__all__ = ["GpuIndex", "GpuPlan", "gpu_count"]

SPREADS = ("shards", "replicas")


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """How to use the GPUs.

    Attributes:
        fp16: store 16-bit numbers: half the memory, the same results.
        gpus: G, how many to use; 0 for all there are.
        spread: `shards`, each block on one GPU; or `replicas`, each block on all, which share the
            queries.

    Raises:
        WrongNumber: a negative G, or a spread that there is not.
    """

    fp16: bool = False
    gpus: int = 0
    spread: str = "shards"

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.gpus < 0:
            raise WrongNumber(f"gpus must be at least 1, or 0 for all, got {self.gpus}.")
        if self.spread not in SPREADS:
            raise WrongNumber(f"spread must be shards or replicas, got {self.spread!r}.")


def gpu_count() -> int:
    """Returns how many GPUs FAISS can use; 0 without any, or with the build for the CPU.

    Raises:
        EngineMissing: FAISS is not installed.
    """
    faiss = import_faiss()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


class GpuDevice:
    """GPUs that hold blocks.

    Args:
        dim: D.
        plan: how to use them.

    Raises:
        GpuMissing: there are fewer GPUs than asked for, or FAISS was built without them.
    """

    slack = 2e-3
    most = 2048  # FAISS selects no more on a GPU

    def __init__(self, dim: int, plan: GpuPlan) -> None:
        self._dim = dim
        self._faiss = import_faiss()
        there = gpu_count()
        if not hasattr(self._faiss, "StandardGpuResources"):
            raise GpuMissing(
                "This FAISS was built without GPUs: pip uninstall faiss-cpu, then pip install "
                '"vultus[gpu]"; or use faiss: and --device cpu.'
            )
        if there < max(plan.gpus, 1):
            raise GpuMissing(
                f"FAISS finds {there} GPUs and {max(plan.gpus, 1)} were asked for: check "
                "nvidia-smi, or use faiss: and --device cpu."
            )
        self._plan = plan
        self._resources = [self._faiss.StandardGpuResources() for _ in range(plan.gpus or there)]
        self._workers = ThreadPoolExecutor(len(self._resources))

    def block(self, number: int, vectors: NDArray[np.float32]) -> Block:
        """Makes a block of rows float32 (R, D) on the next GPU, or a copy on each."""
        if self._plan.spread == "shards":
            made: Any = self._flat(number % len(self._resources))
        else:
            made = self._faiss.IndexReplicas(self._dim)
            for gpu in range(len(self._resources)):
                made.addIndex(self._flat(gpu))
        block = FaissBlock(made)
        block.add(vectors)
        return block

    def search(self, blocks: list[Block], queries: NDArray[np.float32], count: int) -> list[Found]:
        """Searches blocks for float32 (Q, D), those of different GPUs at the same time."""
        gpus = len(self._resources)
        if self._plan.spread == "replicas" or gpus == 1:
            return [block.search(queries, count) for block in blocks]
        # One thread a GPU: its resources serve one search at a time.
        parts = self._workers.map(
            lambda gpu: [block.search(queries, count) for block in blocks[gpu::gpus]], range(gpus)
        )
        found: list[Found | None] = [None] * len(blocks)
        for gpu, part in enumerate(parts):
            found[gpu::gpus] = part
        return [each for each in found if each is not None]

    def nearest(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], count: int
    ) -> Found:
        """Searches rows of the host, float32 (R, D): on the first GPU, on the CPU for many A."""
        metric = self._faiss.METRIC_INNER_PRODUCT
        if count > self.most:
            similarities, rows = self._faiss.knn(queries, vectors, count, metric=metric)
        else:
            similarities, rows = self._faiss.knn_gpu(
                self._resources[0], queries, vectors, count, metric=metric
            )
        return similarities, rows

    def _flat(self, gpu: int) -> Any:  # noqa: ANN401 - FAISS ships no types
        faiss: ModuleType = self._faiss
        config = faiss.GpuIndexFlatConfig()
        config.device = gpu
        config.useFloat16 = self._plan.fp16
        return faiss.GpuIndexFlatIP(self._resources[gpu], self._dim, config)


class GpuIndex(BlockIndex):
    """Exact search on GPUs, with removal and update; see `index.blocks`.

    Args:
        dim: D, the length of every vector.
        plan: how to use the GPUs; None: all of them, 32-bit, in shards.
        rows: how many rows make a block.

    Raises:
        EngineMissing: FAISS is not installed.
        GpuMissing: there is no GPU that FAISS can use.
    """

    __slots__ = ("plan",)

    def __init__(self, dim: int, plan: GpuPlan | None = None, rows: int = BLOCK) -> None:
        self.plan = GpuPlan() if plan is None else plan
        super().__init__(dim, GpuDevice(dim, self.plan), rows)

    @classmethod
    def load(cls, path: str | Path, plan: GpuPlan | None = None) -> tuple[Self, dict[str, str]]:
        """Reads an index and its marks, and sends its rows to the GPUs.

        Raises:
            FileNotFoundError: there is no such file.
            IndexFileBroken: the file was cut, changed or written by something else.
        """
        rows, marks = read_rows(path)
        index = cls(rows.dim, plan)
        index._rows = rows
        index.rewrite()
        return index, marks
