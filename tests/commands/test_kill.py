"""An enrolment that is killed loses nothing: the small version of benchmarks/kill9.py."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kill9.py"


@pytest.fixture
def kill9(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("benchmarks/kill9.py is not here")
    spec = spec_from_file_location("kill9", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill9", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.delenv("VULTUS_DATA", raising=False)
    return module


@pytest.mark.usefixtures("weights")
def test_killed_and_continued_is_as_if_never_killed(
    kill9: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good = kill9.run(tmp_path, times=2, photos=84, seed=1)
    said = capsys.readouterr().out
    assert "84 photos of 14 people, 0 rejected" in said
    assert (good, "2 of 2" in said) == (2, True), said


@pytest.mark.usefixtures("weights")
def test_a_lost_row_would_be_noticed(kill9: ModuleType, tmp_path: Path):
    photos = kill9.choose_photos(tmp_path / "photos", 8, seed=2)
    enrolment = kill9.Enrolment(photos, tmp_path / "one")
    enrolment.finish()
    wanted = enrolment.look()
    assert (wanted.faults, wanted.differences(wanted)) == ([], [])
    with kill9.closing(kill9.sqlite3.connect(enrolment.database)) as database:
        database.execute("DELETE FROM templates WHERE id = 3")
        database.commit()
    assert enrolment.look().differences(wanted) == [
        "templates",
        "index",
        "the index holds 8 ids, the database names 7",
        "a vector of the index is not the template's",
    ]
