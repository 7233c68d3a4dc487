import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import genpareto

from verify.calibration import BINS, Calibration, histogram, shipped
from verify.decision import rule_at
from verify.errors import UnsupportedRate
from verify.extremes import REACH, Tail, extrapolated_threshold, fit_tail, tail_of
from verify.identify import gallery_rule
from verify.pair import compare, verify

PROBE = np.eye(1, 4, dtype=np.float32)


def at(similarity: float) -> NDArray[np.float32]:
    return np.array([[similarity, math.sqrt(1 - similarity**2), 0, 0]], np.float32)


def counts(shape: float, scale: float, pairs: int, seed: int = 0) -> NDArray[np.float64]:
    """Strangers below 0.3 but one in a hundred, whose excess is generalised Pareto."""
    rng = np.random.default_rng(seed)
    tail = 0.3 + genpareto.rvs(shape, scale=scale, size=pairs // 100, random_state=rng)
    body = rng.uniform(-0.2, 0.2999, pairs - len(tail))
    both = np.concatenate([body, tail]).clip(-1, 0.9999).astype(np.float32)
    return histogram(both, np.ones(len(both)))


@pytest.fixture
def crowd(curve: Callable[..., Calibration]) -> Calibration:
    """100,000 pairs of strangers with an exponential tail of scale 0.03 above 0.3."""
    bins = counts(0.0, 0.03, 100_000)
    return curve({int(i): float(bins[i]) for i in np.flatnonzero(bins)}, {1700: 50})


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([-0.2, -0.1, 0.0, 0.1]), st.integers(0, 5))
def test_a_known_tail_is_found(shape: float, seed: int):
    tail = fit_tail(counts(shape, 0.03, 400_000, seed))
    assert tail.start == pytest.approx(0.3, abs=0.0015)
    assert tail.shape == pytest.approx(shape, abs=4 * tail.errors[0])
    assert tail.scale == pytest.approx(0.03, abs=4 * tail.errors[1] + 0.001)
    assert tail.rate == pytest.approx(0.01, rel=0.02)


def test_it_agrees_with_scipys_fit():
    bins = counts(-0.1, 0.04, 200_000)
    tail = fit_tail(bins)
    first = round((tail.start + 1) * 1000)
    middles = np.repeat((np.arange(first, BINS) + 0.5) / 1000 - 1, bins[first:].astype(int))
    shape, _, scale = genpareto.fit(middles - tail.start, floc=0)
    assert tail.shape == pytest.approx(shape, abs=0.01)
    assert tail.scale == pytest.approx(scale, rel=0.02)


@pytest.mark.parametrize("shape", [-0.3, -1e-12, 0.0, 1e-12, 0.2])
def test_rates_and_thresholds_are_inverse_and_those_of_scipy(shape: float):
    tail = Tail(0.3, shape, 0.03, 0.01, 1000.0, (0.0, 0.0))
    for rate in (5e-3, 1e-4, 1e-6):
        threshold = tail.threshold(rate)
        assert threshold == 1.0 or tail.fmr_at(threshold) == pytest.approx(rate, rel=1e-6)
        oracle = 0.3 + genpareto.isf(rate / 0.01, shape, scale=0.03)
        assert threshold == pytest.approx(min(oracle, 1.0), rel=1e-6)


def test_no_similarity_is_above_one():
    assert Tail(0.3, 0.5, 0.1, 0.01, 1000.0, (0.0, 0.0)).threshold(1e-9) == 1.0


@pytest.mark.parametrize("pairs", [0, 10, 49])
def test_too_few_pairs(pairs: int):
    bins = np.zeros(BINS)
    bins[1200] = pairs
    assert fit_tail(bins) is None


def test_steps_have_no_tail(stairs: Calibration):
    with pytest.raises(UnsupportedRate, match=r"too few pairs|extrapolate"):
        tail_of(stairs)


def test_beyond_the_counts(crowd: Calibration):
    assert crowd.smallest_fmr == 3e-5
    last = crowd.threshold(3e-5)
    before = last
    for rate in (2e-5, 1e-5, 1e-6, 3e-7):
        with pytest.raises(UnsupportedRate):
            crowd.threshold(rate)
        threshold = extrapolated_threshold(crowd, rate)
        assert threshold >= before
        before = threshold
    assert 0.45 < extrapolated_threshold(crowd, 1e-6) < 0.75  # the true one is 0.576


def test_it_does_not_reach_for_ever(crowd: Calibration):
    with pytest.raises(UnsupportedRate, match="no less than 3e-07"):
        extrapolated_threshold(crowd, 3e-5 / REACH / 1.01)
    with pytest.raises(UnsupportedRate, match="between 0 and 1"):
        extrapolated_threshold(crowd, 0.0)


def test_only_who_asks_gets_it(crowd: Calibration):
    for fmr in (1e-5, 1e-6):
        with pytest.raises(UnsupportedRate, match="ask for"):
            compare(PROBE, at(0.9), crowd, fmr)
        decision = compare(PROBE, at(0.9), crowd, fmr, extrapolate=True)
        assert decision.match == "yes"
        assert decision.extrapolated
        assert decision.to_dict()["extrapolated"] is True
        assert decision.reasons[0].startswith("extrapolated: the 100000 pairs of people of toy")


def test_what_is_supported_is_not_extrapolated(crowd: Calibration):
    plain, asked = rule_at(crowd, 1e-3), rule_at(crowd, 1e-3, extrapolate=True)
    assert plain == asked
    assert not asked.extrapolated
    decision = verify(PROBE, at(0.9), crowd, 1e-3, extrapolate=True)
    assert not decision.extrapolated
    assert decision.reasons == ()


def test_fewer_templates_come_before_extrapolation(crowd: Calibration):
    templates = np.concatenate([at(s) for s in (0.9, 0.85, 0.8, 0.7)])
    decision = verify(PROBE, templates, crowd, 6e-5, extrapolate=True)
    assert decision.templates == 2
    assert not decision.extrapolated
    decision = verify(PROBE, templates, crowd, 1e-5, extrapolate=True)
    assert decision.templates == 1
    assert decision.extrapolated


def test_a_gallery_too_large_for_the_counts(crowd: Calibration):
    with pytest.raises(UnsupportedRate):
        gallery_rule(crowd, 5000, 0.01)
    rule = gallery_rule(crowd, 5000, 0.01, extrapolate=True)
    assert rule.extrapolated
    assert rule.threshold == extrapolated_threshold(crowd, 0.01, 5000)
    assert gallery_rule(crowd, 5000, None, extrapolate=True) == rule


def test_the_shipped_ones_have_a_light_tail():
    for calibration in shipped().values():
        tail = tail_of(calibration)
        assert abs(tail.shape) < 0.2
        counted = calibration.threshold(1e-3)
        assert tail.threshold(1e-3) == pytest.approx(counted, abs=0.005)
        assert extrapolated_threshold(calibration, 1e-6) > calibration.threshold(1e-4)
