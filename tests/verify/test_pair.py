import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.calibration import Calibration
from verify.decision import Decision, rule_at
from verify.errors import NoTemplates, UnsupportedRate
from verify.pair import compare, most_typical, verify

PROBE = np.array([[1, 0, 0]], np.float32)


def at(*similarities: float) -> NDArray[np.float32]:
    """Unit rows of the given similarity to the probe, float32 (M, 3)."""
    rows = [(s, math.sqrt(1 - float(s) ** 2), 0) for s in similarities]
    return np.array(rows, np.float32)


def below(similarity: float) -> float:
    return float(np.nextafter(np.float32(similarity), np.float32(-1)))


ANSWERS = [
    (1.0, "yes", True),
    (0.75, "yes", True),
    (below(0.75), "unsure", None),
    (0.5, "unsure", None),
    (below(0.5), "no", False),
    (-1.0, "no", False),
]


@pytest.mark.parametrize(("similarity", "answer", "verified"), ANSWERS)
def test_answers_around_the_thresholds(
    stairs: Calibration, similarity: float, answer: str, verified: bool | None
):
    for decision in (
        verify(PROBE, at(similarity), stairs, fmr=0.01),
        compare(PROBE, at(similarity), stairs, fmr=0.01),
    ):
        assert (decision.match, decision.verified) == (answer, verified)
        assert decision.similarity == similarity
        assert (decision.threshold, decision.unsure_above) == (0.75, 0.5)
        assert (decision.fmr, decision.space) == (0.01, "toy")


def test_unsure_is_ten_times_the_rate_and_no_more_than_half(stairs: Calibration):
    assert rule_at(stairs, 0.001).unsure_above == stairs.threshold(0.01)
    assert rule_at(stairs, 0.09).unsure_above == stairs.threshold(0.5)
    high = rule_at(stairs, 0.6)
    assert high.unsure_above == high.threshold == stairs.threshold(0.6)


def test_the_default_rate_is_one_in_a_thousand(stairs: Calibration):
    for decision in (verify(PROBE, at(0.8), stairs), compare(PROBE, at(0.8), stairs)):
        assert (decision.fmr, decision.threshold, decision.match) == (1e-3, 0.875, "unsure")


def test_each_template_is_one_more_chance(stairs: Calibration):
    one = verify(PROBE, at(0.8), stairs, fmr=0.01)
    two = verify(PROBE, at(0.8, 0.1), stairs, fmr=0.01)
    assert (one.templates, one.threshold, one.match) == (1, 0.75, "yes")
    assert (two.templates, two.threshold, two.match) == (2, 0.875, "unsure")
    assert two.threshold == stairs.threshold(0.01, 2)
    assert two.unsure_above == stairs.threshold(0.1, 2)
    assert two.similarity == one.similarity  # the largest counts


def test_strangers_pass_no_more_often_however_many_templates(
    curve: Callable[..., Calibration],
):
    """Independent comparisons drawn from the curve itself: the share that is told yes."""
    rng = np.random.default_rng(9)
    calibration = curve({1000 + place: 20 for place in range(500)})
    for m in (1, 4, 20):
        rule = rule_at(calibration, 0.05, m)
        best = (0.5 * rng.random((20_000, m))).max(axis=1)
        assert (best >= rule.threshold).mean() == pytest.approx(0.05, abs=0.012)


def test_only_so_many_templates_as_the_data_answers_for(stairs: Calibration):
    templates = at(0.31, 0.99, 0.30, 0.32, 0.29)
    decision = verify(PROBE, templates, stairs, fmr=0.001)  # 0.001 / 0.0003: three
    assert decision.templates == 3
    assert decision.similarity == pytest.approx(0.32)
    assert decision.match == "no"
    assert decision.threshold == stairs.threshold(0.001, 3)
    assert len(decision.reasons) == 1
    assert "the 3 most typical of 5 templates" in decision.reasons[0]
    assert "0.001" in decision.reasons[0]
    assert verify(PROBE, templates, stairs, fmr=0.01).reasons == ()


def test_as_many_as_the_data_answers_for_need_no_reason(stairs: Calibration):
    for fmr in (0.0003, 0.0006, 0.0009, 0.001, 0.0021, 0.003):
        for m in range(1, 12):
            decision = verify(PROBE, at(*[0.9] * m), stairs, fmr=fmr)
            assert decision.templates <= m
            assert (decision.reasons == ()) == (decision.templates == m)
            stairs.threshold(fmr, decision.templates)  # is not refused


def test_the_most_typical_are_the_nearest_to_the_mean():
    templates = at(0.9, -0.9, 0.8, 0.85)
    mean = sum(np.array(row) for row in templates) / 4
    closeness = [float(np.dot(row, mean)) for row in templates]
    nearest = sorted(range(4), key=lambda i: -closeness[i])
    for count in range(1, 5):
        assert most_typical(templates, count).tolist() == sorted(nearest[:count])
    assert most_typical(templates, 2).dtype == np.int64


def test_frames_are_averaged(stairs: Calibration):
    frames = at(1.0, 0.5)
    templates = np.concatenate([PROBE, at(0.2)])
    plain = [
        sum(float(np.dot(frame, template)) for frame in frames) / len(frames)
        for template in templates
    ]
    assert verify(frames, templates, stairs).similarity == pytest.approx(max(plain))
    assert compare(frames, templates, stairs).similarity == pytest.approx(sum(plain) / 2)
    assert compare(frames, PROBE, stairs).similarity == pytest.approx(0.75)


@pytest.mark.parametrize(("person", "subject"), [("Ada", "Ada"), (None, "The person")])
def test_without_templates(stairs: Calibration, person: str | None, subject: str):
    with pytest.raises(NoTemplates, match=f"^{subject} has no template"):
        verify(PROBE, np.zeros((0, 0), np.float32), stairs, person=person)


@pytest.mark.parametrize("fmr", [0.0, 1.0, -1.0, math.nan, math.inf, 1e-4])
def test_rates_that_cannot_be_promised(stairs: Calibration, fmr: float):
    with pytest.raises(UnsupportedRate):
        verify(PROBE, at(0.9, 0.8), stairs, fmr=fmr)
    with pytest.raises(UnsupportedRate):
        compare(PROBE, at(0.9), stairs, fmr=fmr)


@pytest.mark.parametrize(("similarity", "answer", "verified"), ANSWERS)
def test_what_scripts_read(
    stairs: Calibration, similarity: float, answer: str, verified: bool | None
):
    decision = verify(PROBE, at(similarity), stairs, fmr=0.01, person="Ada")
    found = json.loads(json.dumps(decision.to_dict()))
    assert found == {
        "answer": answer,
        "verified": verified,
        "person": "Ada",
        "similarity": pytest.approx(similarity, abs=1e-6),
        "distance": pytest.approx(1 - similarity, abs=1e-6),
        "threshold": 0.75,
        "unsure_above": 0.5,
        "fmr": 0.01,
        "unsure_fmr": 0.1,
        "extrapolated": False,
        "probability": pytest.approx(stairs.probability_at(similarity), abs=1e-5),
        "templates": 1,
        "model": "toy",
        "reasons": [],
        "pad": {"outcome": "not_run"},
    }


def test_reasons_are_a_list_of_sentences():
    decision = Decision("no", 0.1, 0.75, 0.5, 0.01, "toy", reasons=("first", "second"))
    assert decision.to_dict()["reasons"] == ["first", "second"]
    assert decision.to_dict()["person"] is None
