"""A calibration on one's own people is in force from the next command on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus


def test_it_is_used_by_the_next_verification(vultus: Vultus, own: Gallery, album: Path):
    name, probe = own.genuine
    asked = ("verify", name, "--source", probe, *own.at, "--format", "json")
    before = vultus(*asked, "--fmr", "0.1").json()
    rows = own.content()

    done = vultus("calibrate", album / "people", *own.at)
    assert done.code == 0, done.err
    assert "14 people, 84 photos; smallest supported rate 3.3e-02" in done.out
    assert f"Now in force for {before['model']}" in done.out
    assert own.content() == rows, "nobody was enrolled by it"

    after = vultus(*asked, "--fmr", "0.1").json()
    assert after["threshold"] != before["threshold"]
    assert after["answer"] == "yes"

    done = vultus(*asked)  # the default rate, one in a thousand, is more than 91 pairs can show
    assert done.code == 3
    assert done.json()["error"]["code"] == "unsupported_rate"
    assert "91 pairs of people" in done.err
    assert "0.033" in done.err
    assert "vultus calibrate PEOPLE" in done.err

    done = vultus("doctor", *own.at)
    assert "14 people" in done.out


def test_as_json_it_is_the_whole_curve(
    inside: Callable[..., Done], shared: Gallery, tmp_path: Path
):
    at = ("--database", tmp_path / "g.sqlite3")
    done = inside("calibrate", shared.folder, *at, "--format", "json")
    assert done.code == 0, done.err
    said = done.json()
    assert said["format"].startswith("vultus-calibration-")
    assert (said["people"], said["person_pairs"], said["photos"]) == (6, 15, 24)
    assert said["smallest_fmr"] == 0.2
    assert said["source"] == "people"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_people_change_nothing(
    inside: Callable[..., Done], own: Gallery, tmp_path: Path, count: int
):
    for name in own.names[:count]:
        (tmp_path / "people" / name).mkdir(parents=True)
        for file in own.probes[name]:
            (tmp_path / "people" / name / file.name).write_bytes(file.read_bytes())
    done = inside("calibrate", tmp_path / "people", *own.at)
    assert done.code == 3
    assert "people at least" in done.err
    name, probe = own.genuine
    assert inside("verify", name, "--source", probe, *own.at).code == 0, "the shipped curve holds"


def test_photos_without_a_face_are_told(
    inside: Callable[..., Done], own: Gallery, spoiled: Callable[[str], Path], tmp_path: Path
):
    for name in own.names[:4]:
        (tmp_path / "people" / name).mkdir(parents=True)
        for file in own.probes[name]:
            (tmp_path / "people" / name / file.name).write_bytes(file.read_bytes())
    bad = tmp_path / "people" / own.names[0] / "faceless.png"
    bad.write_bytes(spoiled("faceless.png").read_bytes())
    done = inside("calibrate", tmp_path / "people", *own.at)
    assert done.code == 0, done.err
    assert "1 photos without a usable face" in done.err
    assert "faceless.png" in done.err
