import numpy as np
import pytest
from numpy.typing import NDArray

from index import parting as module
from index.parting import FEW, SHARE, lowest_cut, parted_rows

Rows = NDArray[np.float32]
NO_TIES = np.empty((0, 2), dtype=np.int64)
LOWEST = lowest_cut(0.45, 0.09, 0.5)


def person_and_other(alike: float, inside: float, photos: int = 5) -> Rows:
    """Photos of one person, `inside` alike to each other, and last one `alike` to each of them."""
    gram = np.full((photos + 1, photos + 1), inside)
    gram[-1], gram[:, -1] = alike, alike
    np.fill_diagonal(gram, 1)
    return np.linalg.cholesky(gram).astype(np.float32)


def test_the_lowest_cut_is_that_of_clusters_without_end():
    assert lowest_cut(0.5, 0.1, 0.25) == pytest.approx(0.3)
    assert lowest_cut(0.5, 0.1, 1) == pytest.approx(0.5)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("inside", [0.5, 0.7, 0.85])
def test_a_row_stays_that_is_as_alike_as_the_cohesion_asks_for(inside: float, offset: float):
    edge = LOWEST + SHARE * (inside - LOWEST)
    for alike, parts in ((edge + 0.01, 1), (edge - 0.01, 2)):
        rows = person_and_other(alike, inside)
        if offset:
            rows = np.column_stack([rows, np.ones(len(rows), dtype=np.float32)])
        found = parted_rows(
            rows, np.zeros(len(rows), dtype=np.int64), LOWEST, NO_TIES, offset=offset
        )
        assert found.tolist() == [0] * 5 + [parts - 1]


def test_every_cluster_is_parted_as_by_hand():
    random = np.random.default_rng(0)
    rows = random.normal(size=(120, 12)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = random.integers(0, 12, size=120)
    found = parted_rows(rows, labels, LOWEST, NO_TIES)
    wanted = np.full(120, -1)
    for label in range(12):
        for number, part in enumerate(by_hand(rows, np.flatnonzero(labels == label).tolist())):
            wanted[part] = 100 * label + number
    same = wanted[:, np.newaxis] == wanted
    assert np.array_equal(same, found[:, np.newaxis] == found)
    assert len(np.unique(found)) > 12
    assert found[0] == 0


def by_hand(rows: Rows, members: list[int]) -> list[list[int]]:
    """Average link of the members by the definition, and its last join undone where it must be."""
    groups = [[row] for row in members]

    def mean(one: list[int], other: list[int]) -> float:
        return float((rows[one] @ rows[other].T).mean())

    while len(groups) > 2:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
        i, j = max(pairs, key=lambda pair: mean(groups[pair[0]], groups[pair[1]]))
        groups[j] += groups.pop(i)
    cohesions = [
        (mean(g, g) * len(g) ** 2 - len(g)) / (len(g) * (len(g) - 1)) for g in groups if len(g) > 1
    ]
    share = SHARE * min(1, FEW / len(members))
    if not cohesions or mean(*groups) >= LOWEST + share * (np.mean(cohesions) - LOWEST):
        return [members]
    return [part for group in groups for part in by_hand(rows, group)]


def test_two_rows_and_ties_and_very_large_clusters_stay(monkeypatch: pytest.MonkeyPatch):
    rows = person_and_other(0.2, 0.8)
    zeros = np.zeros(len(rows), dtype=np.int64)
    assert parted_rows(rows[-2:], zeros[:2], LOWEST, NO_TIES).tolist() == [0, 0]
    assert parted_rows(rows, zeros, LOWEST, np.array([[2, 5]])).tolist() == zeros.tolist()
    assert parted_rows(rows, zeros, LOWEST, np.array([[2, 4]])).tolist() == [0] * 5 + [1]
    monkeypatch.setattr(module, "_MOST", 5)
    assert parted_rows(rows, zeros, LOWEST, NO_TIES).tolist() == zeros.tolist()
    assert parted_rows(rows[:0], zeros[:0], LOWEST, NO_TIES).tolist() == []
