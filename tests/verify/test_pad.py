import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from embedder.detect import Face
from embedder.photo import read_photo
from verify.decision import Decision
from verify.errors import UnknownPadGate
from verify.pad import (
    ATTACK,
    MODES,
    NOT_RUN,
    OFF,
    UNDECIDED,
    Pad,
    PadResult,
    Shot,
    apply,
    combined,
    gate_names,
    open_gate,
)

PACKAGE = """
from verify.pad import PadResult

class Everyone:
    name = "everyone"
    def check(self, shots):
        return PadResult("bona_fide", self.name, (f"{len(shots)} frames",))

class Nameless:
    def check(self, shots):
        return None

def needs(something):
    return something
"""
POINTS = """[vultus.pad]
everyone = tiny_pad:Everyone
nameless = tiny_pad:Nameless
gone = tiny_pad:Gone
needy = tiny_pad:needs
recapture = tiny_pad:Everyone
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution as an installer leaves it, on the path."""
    (tmp_path / "tiny_pad.py").write_text(PACKAGE)
    info = tmp_path / "tiny_pad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-pad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (info / "RECORD").write_text("tiny_pad.py,,\ntiny_pad-1.0.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("tiny_pad", None)
    shutil.rmtree(info)


def shot() -> Shot:
    box = np.array([0, 0, 8, 8], np.float32)
    return Shot(read_photo(np.zeros((8, 8, 3), np.uint8)), Face(box, None, 1.0))


def decided(match: str) -> Decision:
    return Decision(match, 0.6, 0.5, 0.4, 1e-3, "toy", "Ada", reasons=("first",))


@pytest.mark.parametrize(
    ("outcome", "match", "answer", "reason"),
    [
        ("bona_fide", "yes", "yes", None),
        ("bona_fide", "no", "no", None),
        ("attack", "yes", "no", ATTACK),
        ("attack", "unsure", "no", ATTACK),
        ("attack", "no", "no", ATTACK),
        ("undecided", "yes", "unsure", UNDECIDED),
        ("undecided", "no", "no", UNDECIDED),
        ("not_run", "yes", "unsure", UNDECIDED),
    ],
)
def test_a_required_gate_only_takes_away(outcome: str, match: str, answer: str, reason: str | None):
    found = PadResult(outcome, "toy")
    required = apply(decided(match), found, "require")
    assert required.match == answer
    assert required.verified is {"yes": True, "no": False, "unsure": None}[answer]
    assert required.reasons == ("first",) + (() if reason is None else (reason,))
    observed = apply(decided(match), found, "observe")
    assert (observed.match, observed.reasons) == (match, ("first",))
    assert observed.pad == required.pad == found


def test_an_answer_without_a_gate_says_so():
    assert json.loads(json.dumps(decided("yes").to_dict()))["pad"] == {"outcome": "not_run"}
    assert OFF.check([shot()], PadResult("attack", "challenge")) == NOT_RUN
    assert MODES[0] == OFF.mode == Pad().mode == "off"


def test_what_a_result_tells():
    result = PadResult("attack", "toy", ("dots",), 2.0, 1.5, {"peaks": 3.0})
    assert json.loads(json.dumps(result.to_dict())) == {
        "outcome": "attack",
        "gate": "toy",
        "reasons": ["dots"],
        "score": 2.0,
        "threshold": 1.5,
        "measures": {"peaks": 3.0},
    }
    with pytest.raises(ValueError, match="got 'maybe'"):
        PadResult("maybe")


def test_the_worst_of_several_gates_counts():
    good, bad = PadResult("bona_fide", "a", ("fine",)), PadResult("attack", "b", ("dots",))
    open_, none = PadResult("undecided", "c", ("dark",)), PadResult("not_run", "d")
    assert combined(()) is NOT_RUN
    assert combined([good]) is good
    assert combined([good, good]).outcome == "bona_fide"
    both = combined([good, open_, bad])
    assert (both.outcome, both.gate, both.reasons) == ("attack", "a+c+b", ("dots",))
    assert [part["gate"] for part in both.to_dict()["parts"]] == ["a", "c", "b"]
    assert combined([good, none]).outcome == "not_run"
    assert combined([none, open_]).outcome == "undecided"


def test_an_installed_gate_is_found_by_name(distribution: Path):
    assert gate_names() == ["recapture", "everyone", "gone", "nameless", "needy"]
    gate = open_gate("everyone")
    result = Pad("observe", gate).check([shot(), shot()])
    assert (result.outcome, result.gate, result.reasons) == ("bona_fide", "everyone", ("2 frames",))
    assert (distribution / "tiny_pad.py").is_file()


def test_the_built_in_gate_cannot_be_replaced(distribution: Path):
    assert type(open_gate("recapture")).__module__ == "verify.pad_passive", distribution


@pytest.mark.parametrize("name", ["nameless", "gone", "needy"])
def test_a_broken_gate_is_told(distribution: Path, name: str):
    with pytest.raises(UnknownPadGate, match=f"{name}.*tiny_pad"):
        open_gate(name)
    assert distribution.is_dir()


def test_an_unknown_gate_names_the_known_ones():
    with pytest.raises(UnknownPadGate, match=r"no gate 'nothing'.*recapture"):
        open_gate("nothing")
