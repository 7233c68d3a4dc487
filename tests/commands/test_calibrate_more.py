"""Calibrations kept, chosen and passed on; profiles; what explains and checks decisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery


def numbers(inside: Callable[..., Done], own: Gallery) -> dict[str, bool]:
    rows = inside("calibrate", "list", *own.at, "--format", "json").json()
    return {row["number"]: row["in_force"] for row in rows}


def test_from_the_gallery_and_back(inside: Callable[..., Done], own: Gallery):
    assert numbers(inside, own) == {"shipped": True}
    done = inside("calibrate", "--gallery", *own.at)
    assert done.code == 0, done.err
    assert "6 people, 24 photos" in done.out
    assert "as number 1" in done.out
    assert numbers(inside, own) == {"1": True, "shipped": False}

    name, probe = own.genuine
    asked = ("verify", name, "--source", probe, *own.at, "--format", "json")
    assert inside(*asked, "--fmr", "0.3").code == 0
    rows = inside("calibrate", "list", *own.at, "--format", "json").json()
    assert [row["decisions"] for row in rows] == [1, None]

    done = inside("calibrate", "use", "shipped", *own.at)
    assert done.code == 0, done.err
    assert numbers(inside, own) == {"1": False, "shipped": True}
    rows = inside("calibrate", "list", *own.at, "--format", "json").json()
    assert rows[0]["decisions"] == 1, "old decisions keep the one they used"
    assert inside("calibrate", "use", "1", *own.at).code == 0
    assert numbers(inside, own) == {"1": True, "shipped": False}


def test_a_folder_and_the_gallery(
    inside: Callable[..., Done], own: Gallery, album: Path, shared: Gallery
):
    done = inside("calibrate", "fit", album / "people", "--gallery", *own.at, "--format", "json")
    assert done.code == 0, done.err
    said = done.json()
    assert "the gallery" in said["source"]
    assert said["people"] > 6
    assert said["person_pairs"] < said["people"] * (said["people"] - 1) // 2, "not across the two"
    assert shared.names


def test_export_and_import(inside: Callable[..., Done], own: Gallery, tmp_path: Path):
    inside("calibrate", "--gallery", *own.at)
    file = tmp_path / "curve.json"
    assert inside("calibrate", "export", "1", file, *own.at).code == 0
    assert json.loads(file.read_text())["people"] == 6
    done = inside("calibrate", "import", file, *own.at)
    assert done.code == 0, done.err
    assert "vultus calibrate use 2" in done.out
    assert numbers(inside, own) == {"1": True, "2": False, "shipped": False}
    assert inside("calibrate", "import", file, "--use", *own.at).code == 0
    assert numbers(inside, own) == {"1": False, "2": False, "3": True, "shipped": False}
    assert inside("calibrate", "show", "3", *own.at, "--format", "json").json() == json.loads(
        file.read_text()
    )
    done = inside("calibrate", "combine", "1", "2", *own.at)
    assert done.code == 3
    assert "same data twice" in done.err
    done = inside("calibrate", "combine", "1", "shipped", *own.at)
    assert done.code == 0, done.err
    assert "453 people" in done.out


def test_what_is_no_calibration(inside: Callable[..., Done], own: Gallery, tmp_path: Path):
    for what in ("show", "use"):
        done = inside("calibrate", what, "7", *own.at)
        assert done.code == 2
        assert "no calibration 7" in done.err
        assert inside("calibrate", what, "first", *own.at).code == 64
    (tmp_path / "note.json").write_bytes(b"\xff\xfe{}")
    assert inside("calibrate", "import", tmp_path / "note.json", *own.at).code == 3
    (tmp_path / "note.json").write_text("{}")
    assert inside("calibrate", "import", tmp_path / "note.json", *own.at).code == 3
    assert inside("calibrate", *own.at).code == 64
    assert numbers(inside, own) == {"shipped": True}


def test_profiles(inside: Callable[..., Done], own: Gallery):
    name, probe = own.genuine
    asked = ("verify", name, "--source", probe, *own.at, "--format", "json")
    gate = inside(*asked, "--profile", "gate").json()
    hall = inside(*asked, "--profile", "hall").json()
    assert (gate["fmr"], hall["fmr"]) == (1e-3, 1e-2)
    assert gate["threshold"] > hall["threshold"]
    assert hall["unsure_fmr"] == pytest.approx(0.02)
    assert inside(*asked, "--profile", "gate", "--fmr", "0.05").json()["fmr"] == 0.05

    assert inside("profiles", "set", "pool", "--fmr", "0.1", "--fpir", "0.2", *own.at).code == 0
    assert inside(*asked, "--profile", "pool").json()["fmr"] == 0.1
    listed = inside("profiles", "list", *own.at, "--format", "json").json()
    assert [p["name"] for p in listed] == ["pool", "gate", "hall", "border"]
    assert inside("profiles", "remove", "pool", *own.at).code == 0
    done = inside(*asked, "--profile", "pool")
    assert done.code == 2
    assert "gate, hall, border" in done.err


def test_the_second_rate(inside: Callable[..., Done], own: Gallery):
    name, probe = own.genuine
    asked = ("verify", name, "--source", probe, *own.at, "--format", "json")
    said = inside(*asked, "--unsure-fmr", "0.2").json()
    assert (said["fmr"], said["unsure_fmr"]) == (0.001, 0.2)
    assert inside(*asked, "--unsure-fmr", "1e-4").code == 64
    assert inside("identify", probe, *own.at, "--fpir", "0.1", "--unsure-fpir", "0.05").code == 64


def test_only_extrapolation_goes_below_the_counts(inside: Callable[..., Done], own: Gallery):
    name, probe = own.genuine
    asked = ("verify", name, "--source", probe, *own.at, "--fmr", "1e-5", "--format", "json")
    assert inside(*asked).code == 3
    done = inside(*asked, "--extrapolate")
    assert done.code in {0, 1, 2}, done.err
    said = done.json()
    assert said["extrapolated"] is True
    assert said["reasons"][-1].startswith("extrapolated")


def test_an_answer_is_explained(inside: Callable[..., Done], own: Gallery):
    name, probe = own.genuine
    done = inside("verify", name, "--source", probe, *own.at, "--explain")
    assert done.code == 0, done.err
    for word in ("nearest 0.", "margin +", "probability 0.9", "a stranger is as similar"):
        assert word in done.out
    done = inside("identify", probe, *own.at, "--explain", "--format", "json")
    why = done.json()["photos"][0]["faces"][0]["explanation"]
    assert why["nearest"][0]["photo"].endswith(".jpg")
    assert why["margin"] > 0


def test_the_audit_of_scores(inside: Callable[..., Done], own: Gallery):
    name, probe = own.genuine
    inside("verify", name, "--source", probe, *own.at)
    done = inside("audit", "scores", *own.at)
    assert done.code == 0, done.err
    assert "fewer than 20 decisions" in done.out
    said = inside("audit", "scores", *own.at, "--format", "json").json()
    assert said["drifted"] is False
    assert said["too_few"]


def test_the_curve_of_an_evaluation_can_be_imported_and_used(
    inside: Callable[..., Done], own: Gallery, album: Path, tmp_path: Path
):
    curve, people = tmp_path / "curve.json", album / "people"
    done = inside(
        "evaluate", "verification", people, "--all-pairs", "--quiet", "--calibration", curve,
        *own.at,
    )  # fmt: skip
    assert done.code == 0, done.err
    values = json.loads(curve.read_text(encoding="utf-8"))
    again = inside("calibrate", "fit", people, *own.at, "--format", "json").json()
    assert values["people"] == again["people"] > 6
    assert values["nonmated"] == again["nonmated"]
    assert values["mated"] == again["mated"]
    assert inside("calibrate", "import", curve, "--use", *own.at).code == 0
    assert not numbers(inside, own)["shipped"]
