import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from verify.errors import NothingToMeasure
from verify.rates import (
    FAILED,
    at_or_above,
    auc,
    cross_validate,
    eer,
    error_curve,
    histogram,
    operating,
    threshold_at,
)

TIES = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])
ANY = st.one_of(TIES, st.floats(-1, 1, width=32))
FAILING = st.one_of(ANY, st.just(float("-inf")))
LISTS = st.lists(FAILING, min_size=1, max_size=40)


def ranked(values: list[float], dtype: type = np.float32) -> np.ndarray:
    return np.sort(np.array(values, dtype))


def as_sklearn(mated: list[float], nonmated: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and finite scores: failures below everything else."""
    scores = np.array([*mated, *nonmated], np.float32).astype(np.float64)
    truth = np.array([1] * len(mated) + [0] * len(nonmated))
    return truth, np.where(np.isneginf(scores), -2.0, scores)


def plain_eer(mated: list[float], nonmated: list[float]) -> float:
    """Walk the ROC's segments from (0, 0) and cut each with FMR = FNMR."""
    accepts, right, _ = roc_curve(*as_sklearn(mated, nonmated), drop_intermediate=False)
    for place in range(1, len(accepts)):
        x1, y1, x2, y2 = accepts[place - 1], right[place - 1], accepts[place], right[place]
        before, after = 1 - y1 - x1, 1 - y2 - x2
        if after <= 0:
            return float(x1 + (x2 - x1) * before / (before - after))
    raise AssertionError


@given(LISTS, LISTS)
def test_auc_is_scikit_learns(mated: list[float], nonmated: list[float]):
    expected = roc_auc_score(*as_sklearn(mated, nonmated))
    assert auc(ranked(mated), ranked(nonmated)) == pytest.approx(expected, abs=1e-9)


@given(LISTS, LISTS, st.sampled_from([np.float32, np.float64]))
def test_eer_cuts_the_roc(mated: list[float], nonmated: list[float], dtype: type):
    found = eer(ranked(mated, dtype), ranked(nonmated, dtype))
    assert found == pytest.approx(plain_eer(mated, nonmated), abs=1e-9)


@given(st.lists(ANY, min_size=2, max_size=40), st.lists(ANY, min_size=2, max_size=40))
def test_the_curve_holds_scikit_learns_det(mated: list[float], nonmated: list[float]):
    truth, scores = as_sklearn(mated, nonmated)
    curve = error_curve(ranked(mated), ranked(nonmated), points=None)
    mine = set(zip(np.round(curve.false_accepts, 9), np.round(curve.false_rejects, 9), strict=True))
    false_accepts, false_rejects, _ = det_curve(truth, scores)
    theirs = set(zip(np.round(false_accepts, 9), np.round(false_rejects, 9), strict=True))
    assert theirs <= mine
    assert (np.diff(curve.false_accepts) >= 0).all()
    assert (np.diff(curve.false_rejects) <= 0).all()


@given(LISTS, LISTS, st.floats(-1, 1))
def test_errors_are_counts(mated: list[float], nonmated: list[float], threshold: float):
    found = operating(ranked(mated), ranked(nonmated), threshold)
    assert found.false_matches == sum(float(np.float32(s)) >= threshold for s in nonmated)
    assert found.false_non_matches == sum(float(np.float32(s)) < threshold for s in mated)


@given(LISTS, st.floats(0, 1))
def test_the_lowest_threshold_at_a_rate(nonmated: list[float], rate: float):
    scores = ranked(nonmated)
    threshold = threshold_at(scores, rate)
    reached = [s for s in scores if float(s) >= threshold]
    assert len(reached) / len(scores) <= rate + 1e-9
    refused = [float(s) for s in scores if -1 < float(s) < threshold]
    if refused:  # one step lower would let too many pass
        lower = sum(float(s) >= max(refused) for s in scores)
        assert lower / len(scores) > rate


def test_eer_agrees_with_pyeer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eer_info = pytest.importorskip("pyeer.eer_info")
    generator = np.random.default_rng(1)
    for count in (30, 200, 1000):
        mated = generator.normal(0.6, 0.2, count).round(2)
        nonmated = generator.normal(0.1, 0.2, 3 * count).round(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = eer_info.get_eer_stats(mated.tolist(), nonmated.tolist()).eer
        assert eer(np.sort(mated), np.sort(nonmated)) == pytest.approx(theirs, abs=1 / count)


def test_a_failed_mated_comparison_is_never_a_match():
    mated, nonmated = ranked([FAILED, 0.9]), ranked([FAILED, 0.1])
    assert operating(mated, nonmated, -1.0).fnmr == 0.5
    assert operating(mated, nonmated, -1.0).fmr == 0.5
    assert threshold_at(ranked([FAILED, FAILED]), 0.0) == -1.0


@pytest.mark.parametrize(("mated", "nonmated"), [([], [0.1]), ([0.1], []), ([], [])])
def test_empty_classes_have_no_figure(mated: list[float], nonmated: list[float]):
    assert auc(ranked(mated), ranked(nonmated)) is None
    assert eer(ranked(mated), ranked(nonmated)) is None
    with pytest.raises(NothingToMeasure, match="mated and non-mated"):
        error_curve(ranked(mated), ranked(nonmated))


def test_a_threshold_needs_scores():
    with pytest.raises(NothingToMeasure, match="non-mated"):
        threshold_at(ranked([]), 0.1)


def test_thresholds_between_two_float32_values():
    score = np.float32(0.1)
    just_above = np.nextafter(np.float64(score), 1.0)
    assert at_or_above(np.array([score]), float(just_above)) == 0
    assert at_or_above(np.array([score]), float(score)) == 1


def test_a_thinned_curve_lies_on_the_whole_one():
    generator = np.random.default_rng(0)
    mated, nonmated = np.sort(generator.normal(1, 1, 5000)), np.sort(generator.normal(0, 1, 9000))
    thin = error_curve(mated, nonmated, points=300)
    assert 100 < len(thin.thresholds) < 700
    for place in range(0, len(thin.thresholds), 17):
        found = operating(mated, nonmated, float(thin.thresholds[place]))
        assert thin.false_accepts[place] == pytest.approx(found.fmr)
        assert thin.false_rejects[place] == pytest.approx(found.fnmr)
    assert (thin.false_accepts[0], thin.false_rejects[0]) == (0.0, 1.0)
    assert (thin.false_accepts[-1], thin.false_rejects[-1]) == (1.0, 0.0)


@given(LISTS, LISTS)
def test_histograms_leave_out_failures(mated: list[float], nonmated: list[float]):
    found = histogram(ranked(mated), ranked(nonmated), bins=20)
    assert found.mated.sum() == sum(np.isfinite(mated))
    assert found.nonmated.sum() == sum(np.isfinite(nonmated))
    assert (found.mated >= 0).all()
    inner = np.array([s for s in mated if np.isfinite(s)], np.float32).astype(np.float64)
    assert found.mated.tolist() == np.histogram(inner, found.edges)[0].tolist()


def test_lfw_folds_with_a_known_answer():
    """Ten folds that 0.5 separates, but for one mated pair in one fold: 9 × 1 and 0.95."""
    scores, same, folds = [], [], []
    for fold in range(10):
        for number in range(10):
            scores += [0.9, 0.1]
            same += [True, False]
            folds += [fold, fold]
            if fold == 3 and number == 0:
                scores[-2] = 0.05
    values, truth, where = np.array(scores), np.array(same), np.array(folds)
    splits = [(where == fold, where != fold) for fold in range(10)]
    found = cross_validate(values, truth, where, splits, 0.01)
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.995)
    assert found.accuracy.std == pytest.approx(np.std([1.0] * 9 + [0.95]))
    assert found.validation is not None
    assert found.validation.mean == pytest.approx(0.99)
    assert (found.far, found.accuracy.folds) == (0.0, 10)


def test_folds_that_cannot_choose_a_threshold_give_nothing():
    scores, same = np.array([0.1, 0.2, 0.9]), np.array([False, False, True])
    folds = np.array([0, 1, 1])
    splits = [(folds == fold, folds != fold) for fold in (0, 1)]
    assert cross_validate(scores, same, folds, splits, 0.01).accuracy is None
