import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from verify.errors import NothingToMeasure
from verify.scores import accuracy, best_threshold, open_set_rates

DTYPES = st.sampled_from([np.float32, np.float64])
STEPS = st.integers(-10, 10).map(lambda step: step / 10)  # few values: many ties, ±1 included
PAIRS = st.lists(st.tuples(STEPS, st.booleans()), min_size=2, max_size=12)


def right_answers(similarities: list[float], same: list[bool], threshold: float) -> int:
    found = 0
    for similarity, truth in zip(similarities, same, strict=True):
        found += (similarity >= threshold) == truth
    return found


def cuts(similarities: list[float]) -> list[float]:
    """One threshold for each way to divide the similarities."""
    return [*similarities, math.nextafter(max(similarities), math.inf)]


@given(PAIRS, DTYPES)
def test_no_threshold_is_more_accurate(pairs: list[tuple[float, bool]], dtype: type):
    similarities = np.array([pair[0] for pair in pairs], dtype)
    same = np.array([pair[1] for pair in pairs])
    assume(same.any() and not same.all())
    plain = [float(similarity) for similarity in similarities]
    most = max(right_answers(plain, same.tolist(), cut) for cut in cuts(plain))
    threshold = best_threshold(similarities, same)
    assert right_answers(plain, same.tolist(), threshold) == most
    assert accuracy(similarities, same, threshold) == most / len(pairs)


@pytest.mark.parametrize(
    ("similarities", "same", "wanted"),
    [
        ([0.1, 0.2, 0.6, 0.7], [False, False, True, True], 0.4),
        ([0.7, 0.1, 0.6, 0.2], [True, False, True, False], 0.4),  # any order
        ([0.1, 0.2, 0.5, 0.9], [False, True, False, True], 0.7),  # two cuts err once: the wider
        ([0.0, 0.8, 0.9], [False, True, False], 0.4),
        ([0.5, 0.5, 0.9], [False, True, True], -0.25),  # no cut inside a tie
    ],
)
def test_the_middle_of_the_widest_gap(similarities: list[float], same: list[bool], wanted: float):
    assert best_threshold(np.array(similarities), np.array(same)) == pytest.approx(wanted)


def test_neighbouring_numbers_are_divided():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    similarities, same = np.array([low, high]), np.array([False, True])
    assert accuracy(similarities, same, best_threshold(similarities, same)) == 1.0
    doubles = np.array([0.3, np.nextafter(0.3, 1)])
    assert accuracy(doubles, same, best_threshold(doubles, same)) == 1.0


def test_all_may_be_refused_though_some_are_identical():
    similarities = np.array([0.5, 1.0, 1.0, 1.0])
    same = np.array([True, False, False, False])
    assert accuracy(similarities, same, best_threshold(similarities, same)) == 0.75


def test_accuracy_does_not_round_the_threshold_to_single_precision():
    similarities = np.array([0.4, 0.6], np.float32)
    just_above = float(np.nextafter(np.float64(similarities[1]), 1.0))
    assert accuracy(similarities, np.array([False, False]), just_above) == 1.0


@pytest.mark.parametrize("same", [[], [True, True], [False, False]])
def test_both_kinds_of_pairs_are_needed(same: list[bool]):
    with pytest.raises(NothingToMeasure, match="both mated and non-mated"):
        best_threshold(np.full(len(same), 0.5), np.array(same, dtype=bool))


def plain_open_set(
    best: list[float], right: list[bool], strangers: list[float], asked: float
) -> tuple[float, float]:
    """FNIR and FPIR at the lowest threshold that keeps the asked FPIR, tried one by one."""
    levels = sorted({-1.0, *cuts(strangers), *(math.nextafter(s, 2) for s in strangers)})
    for threshold in levels:
        alarms = sum(similarity >= threshold for similarity in strangers)
        if alarms <= asked * len(strangers) + 1e-9:
            missed = 0
            for similarity, correct in zip(best, right, strict=True):
                missed += not (correct and similarity >= threshold)
            return missed / len(best), alarms / len(strangers)
    raise AssertionError("no level refuses every stranger")


@given(
    PAIRS,
    st.lists(STEPS, min_size=1, max_size=12),
    st.one_of(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.floats(0, 1)),
    DTYPES,
)
def test_open_set_rates_are_counts(
    probes: list[tuple[float, bool]], strangers: list[float], asked: float, dtype: type
):
    best = np.array([probe[0] for probe in probes], dtype)
    right = np.array([probe[1] for probe in probes])
    others: NDArray[np.floating] = np.array(strangers, dtype)
    found = open_set_rates(best, right, others, asked)
    plain = [float(value) for value in best], right.tolist(), [float(value) for value in others]
    fnir, fpir = plain_open_set(*plain, asked)
    assert found.fnir == pytest.approx(fnir)
    assert found.fpir == pytest.approx(fpir)
    assert found.fpir <= asked + 1e-9
    assert found.rank1 == pytest.approx(sum(plain[1]) / len(probes))


def test_a_tie_at_the_threshold_is_refused_whole():
    strangers = np.array([0.2, 0.6, 0.6, 0.6], np.float32)
    found = open_set_rates(np.array([0.6, 0.7], np.float32), np.array([True, True]), strangers, 0.5)
    assert (found.fpir, found.fnir) == (0.0, 0.5)
    assert found.threshold > np.float64(np.float32(0.6))


def test_the_wrong_person_is_no_identification():
    found = open_set_rates(np.array([0.9, 0.9]), np.array([True, False]), np.array([0.1]), 0.0)
    assert (found.rank1, found.fnir, found.fpir) == (0.5, 0.5, 0.0)


def test_every_stranger_may_pass():
    found = open_set_rates(np.array([-0.5]), np.array([True]), np.array([0.1, 0.9]), 1.0)
    assert (found.threshold, found.fnir, found.fpir) == (-1.0, 0.0, 1.0)


@pytest.mark.parametrize(("probes", "strangers"), [(0, 3), (3, 0), (0, 0)])
def test_open_set_rates_need_both_kinds(probes: int, strangers: int):
    with pytest.raises(NothingToMeasure, match="of strangers"):
        open_set_rates(np.zeros(probes), np.zeros(probes, dtype=bool), np.zeros(strangers), 0.1)
