import numpy as np
import pytest
from numpy.typing import NDArray

from index.constraints import blocks_of, seated, tied
from index.density import dbscan, hdbscan
from index.errors import Contradiction, WrongNumber, WrongShape
from index.graph import connected, graph_link, whispers
from index.kmeans import kmeans
from index.linkage import average_link, sized_link
from index.partition import bcubed
from index.refine import refine

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]

METHODS = {
    "average link": lambda v, a, t: average_link(v, 0.4, a, t),
    "sized link": lambda v, a, t: sized_link(v, 0.4, 0.0, a, together=t),
    "connected": lambda v, a, t: connected(v, 0.45, apart=a, together=t),
    "whispers": lambda v, a, t: whispers(v, 0.45, apart=a, together=t),
    "graph link": lambda v, a, t: graph_link(v, 0.4, 0.0, apart=a, together=t),
    "dbscan": lambda v, a, t: dbscan(v, 0.45, apart=a, together=t),
    "hdbscan": lambda v, a, t: hdbscan(v, 0.45, apart=a, together=t),
    "k-means": lambda v, a, t: kmeans(v, 30, tries=10, apart=a, together=t).labels,
    "refined": lambda v, a, t: refine(v, kmeans(v, 20).labels, 0.4, 0.0, a, t).labels,
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_to_pairs_of_both_kinds(name: str, families: tuple[Rows, Labels]):
    vectors, truth = families
    of = [np.flatnonzero(truth == c) for c in np.flatnonzero(np.bincount(truth) > 3)]
    apart = np.array([rows[:2] for rows in of])  # one family each, torn
    together = np.array([[of[0][2], of[1][2]], [of[1][2], of[2][2]], [of[3][2], of[3][3]]])
    labels = METHODS[name](vectors, apart, together)
    assert (labels[apart[:, 0]] != labels[apart[:, 1]]).all()
    assert (labels[together[:, 0]] == labels[together[:, 1]]).all()
    rest = ~np.isin(truth, truth[np.concatenate([apart, together]).reshape(-1)])
    assert bcubed(labels[rest], truth[rest]).f > 0.85
    with pytest.raises(Contradiction, match="must be apart and are tied together"):
        METHODS[name](vectors, np.array([[0, 1]]), np.array([[0, 2], [2, 1]]))


def test_chains_of_ties_are_one_block():
    assert tied(6, np.array([[4, 1], [1, 2]])).tolist() == [0, 1, 1, 2, 1, 3]
    assert tied(3, None).tolist() == [0, 1, 2]
    with pytest.raises(WrongNumber, match="together must hold row numbers from 0 to 2"):
        tied(3, np.array([[0, 3]]))
    with pytest.raises(WrongShape, match="together must have shape"):
        tied(3, np.array([0, 1]))


def test_blocks_are_sums_and_their_foes(points: Rows):
    blocks = blocks_of(points, np.array([[0, 3]]), np.array([[3, 5], [0, 5], [1, 2]]))
    assert blocks.sums[0] == pytest.approx(points[0] + points[3])
    assert blocks.sizes[:3].tolist() == [2, 1, 1]
    assert blocks.apart.tolist() == [[0, 4], [1, 2]]  # row 5 is block 4, for 3 is gone


def test_of_two_that_want_one_seat_the_better_has_it():
    scores = np.array([[0.9, 0.2], [0.95, 0.3], [0.5, 0.1], [-np.inf, -np.inf]])
    apart = np.array([[0, 1], [1, 2], [0, 2]])
    assert seated(scores, apart).tolist() == [1, 0, -1, -1]
    assert seated(scores, apart[:0]).tolist() == [0, 0, 0, -1]
    assert seated(scores[:, :0], apart).tolist() == [-1] * 4
