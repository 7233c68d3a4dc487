"""`vultus evaluate` on generated people: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("weights")


def at(tmp_path: Path) -> tuple[str, ...]:
    return ("--database", str(tmp_path / "gallery.sqlite3"), "--model", "sface", "--quiet")


def test_all_pairs(inside: Callable, album: Path, tmp_path: Path):
    people = album / "people"
    names = sorted(folder.name for folder in people.iterdir())
    rows = [f"{name},{'odd' if n % 2 else 'even'}" for n, name in enumerate(names)]
    (tmp_path / "people.csv").write_text("\n".join(["person,half", *rows]), encoding="utf-8")
    kept = tmp_path / "result.json"
    done = inside(
        "evaluate", "verification", people, "--all-pairs", "--by", tmp_path / "people.csv",
        "--by-fmr", "0.1", "--json", kept, *at(tmp_path),
    )  # fmt: skip
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert re.fullmatch(r"Accuracy: \d\.\d{5}\+-\d\.\d{5}", lines[0])
    assert lines[1] == "Validation rate: unsupported @ FAR=0.00100"
    assert re.fullmatch(r"Area Under Curve \(AUC\): \d\.\d{3}", lines[2])
    assert re.fullmatch(r"Equal Error Rate \(EER\): \d\.\d{3}", lines[3])
    assert "turned away" in done.out
    values = json.loads(kept.read_text(encoding="utf-8"))
    assert values["setup"]["kind"] == "verification"
    assert [one["value"] for one in values["demographics"][0]["subgroups"]] == ["even", "odd"]


def test_a_pair_file_as_json(inside: Callable, album: Path, tmp_path: Path):
    one, two, *_ = sorted((album / "people").iterdir())
    pairs = tmp_path / "pairs.txt"
    lines = [f"{one.name}\t1\t2", f"{two.name}\t1\t2", f"{one.name}\t1\t{two.name}\t1"]
    pairs.write_text("\n".join(lines), encoding="utf-8")
    done = inside(
        "evaluate", "verification", album / "people", "--pairs", pairs, "--threshold-pairs", pairs,
        "--format", "json", *at(tmp_path),
    )  # fmt: skip
    assert done.code == 0, done
    values = json.loads(done.out)
    assert (values["mated"], values["nonmated"]) == (2, 1)
    assert values["accuracy"] == {"mean": 1.0, "std": 0.0, "folds": 1}
    assert values["points"][0]["threshold"] is None


def test_identification(inside: Callable, album: Path, tmp_path: Path):
    done = inside(
        "evaluate", "identification", album / "people", "--enrol", "2", "--left-out", "0.5",
        "--sizes", "3,5", "--format", "json", *at(tmp_path),
    )  # fmt: skip
    assert done.code == 0, done
    values = json.loads(done.out)
    assert [size["people"] for size in values["sizes"]] == [3, 5, 7]
    assert values["ranks"]["1"]["value"] > 0.5
    done = inside(
        "evaluate", "identification", album / "people", "--probes", album / "strangers",
        *at(tmp_path),
    )  # fmt: skip
    assert done.code == 3
    assert "nobody to find" in done.err


def test_clustering(inside: Callable, album: Path, tmp_path: Path):
    done = inside("evaluate", "clustering", album / "people", *at(tmp_path))
    assert done.code == 0, done
    assert "BCubed" in done.out
    assert "worst splits" in done.out


@pytest.mark.skipif(find_spec("verify.report") is None, reason="reports are not installed")
def test_a_report(inside: Callable, album: Path, tmp_path: Path):
    page = tmp_path / "report.html"
    done = inside("evaluate", "clustering", album / "people", "--report", page, *at(tmp_path))
    assert done.code == 0, done
    assert "<html" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["verification", "DIR"],
        ["verification", "DIR", "--all-pairs", "--threshold-pairs", "FILE"],
        ["verification", "DIR", "--pairs", "FILE", "--people", "5"],
        ["verification", "DIR", "--pairs", "FILE", "--all-pairs"],
        ["verification", "DIR", "--all-pairs", "--by-fmr", "0.5"],
        ["verification", "nowhere", "--all-pairs"],
        ["identification", "DIR", "--sizes", "some"],
        ["identification", "DIR", "--left-out", "nan"],
        ["identification", "DIR", "--probes", "DIR", "--left-out", "0.5"],
    ],
)
def test_wrong_usage(inside: Callable, tmp_path: Path, arguments: list[str]):
    (tmp_path / "people").mkdir()
    file = tmp_path / "pairs.txt"
    file.touch()
    places = {"DIR": tmp_path / "people", "FILE": file}
    done = inside("evaluate", *[places.get(one, one) for one in arguments])
    assert done.code == 64, done


def test_a_broken_pair_file_is_unusable_input(inside: Callable, album: Path, tmp_path: Path):
    (tmp_path / "pairs.txt").write_text("Nobody 1 2\n", encoding="utf-8")
    done = inside(
        "evaluate", "verification", album / "people", "--pairs", tmp_path / "pairs.txt",
        *at(tmp_path),
    )  # fmt: skip
    assert done.code == 2
    assert "photo 1 of Nobody, which is not there" in done.err


def test_an_empty_folder(inside: Callable, tmp_path: Path):
    (tmp_path / "people").mkdir()
    done = inside("evaluate", "clustering", tmp_path / "people", *at(tmp_path))
    assert done.code == 3
    assert "holds no photos" in done.err
