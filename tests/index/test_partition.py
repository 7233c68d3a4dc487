from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from index import partition as module
from index.errors import WrongDtype, WrongShape
from index.partition import agreement, bcubed, match_labels, pairwise, renumbered

Labels = NDArray[np.int64]


def slow_bcubed(found: list[int], true: list[int]) -> tuple[float, float]:
    """Row by row, as the paper has it."""
    rows = range(len(found))
    precision = recall = 0.0
    for row in rows:
        cluster = {other for other in rows if found[other] == found[row]}
        person = {other for other in rows if true[other] == true[row]}
        precision += len(cluster & person) / len(cluster) / len(found)
        recall += len(cluster & person) / len(person) / len(found)
    return precision, recall


def slow_pairwise(found: list[int], true: list[int]) -> tuple[float, float]:
    pairs = list(combinations(range(len(found)), 2))
    together = {pair for pair in pairs if found[pair[0]] == found[pair[1]]}
    right = {pair for pair in pairs if true[pair[0]] == true[pair[1]]}
    both = len(together & right)
    return both / len(together) if together else 1.0, both / len(right) if right else 1.0


partitions = st.integers(1, 14).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-2, 5), min_size=n, max_size=n)] * 2)
)


@given(partitions)
def test_measures_equal_the_slow_way(both: tuple[list[int], list[int]]):
    found, true = both
    a, b = np.array(found), np.array(true)
    shares = bcubed(a, b)
    assert (shares.precision, shares.recall) == pytest.approx(slow_bcubed(found, true))
    shares = pairwise(a, b)
    assert (shares.precision, shares.recall) == pytest.approx(slow_pairwise(found, true))


def test_a_small_clustering_worked_by_hand():
    found, true = np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, 8, 8, 8, 9])
    assert bcubed(found, true).precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6)
    assert bcubed(found, true).recall == pytest.approx((1 + 1 + 1 / 3 + 2 / 3 + 2 / 3 + 1) / 6)
    assert bcubed(true, true).f == 1


def test_agreement_equals_scikit_learn():
    random = np.random.default_rng(0)
    true = random.integers(0, 20, size=300)
    found = np.where(random.random(300) < 0.8, true, random.integers(0, 40, size=300))
    result = agreement(found, true)
    assert result.nmi == pytest.approx(metrics.normalized_mutual_info_score(true, found))
    assert result.ari == pytest.approx(metrics.adjusted_rand_score(true, found))
    assert result.v == pytest.approx(metrics.v_measure_score(true, found))
    table = metrics.pair_confusion_matrix(true, found)
    assert result.pairwise.precision == pytest.approx(table[1, 1] / (table[1, 1] + table[0, 1]))
    assert result.pairwise.recall == pytest.approx(table[1, 1] / (table[1, 1] + table[1, 0]))
    sizes = np.bincount(found)
    assert (result.found, result.true) == (np.count_nonzero(sizes), 20)
    assert result.found_single == np.count_nonzero(sizes == 1)
    assert result.true_single == np.count_nonzero(np.bincount(true) == 1)


def test_the_f_of_nothing_right_is_0():
    assert pairwise(np.array([0, 0, 1]), np.array([0, 1, 1])).f == 0


@given(st.lists(st.integers(-5, 5), max_size=20))
def test_renumbering_keeps_the_partition_and_counts_from_first_rows(labels: list[int]):
    found = renumbered(np.array(labels, dtype=np.int64))
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    assert found.tolist() == [order[label] for label in labels]


def test_labels_that_do_not_fit_are_refused():
    one = np.array([1])
    with pytest.raises(WrongShape, match=r"same shape \(N,\)"):
        bcubed(one, np.array([1, 2]))
    with pytest.raises(WrongShape, match=r"got \(1, 1\)"):
        renumbered(np.array([[1]]))
    with pytest.raises(WrongDtype, match="number the clusters"):
        pairwise(np.array(["a"]), one)
    with pytest.raises(WrongShape, match="no rows"):
        agreement(one[:0], one[:0])
    assert bcubed(one[:0], one[:0]).f == 1


def test_matched_labels_are_kept_and_others_are_fresh():
    old = np.array([5, 5, 5, 9, 9, -1, -1, 2])
    new = np.array([0, 0, 1, 1, 1, 2, 2, 3])
    assert match_labels(old, new).tolist() == [5, 5, 9, 9, 9, 10, 10, 2]
    assert match_labels(np.full(8, -1), new).tolist() == [0, 0, 1, 1, 1, 2, 2, 3]
    assert match_labels(old[:0], new[:0]).tolist() == []
    with pytest.raises(WrongShape, match="old and new"):
        match_labels(old, new[:3])


labelled = st.integers(1, 10).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-1, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
    )
)


@given(labelled)
def test_no_other_matching_keeps_more_rows(both: tuple[list[int], list[int]]):
    old, new = np.array(both[0]), np.array(both[1])
    kept, clusters = match_labels(old, new), renumbered(new)
    assert np.array_equal(renumbered(kept), clusters)
    count = int(clusters.max()) + 1
    names = [*range(4), *range(100, 100 + count)]  # from 100 on: a fresh one
    ways = permutations(names, count)
    most = max(int((np.array(way)[clusters] == old).sum()) for way in ways)
    assert (kept == old).sum() == most


def test_the_greedy_way_keeps_at_least_half(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    old, new = random.integers(0, 30, size=(2, 500))
    best = (match_labels(old, new) == old).sum()
    monkeypatch.setattr(module, "_DENSE", 0)
    kept = match_labels(old, new)
    assert np.array_equal(renumbered(kept), renumbered(new))
    assert best >= (kept == old).sum() >= best / 2
