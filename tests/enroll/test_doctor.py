"""The doctor: finds what is broken, says what to do, hides nothing and changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from embedder import weights
from enroll import doctor
from enroll.doctor import Finding, examine
from enroll.forget import forget
from verify.opening import Places

if TYPE_CHECKING:
    from .conftest import Shelf

LOOKED_AT = {
    "versions", "search engine", "weights", "encoder", "database", "gallery", "index",
    "calibration", "sealing",
}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Module → distributions that own it: whatever is installed here, nothing quarrels."""
    owners = {"vultus": ["vultus"], "cv2": ["opencv-python-headless"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    return owners


@pytest.fixture
def places(enrolled: Shelf) -> Places:
    """A healthy gallery, closed."""
    enrolled.parts.close()
    return Places(database=str(enrolled.database))


def by_what(findings: list[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.what, []).append(finding)
    return found


def bad(findings: list[Finding]) -> dict[str, str]:
    """What is bad, and everything that is said of it."""
    return {f.what: f"{f.found} | {f.advice}" for f in findings if f.state == "bad"}


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.usefixtures("embedder")
def test_a_healthy_gallery(places: Places):
    findings = examine(places)
    assert bad(findings) == {}
    found = by_what(findings)
    assert set(found) == LOOKED_AT
    assert len(found["weights"]) == len(weights.KNOWN)
    assert found["database"][0].found.endswith("schema current")
    assert found["gallery"][0].found.startswith("4 people, 8 photos, 8 templates, 0 of them")
    assert found["index"][0].found == "in step: 8 vectors, the database names 8, rev 8 of 8"
    assert found["encoder"][0].found.startswith("vultus-face-1 (vultus-face-1-128-")
    assert all(set(f.to_dict()) == {"what", "state", "found", "advice"} for f in findings)


@pytest.mark.usefixtures("embedder")
def test_nothing_is_changed(places: Places):
    folder = Path(str(places.database)).parent
    before = everything(folder)
    examine(places)
    assert everything(folder) == before


@pytest.mark.usefixtures("embedder")
@pytest.mark.parametrize("model", [None, "sface-mirror"])
def test_without_a_database_nothing_is_created(tmp_path: Path, model: str | None):
    findings = examine(Places(database=str(tmp_path / "deep" / "none.sqlite3"), model=model))
    assert list(tmp_path.iterdir()) == []
    assert bad(findings) == {}
    found = by_what(findings)
    assert [found[what][0].state for what in ("database", "gallery", "index")] == ["note"] * 3
    assert "does not exist yet" in found["database"][0].found
    assert [found[what][0].state for what in ("encoder", "calibration")] == ["ok"] * 2
    assert found["encoder"][0].found.startswith(model or "vultus-face-1")


@pytest.mark.usefixtures("embedder")
def test_an_empty_file_is_not_filled(tmp_path: Path):
    database = tmp_path / "empty.sqlite3"
    database.touch()
    findings = examine(Places(database=str(database)))
    assert by_what(findings)["database"][0].state == "note"
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.fixture
def other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place of weights; no package carries any."""
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VULTUS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(weights, "CARRIERS", ())
    monkeypatch.setattr(metadata, "distributions", list)
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def test_missing_weights(places: Places, other_weights: Path):
    findings = examine(places)
    assert set(by_what(findings)) == LOOKED_AT
    states = ["note" if file.optional else "bad" for file in weights.KNOWN]
    assert [f.state for f in by_what(findings)["weights"]] == states
    assert set(bad(findings)) == {"weights", "encoder"}
    assert 'pip install "vultus[faces]"' in bad(findings)["weights"]
    assert list(other_weights.iterdir()) == []


def test_broken_weights(places: Places, other_weights: Path):
    broken = other_weights / weights.YUNET.name
    broken.write_bytes(b"x" * weights.YUNET.size)
    findings = examine(places)
    assert set(by_what(findings)) == LOOKED_AT
    yunet, sface = by_what(findings)["weights"][:2]
    assert (yunet.state, sface.state) == ("bad", "bad")
    assert str(broken) in yunet.found
    assert "delete it" in yunet.found
    assert by_what(findings)["index"][0].state == "ok"


@pytest.mark.usefixtures("embedder")
def test_a_damaged_index_file_is_told_and_not_mended(places: Places):
    (file,) = Path(str(places.database)).parent.glob("*.vultus-index")
    data = bytearray(file.read_bytes())
    data[-10] ^= 0xFF
    file.write_bytes(data)
    findings = examine(places)
    assert set(bad(findings)) == {"index"}
    assert str(file) in bad(findings)["index"]
    assert "delete it" in bad(findings)["index"]
    assert file.read_bytes() == data


@pytest.mark.usefixtures("embedder")
def test_an_index_of_another_gallery(places: Places, shelf: Shelf, people: dict[str, list[Path]]):
    shelf.enroll(next(iter(people.values()))[0], name="Ann")
    (file,) = Path(str(places.database)).parent.glob("*.vultus-index")
    shutil.copy(shelf.parts.index.path, file)
    findings = examine(places)
    assert set(bad(findings)) == {"index"}
    assert "of another gallery" in bad(findings)["index"]
    assert f"delete {file}" in bad(findings)["index"]


@pytest.mark.usefixtures("embedder")
def test_an_index_that_is_behind_or_missing_is_no_fault(enrolled: Shelf, tmp_path: Path):
    file = enrolled.parts.index.path
    old = shutil.copy(file, tmp_path / "old")
    ((name,),) = enrolled.ask("SELECT name FROM people LIMIT 1")
    forget(enrolled.parts, str(name))
    shutil.copy(old, file)
    places = Places(database=str(enrolled.database))
    (index,) = by_what(examine(places))["index"]
    assert index.state == "note"
    assert index.found == "behind: 8 vectors, the database names 6, rev 8 of 10"
    file.unlink()
    (index,) = by_what(examine(places))["index"]
    assert index.state == "note"
    assert not file.exists()


@pytest.mark.usefixtures("embedder")
def test_rows_that_the_index_does_not_know_of(places: Places):
    with closing(sqlite3.connect(str(places.database))) as connection:
        connection.execute("UPDATE templates SET person_id = NULL WHERE id = 1")  # past the log
        connection.commit()
    findings = examine(places)
    assert set(bad(findings)) == {"index"}
    assert "8 vectors, the database names 7" in bad(findings)["index"]


@pytest.mark.usefixtures("embedder")
@pytest.mark.parametrize(("version", "word"), [("0000", "behind"), ("9999", "ahead")])
def test_another_schema(places: Places, version: str, word: str):
    with closing(sqlite3.connect(str(places.database))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])
        connection.commit()
    findings = examine(places)
    assert set(by_what(findings)) == LOOKED_AT
    assert set(bad(findings)) == {"database"}
    assert f"schema {word}" in bad(findings)["database"]
    assert by_what(findings)["encoder"][0].state == "ok"


def test_an_older_schema_says_how_to_upgrade(places: Places):
    with closing(sqlite3.connect(str(places.database))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    assert "vultus db upgrade" in bad(examine(places))["database"]


@pytest.mark.usefixtures("embedder")
def test_a_file_that_is_no_database(tmp_path: Path):
    database = tmp_path / "notes.sqlite3"
    database.write_text("this is no database, " * 100)
    findings = examine(Places(database=str(database)))
    assert set(by_what(findings)) == LOOKED_AT
    assert set(bad(findings)) == {"database"}
    assert by_what(findings)["encoder"][0].state == "ok"


@pytest.mark.usefixtures("embedder")
def test_a_gallery_of_another_model(places: Places):
    findings = examine(Places(database=places.database, model="sface-mirror"))
    assert set(by_what(findings)) == LOOKED_AT
    assert set(bad(findings)) == {"gallery", "index"}
    assert "choose the model" in bad(findings)["gallery"]
    assert by_what(findings)["encoder"][0].found.startswith("sface-mirror")


@pytest.mark.usefixtures("embedder")
def test_a_gallery_of_an_unknown_space(places: Places):
    with closing(sqlite3.connect(str(places.database))) as connection:
        connection.execute("UPDATE gallery SET space = 'toy-8-abc'")
        connection.commit()
    findings = examine(places)
    assert set(bad(findings)) == {"gallery", "index"}
    assert "pinned to toy-8-abc" in bad(findings)["gallery"]


@pytest.mark.usefixtures("embedder")
@pytest.mark.parametrize(
    ("module", "owners"),
    [
        ("cv2", ["opencv-python", "opencv-python-headless"]),
        ("faiss", ["faiss-cpu", "faiss-gpu"]),
        ("store", ["a-shop", "vultus"]),
    ],
)
def test_two_owners_of_one_module(
    places: Places, alone: dict[str, list[str]], module: str, owners: list[str]
):
    alone[module] = owners
    findings = examine(places)
    assert set(by_what(findings)) == LOOKED_AT | {"package names"}
    assert set(bad(findings)) == {"package names"}
    said = bad(findings)["package names"]
    assert module in said
    assert owners[0] in said
    assert "pip" in said


def test_an_unknown_engine_model_or_device(places: Places):
    database = places.database
    engine = bad(examine(Places(database=database, index="redis:x")))
    assert "names no engine" in engine["search engine"]
    assert "known are sface" in bad(examine(Places(database=database, model="nope")))["encoder"]
    device = bad(examine(Places(database=database, device="tpu")))
    assert set(device) == {"encoder"}
    assert "known are cpu and cuda" in device["encoder"]


@pytest.mark.usefixtures("embedder")
def test_a_library_that_cannot_be_loaded_hides_nothing(
    places: Places, monkeypatch: pytest.MonkeyPatch
):
    def fails(_places: Places) -> Finding:
        raise ImportError("libfaiss.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "_engine", fails)
    findings = examine(places)
    assert set(by_what(findings)) == LOOKED_AT
    assert "libfaiss.so" in bad(findings)["search engine"]


@pytest.mark.usefixtures("embedder")
def test_without_faiss_it_is_a_note(places: Places, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("index.opening.find_spec", lambda _: None)
    (engine,) = by_what(examine(places))["search engine"]
    assert engine.state == "note"
    assert 'pip install "vultus[cpu]"' in engine.advice


@pytest.mark.usefixtures("embedder")
def test_places_may_come_from_the_environment(places: Places, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VULTUS_DATABASE", str(places.database))
    monkeypatch.setenv("VULTUS_INDEX", "memory:")
    found = by_what(examine(Places()))
    assert found["gallery"][0].found.startswith("4 people")
    assert found["index"][0].state == "note"
