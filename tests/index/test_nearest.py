import numpy as np
import pytest
from numpy.typing import NDArray

from index import nearest as module
from index.errors import WrongNumber
from index.nearest import nearest_rows

Rows = NDArray[np.float32]


@pytest.mark.parametrize("products", [1 << 24, 1000])
def test_all_pairs_give_the_closest_others(
    points: Rows, products: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_PRODUCTS", products)
    found = nearest_rows(points, 7)
    full = points @ points.T
    np.fill_diagonal(full, -2)
    expected = np.argsort(-full, axis=1)[:, :7]
    assert np.array_equal(found.ids, expected)
    assert found.similarities == pytest.approx(np.take_along_axis(full, expected, 1), abs=1e-6)
    assert (found.recall, found.probes) == (1.0, 0)


def test_lists_reach_the_recall_that_is_asked():
    pytest.importorskip("faiss")
    random = np.random.default_rng(0)
    centres = random.normal(size=(250, 32))
    rows = centres[random.integers(250, size=5000)] + 0.8 * random.normal(size=(5000, 32))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    vectors[1:15] = vectors[0]  # more equal rows than neighbours
    found, truth = nearest_rows(vectors, 10, exact=100), nearest_rows(vectors, 10)
    assert found.probes > 0
    assert found.recall >= 0.96
    assert (found.ids != np.arange(5000)[:, None]).all()
    both = [len(np.intersect1d(*pair)) for pair in zip(found.ids, truth.ids, strict=True)]
    assert np.mean(both[15:]) / 10 > 0.93


def test_few_rows_are_padded(points: Rows):
    found = nearest_rows(points[:3], 5)
    assert (found.ids[:, 2:] == -1).all()
    assert np.isneginf(found.similarities[:, 2:]).all()
    assert nearest_rows(points[:1], 2).ids.tolist() == [[-1, -1]]
    assert nearest_rows(points[:0], 2).ids.shape == (0, 2)
    with pytest.raises(WrongNumber, match="k must be at least 1"):
        nearest_rows(points, 0)
