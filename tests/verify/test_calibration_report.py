"""The report of a calibration: its figures are those of the pairs it was fitted on."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from verify.calibration import Calibration, shipped
from verify.calibration_report import report_of
from verify.fitting import comparisons, fit
from verify.rates import eer, operating

PEOPLE, PHOTOS, D = 40, 2, 16


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Two photos of each of forty people, some of them much like somebody else's."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(PEOPLE, 1, D))
    found = (centres + 0.75 * rng.normal(size=(PEOPLE, PHOTOS, D))).reshape(-1, D)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(vectors: np.ndarray) -> Calibration:
    names = [f"p{i // PHOTOS}" for i in range(len(vectors))]
    return fit(vectors, names, space="s", source="invented", data_digest="0" * 64)


def test_its_figures_are_those_of_all_pairs(vectors: np.ndarray, fitted: Calibration):
    people = np.arange(len(vectors)) // PHOTOS
    mated, nonmated = [], []
    for similarities, first, second in comparisons(vectors, people):
        mated += similarities[first == second].tolist()
        nonmated += similarities[first != second].tolist()
    mated, nonmated = np.sort(mated), np.sort(nonmated)
    found = report_of(fitted)
    assert found.eer.value == pytest.approx(eer(mated, nonmated), abs=0.01)
    for point in found.points:
        true = operating(mated, nonmated, point.threshold)
        assert point.fmr.value == pytest.approx(true.fmr, abs=1e-9)
        assert point.fmr.value <= point.asked
        assert point.fnmr.value == pytest.approx(true.fnmr, abs=1e-9)
        assert point.fnmr.low <= point.fnmr.value <= point.fnmr.high
        assert point.fnmr.errors == true.false_non_matches
        assert point.fmr.trials == fitted.person_pairs
    assert found.points[0].asked > found.points[-1].asked >= fitted.smallest_fmr


@pytest.mark.parametrize("space", sorted(shipped()))
def test_the_shipped_ones_have_all_charts(space: str):
    found = report_of(shipped()[space])
    assert [one.title for one in found.charts] == ["ROC", "DET", "Similarities", "Reliability"]
    for one in found.charts:
        assert ET.fromstring(one.svg).get("role") == "img"  # noqa: S314 - our own drawing
        assert "style=" not in one.svg, "the page's policy forbids it"
        assert "script" not in one.svg
    told = found.to_dict()
    assert told["people"] == 447
    assert told["points"][0]["fnmr"]["supported"] is True
    assert "of 1,000 genuine users" in told["summary"]


def test_without_a_second_photo_of_anybody_there_is_no_fnmr(fitted: Calibration):
    alone = replace(fitted, mated=np.zeros_like(fitted.mated), mated_people=0, probability=None)
    found = report_of(alone)
    assert found.eer.value is None
    assert {point.fnmr.value for point in found.points} == {None}
    assert [one.title for one in found.charts] == ["Similarities"]
    assert "too few" in found.summary
