import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import WrongShape
from index.exact import ExactIndex
from index.neighbors import Neighbors
from index.recall import measure, recall


def found(*ids: list[int]) -> Neighbors:
    array = np.array(ids)
    falling = np.linspace(1, 0, array.shape[1], dtype=np.float32) + np.zeros(array.shape, "f4")
    return Neighbors(array, np.where(array < 0, -np.inf, falling).astype(np.float32))


def test_recall_counts_true_neighbours_in_any_order():
    truth = found([1, 2, 3], [4, 5, -1])
    assert recall(truth, truth) == 1
    assert recall(found([3, 1, 9], [4, -1, -1]), truth) == pytest.approx(3 / 5)
    assert recall(found([-1, -1, -1], [-1, -1, -1]), truth) == 0


def test_nothing_to_find_is_found():
    assert recall(found([-1, -1]), found([-1, -1])) == 1


def test_different_shapes_are_refused():
    with pytest.raises(WrongShape, match="same queries and k"):
        recall(found([1]), found([1, 2]))


def test_an_exact_engine_measures_as_exact(points: NDArray[np.float32]):
    index = ExactIndex(16)
    index.add(np.arange(200), points)
    measured = measure(index, points, index.search(points, 5))
    assert measured.recall == 1
    assert measured.queries_per_second > 0
    assert measured.milliseconds > 0
