import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from verify.rates import auc, eer
from verify.resampling import (
    Exposure,
    area,
    bootstrap,
    by_person,
    crossing,
    estimates,
    mated_rate,
    nonmated_rate,
    supports,
)


def everybody(people: int) -> Exposure:
    """All pairs of people, one comparison each."""
    pairs = people * (people - 1) // 2
    return Exposure(np.full(people, float(people - 1)), pairs, pairs, people)


def test_no_error_follows_the_rule_of_three():
    found = mated_rate(np.zeros(100), np.full(100, 5.0))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.03)
    assert (found.errors, found.trials, found.units) == (0, 500, 100)
    none = np.empty(0, np.int64)
    assert nonmated_rate(none, none, everybody(100)).high == pytest.approx(3 / 4950)


def test_only_errors_follow_it_from_above():
    found = mated_rate(np.full(100, 2.0), np.full(100, 2.0))
    assert (found.value, found.low, found.high) == (1.0, 0.97, 1.0)


@pytest.mark.parametrize("people", [0, 1, 3])
def test_too_few_people_support_nothing(people: int):
    assert not mated_rate(np.zeros(people), np.ones(people)).supported


def test_independent_trials_give_the_binomial_interval():
    """One trial a person: Clopper–Pearson, but for t(n − 1) and n / (n − 1)."""
    errors = np.zeros(4000)
    errors[:200] = 1
    found = mated_rate(errors, np.ones(4000))
    exact = stats.binomtest(200, 4000).proportion_ci(0.95, "exact")
    assert found.low == pytest.approx(exact.low, rel=2e-3)
    assert found.high == pytest.approx(exact.high, rel=2e-3)


def test_many_photos_of_the_same_people_are_not_more_people():
    errors = np.zeros(100)
    errors[:10] = 1.0
    once, often = mated_rate(errors, np.ones(100)), mated_rate(errors * 50, np.full(100, 50.0))
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=4, max_size=30))
def test_the_variance_is_the_jackknifes(rows: list[tuple[int, int]]):
    """The closed form against leaving one person out, to first order, where trials are equal."""
    errors = np.array([min(e, 4) for e, _ in rows], float)
    found = mated_rate(errors, np.full(len(rows), 4.0))
    if not 0 < errors.sum() < 4 * len(rows):
        return
    without = np.array(
        [np.delete(errors, i).sum() / (4 * (len(rows) - 1)) for i in range(len(rows))]
    )
    n = len(rows)
    variance = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    share = errors.sum() / (4 * n)
    if variance < 1e-12:
        return
    ratio = stats.norm.isf(0.025) / stats.t.isf(0.025, n - 1)
    effective = share * (1 - share) / variance * ratio**2
    low = stats.beta.ppf(0.025, share * effective, effective * (1 - share) + 1)
    assert found.low == pytest.approx(low, abs=1e-9)


def test_one_person_who_matches_everybody_widens_the_interval():
    wolf = nonmated_rate(np.zeros(20, np.int64), np.arange(1, 21), everybody(100))
    spread = nonmated_rate(np.arange(20) * 2, np.arange(20) * 2 + 1, everybody(100))
    assert wolf.value == spread.value
    assert wolf.high is not None
    assert spread.high is not None
    assert wolf.high > 1.5 * spread.high


@given(st.integers(0, 2**32 - 1))
def test_intervals_hold_their_rate(seed: int):
    generator = np.random.default_rng(seed)
    people = generator.integers(0, 20, 60)
    found = by_person(generator.random(60) < 0.3, people)
    if found.value is not None and found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_supported_rates():
    assert supports(3000, 1e-3)
    assert not supports(2999, 1e-3)
    assert not supports(0, 0.5)


def comparisons(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(30), 3)
    one, other = np.triu_indices(len(people), 1)
    first, second = people[one], people[other]
    scores = generator.normal(np.where(first == second, 1.0, 0.0), 0.7).round(1)
    return scores, first, second


def test_the_bootstraps_statistics_are_the_metrics():
    """With every person drawn once, area and crossing are AUC and EER."""
    scores, first, second = comparisons(0)
    same = first == second
    seen = {}

    def keep(fmr: np.ndarray, fnmr: np.ndarray) -> float:
        seen["auc"], seen["eer"] = area(fmr, fnmr), crossing(fmr, fnmr)
        return 0.0

    class Once:
        def integers(self, people: int, size: int) -> np.ndarray:
            return np.arange(size) % people

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "default_rng", lambda _seed: Once())
        bootstrap(scores, first, second, {"keep": keep}, draws=1)
    mated, nonmated = np.sort(scores[same]), np.sort(scores[~same])
    assert seen["auc"] == pytest.approx(auc(mated, nonmated), abs=1e-9)
    assert seen["auc"] == pytest.approx(roc_auc_score(same, scores), abs=1e-9)
    assert seen["eer"] == pytest.approx(eer(mated, nonmated), abs=1e-9)


def test_bootstrap_is_seeded_and_holds_the_figure():
    scores, first, second = comparisons(1)
    same = first == second
    mated, nonmated = np.sort(scores[same]), np.sort(scores[~same])
    values = auc(mated, nonmated), eer(mated, nonmated)
    found = estimates(values, scores, first, second, 5)
    assert found == estimates(values, scores, first, second, 5)
    assert found != estimates(values, scores, first, second, 6)
    for one in found:
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.value < one.high  # type: ignore[operator]


def test_failed_comparisons_tie():
    scores, first, second = comparisons(2)
    scores[::7] = -np.inf
    found = bootstrap(scores, first, second, {"auc": area}, draws=20)
    assert 0.5 < found["auc"][0] < found["auc"][1] < 1


def test_no_interval_without_both_kinds():
    scores, first, second = comparisons(3)
    none = estimates((None, None), scores, first, second, 0)
    assert [one.low for one in none] == [None, None]
