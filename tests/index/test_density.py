import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from index.density import dbscan, hdbscan
from index.errors import WrongNumber
from index.graph import connected
from index.partition import bcubed, renumbered

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


@pytest.mark.parametrize("min_samples", [1, 3, 5])
def test_dbscan_equals_scikit_learn_on_the_full_matrix(points: Rows, min_samples: int):
    distances = np.clip(1 - points @ points.T, 0, 2)
    expected = DBSCAN(eps=0.6, min_samples=min_samples, metric="precomputed").fit(distances).labels_
    alone = expected < 0
    expected = np.where(alone, 1000 + np.arange(len(points)), expected)
    assert np.array_equal(dbscan(points, 0.4, min_samples), renumbered(expected))


def test_dbscan_of_two_samples_is_connected_components(points: Rows):
    assert np.array_equal(dbscan(points, 0.4), connected(points, 0.4))


def test_hdbscan_does_not_split_what_is_closer_than_the_cut():
    # Two knots of one family: without the cut they would be two clusters.
    basis = np.eye(24)
    knots = np.repeat(np.array([[1, 0.35, 0], [1, -0.35, 0]]), 6, axis=0)
    near = knots @ basis[:3] + 0.1 * basis[3:15]
    far = basis[2] + 0.1 * basis[15:21]
    rows = np.vstack([near, far])
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    assert hdbscan(vectors, 0.95)[:12].tolist() == [0] * 6 + [1] * 6
    assert hdbscan(vectors, 0.6).tolist() == [0] * 12 + [1] * 6


def test_families_are_found(families: tuple[Rows, Labels]):
    vectors, truth = families
    assert np.array_equal(dbscan(vectors, 0.45), renumbered(truth))
    assert bcubed(hdbscan(vectors, 0.45), truth).f > 0.98


@pytest.mark.parametrize("method", [dbscan, hdbscan])
def test_pairs_told_apart_never_share_a_cluster(method, families):
    vectors, truth = families
    pairs = np.array([np.flatnonzero(truth == c)[:2] for c in range(30) if (truth == c).sum() > 3])
    labels = method(vectors, 0.4, apart=pairs)
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    rest = ~np.isin(truth, truth[pairs[:, 0]])
    assert bcubed(labels[rest], truth[rest]).f > 0.95


@pytest.mark.parametrize("method", [dbscan, hdbscan])
def test_few_rows(method, points):
    assert method(points[:0], 0.5).tolist() == []
    assert method(points[:1], 0.5).tolist() == [0]
    assert dbscan(points[:4], 1.0).tolist() == [0, 1, 2, 3]


def test_numbers_outside_their_range_are_refused(points: Rows):
    with pytest.raises(WrongNumber, match="min_samples"):
        dbscan(points, 0.5, 0)
    with pytest.raises(WrongNumber, match="min_cluster_size"):
        hdbscan(points, 0.5, 1)
