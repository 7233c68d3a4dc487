import numpy as np
import pytest
from numpy.typing import NDArray

from index.exact import ExactIndex
from index.faiss import FaissIndex
from index.flat import FlatIndex


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["exact", "faiss"])
def engine(request: pytest.FixtureRequest) -> type[FlatIndex]:
    """Each engine in turn: the same contract for all."""
    if request.param == "faiss":
        pytest.importorskip("faiss")
        return FaissIndex
    return ExactIndex


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
