"""The command that sorts a library, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done


@pytest.fixture
def place(album: Path, tmp_path: Path, weights: None) -> tuple[Path, tuple[str, str]]:  # noqa: ARG001 - skips
    """Three people with three photos each, and where their gallery will be."""
    for person in sorted((album / "people").iterdir())[:3]:
        (tmp_path / "photos" / person.name).mkdir(parents=True)
        for file in sorted(person.glob("*.jpg"))[:3]:
            shutil.copy(file, tmp_path / "photos" / person.name)
    return tmp_path / "photos", ("--database", str(tmp_path / "g.sqlite3"))


def test_plan_apply_and_undo(
    inside: Callable[..., Done], place: tuple[Path, tuple[str, str]], album: Path
):
    photos, at = place
    planned = inside("cluster", photos, "--plan", *at)
    assert planned.code == 0, planned.err
    assert planned.out.startswith("would be 3 people in 9 photos")
    first = json.loads(inside("cluster", photos, *at, "--format", "json").out)
    assert [(c["cluster"], c["size"]) for c in first["clusters"]] == [(1, 3), (2, 3), (3, 3)]
    shutil.copy(min((album / "strangers").glob("*/*.jpg")), photos / "new.jpg")
    plan = inside("cluster", photos, *at, "--plan")
    assert "new" in plan.out
    table = inside("cluster", photos, *at).out
    assert "4 people in 10 photos" in table
    lines = inside("cluster", photos, *at, "--format", "csv").out.splitlines()
    assert f"{photos / 'new.jpg'},4," in lines
    assert len(lines) == 10
    for _ in range(2):
        assert "cluster, is undone" in inside("undo", *at).out
    assert inside("name", 4, "Nobody", *at).code == 2


def test_xmp_there_and_back(
    inside: Callable[..., Done], place: tuple[Path, tuple[str, str]], tmp_path: Path
):
    photos, at = place
    inside("cluster", photos, *at)
    inside("name", 2, "Ann Lee", *at)
    written = inside("cluster", photos, *at, "--xmp", "write")
    assert "XMP: 3 sidecars written, 0 unchanged" in written.out
    other = ("--database", str(tmp_path / "other.sqlite3"))
    read = json.loads(inside("cluster", photos, *other, "--xmp", "read", "--format", "json").out)
    assert read["xmp_read"] == {"named": 3, "known": 0, "left": []}
    assert [c["name"] for c in read["clusters"]].count("Ann Lee") == 1


def test_suggestions_are_listed_and_answered(
    inside: Callable[..., Done], place: tuple[Path, tuple[str, str]]
):
    photos, at = place
    inside("cluster", photos, *at, "--k", 2)
    hints = json.loads(inside("cluster", "--suggest", *at, "--format", "json").out)["suggestions"]
    key = next(hint["id"] for hint in hints if hint["kind"] == "split")
    assert key in inside("cluster", "--suggest", *at).out
    answered = inside("cluster", "--answer", f"{key}=different", *at)
    assert f"{key}: different; undo it with: vultus undo" in answered.out
    assert inside("cluster", "--answer", f"{key}=same", *at).code == 2
    skipped = inside("cluster", "--suggest", *at).out
    assert key not in skipped


@pytest.mark.parametrize(
    "wrong",
    [
        (), ("x", "--suggest"), ("--answer", "abc"), ("x", "--k", "0"), ("x", "--k", "many"),
        ("x", "--k", "3", "--method", "link"), ("x", "--links"), ("x", "--plan", "--out", "y"),
        ("x", "--plan", "--xmp", "write"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(inside: Callable[..., Done], wrong: tuple[str, ...]):
    done = inside("cluster", *wrong)
    assert done.code == 64
    assert done.out == ""
