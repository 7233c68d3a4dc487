import json
import math
from typing import Any

import pytest

from verify.calibration import Calibration
from verify.explain import rate_at
from verify.person import verify_person
from verify.photos import identify_photos

KEYS = {
    "nearest", "next_person", "next_similarity", "margin", "probability", "prior",
    "fmr_at_similarity", "fmr_is_limit", "fnmr_at_similarity", "comparisons", "quality",
    "calibration",
}  # fmt: skip


def told(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values["explanation"]))


def test_a_verification_is_explained(known: Any):
    name, other = known.names[:2]
    decision = verify_person(known.parts, name, known.probes[name][0], explain=True)
    why = decision.explanation
    assert why is not None
    assert [one.similarity for one in why.nearest] == sorted(
        (one.similarity for one in why.nearest), reverse=True
    )
    assert len(why.nearest) == 3
    assert why.nearest[0].similarity == pytest.approx(decision.similarity, abs=1e-5)
    assert all(one.photo.startswith("photo") for one in why.nearest)
    assert why.next_person in set(known.names) - {name}
    assert why.margin == pytest.approx(decision.similarity - why.next_similarity)
    assert why.margin > 0
    assert why.probability > 0.9
    assert why.comparisons == decision.templates
    assert set(told(decision.to_dict())) == KEYS

    stranger = verify_person(known.parts, name, known.probes[other][0], explain=True)
    assert stranger.match == "no"
    assert stranger.explanation.next_person == other
    assert stranger.explanation.margin < 0
    assert stranger.explanation.probability < 0.5


def test_the_next_person_is_of_the_same_site(known: Any):
    annexed = known.names[-1]
    alone = verify_person(known.parts, annexed, known.probes[annexed][0], explain=True)
    assert alone.explanation.next_person is None
    assert alone.explanation.margin is None
    assert "margin" not in " ".join(alone.explanation.lines())


def test_only_who_asks_is_told(known: Any):
    name = known.names[0]
    decision = verify_person(known.parts, name, known.probes[name][0])
    assert decision.explanation is None
    assert "explanation" not in decision.to_dict()


def test_an_identification_is_explained(known: Any):
    name = known.names[0]
    (photo,) = identify_photos(known.parts, [known.probes[name][0]], explain=True)
    (face,) = photo.faces
    assert face.explanation.comparisons == face.who.gallery_size == 12
    assert face.explanation.similarity == face.who.candidates[0].similarity
    assert face.explanation.nearest[0].template == face.who.candidates[0].evidence[0]
    assert set(told(photo.to_dict()["faces"][0])) == KEYS
    (photo,) = identify_photos(known.parts, [known.probes[name][0]])
    assert photo.faces[0].explanation is None


def test_lines_for_people(known: Any):
    name = known.names[0]
    why = verify_person(known.parts, name, known.probes[name][0], explain=True).explanation
    text = "\n".join(why.lines())
    for word in ("nearest", "margin +", "probability 0.9", "a stranger is as similar", "sharpness"):
        assert word in text
    assert why.calibration in text


def test_the_rate_at_a_similarity(stairs: Calibration):
    assert rate_at(stairs, 0.6, 1) == (0.1, False)
    rate, limit = rate_at(stairs, 0.75, 5)
    assert rate == pytest.approx(1 - 0.99**5)
    assert not limit
    rate, limit = rate_at(stairs, 0.95, 2)  # nobody was as similar: below 3 / pairs
    assert rate == pytest.approx(1 - (1 - 3e-4) ** 2)
    assert limit
    assert rate_at(stairs, -1.0, 3) == (1.0, False)


def test_the_second_rate_and_extrapolation_reach_the_record(known: Any):
    name = known.names[0]
    decision = verify_person(
        known.parts, name, known.probes[name][0], fmr=2e-5, unsure=1e-4, extrapolate=True
    )
    assert decision.extrapolated
    row = known.decisions()[-1]
    assert row.extrapolated is True
    assert row.unsure_above == decision.unsure_above
    assert decision.unsure_fmr == 1e-4
    verify_person(known.parts, name, known.probes[name][0], fmr=0.01, unsure=0.01)
    row = known.decisions()[-1]
    assert row.extrapolated is False
    assert row.unsure_above == row.threshold
    assert math.isfinite(row.similarity)
