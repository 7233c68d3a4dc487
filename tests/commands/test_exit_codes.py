"""The exit codes of the command line, each by a real case."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus


def ask(
    run: Callable[..., Done], gallery: Gallery, claim: tuple[str, Path], *more: str
) -> tuple[int, dict]:
    name, probe = claim
    done = run("verify", name, "--source", probe, *gallery.at, "--format", "json", *more)
    return done.code, done.json()


def test_0_yes(vultus: Vultus, shared: Gallery):
    code, said = ask(vultus, shared, shared.genuine)
    assert (code, said["answer"]) == (0, "yes")


def test_1_no(vultus: Vultus, shared: Gallery):
    code, said = ask(vultus, shared, shared.impostor)
    assert (code, said["answer"]) == (1, "no")


def test_2_unsure(inside: Callable[..., Done], shared: Gallery):
    done = inside("identify", *shared.strangers, *shared.at, "--format", "json")
    faces = {photo["source"]: photo["faces"][0] for photo in done.json()["photos"]}
    nearest = {file: face["candidates"][0] for file, face in faces.items()}
    stranger = max(nearest, key=lambda file: nearest[file]["similarity"])
    claim = (nearest[stranger]["person"], Path(stranger))
    strict, loose = 1e-3, 0.5  # the answer goes from no over unsure to yes
    code = 1
    for _ in range(20):
        rate = (strict * loose) ** 0.5
        code, said = ask(inside, shared, claim, "--fmr", f"{rate:.4g}")
        if code == 2:
            break
        strict, loose = (rate, loose) if code == 1 else (strict, rate)
    assert (code, said["answer"], said["verified"]) == (2, "unsure", None)
    assert said["unsure_above"] <= said["similarity"] < said["threshold"]


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("faceless.png", "face_not_found"),
        ("text.jpg", "not_an_image"),
        ("empty.jpg", "not_an_image"),
        ("nowhere.jpg", "not_an_image"),
    ],
)
def test_2_unusable_photo(
    inside: Callable[..., Done],
    shared: Gallery,
    spoiled: Callable[[str], Path],
    picture: str,
    reason: str,
):
    code, said = ask(inside, shared, (shared.names[0], spoiled(picture)))
    assert (code, said["answer"], said["error"]["reason"]) == (2, None, reason)


def test_2_unknown_person(inside: Callable[..., Done], shared: Gallery):
    code, said = ask(inside, shared, ("Somebody Else", shared.genuine[1]))
    assert (code, said["error"]["code"]) == (2, "unknown_person")


def test_3_unsupported_rate(inside: Callable[..., Done], shared: Gallery):
    code, said = ask(inside, shared, shared.genuine, "--fmr", "1e-9")
    assert (code, said["error"]["code"]) == (3, "unsupported_rate")
    assert "3.1e-05" in said["error"]["message"]


def test_3_schema_behind_names_the_command(vultus: Vultus, own: Gallery):
    with closing(sqlite3.connect(own.database)) as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
        database.commit()
    name, probe = own.genuine
    done = vultus("verify", name, "--source", probe, *own.at)
    assert done.code == 3
    assert "run `vultus db upgrade`" in done.err
    assert vultus("db", "check", *own.at).code == 3


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
@pytest.mark.parametrize("log", ["told", "full too"])
def test_3_an_answer_that_cannot_be_written(vultus: Vultus, shared: Gallery, log: str):
    """A full disk is neither yes nor no, even where it holds stderr as well."""
    with Path("/dev/full").open("w") as full:
        err = subprocess.PIPE if log == "told" else full
        done = vultus.start("people", "list", *shared.at, stdout=full, stderr=err)
        said = done.communicate(timeout=120)[1]
    assert done.returncode == 3
    assert said == ("vultus: No space left on device.\n" if log == "told" else None)


def test_3_a_part_of_the_folder_failed(
    vultus: Vultus, shared: Gallery, spoiled: Callable[[str], Path], tmp_path: Path
):
    people = tmp_path / "people"
    (people / "New").mkdir(parents=True)
    wanted = {"good.jpg": None, "text.jpg": "not_an_image", "faceless.png": "face_not_found"}
    for name, reason in wanted.items():
        source = shared.strangers[0] if reason is None else spoiled(name)
        (people / "New" / name).write_bytes(source.read_bytes())
    done = vultus("enroll", people, "--database", tmp_path / "g.sqlite3", "--format", "json")
    assert done.code == 3
    files = {Path(file["file"]).name: file["reason"] for file in done.json()["files"]}
    assert files == wanted
    done = vultus("enroll", people, "--database", tmp_path / "g.sqlite3")
    assert "text.jpg" in done.out
    assert "not_an_image" in done.out
    assert "1 unchanged, 2 rejected" in done.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("verify", "Ann", "--source", "a.jpg", "--no-such-option"), "--no-such-option"),
        (("verify", "--source", "a.jpg"), "PERSON"),
        (("verify", "Ann"), "--source"),
        (("verify", "Ann", "--source", "a.jpg", "--fmr", "often"), "--fmr"),
        (("verify", "Ann", "--source", "a.jpg", "--frames", "0"), "--frames"),
        (("identify", "a.jpg", "-k", "none"), "-k"),
        (("enroll", "people", "--expires", "tomorrow"), "--expires"),
        (("name", "one", "Ann"), "one"),
        (("nothing",), "nothing"),
        (("people", "nothing"), "nothing"),
        (("cluster", "pictures", "--links"), "--out"),
    ],
)
def test_64_wrong_usage(inside: Callable[..., Done], arguments: tuple[str, ...], word: str):
    done = inside(*arguments)
    assert (done.code, done.out) == (64, "")
    assert word in done.err
    assert "--help" in done.err


def test_130_interrupted_and_continued(vultus: Vultus, many: Path, tmp_path: Path):
    at = ("enroll", many, "--database", tmp_path / "g.sqlite3", "--format", "jsonl")
    log = tmp_path / "stderr"
    # tests that run in the background of a shell would hand an ignored SIGINT on
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("w") as noise:
        process = vultus.start(
            *at, "--jobs", "1", stdout=subprocess.PIPE, stderr=noise, start_new_session=True
        )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    first = process.stdout.readline()  # something is committed
    process.send_signal(signal.SIGINT)
    out = process.stdout.read()  # communicate() would pass over what readline() has read ahead
    process.stdout.close()
    process.wait(60)
    err = log.read_text(encoding="utf-8")
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "what is committed is kept; run it again" in err
    told = [json.loads(line)["file"] for line in (first + out).splitlines()]
    assert 0 < len(told) < 252
    done = vultus(*at)
    assert done.code == 0, done.err
    files = [json.loads(line) for line in done.out.splitlines()]
    before = {file["file"] for file in files if file["status"] == "unchanged"}
    assert len(files) == 252
    assert before >= set(told), "what was told is kept"


def test_identify_0_somebody_1_nobody_2_unusable(
    vultus: Vultus, shared: Gallery, spoiled: Callable[[str], Path]
):
    probe, stranger = shared.genuine[1], shared.strangers[0]
    assert vultus("identify", stranger, probe, *shared.at).code == 0
    assert vultus("identify", stranger, *shared.at).code == 1
    assert vultus("identify", spoiled("text.jpg"), *shared.at).code == 2


def test_doctor_0_and_3(vultus: Vultus, shared: Gallery, tmp_path: Path):
    done = vultus("doctor", *shared.at, "--format", "json")
    assert done.code == 0, done.out
    assert {finding["state"] for finding in done.json()} <= {"ok", "note"}
    damaged = tmp_path / "damaged.sqlite3"
    damaged.write_text("no database at all, and longer than a page header is wide " * 20)
    done = vultus("doctor", "--database", damaged)
    assert done.code == 3
    assert "damaged.sqlite3 cannot be used" in done.out
    assert "restore it from a backup" in done.out
