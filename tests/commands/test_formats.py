"""What goes where: results to stdout, the rest to stderr, and in which form."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Gallery, Vultus

ESCAPE = "\x1b"


@pytest.mark.parametrize(("who", "verified"), [("genuine", True), ("impostor", False)])
def test_json_of_a_verification(vultus: Vultus, shared: Gallery, who: str, verified: bool):
    name, probe = getattr(shared, who)
    done = vultus("verify", name, "--source", probe, *shared.at, "--format", "json")
    said = done.json()
    keys = {"answer", "verified", "similarity", "distance", "threshold", "fmr", "model", "device"}
    assert keys | {"time_ms", "person"} <= said.keys()
    assert (said["verified"], said["person"], done.err) == (verified, name, "")
    assert said["distance"] == pytest.approx(1 - said["similarity"], abs=2e-6)
    assert (said["similarity"] >= said["threshold"]) is verified
    assert said["fmr"] == 1e-3
    assert said["model"].startswith("vultus-face-1-128-")
    assert said["device"].startswith("cpu ")
    assert said["time_ms"] > 0


def test_json_of_a_comparison(vultus: Vultus, shared: Gallery):
    one, other = shared.probes[shared.names[0]][:2]
    said = vultus("compare", one, other, *shared.at, "--format", "json").json()
    assert (said["answer"], said["verified"], said["person"]) == ("yes", True, None)
    assert (said["first"], said["second"]) == (str(one), str(other))


def test_jsonl_is_one_object_a_file(
    vultus: Vultus, shared: Gallery, spoiled: Callable[[str], Path]
):
    photos = [shared.genuine[1], shared.strangers[0], spoiled("faceless.png"), spoiled("text.jpg")]
    done = vultus("identify", *photos, *shared.at, "--format", "jsonl")
    said = [json.loads(line) for line in done.out.splitlines()]
    assert [one["source"] for one in said] == [str(photo) for photo in photos]
    assert [one["answer"] for one in said] == ["yes", "no", "no", "no"]
    assert [one["reason"] for one in said] == [None, None, "face_not_found", "not_an_image"]
    assert said[0]["faces"][0]["person"] == shared.genuine[0]
    assert (done.code, done.err) == (0, "")


def test_csv_is_face_recognitions(
    vultus: Vultus, shared: Gallery, spoiled: Callable[[str], Path], tmp_path: Path
):
    awkward = tmp_path / 'one, "two".jpg'
    awkward.write_bytes(shared.genuine[1].read_bytes())
    photos = [awkward, shared.strangers[0], spoiled("faceless.png")]
    done = vultus("identify", *photos, *shared.at, "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.out)))
    assert [row[0] for row in rows] == [str(photo) for photo in photos]
    assert [row[1] for row in rows] == [shared.genuine[0], "unknown_person", "no_persons_found"]
    assert 0 < float(rows[0][2]) < float(rows[1][2]) < 2
    assert rows[2][2] == ""
    assert done.err == ""


def test_enrolment_as_jsonl_and_csv(vultus: Vultus, shared: Gallery):
    dry = ("enroll", shared.folder, "--dry-run", *shared.at, "--format")
    done = vultus(*dry, "jsonl")
    said = [json.loads(line) for line in done.out.splitlines()]
    assert {one["status"] for one in said} == {"unchanged"}
    assert len(said) == 24
    assert "a folder a person: 6 people, 24 photos" in done.err
    rows = list(csv.reader(io.StringIO(vultus(*dry, "csv").out)))
    assert [row[:3] for row in rows] == [[s["file"], s["person"], "unchanged"] for s in said]


def test_quiet_is_silent_on_stderr(vultus: Vultus, shared: Gallery):
    done = vultus("enroll", shared.folder, "--dry-run", "--quiet", *shared.at)
    assert (done.code, done.err) == (0, "")
    assert "24 unchanged" in done.out


def test_no_escape_codes_into_a_pipe(vultus: Vultus, shared: Gallery):
    name, probe = shared.genuine
    for arguments in (
        ("verify", name, "--source", probe),
        ("identify", probe, shared.strangers[0]),
        ("enroll", shared.folder, "--dry-run"),
        ("doctor",),
    ):
        done = vultus(*arguments, *shared.at)
        assert ESCAPE not in done.out + done.err, arguments
        assert "\r" not in done.out + done.err, arguments


def on_terminal(vultus: Vultus, *arguments: object, **variables: str) -> str:
    """What a terminal of 100 columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = vultus.environment | {"TERM": "xterm-256color"} | variables
    process = type(vultus)(vultus.python, environment, vultus.place).start(
        *arguments, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(60) == 0
    return seen.decode()


def test_a_terminal_shows_a_bar_and_quiet_does_not(vultus: Vultus, many: Path, tmp_path: Path):
    enrol = ("enroll", many, "--dry-run", "--database", tmp_path / "g.sqlite3")
    seen = on_terminal(vultus, *enrol)
    assert "enrolling:" in seen
    assert "photo/s" in seen
    assert "252 photos would be enrolled" in seen
    assert "enrolling" not in on_terminal(vultus, *enrol, "--quiet")


def test_a_terminal_shows_colour_unless_told_not_to(vultus: Vultus, shared: Gallery):
    name, probe = shared.genuine
    verify = ("verify", name, "--source", probe, *shared.at)
    assert f"{ESCAPE}[32m" in on_terminal(vultus, *verify)
    assert ESCAPE not in on_terminal(vultus, *verify, NO_COLOR="1")


@pytest.mark.parametrize("command", ["identify", "enroll"])
def test_a_reader_that_leaves_is_no_error(
    vultus: Vultus, shared: Gallery, many: Path, command: str
):
    photos = sorted(many.glob("*/*-0.jpg")) if command == "identify" else [many, "--dry-run"]
    process = vultus.start(
        command, *photos, *shared.at, "--format", "jsonl",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    json.loads(process.stdout.readline())
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0, said
    assert "Traceback" not in said
    assert "Error" not in said
    assert "rror" not in said
