"""Wrong input: one line that names it and says what to do, the right code, nothing changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus

STEP = (
    "check", "give", "use", "choose", "restore", "name another", "did you mean", "lists", "install",
    "ask for", "write one of", "remove", "save or copy", "known are", "close", "take another",
    "is not one of", "make", "are read", "is needed", "name a folder", "write auto:", "--help",
)  # fmt: skip


def refused(done: Done, code: int, *words: str) -> list[str]:
    """What is wrong with how a command refused something; nothing, if all is well."""
    said = done.err
    faults = [] if done.code == code else [f"left with {done.code}: {said}"]
    faults += [word for word in ("Traceback", "unexpected") if word in done.out + said]
    faults += [f"{word!r} is not in {said!r}" for word in words if word not in said]
    return faults + ([] if any(step in said for step in STEP) else [f"no next step in {said!r}"])


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        ("missing.jpg", "does not exist"),
        ("folder.jpg", "is a folder"),
        ("text.jpg", "is no picture"),
        ("empty.jpg", "is no picture"),
        ("truncated.jpg", "is a broken picture"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "compare"])
def test_pictures(
    inside: Callable[..., Done],
    unchanged: Gallery,
    spoiled: Callable[[str], Path],
    command: str,
    picture: str,
    word: str,
):
    name, probe = unchanged.genuine
    first = (name, "--source") if command == "verify" else (probe,)
    assert refused(inside(command, *first, spoiled(picture), *unchanged.at), 2, picture, word) == []


@pytest.mark.parametrize(
    ("video", "word"), [("none.mp4", "does not exist"), ("text.mp4", "cannot be opened")]
)
def test_videos(
    inside: Callable[..., Done],
    unchanged: Gallery,
    spoiled: Callable[[str], Path],
    tmp_path: Path,
    video: str,
    word: str,
):
    shutil.copy(spoiled("text.jpg"), tmp_path / "text.mp4")
    done = inside("verify", unchanged.names[0], "--source", tmp_path / video, *unchanged.at)
    assert refused(done, 2, video, word) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--fmr", "0"), 64, ("--fmr", "between 0 and 1")),
        (("--fmr", "1"), 64, ("--fmr", "between 0 and 1")),
        (("--fmr", "2"), 64, ("--fmr", "between 0 and 1")),
        (("--fmr", "-1"), 64, ("--fmr", "between 0 and 1")),
        (("--fmr", "nan"), 64, ("--fmr", "between 0 and 1")),
        (("--fmr", "1e-12"), 3, ("1e-12", "vultus calibrate")),
        (("--model", "nothing"), 64, ("'nothing'", "sface")),
        (("--model", "sface-mirror"), 3, ("sface-mirror", "--database")),
        (("--detector", "nothing"), 64, ("--detector", "'nothing'", "yunet")),
        (("--runtime", "nothing"), 64, ("--runtime", "'nothing'")),
        (("--index", "nothing:here"), 64, ("--index", "nothing:here", "faiss:")),
        (("--index", "faiss://host/x"), 64, ("--index", "plain path")),
        (("--max-pixels", "1000"), 2, ("pixels", "--max-pixels")),
    ],
)
def test_options(
    inside: Callable[..., Done],
    unchanged: Gallery,
    options: tuple[str, ...],
    code: int,
    words: tuple[str, ...],
):
    name, probe = unchanged.genuine
    assert (
        refused(inside("verify", name, "--source", probe, *unchanged.at, *options), code, *words)
        == []
    )


def test_fpir_is_a_rate(inside: Callable[..., Done], unchanged: Gallery):
    done = inside("identify", unchanged.genuine[1], *unchanged.at, "--fpir", "1.5")
    assert refused(done, 64, "--fpir", "between 0 and 1") == []


def test_cuda_is_not_pretended(inside: Callable[..., Done], unchanged: Gallery):
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("ONNX Runtime here can use CUDA")
    name, probe = unchanged.genuine
    done = inside("verify", name, "--source", probe, *unchanged.at, "--device", "cuda")
    assert refused(done, 3, "CUDA", "--device cpu") == []


def damage(database: Path) -> None:
    """Overwrite all pages but the first few."""
    whole = database.read_bytes()
    database.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("no-database.sqlite3", "not a database"),
        ("damaged.sqlite3", "malformed"),
        ("folder", "is a directory"),
        ("text.txt/gallery.sqlite3", "file exists"),
        ("nothing://host/faces", "driver"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "enroll"])
def test_databases(
    inside: Callable[..., Done],
    unchanged: Gallery,
    tmp_path: Path,
    command: str,
    place: str,
    word: str,
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "no-database.sqlite3").write_text("not a database, only a text " * 50)
    damage(Path(shutil.copy(unchanged.database, tmp_path / "damaged.sqlite3")))
    name, probe = unchanged.genuine
    what = (name, "--source", probe) if command == "verify" else (unchanged.folder, "--quiet")
    url = place if "://" in place else tmp_path / place
    assert refused(inside(command, *what, "--database", url), 3, place, word) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_that_may_not_be_written(inside: Callable[..., Done], own: Gallery):
    own.database.chmod(0o400)
    assert refused(inside("enroll", own.folder, *own.at), 3, own.database.name, "permission") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("name", "99", "Ann"), 2, ("99", "vultus cluster")),
        (("forget", "Nobody Known", "--yes"), 2, ("Nobody Known", "vultus people")),
        (("people", "show", "Nobody Known"), 2, ("Nobody Known", "vultus people")),
        (("people", "rename", "NAME", "a\nb"), 2, (r"a\nb", "control characters")),
        (("people", "rename", "NAME", " "), 2, ("empty",)),
        (("people", "rename", "NAME", "OTHER"), 2, ("OTHER", "take another")),
        (("enroll", "PROBE", "--name", "a\x1b[2Jb"), 2, (r"a\x1b[2Jb", "control characters")),
        (("enroll", "PROBE", "--name", ""), 2, ("empty",)),
        (("enroll", "missing"), 2, ("missing", "does not exist")),
        (("enroll", "EMPTY"), 2, ("no photo",)),
        (("cluster", "missing"), 2, ("missing", "does not exist")),
        (("cluster", "PEOPLE", "--k", "0"), 64, ("--k",)),
        (("cluster", "PEOPLE", "--out", "TEXT"), 64, ("--out",)),
        (("cluster", "PEOPLE", "--out", "TEXT/sheet"), 3, ("sheet", "--out")),
        (("calibrate", "EMPTY"), 3, ("no folders of people",)),
        (("demo", "--out", "TEXT/demo"), 3, ("demo", "choose another")),
    ],
)
def test_commands(
    inside: Callable[..., Done],
    unchanged: Gallery,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    words: tuple[str, ...],
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    stand = {
        "NAME": unchanged.names[0],
        "OTHER": unchanged.names[1],
        "PROBE": str(unchanged.genuine[1]),
        "PEOPLE": str(unchanged.folder),
        "EMPTY": str(tmp_path / "empty"),
        "TEXT": str(tmp_path / "text.txt"),
        "TEXT/sheet": str(tmp_path / "text.txt" / "sheet"),
        "TEXT/demo": str(tmp_path / "text.txt" / "demo"),
    }
    place = () if arguments[0] == "demo" else unchanged.at
    done = inside(*(stand.get(word, word) for word in arguments), *place)
    assert refused(done, code, *(stand.get(word, word) for word in words)) == []
    assert "\x1b" not in done.out + done.err


def test_a_failure_is_told_as_json_too(
    inside: Callable[..., Done], unchanged: Gallery, spoiled: Callable[[str], Path]
):
    done = inside(
        "verify", unchanged.names[0], "--source", spoiled("text.jpg"), *unchanged.at,
        "--format", "json",
    )  # fmt: skip
    assert done.json()["error"]["message"] in done.err


def test_a_traceback_only_where_it_is_asked_for(vultus: Vultus, unchanged: Gallery):
    done = vultus("forget", "Nobody Known", "--yes", *unchanged.at, VULTUS_DEBUG="1")
    assert "Traceback" in done.err
