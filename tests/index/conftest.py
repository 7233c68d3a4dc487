from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

from index.blocks import BlockIndex
from index.exact import ExactIndex
from index.faiss import FaissIndex
from index.flat import FlatIndex
from index.gpu import GpuIndex
from index.opening import _gpus


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class SmallBlocks(BlockIndex):
    """Blocks of a few rows on the CPU, so that every change goes across their borders."""

    __slots__ = ()

    def __init__(self, dim: int) -> None:
        super().__init__(dim, rows=7)


ON_GPU = _gpus() > 0  # without one, tests/index/test_gpu.py tells so, once
ENGINES = ("exact", "faiss", "blocks", *(("faiss-gpu",) if ON_GPU else ()))


def engine_named(name: str) -> type[FlatIndex]:
    """An exact engine by name; skips where FAISS is missing."""
    if name == "exact":
        return ExactIndex
    pytest.importorskip("faiss")
    return {"faiss": FaissIndex, "blocks": SmallBlocks, "faiss-gpu": GpuIndex}[name]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """FAISS's threads wait for each other in a loop: on a busy machine that is all they do."""
    if find_spec("faiss") is not None:
        import faiss

        faiss.omp_set_num_threads(1)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> type[FlatIndex]:
    """Each exact engine in turn: the same contract for all."""
    return engine_named(request.param)


@pytest.fixture(scope="session", params=ENGINES)
def any_engine(request: pytest.FixtureRequest) -> type[FlatIndex]:
    """The same for tests that hypothesis repeats."""
    return engine_named(request.param)


@pytest.fixture
def points() -> NDArray[np.float32]:
    """float32 (200, 16), unit rows."""
    return unit(np.random.default_rng(7).normal(size=(200, 16)))


@pytest.fixture
def families() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows around 30 directions at right angles, 1 to 8 rows each, shuffled: vectors and truth."""
    random = np.random.default_rng(3)
    truth = np.repeat(np.arange(30), random.integers(1, 9, size=30))
    truth = random.permutation(truth)
    centres = np.linalg.qr(random.normal(size=(64, 64)))[0][:30]
    noise = unit(random.normal(size=(len(truth), 64)))
    return unit(centres[truth] + 0.5 * noise), truth
