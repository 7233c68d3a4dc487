import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from index.errors import WrongNumber, WrongShape
from index.linkage import average_link, sized_link
from index.partition import renumbered

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


def slow(
    vectors: Rows, cut: float, apart: list[tuple[int, int]], strangers: float = 0, shared: float = 1
) -> Labels:
    """Joins the one pair furthest above its cut, again and again, from the full matrix."""
    products = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    clusters = [[row] for row in range(len(vectors))]
    while True:
        best = None
        for i, a in enumerate(clusters):
            for j, b in enumerate(clusters[:i]):
                spread = shared + (1 - shared) * (1 / len(a) + 1 / len(b)) / 2
                gain = (products[np.ix_(a, b)].mean() - strangers) / spread**0.5
                torn = any((x in a and y in b) or (x in b and y in a) for x, y in apart)
                if not torn and gain > cut - strangers and (best is None or gain > best[0]):
                    best = (gain, i, j)
        if best is None:
            break
        _, i, j = best
        clusters[j] += clusters.pop(i)
    labels = np.empty(len(vectors), dtype=np.int64)
    for label, rows in enumerate(clusters):
        labels[rows] = label
    return renumbered(labels)


@pytest.mark.parametrize("cut", [-1.0, -0.2, 0.1, 0.3, 0.6])
def test_average_link_equals_scipy(points: Rows, cut: float):
    distances = 1 - points.astype(np.float64) @ points.T.astype(np.float64)
    tree = linkage(squareform(distances, checks=False), "average")
    expected = fcluster(tree, 1 - cut, "distance").astype(np.int64)
    assert np.array_equal(average_link(points, cut), renumbered(expected))


def test_average_link_with_pairs_apart_equals_the_slow_way(points: Rows):
    apart = [(0, 1), (2, 30), (3, 4), (4, 5), (10, 39), (11, 12)]
    found = average_link(points[:40], 0.05, np.array(apart))
    assert np.array_equal(found, slow(points[:40], 0.05, apart))
    assert not np.array_equal(found, average_link(points[:40], 0.05))


def test_families_are_found(families: tuple[Rows, Labels]):
    vectors, truth = families
    assert np.array_equal(average_link(vectors, 0.4), renumbered(truth))
    assert np.array_equal(sized_link(vectors, 0.4, 0.0), renumbered(truth))


def test_two_that_are_the_same_stay_apart_when_told(points: Rows):
    vectors = np.repeat(points[:2], 5, axis=0)
    apart = np.array([[0, 1], [1, 2], [2, 0], [2, 0]])
    for labels in (average_link(vectors, 0.5, apart), sized_link(vectors, 0.5, 0, apart)):
        assert len({int(label) for label in labels[:3]}) == 3
        assert labels.max() == 3
        assert len(set(labels[5:].tolist())) == 1


def test_sized_link_joins_large_clusters_below_the_cut_for_single_rows():
    # Two halves of one class: rows of a half 0.6 alike, across halves 0.3.
    basis = np.eye(20, dtype=np.float64)
    mean = np.sqrt(0.3) * basis[0] + np.sqrt(0.3) * basis[[1] * 8 + [2] * 8]
    vectors = (mean + np.sqrt(0.4) * basis[3:19]).astype(np.float32)
    assert average_link(vectors, 0.4).max() == 1
    assert sized_link(vectors, 0.4, 0.0).max() == 0
    assert sized_link(vectors, 0.4, 0.0, shared=1).max() == 1
    assert sized_link(vectors[6:10], 0.4, 0.0).max() == 1  # two and two are too few
    assert sized_link(vectors, 0.4, 0.0, np.array([[0, 15]])).max() == 1


def test_sized_link_equals_the_slow_way_after_average_link(families: tuple[Rows, Labels]):
    vectors = families[0][:60]
    found = sized_link(vectors, 0.5, 0.05, shared=0.3)
    assert np.array_equal(found, slow(vectors, 0.5, [], 0.05, 0.3))


def test_none_one_and_equal_rows(points: Rows):
    assert average_link(points[:0], 0.5).tolist() == []
    assert sized_link(points[:0], 0.5, 0).tolist() == []
    assert sized_link(points[:1], 0.5, 0).tolist() == [0]
    assert average_link(np.repeat(points[:1], 50, axis=0), 0.5).tolist() == [0] * 50
    assert sized_link(points[:5], 1.0, 0).tolist() == [0, 1, 2, 3, 4]


def test_numbers_outside_their_range_are_refused(points: Rows):
    with pytest.raises(WrongNumber, match=r"from -1 to 1, got 1\.5"):
        average_link(points, 1.5)
    with pytest.raises(WrongNumber, match="got nan"):
        average_link(points, float("nan"))
    with pytest.raises(WrongNumber, match="strangers must be below cut"):
        sized_link(points, 0.2, 0.3)
    with pytest.raises(WrongNumber, match="0 to 199, got 0 to 200"):
        average_link(points, 0.2, np.array([[0, 200]]))
    with pytest.raises(WrongNumber, match="itself"):
        average_link(points, 0.2, np.array([[3, 3]]))
    with pytest.raises(WrongShape, match=r"\(P, 2\), got \(2,\)"):
        average_link(points, 0.2, np.array([0, 1]))


def test_thousands_of_rows_are_clustered_the_same_way_twice():
    random = np.random.default_rng(0)
    truth = random.integers(0, 400, size=3000)
    centres = random.normal(size=(400, 256))
    vectors = centres[truth] + 0.6 * random.normal(size=(3000, 256))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = sized_link(vectors, 0.5, 0.0)
    assert np.array_equal(found, renumbered(truth))
    assert np.array_equal(found, sized_link(vectors, 0.5, 0.0))
