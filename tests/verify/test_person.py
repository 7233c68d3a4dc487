from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from embedder.embed import Embedder
from embedder.errors import UnusablePhoto
from embedder.quality import Gate
from store.erasure import forget_person
from store.errors import AmbiguousPerson, SpaceMismatch, UnknownPerson
from store.gallery import put_calibration
from store.people import add_person, find_person
from verify import capture
from verify.calibration import Calibration, shipped
from verify.errors import NoTemplates, NoUsableFrame, ProbeRejected, UnsupportedRate
from verify.person import CaptureRules, compare_captures, verify_person

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store.schema import Template

    from .conftest import Known


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No photo may be read and no camera opened."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the source was opened")

    monkeypatch.setattr(capture, "read_photo", opened)
    monkeypatch.setattr(capture, "open_source", opened)


class TestVerify:
    def test_every_genuine_probe_is_yes(self, known: Known):
        for name in known.names:
            for probe in known.probes[name]:
                decision = verify_person(known.parts, name, probe)
                assert decision.match == "yes", (name, probe)
                assert decision.person == name

    def test_every_impostor_is_no(self, known: Known):
        for name in known.names:
            for other in known.names:
                if other != name:
                    decision = verify_person(known.parts, name, known.probes[other][0])
                    assert decision.match == "no", (name, other)

    def test_strangers_are_nobody(self, known: Known, strangers: dict[str, list[Path]]):
        for paths in strangers.values():
            for name in known.names:
                assert verify_person(known.parts, name, paths[0]).match == "no"

    def test_the_similarity_is_the_largest_over_the_templates(
        self, known: Known, embedder: Embedder, vectors: dict[str, NDArray[np.float32]]
    ):
        name = known.names[0]
        decision = verify_person(known.parts, name, known.probes[name][0])
        (probe,) = embedder.embed([known.probes[name][0]])
        plain = [float(np.dot(probe.vectors[0], template)) for template in vectors[name]]
        assert decision.similarity == pytest.approx(max(plain), abs=1e-5)
        assert decision.templates == 3

    def test_the_threshold_is_that_of_the_rate(self, known: Known):
        curve = shipped()[known.parts.card.space]
        name = known.names[0]
        for fmr in (0.0005, 0.001, 0.05):
            decision = verify_person(known.parts, name, known.probes[name][0], fmr=fmr)
            assert (decision.fmr, decision.threshold) == (fmr, curve.threshold(fmr, 3))

    def test_it_is_recorded(self, known: Known):
        name, other = known.names[:2]
        given = [
            verify_person(known.parts, name, known.probes[name][0]),
            verify_person(known.parts, name, known.probes[other][0], fmr=0.01),
        ]
        with known.parts.store.read() as session:
            person = find_person(session, name)
        for row, decision, probe in zip(
            known.decisions(), given, (known.probes[name][0], known.probes[other][0]), strict=True
        ):
            assert (row.kind, row.answer) == ("verify", decision.match)
            assert (row.person_id, row.source) == (person.id, probe)
            assert (row.similarity, row.threshold) == (decision.similarity, decision.threshold)
            assert (row.fmr, row.space) == (decision.fmr, known.parts.card.space)
            assert row.calibration_id is None  # the one shipped has no row

    def test_the_gallerys_own_calibration_is_used_and_named(
        self, known: Known, curve: Callable[..., Calibration]
    ):
        space = known.parts.card.space
        own = curve({1990: 10_000}, space=space)  # strangers look alike: nobody is told yes
        with known.parts.store.begin() as session:
            row = put_calibration(session, space, json.dumps(own.to_dict()), own.data_digest)
        name = known.names[0]
        decision = verify_person(known.parts, name, known.probes[name][0])
        assert decision.match == "no"
        assert decision.threshold == own.threshold(0.001, 3) == pytest.approx(0.991)
        assert known.decisions()[0].calibration_id == row.id

    def test_by_uid_and_in_any_case(self, known: Known):
        name = known.names[0]
        with known.parts.store.read() as session:
            uid = find_person(session, name).uid
        for who in (uid, name.upper()):
            decision = verify_person(known.parts, who, known.probes[name][0])
            assert (decision.match, decision.person) == ("yes", name)

    def test_in_a_site(self, known: Known):
        name = known.names[-1]
        assert verify_person(known.parts, name, known.probes[name][0], site="annex").match == "yes"
        with pytest.raises(UnknownPerson):
            verify_person(known.parts, name, known.probes[name][0], site="")

    def test_a_video(
        self, known: Known, portraits: list[list[NDArray[np.uint8]]], film: Callable[..., str]
    ):
        path = film(portraits[0][3:6])
        decision = verify_person(known.parts, known.names[0], path)
        assert decision.match == "yes"
        assert verify_person(known.parts, known.names[1], path).match == "no"
        assert [row.source for row in known.decisions()] == [path, path]


@pytest.mark.usefixtures("shut")
class TestRefusedBeforeAnyCamera:
    def test_an_unknown_person(self, known: Known):
        name = known.names[0]
        with pytest.raises(UnknownPerson, match="did you mean") as caught:
            verify_person(known.parts, name[:-1] + "x", "0")
        assert name in caught.value.close
        assert known.decisions() == []

    def test_several_people_of_that_name(self, known: Known, give: Callable[..., Template]):
        with known.parts.store.begin() as session:
            twin = add_person(session, known.names[0], "annex")
            vector = np.eye(known.parts.card.dim, dtype=np.float32)[0]
            give(session, twin, vector, known.parts.card.space)
        with pytest.raises(AmbiguousPerson):
            verify_person(known.parts, known.names[0], "0")

    @pytest.mark.parametrize("fmr", [1e-7, 0.0, 1.0])
    def test_a_rate_that_cannot_be_promised(self, known: Known, fmr: float):
        with pytest.raises(UnsupportedRate):
            verify_person(known.parts, known.names[0], "0", fmr=fmr)
        with pytest.raises(UnsupportedRate):
            compare_captures(known.parts, "0", "1", fmr=fmr)
        assert known.decisions() == []

    def test_a_person_without_templates(self, known: Known):
        with known.parts.store.begin() as session:
            add_person(session, "Nemo")
        with pytest.raises(NoTemplates, match="Nemo has no template"):
            verify_person(known.parts, "Nemo", "0")

    def test_the_forgotten(self, known: Known):
        with known.parts.store.begin() as session:
            forget_person(session, find_person(session, known.names[0]))
        with pytest.raises(UnknownPerson):
            verify_person(known.parts, known.names[0], "0")

    def test_another_encoder(self, known: Known, embedder: Embedder):
        from verify.opening import Parts, Places

        places = Places(database=known.parts.places.database, model="sface-mirror")
        with Parts(places) as other:
            other.embedder = embedder
            with pytest.raises(SpaceMismatch):
                verify_person(other, known.names[0], "0")


class TestRejectedProbes:
    def test_nobody(self, known: Known):
        grey = np.full((320, 320, 3), 128, np.uint8)
        with pytest.raises(ProbeRejected) as caught:
            verify_person(known.parts, known.names[0], grey)
        assert caught.value.reason == "face_not_found"
        assert known.decisions() == []

    def test_two_people(self, known: Known, portraits: list[list[NDArray[np.uint8]]]):
        both = np.hstack([portraits[0][5], portraits[1][5]])
        with pytest.raises(ProbeRejected) as caught:
            verify_person(known.parts, known.names[0], both)
        assert caught.value.reason == "multiple_faces"

    def test_a_gate(self, known: Known):
        name = known.names[0]
        rules = CaptureRules(gate=Gate(size=310))
        with pytest.raises(ProbeRejected) as caught:
            verify_person(known.parts, name, known.probes[name][0], rules=rules)
        assert caught.value.reason == "face_too_small"

    def test_the_rule_for_several_faces(
        self, known: Known, portraits: list[list[NDArray[np.uint8]]]
    ):
        small = np.full_like(portraits[1][5], 128)
        small[80:240, 80:240] = portraits[1][5][::2, ::2]
        both = np.hstack([portraits[0][5], small])
        rules = CaptureRules(on_multiple="largest")
        assert verify_person(known.parts, known.names[0], both, rules=rules).match == "yes"
        assert verify_person(known.parts, known.names[1], both, rules=rules).match == "no"

    def test_no_picture(self, known: Known, tmp_path: Path):
        path = tmp_path / "notes.jpg"
        path.write_text("no picture")
        with pytest.raises(UnusablePhoto):
            verify_person(known.parts, known.names[0], path)

    def test_a_video_of_nobody(self, known: Known, film: Callable[..., str]):
        path = film([np.full((320, 320, 3), 128, np.uint8)] * 3)
        with pytest.raises(NoUsableFrame) as caught:
            verify_person(known.parts, known.names[0], path)
        assert caught.value.reason == "face_not_found"


class TestCompare:
    def test_one_person(self, known: Known, embedder: Embedder):
        first, second = known.probes[known.names[0]][:2]
        found = compare_captures(known.parts, first, second)
        assert found.decision.match == "yes"
        assert found.decision.person is None
        assert found.decision.reasons == ()
        one, other = embedder.embed([first, second])
        plain = float(np.dot(one.vectors[0], other.vectors[0]))
        assert found.decision.similarity == pytest.approx(plain, abs=1e-5)

    def test_two_people(self, known: Known):
        first, second = (known.probes[name][0] for name in known.names[:2])
        assert compare_captures(known.parts, first, second).decision.match == "no"
        assert compare_captures(known.parts, first, first).decision.similarity > 0.999

    def test_it_is_recorded_without_a_person(self, known: Known):
        first, second = (known.probes[name][0] for name in known.names[:2])
        found = compare_captures(known.parts, first, second, fmr=0.01)
        (row,) = known.decisions()
        assert (row.kind, row.answer, row.person_id) == ("compare", "no", None)
        assert row.source == f"{first} ~ {second}"
        assert (row.similarity, row.threshold) == (
            found.decision.similarity,
            shipped()[known.parts.card.space].threshold(0.01),
        )

    def test_frames_are_told(
        self, known: Known, portraits: list[list[NDArray[np.uint8]]], film: Callable[..., str]
    ):
        path = film(portraits[0][:3])
        found = compare_captures(known.parts, path, known.probes[known.names[0]][0])
        assert found.decision.match == "yes"
        assert found.decision.reasons == ("3 and 1 frames averaged",)

    def test_what_scripts_read(self, known: Known):
        first, second = known.probes[known.names[0]][:2]
        found = compare_captures(known.parts, first, second)
        told: dict[str, Any] = json.loads(json.dumps(found.to_dict()))
        assert (told["first"], told["second"]) == (first, second)
        assert (told["answer"], told["verified"]) == ("yes", True)
        assert told["model"] == known.parts.card.space
        assert told["distance"] == pytest.approx(1 - told["similarity"], abs=1e-6)
