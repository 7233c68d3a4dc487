import numpy as np
import pytest
from numpy.typing import NDArray

from index import graph
from index.errors import WrongNumber
from index.graph import connected, graph_link, similar_pairs, whispers
from index.linkage import sized_link
from index.nearest import nearest_rows
from index.partition import renumbered

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


def slow_connected(vectors: Rows, cut: float, apart: set[tuple[int, int]]) -> Labels:
    """Every pair from the most alike down, unless it brings a pair together that must be apart."""
    products = vectors @ vectors.T
    pairs = [(i, j) for i in range(len(vectors)) for j in range(i + 1, len(vectors))]
    labels = list(range(len(vectors)))
    for i, j in sorted(pairs, key=lambda pair: -products[pair]):
        a, b = labels[i], labels[j]
        joined = {row for row, label in enumerate(labels) if label in (a, b)}
        if products[i, j] > cut and not any(x in joined and y in joined for x, y in apart):
            labels = [a if label == b else label for label in labels]
    return renumbered(np.array(labels))


@pytest.mark.parametrize("products", [1 << 24, 1000])
@pytest.mark.parametrize("k", [None, 3, 1000])
def test_similar_pairs_are_those_above_the_cut(
    points: Rows, k: int | None, products: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(graph, "_PRODUCTS", products)  # several blocks
    pairs, similarities = similar_pairs(points, 0.3, k)
    full = points @ points.T
    np.fill_diagonal(full, -1)
    rank = np.argsort(np.argsort(-full, axis=1), axis=1)
    near = (rank < (k or len(points))) & (full > 0.3)
    expected = np.argwhere(np.triu(near | near.T))
    assert np.array_equal(pairs, expected)
    assert similarities == pytest.approx(full[tuple(expected.T)], abs=1e-6)


@pytest.mark.parametrize("apart", [set(), {(0, 1), (5, 9), (2, 30), (30, 31), (7, 8), (3, 40)}])
def test_connected_equals_the_slow_way(points: Rows, apart: set[tuple[int, int]]):
    pairs = np.array(sorted(apart)) if apart else None
    expected = slow_connected(points[:60], 0.35, apart)
    assert np.array_equal(connected(points[:60], 0.35, apart=pairs), expected)


@pytest.mark.parametrize("k", [None, 10])
def test_families_are_found(families: tuple[Rows, Labels], k: int | None):
    vectors, truth = families
    assert np.array_equal(connected(vectors, 0.45, k), renumbered(truth))
    assert np.array_equal(whispers(vectors, 0.45, k), renumbered(truth))


def test_whispers_parts_two_dense_families_joined_by_one_edge():
    basis = np.eye(20)
    left = np.sqrt(0.7) * basis[0] + np.sqrt(0.3) * basis[2:8]
    right = np.sqrt(0.7) * basis[1] + np.sqrt(0.3) * basis[8:14]
    bridge = (left[0] + right[0]) / np.linalg.norm(left[0] + right[0])
    vectors = np.vstack([left, right, bridge]).astype(np.float32)
    assert connected(vectors, 0.5).max() == 0
    assert whispers(vectors, 0.5)[:12].tolist() == [0] * 6 + [1] * 6


@pytest.mark.parametrize("method", [connected, whispers])
def test_pairs_told_apart_never_share_a_cluster(method, families):
    vectors, truth = families
    random = np.random.default_rng(0)
    pairs = np.array([np.flatnonzero(truth == c)[:2] for c in range(30) if (truth == c).sum() > 1])
    pairs = np.vstack([pairs, np.sort(random.choice(len(truth), (20, 2)), axis=1)])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    labels = method(vectors, 0.3, apart=pairs)
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    assert len(np.unique(labels)) < len(truth)


@pytest.mark.parametrize("method", [connected, whispers])
def test_no_rows_and_no_edges(method, points):
    assert method(points[:0], 0.5).tolist() == []
    assert method(points[:4], 1.0).tolist() == [0, 1, 2, 3]
    with pytest.raises(WrongNumber, match="k must be at least 1"):
        method(points, 0.5, k=0)


def test_whispers_is_the_same_for_the_same_seed_and_refuses_negative_weights(points: Rows):
    assert np.array_equal(whispers(points, 0.2, seed=5), whispers(points, 0.2, seed=5))
    with pytest.raises(WrongNumber, match="0 to 1"):
        whispers(points, -0.1)


@pytest.mark.parametrize("shared", [0.3, 1.0])
def test_graph_link_along_all_pairs_is_sized_link(points: Rows, families, shared: float):
    apart = np.array([[0, 1], [2, 3], [5, 9], [4, 190]])
    together = np.array([[0, 7], [7, 50]])
    for vectors in (points, np.repeat(points[:60], 3, axis=0)):
        pairs = apart[(apart < len(vectors)).all(axis=1)]
        found = graph_link(vectors, 0.4, 0.0, None, pairs, together, shared)
        assert np.array_equal(found, sized_link(vectors, 0.4, 0.0, pairs, shared, together))
    vectors, truth = families
    assert np.array_equal(graph_link(vectors, 0.4, 0.0, 3), renumbered(truth))


def test_graph_link_takes_neighbours_that_are_known(points: Rows):
    near = nearest_rows(points, 5)
    found = graph_link(points, 0.5, 0.0, nearest=near)
    assert np.array_equal(found, graph_link(points, 0.5, 0.0, 5))
    assert graph_link(points[:0], 0.5, 0.0).tolist() == []
    assert graph_link(points[:1], 0.5, 0.0).tolist() == [0]
    with pytest.raises(WrongNumber, match="strangers must be below cut"):
        graph_link(points, 0.1, 0.2)
