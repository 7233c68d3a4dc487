import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from verify.calibration import BINS, Calibration, histogram, shipped
from verify.fitting import fit
from verify.probability import (
    GROUPS,
    Probability,
    Reliability,
    check_across,
    check_held_out,
    fit_logistic,
)


def bell(mean: float, spread: float, count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(mean, spread, count).clip(-0.99, 0.99).astype("f4")


def bars(similarities: NDArray[np.float32], weight: float = 1.0) -> NDArray[np.float64]:
    return histogram(similarities, np.full(len(similarities), weight))


@pytest.mark.parametrize("spread", [0.15, 0.2, 0.3])
def test_the_curve_is_that_of_scikit_learn(spread: float):
    strangers, mated = bell(0.1, spread, 4000, 1), bell(0.5, spread, 1000, 2)
    slope, intercept = fit_logistic(bars(strangers), bars(mated))
    points = np.concatenate([strangers, mated]).astype(float)[:, None]
    truth = np.arange(5000) >= 4000
    oracle = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-8).fit(points, truth)
    # ours works on bins of 0.001 and draws targets in by one in a thousand
    assert slope == pytest.approx(oracle.coef_[0, 0], rel=0.03)
    assert intercept == pytest.approx(oracle.intercept_[0], rel=0.03)


def test_two_bells_of_one_spread_have_a_known_curve():
    """Of normal curves with one variance the log-likelihood ratio is a line."""
    slope, intercept = fit_logistic(
        bars(bell(0.0, 0.15, 200_000, 3)), bars(bell(0.3, 0.15, 200_000, 4))
    )
    assert slope == pytest.approx(0.3 / 0.15**2, rel=0.03)
    assert intercept == pytest.approx(-0.5 * 0.3**2 / 0.15**2, rel=0.03)


def test_how_many_comparisons_there_are_does_not_matter():
    strangers, mated = bars(bell(0.1, 0.2, 4000, 1)), bars(bell(0.5, 0.2, 1000, 2))
    few, many = fit_logistic(strangers, mated), fit_logistic(strangers * 50, mated)
    assert few == pytest.approx(many, rel=0.01)


def test_without_overlap_the_slope_is_finite():
    apart = np.zeros((2, BINS))
    apart[0, 1100], apart[1, 1800] = 1000, 50
    slope, intercept = fit_logistic(*apart)
    assert 0 < slope < 100
    assert math.isfinite(intercept)


@pytest.mark.parametrize("empty", [0, 1])
def test_one_kind_alone_has_no_curve(empty: int):
    counts = [bars(bell(0.1, 0.1, 50, 1)), bars(bell(0.6, 0.1, 50, 2))]
    counts[empty] = np.zeros(BINS)
    assert fit_logistic(*counts) is None


def test_a_curve_that_falls_is_none():
    assert fit_logistic(bars(bell(0.6, 0.1, 50, 1)), bars(bell(0.1, 0.1, 50, 2))) is None


@given(st.floats(-1, 1), st.floats(1e-6, 1 - 1e-6))
def test_the_prior_moves_the_odds(similarity: float, prior: float):
    curve = Probability(20.0, -8.0)
    even, moved = curve.at(similarity), curve.at(similarity, prior)
    odds = 20 * similarity - 8
    assert even == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-9)
    ratio = math.exp(odds) * prior / (1 - prior)
    assert moved == pytest.approx(ratio / (1 + ratio), rel=1e-9)


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, math.nan])
def test_what_is_no_prior(prior: float):
    with pytest.raises(ValueError, match="prior"):
        Probability(20.0, -8.0).at(0.5, prior)


def test_extreme_odds_do_not_overflow():
    curve = Probability(1e5, 0.0)
    assert (curve.at(-1.0), curve.at(1.0)) == (0.0, 1.0)


def test_the_check_equals_a_plain_count():
    first = bell(0.1, 0.2, 900, 5), bell(0.5, 0.2, 300, 6)
    second = bell(0.15, 0.2, 700, 7), bell(0.45, 0.2, 200, 8)
    check = check_across(
        (bars(first[0]), bars(first[1])), (bars(second[0]), bars(second[1])), people=40
    )
    rows: list[tuple[float, bool, int]] = []
    for fitted, held in ((first, second), (second, first)):
        slope, intercept = fit_logistic(bars(fitted[0]), bars(fitted[1]))
        for kind in (0, 1):
            for similarity in held[kind]:
                centre = (math.floor((float(similarity) + 1) * 1000) + 0.5) / 1000 - 1
                rows.append((1 / (1 + math.exp(-slope * centre - intercept)), bool(kind), kind))
    predicted = np.array([row[0] for row in rows])
    truth = np.array([row[1] for row in rows])
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    assert check.brier == pytest.approx(
        brier_score_loss(truth, predicted, sample_weight=weight), abs=1e-9
    )
    ece = 0.0
    for group in range(GROUPS):
        here = np.minimum((predicted * GROUPS).astype(int), GROUPS - 1) == group
        if here.any():
            ece += abs((weight * (predicted - truth))[here].sum())
            assert check.weight[group] == pytest.approx(weight[here].sum())
            assert check.observed[group] == pytest.approx(
                (weight * truth)[here].sum() / weight[here].sum()
            )
    assert check.ece == pytest.approx(ece, abs=1e-9)
    assert check.people == 40


def test_what_was_promised_holds_where_the_model_does():
    counts = [
        (bars(bell(0.0, 0.15, 20_000, seed)), bars(bell(0.3, 0.15, 20_000, seed + 1)))
        for seed in (10, 20)
    ]
    check = check_across(*counts, people=2)
    assert check.ece < 0.01
    np.testing.assert_allclose(check.predicted, check.observed, atol=0.04)


def test_folds_hold_people_out():
    """With two folds the check is the one across them."""
    parts = [(bars(bell(0.1, 0.2, 500, s)), bars(bell(0.5, 0.2, 90, s + 1))) for s in (30, 40)]
    nonmated = np.zeros((2, 2, BINS))
    nonmated[0, 0], nonmated[1, 1] = parts[0][0], parts[1][0]
    nonmated[0, 1] = bars(bell(0.9, 0.01, 500, 50))  # pairs across folds are on neither side
    folded = check_held_out(nonmated, np.stack([parts[0][1], parts[1][1]]), 9)
    across = check_across(*parts, people=9)
    assert folded.to_dict() == across.to_dict()


def test_nothing_to_check():
    nothing = np.zeros(BINS)
    some = bars(bell(0.1, 0.2, 50, 1))
    assert check_across((some, nothing), (some, nothing), 4) is None
    assert check_held_out(np.zeros((2, 2, BINS)), np.zeros((2, BINS)), 4) is None


def fitted() -> Calibration:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 3)
    rows = rng.normal(size=(60, 16))[people] + 0.5 * rng.normal(size=(180, 16))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = [str(person) for person in people]
    return fit(vectors, names, space="toy", source="toy", data_digest="0" * 64)


def test_a_fitted_calibration_has_a_curve_and_its_check():
    calibration = fitted()
    curve = calibration.probability
    assert curve is not None
    assert curve.reliability is not None
    assert curve.reliability.people == 60
    assert curve.reliability.weight.sum() == pytest.approx(1)
    assert curve.reliability.ece < 0.1
    assert calibration.probability_at(0.9) > 0.9 > 0.1 > calibration.probability_at(-0.2)


def test_there_and_back():
    calibration = fitted()
    values = json.loads(json.dumps(calibration.to_dict()))
    assert values["format"] == "vultus-calibration-2"
    back = Calibration.from_dict(values)
    assert back.to_dict() == values
    assert back.digest == calibration.digest
    assert back.probability_at(0.4) == pytest.approx(calibration.probability_at(0.4), abs=1e-5)


def test_the_first_format_is_read_and_kept_as_it_was():
    values = fitted().to_dict()
    del values["probability"]
    old = Calibration.from_dict(values | {"format": "vultus-calibration-1"})
    assert old.probability is None
    assert old.to_dict()["format"] == "vultus-calibration-1"
    assert "probability" not in old.to_dict()
    assert old.probability_at(0.4) == pytest.approx(fitted().probability_at(0.4), abs=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"slope": -1.0},
        {"slope": math.nan},
        {"intercept": "low"},
        {"reliability": {}},
        {"reliability": {"people": 3}},
    ],
    ids=str,
)
def test_a_broken_curve(change: dict[str, object]):
    with pytest.raises((ValueError, LookupError)):
        Probability.from_dict(fitted().probability.to_dict() | change)


def test_a_check_has_ten_bins():
    values = fitted().probability.reliability.to_dict()
    with pytest.raises(ValueError, match="10 bins"):
        Reliability.from_dict(values | {"weight": values["weight"][:-1]})


def test_the_shipped_ones_are_checked():
    for calibration in shipped().values():
        check = calibration.probability.reliability
        assert check.people == calibration.people
        assert check.brier < 0.01
        assert check.ece < 0.03
        assert calibration.probability_at(calibration.threshold(1e-3)) < 0.95
