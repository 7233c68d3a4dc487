"""Presentation attack detection from the command line: off by default, and what each mode does."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import cv2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Done, Gallery, Vultus

PACKAGE = """
from verify.pad import PadResult

class Gate:
    def __init__(self, outcome):
        self.name, self.outcome = "says-" + outcome, outcome
    def check(self, shots):
        return PadResult(self.outcome, self.name, ("as told",))

def attack():
    return Gate("attack")
def undecided():
    return Gate("undecided")
"""
POINTS = "[vultus.pad]\nsays-attack = tiny_gates:attack\nsays-undecided = tiny_gates:undecided\n"


@pytest.fixture
def gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with two gates, as an installer leaves it."""
    (tmp_path / "tiny_gates.py").write_text(PACKAGE)
    info = tmp_path / "tiny_gates-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-gates\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))


def asked(inside: Callable[..., Done], gallery: Gallery, *more: object) -> Done:
    name, probe = gallery.genuine
    at = ("--format", "json", *gallery.at)
    return inside("verify", name, "--source", probe, *at, *more)


def test_off_by_default(inside: Callable[..., Done], shared: Gallery):
    done = asked(inside, shared)
    assert done.code == 0
    assert done.json()["pad"] == {"outcome": "not_run"}
    name, probe = shared.genuine
    for form in (("verify", name, "--source", probe), ("compare", probe, probe)):
        told = inside(*form, *shared.at).out
        assert "presentation: no presentation-attack check ran" in told.splitlines()


def test_observing_reports_and_decides_nothing(
    inside: Callable[..., Done], shared: Gallery, gates: None
):
    done = asked(inside, shared, "--pad", "observe", "--pad-gate", "says-attack")
    assert gates is None
    assert (done.code, done.json()["answer"]) == (0, "yes")
    assert done.json()["pad"] == {
        "outcome": "attack",
        "gate": "says-attack",
        "reasons": ["as told"],
    }
    own = asked(inside, shared, "--pad", "observe").json()
    assert own["answer"] == "yes"
    assert own["pad"]["gate"] == "recapture"
    assert own["pad"]["outcome"] in {"bona_fide", "undecided", "attack"}


@pytest.mark.parametrize(
    ("gate", "code", "answer", "verified", "reason"),
    [
        ("says-attack", 1, "no", False, "presentation_attack"),
        ("says-undecided", 2, "unsure", None, "presentation_undecided"),
    ],
)
def test_a_required_gate_decides(
    inside: Callable[..., Done],
    shared: Gallery,
    gates: None,
    gate: str,
    code: int,
    answer: str,
    verified: bool | None,
    reason: str,
):
    done = asked(inside, shared, "--pad", "require", "--pad-gate", gate)
    assert gates is None
    said = done.json()
    assert (done.code, said["answer"], said["verified"]) == (code, answer, verified)
    assert said["reasons"][-1] == reason
    assert said["similarity"] >= said["threshold"]


def test_the_table_tells_the_gate(inside: Callable[..., Done], shared: Gallery, gates: None):
    name, probe = shared.genuine
    done = inside(
        "verify", name, "--source", probe, "--pad", "require", "--pad-gate", "says-attack",
        *shared.at,
    )  # fmt: skip
    assert gates is None
    assert done.out.startswith("no")
    assert "presentation: attack (says-attack) as told" in done.out


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--pad", "off", "--challenge"), "--pad off"),
        (("--pad-gate", "recapture"), "--pad-gate goes with"),
        (("--turns", "left"), "--turns goes with --challenge"),
        (("--challenge", "--turns", "up"), "no list of sides"),
        (("--challenge", "--timeout", "3"), "--timeout does not go"),
        (("--challenge", "--detector", "whole"), "--detector whole"),
        (("--source", "0", "--challenge", "--turns", "left"), "drawn at random"),
    ],
)
def test_wrong_usage(
    inside: Callable[..., Done], shared: Gallery, more: tuple[str, ...], word: str
):
    done = asked(inside, shared, *more)
    assert done.code == 64
    assert word in " ".join(done.err.split())


def test_an_unknown_gate(inside: Callable[..., Done], shared: Gallery):
    done = asked(inside, shared, "--pad", "observe", "--pad-gate", "nothing")
    assert done.code == 3
    assert "recapture" in done.err


def test_a_challenge_to_a_still_film(inside: Callable[..., Done], shared: Gallery, tmp_path: Path):
    name, probe = shared.genuine
    path = str(tmp_path / "still.avi")
    picture = cv2.imread(str(probe))
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 2.0, picture.shape[1::-1])
    if not writer.isOpened():
        pytest.skip("this build of OpenCV writes no Motion JPEG")
    for _ in range(20):  # ten seconds
        writer.write(picture)
    writer.release()
    done = inside("verify", name, "--source", path, "--challenge", "--format", "json", *shared.at)
    said = done.json()
    assert (done.code, said["answer"]) == (1, "no")
    assert said["pad"]["gate"] == "challenge"
    assert (said["pad"]["outcome"], said["pad"]["reasons"]) == ("attack", ["not_followed"])
    assert said["similarity"] >= said["threshold"], "the picture is the person's"
    assert "turn your head to your" in done.err


def test_the_rates_of_a_folder(vultus: Vultus, shared: Gallery, tmp_path: Path):
    for kind, files in (
        ("bona_fide", shared.strangers[:3]),
        ("attack/copy", shared.strangers[3:6]),
    ):
        for file in files:
            (tmp_path / kind / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / kind / file.parent.name)
    written = tmp_path / "rates.json"
    done = vultus("evaluate", "pad", tmp_path, "--json", written, *shared.at)
    assert done.code == 0, done
    assert "APCER of the worst species" in done.out
    said = json.loads(written.read_text())
    assert said["gate"] == "recapture"
    assert said["bona_fide"]["presentations"] == 3
    assert said["attacks"][0]["apcer"]["trials"] == 3


def test_a_folder_that_is_none(inside: Callable[..., Done], shared: Gallery, tmp_path: Path):
    done = inside("evaluate", "pad", tmp_path, *shared.at)
    assert done.code == 2
    assert "bona_fide/" in done.err
