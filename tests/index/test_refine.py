import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import WrongNumber, WrongShape
from index.kmeans import kmeans
from index.partition import bcubed, renumbered
from index.refine import refine

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


@pytest.mark.parametrize("k", [1, 5, 30, 90])
def test_a_wrong_number_of_clusters_is_made_right(k: int, families: tuple[Rows, Labels]):
    vectors, truth = families
    begun = kmeans(vectors, k).labels
    found = refine(vectors, begun, 0.4, 0.0)
    assert np.array_equal(found.labels, renumbered(truth))
    assert bcubed(begun, truth).f < 1
    assert found.splits > 0 or found.joins > 0
    assert found.to_dict()["k"] == 30
    assert found.to_dict()["splits"] == found.splits


def test_a_row_moves_to_the_cluster_it_fits_better():
    basis = np.eye(16)
    left = np.sqrt(0.6) * basis[0] + np.sqrt(0.4) * basis[2:6]
    right = np.sqrt(0.6) * basis[1] + np.sqrt(0.4) * basis[6:10]
    between = np.sqrt(0.45) * basis[0] + np.sqrt(0.5) * basis[1] + np.sqrt(0.05) * basis[10]
    vectors = np.vstack([left, right, between]).astype(np.float32)
    begun = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0])
    found = refine(vectors, begun, 0.45, 0.0)
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert found.moves == 1
    held = refine(vectors, begun, 0.45, 0.0, apart=np.array([[8, 4]]))
    assert held.labels[8] == 0
    assert held.moves == 0
    tied = refine(vectors, begun, 0.45, 0.0, together=np.array([[8, 0]]))
    assert tied.labels[8] == tied.labels[0]


def test_a_right_partition_stays_and_none_is_nothing(families: tuple[Rows, Labels]):
    vectors, truth = families
    found = refine(vectors, truth, 0.4, 0.0)
    assert np.array_equal(found.labels, renumbered(truth))
    assert (found.splits, found.joins, found.moves, found.rounds) == (0, 0, 0, 1)
    assert refine(vectors[:0], truth[:0], 0.4, 0.0).labels.tolist() == []


def test_arguments_that_do_not_fit_are_refused(points: Rows):
    with pytest.raises(WrongShape, match=r"\(200,\), got \(3,\)"):
        refine(points, np.arange(3), 0.4, 0.0)
    with pytest.raises(WrongNumber, match="strangers must be below cut"):
        refine(points, np.arange(200), 0.1, 0.2)
