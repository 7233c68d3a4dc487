import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.calibration import Calibration, parse
from verify.combining import combine
from verify.errors import CannotCombine
from verify.fitting import fit


def crowd(count: int, seed: int, digest: str, space: str = "toy") -> Calibration:
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(count), 2)
    rows: NDArray[np.float64] = rng.normal(size=(count, 16))[people]
    rows = rows + 0.5 * rng.normal(size=rows.shape)
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = [str(person) for person in people]
    return fit(vectors, names, space=space, source=f"crowd {seed}", data_digest=digest * 64)


def test_counts_add():
    parts = [crowd(40, 1, "a"), crowd(70, 2, "b"), crowd(20, 3, "c")]
    both = combine(parts)
    assert both.people == 130
    assert both.person_pairs == sum(n * (n - 1) // 2 for n in (40, 70, 20))
    assert both.mated_people == 130
    assert both.photos == 260
    for threshold in (-0.2, 0.0, 0.3, 0.6):
        rate = sum(p.fmr_at(threshold) * p.person_pairs for p in parts) / both.person_pairs
        assert both.fmr_at(threshold) == pytest.approx(rate)
    assert both.source == "crowd 1 + crowd 2 + crowd 3"
    assert len(both.data_digest) == 64
    assert both.probability.reliability is None  # more than two: nothing is held out


def test_of_two_the_check_is_on_the_other():
    both = combine([crowd(60, 1, "a"), crowd(50, 2, "b")])
    assert both.probability.reliability.people == 110
    assert both.probability.reliability.ece < 0.1
    back = parse(json.dumps(both.to_dict()))
    assert back.digest == both.digest


def test_the_order_does_not_matter():
    one, other = crowd(30, 1, "a"), crowd(40, 2, "b")
    assert combine([one, other]).data_digest == combine([other, one]).data_digest


def test_intervals_hold_the_rate_and_are_narrower():
    parts = [crowd(60, 1, "a"), crowd(60, 2, "b")]
    both = combine(parts)
    assert list(both.intervals) == [0.1, 0.01, 0.001]
    for rate, (low, high) in both.intervals.items():
        assert low <= both.fmr_at(both.threshold(rate)) <= high
    width = [np.log(c.intervals[0.1][1] / c.intervals[0.1][0]) for c in (both, *parts)]
    assert width[0] < min(width[1:])


def test_a_rate_that_only_the_sum_supports():
    parts = [crowd(n, n, f"{n % 10}") for n in (50, 51, 52, 53)]
    assert all(0.001 not in part.intervals for part in parts)
    low, high = combine(parts).intervals[0.001]
    assert low < 0.001 < high


def test_what_cannot_be_combined():
    one = crowd(10, 1, "a")
    with pytest.raises(CannotCombine, match="two calibrations"):
        combine([one])
    with pytest.raises(CannotCombine, match="same data"):
        combine([one, crowd(12, 2, "b"), one])
    with pytest.raises(CannotCombine, match="other, toy"):
        combine([one, crowd(12, 2, "b", space="other")])


def test_without_mated_people_there_is_no_probability(curve: Callable[..., Calibration]):
    one = curve({1000: 100})
    other = Calibration.from_dict(curve({1100: 50}).to_dict() | {"data_digest": "1" * 64})
    both = combine([one, other])
    assert both.probability is None
    assert both.person_pairs == 150
