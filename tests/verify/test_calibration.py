import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, localcontext
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from embedder.card import WHOLE, EncoderCard
from embedder.encoder import known_models
from verify.calibration import (
    BINS,
    Calibration,
    calibration_for,
    histogram,
    parse,
    per_comparison,
    rounded_up,
    shipped,
)
from verify.errors import CalibrationBroken, NoCalibration, UnsupportedRate

WEIGHTS = st.dictionaries(
    st.integers(0, BINS - 1), st.integers(1, 400), min_size=1, max_size=20
).filter(lambda weights: sum(weights.values()) >= 10)
SHARES = st.floats(0, 1)  # of the way from the smallest rate to the largest
# things have no calibration that ships: what is alike differs from shop to shop
FACES = [card for card in known_models() if card.alignment != WHOLE]
CARDS = pytest.mark.parametrize("card", FACES, ids=lambda card: card.name)


def lower_edge(place: int) -> float:
    return place / 1000 - 1


def weight_from(weights: dict[int, int], threshold: float) -> int:
    """The weight of the bins at or above a threshold, bin by bin."""
    total = 0
    for place, weight in weights.items():
        if lower_edge(place) >= threshold - 1e-9:
            total += weight
    return total


class TestThreshold:
    @given(WEIGHTS, SHARES)
    def test_it_is_the_lowest_that_keeps_the_rate(
        self, curve: Callable[..., Calibration], weights: dict[int, int], share: float
    ):
        calibration = curve(weights)
        pairs = sum(weights.values())
        fmr = min(3 / pairs + share * (1 - 3 / pairs), 0.999)
        threshold = calibration.threshold(fmr)
        assert -1 <= threshold <= 1
        assert weight_from(weights, threshold) / pairs <= fmr + 1e-8
        assert threshold == -1 or weight_from(weights, threshold - 0.001) / pairs > fmr

    def test_of_known_steps(self, stairs: Calibration):
        rates = (0.5, 0.1, 0.05, 0.01, 0.001)
        assert [stairs.threshold(rate) for rate in rates] == [0.5, 0.5, 0.75, 0.75, 0.875]

    @given(WEIGHTS, SHARES, st.integers(1, 50))
    def test_a_gallery_never_lowers_it(
        self, curve: Callable[..., Calibration], weights: dict[int, int], share: float, size: int
    ):
        calibration = curve(weights)
        smallest = calibration.smallest_rate(size)
        fmr = min(smallest + share * (1 - smallest), 0.999)
        assume(fmr >= smallest)
        threshold = calibration.threshold(fmr, size)
        assert threshold >= calibration.threshold(fmr)
        each = 1 - (1 - fmr) ** (1 / size)
        assert weight_from(weights, threshold) / sum(weights.values()) <= each + 1e-8

    def test_the_steps_against_a_gallery(self, stairs: Calibration):
        assert stairs.threshold(0.01, 2) == 0.875  # 0.0050 a comparison
        assert stairs.threshold(0.02, 2) == 0.75  # 0.01005 a comparison
        assert stairs.threshold(0.02, 3) == 0.875

    @pytest.mark.parametrize("fmr", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf, -math.inf])
    def test_what_is_no_rate_is_refused(self, stairs: Calibration, fmr: float):
        with pytest.raises(UnsupportedRate, match="between 0 and 1"):
            stairs.threshold(fmr)

    def test_the_rule_of_three(self, stairs: Calibration):
        assert stairs.smallest_fmr == 3 / 10_000
        assert stairs.threshold(3 / 10_000) == 0.875
        with pytest.raises(UnsupportedRate, match="toy people"):
            stairs.threshold(2.99 / 10_000)

    @pytest.mark.parametrize("pairs", [1, 3])
    def test_three_pairs_support_no_rate(self, curve: Callable[..., Calibration], pairs: int):
        calibration = curve({1200: pairs})
        with pytest.raises(UnsupportedRate, match=r"calibrate on more people") as caught:
            calibration.threshold(0.999)
        assert "ask for" not in str(caught.value)
        assert calibration.smallest_rate(7) == 1.0


class TestRates:
    @given(st.floats(1e-9, 1 - 1e-9), st.integers(1, 10**7))
    def test_one_comparison_of_many(self, rate: float, size: int):
        with localcontext() as context:
            context.prec = 50
            exact = 1 - (1 - Decimal(rate)) ** (1 / Decimal(size))
        assert per_comparison(rate, size) == pytest.approx(float(exact), rel=1e-9)

    @given(st.floats(1e-6, 0.9))
    def test_an_empty_gallery_counts_as_one(self, rate: float):
        assert per_comparison(rate, 0) == per_comparison(rate, 1) == pytest.approx(rate)

    def test_independent_comparisons_err_as_often_as_asked(self):
        each = per_comparison(0.2, 5)
        draws = np.random.default_rng(5).random((40_000, 5)) < each
        assert draws.any(axis=1).mean() == pytest.approx(0.2, abs=0.01)

    @given(st.integers(10, 10**6), st.integers(1, 5000))
    def test_the_smallest_rate_is_the_inverse(
        self, curve: Callable[..., Calibration], pairs: int, size: int
    ):
        calibration = curve({1000: pairs})
        smallest = calibration.smallest_rate(size)
        assume(smallest < 0.999)
        assert per_comparison(smallest, size) == pytest.approx(3 / pairs, rel=1e-9)
        calibration.threshold(smallest, size)  # is not refused
        with pytest.raises(UnsupportedRate):
            calibration.threshold(smallest * 0.999, size)

    @given(st.integers(10, 10**6), st.integers(1, 200))
    def test_the_refusal_names_a_rate_that_is_granted(
        self, curve: Callable[..., Calibration], pairs: int, size: int
    ):
        calibration = curve({1000: pairs})
        with pytest.raises(UnsupportedRate) as caught:
            calibration.threshold(0.5 * calibration.smallest_fmr, size)
        offered = re.search(r"ask for (\S+) or more", str(caught.value))
        if offered is None:
            assert calibration.smallest_rate(size) > 0.99
        else:
            calibration.threshold(float(offered[1]), size)

    @given(st.floats(1e-12, 1.0))
    def test_rounding_up(self, rate: float):
        shown = rounded_up(rate)
        assert rate * (1 - 1e-11) <= shown <= rate * 1.11
        assert float(f"{shown:.2g}") == shown

    def test_rounding_up_keeps_two_digits(self):
        rates = (0.0003, 0.00030096, 0.012, 0.0999, 1.0)
        assert [rounded_up(rate) for rate in rates] == [0.0003, 0.00031, 0.012, 0.1, 1.0]


class TestCurve:
    def test_counts_of_raw_similarities(self, curve: Callable[..., Calibration]):
        rng = np.random.default_rng(4)
        strangers = rng.normal(0.1, 0.2, 3000).clip(-0.99, 0.99).astype(np.float32)
        mated = rng.normal(0.6, 0.2, 500).clip(-0.99, 0.99).astype(np.float32)
        ones = [np.ones(len(raw)) for raw in (strangers, mated)]
        calibration = curve(
            dict(enumerate(histogram(strangers, ones[0]))),
            dict(enumerate(histogram(mated, ones[1]))),
        )
        for place in range(0, BINS + 1, 25):
            edge = lower_edge(place)
            above = sum(float(similarity) >= edge for similarity in strangers)
            below = sum(float(similarity) < edge for similarity in mated)
            assert calibration.fmr_at(edge) == pytest.approx(above / 3000)
            assert calibration.fnmr_at(edge) == pytest.approx(below / 500)

    def test_between_edges_the_next_edge_counts(self, stairs: Calibration):
        assert stairs.fmr_at(0.7489) == pytest.approx(0.1)
        assert stairs.fmr_at(0.7491) == pytest.approx(0.01)
        assert stairs.fnmr_at(0.9) == pytest.approx(0.5)
        assert stairs.fnmr_at(0.9001) == pytest.approx(1.0)

    def test_beyond_the_ends(self, stairs: Calibration):
        assert (stairs.fmr_at(-3), stairs.fmr_at(3)) == (1.0, 0.0)
        assert (stairs.fnmr_at(-3), stairs.fnmr_at(3)) == (0.0, 1.0)

    def test_the_realised_rate_is_that_of_the_threshold(self, stairs: Calibration):
        rates = (0.5, 0.1, 0.05, 0.01, 0.001)
        realised = [stairs.fmr_at(stairs.threshold(rate)) for rate in rates]
        assert realised == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.0])

    def test_without_mated_people_there_is_no_fnmr(self, curve: Callable[..., Calibration]):
        assert curve({1000: 50}).fnmr_at(0.5) is None

    @given(WEIGHTS)
    def test_no_two_strangers_reached(
        self, curve: Callable[..., Calibration], weights: dict[int, int]
    ):
        calibration = curve(weights)
        limit = calibration.beyond_strangers
        assert calibration.fmr_at(limit) == 0.0
        assert calibration.fmr_at(limit - 0.001) > 0.0

    def test_the_ends_of_the_histogram(self):
        similarities = np.array([-1.0, -1.0000001, 1.0, 1.0000001, 0.0], np.float32)
        found = histogram(similarities, np.array([1.0, 2.0, 4.0, 8.0, 16.0]))
        assert {int(place): found[place] for place in np.flatnonzero(found)} == {
            0: 3.0,
            1000: 16.0,
            1999: 12.0,
        }


class TestText:
    @given(WEIGHTS, WEIGHTS)
    def test_there_and_back(
        self,
        curve: Callable[..., Calibration],
        weights: dict[int, int],
        mated: dict[int, int],
    ):
        calibration = curve(weights, mated)
        back = parse(json.dumps(calibration.to_dict()))
        for field in ("space", "source", "people", "person_pairs", "mated_people", "photos"):
            assert getattr(back, field) == getattr(calibration, field)
        assert np.array_equal(back.nonmated, calibration.nonmated)
        assert np.array_equal(back.mated, calibration.mated)
        assert back.intervals == {0.01: (0.008, 0.012)}
        assert (back.data_digest, back.created) == ("0" * 64, "2026-01-31")
        assert back.digest == calibration.digest
        for rate in (calibration.smallest_fmr, 0.5, 0.9):
            assert back.threshold(rate) == calibration.threshold(rate)

    def test_the_lightest_comparison_is_kept(self, curve: Callable[..., Calibration]):
        """Of two people with a thousand photos each, one pair of photos weighs a millionth."""
        calibration = curve({1100: 49.999999, 1600: 1e-6})
        back = Calibration.from_dict(calibration.to_dict())
        assert back.beyond_strangers == calibration.beyond_strangers == pytest.approx(0.601)

    def test_the_digest_names_the_curve(self, curve: Callable[..., Calibration]):
        digest = curve({1000: 20, 1001: 30}).digest
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert curve({1001: 30, 1000: 20}).digest == digest
        assert curve({1000: 20, 1002: 30}).digest != digest
        assert curve({1000: 20, 1001: 30}, space="other").digest != digest

    @pytest.mark.parametrize(
        "key",
        [
            "format", "space", "source", "people", "person_pairs", "mated_people", "photos",
            "nonmated", "mated", "intervals", "data_digest", "created",
        ],
    )  # fmt: skip
    def test_a_missing_key(self, stairs: Calibration, key: str):
        values = stairs.to_dict()
        del values[key]
        with pytest.raises(CalibrationBroken, match=key):
            Calibration.from_dict(values)

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "vultus-calibration-3"},
            {"person_pairs": 9999},
            {"person_pairs": 0},
            {"person_pairs": math.nan},
            {"person_pairs": math.inf},
            {"person_pairs": "many"},
            {"mated_people": 99},
            {"nonmated": []},
            {"nonmated": {"first": 1000}},
            {"nonmated": {"values": [10_000]}},
            {"nonmated": {"first": 0, "values": []}},
            {"nonmated": {"first": -1, "values": [10_000]}},
            {"nonmated": {"first": 1999, "values": [5000, 5000]}},
            {"nonmated": {"first": 1000, "values": [10_001, -1]}},
            {"nonmated": {"first": 1000, "values": [10_000, math.nan]}},
            {"nonmated": {"first": 1000, "values": [math.inf]}},
            {"nonmated": {"first": 1000, "values": [[5000], [5000]]}},
            {"nonmated": {"first": 1000, "values": [[5000], [5000, 0]]}},
            {"nonmated": {"first": 1000, "values": ["10000x"]}},
            {"nonmated": {"first": 1000, "values": [10**400]}},
            {"mated": {"first": 1700, "values": [101, -1]}},
            {"mated": None},
            {"intervals": [0.1, 0.2]},
            {"intervals": {"0.1": [0.1]}},
            {"intervals": {"often": [0.1, 0.2]}},
        ],
        ids=str,
    )
    def test_a_broken_one(self, stairs: Calibration, change: dict[str, Any]):
        with pytest.raises(CalibrationBroken):
            Calibration.from_dict(stairs.to_dict() | change)

    @pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"text"', "{}"])
    def test_another_text(self, text: str):
        with pytest.raises(CalibrationBroken):
            parse(text)


class TestInForce:
    @CARDS
    def test_each_encoder_has_one_that_adds_up(self, card: EncoderCard):
        calibration = shipped()[card.space]
        assert calibration.space == card.space
        people = calibration.people
        assert calibration.person_pairs == people * (people - 1) // 2
        assert calibration.nonmated.sum() == pytest.approx(calibration.person_pairs, abs=0.1)
        assert calibration.mated.sum() == pytest.approx(calibration.mated_people, abs=0.1)
        assert 0 < calibration.mated_people <= people <= calibration.photos
        assert re.fullmatch(r"[0-9a-f]{64}", calibration.data_digest)

    @CARDS
    def test_its_thresholds_rise_as_the_rate_falls(self, card: EncoderCard):
        calibration = shipped()[card.space]
        rates = (0.1, 0.01, 0.001, 0.0001)
        thresholds = [calibration.threshold(rate) for rate in rates]
        assert thresholds == sorted(set(thresholds))
        for rate, threshold in zip(rates, thresholds, strict=True):
            low, high = calibration.intervals[rate]
            assert low <= calibration.fmr_at(threshold) <= high

    @CARDS
    def test_its_digest_is_that_of_the_file(self, card: EncoderCard):
        text = (resources.files("verify") / "data" / "calibration.json").read_text("utf-8")
        entry = json.loads(text)["spaces"][card.space]["in_force"]
        backwards = dict(reversed(entry.items()))
        calibration = shipped()[card.space]
        assert calibration.to_dict() == entry
        assert parse(json.dumps(backwards)).digest == calibration.digest

    @CARDS
    def test_a_stored_one_comes_first(self, curve: Callable[..., Calibration], card: EncoderCard):
        stored = curve({1200: 50}, space=card.space)
        found = calibration_for(card.space, json.dumps(stored.to_dict()))
        assert found.digest == stored.digest
        assert calibration_for(card.space) is shipped()[card.space]

    def test_an_unknown_space_has_none(self):
        with pytest.raises(NoCalibration, match="toy-8-abc"):
            calibration_for("toy-8-abc")

    def test_a_stored_one_serves_an_unknown_space(self, stairs: Calibration):
        assert calibration_for("toy", json.dumps(stairs.to_dict())).digest == stairs.digest

    def test_a_broken_stored_one_is_not_passed_over(self):
        space = known_models()[0].space
        for broken in ("", "{}"):
            with pytest.raises(CalibrationBroken):
                calibration_for(space, broken)

    def test_a_stored_one_of_another_space_is_refused(self, stairs: Calibration):
        with pytest.raises(CalibrationBroken, match="of toy"):
            calibration_for(known_models()[0].space, json.dumps(stairs.to_dict()))
