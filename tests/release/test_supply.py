"""Where Vultus comes from and where it goes: locked dependencies, the same bytes, no network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pins(name: str) -> dict[str, str]:
    """The version of each package of a file of pins."""
    return {found[1]: found[2] for found in PIN.finditer((ROOT / name).read_text("utf-8"))}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_file_is_known_by_hash_and_version(lock: str):
    text = (ROOT / lock).read_text("utf-8")
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(parts) == len(pins(lock)) > 20
    assert [part.splitlines()[0] for part in parts if not HASH.search(part)] == []
    constrained = pins("constraints.txt")
    assert {n: v for n, v in pins(lock).items() if constrained.get(n) != v} == {}, "run `make lock`"


def built(source: Path, out: Path, kind: str) -> dict[str, str]:
    """What a build writes: names and digests."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", out, source],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()}


@pytest.mark.parametrize("kind", ["--wheel", "--sdist"])
def test_the_same_source_gives_the_same_bytes(tmp_path: Path, kind: str):
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    ).stdout.split(b"\0")  # fmt: skip
    if not any(listed):
        pytest.skip("needs a checkout: a copy is made of the files that git knows")
    for place in ("here", "elsewhere"):
        for name in filter(None, map(os.fsdecode, listed)):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                copy = tmp_path / place / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, copy)
                copy.chmod(0o600 if place == "here" else 0o664)
    first = built(tmp_path / "here", tmp_path / "first", kind)
    assert len(first) == 1
    assert first == built(tmp_path / "elsewhere", tmp_path / "second", kind)


def apart() -> list[str]:
    """The start of a command that runs in a network namespace without routes, traced."""
    if shutil.which("strace") is None or shutil.which("unshare") is None:
        pytest.skip("needs strace and unshare")
    words = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no network namespace")
    return words


def test_nothing_asks_the_network(tmp_path: Path):
    """Every connection and datagram of the program and its children is traced; there is none."""
    people = Path(str(resources.files("enroll") / "people" / "people"))
    shutil.copytree(people / "Arden Wick", tmp_path / "people" / "Arden Wick")
    probe = tmp_path / "people" / "Arden Wick" / "1.jpg"
    at = ["--database", tmp_path / "faces.sqlite3"]
    for words in (
        ("enroll", tmp_path / "people", "--quiet", "--runtime", "openvino", *at),
        ("verify", "Arden Wick", "--source", probe, "--runtime", "onnxruntime", *at),
        ("cluster", tmp_path / "people", "--out", tmp_path / "sheet", "--quiet", *at),
        ("doctor", *at),
    ):
        trace = tmp_path / "trace"
        done = subprocess.run(
            [*apart(), "strace", "-f", "-qq", "-o", trace, "-e", "trace=%network", sys.executable,
             "-c", "import vultus; vultus.main()", *words],
            capture_output=True, text=True, timeout=240, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outside = [line for line in trace.read_text("utf-8").splitlines() if "AF_INET" in line]
        assert outside == [], words


def test_the_trace_would_show_it(tmp_path: Path):
    """The instrument of the test above sees a program that does ask."""
    trace = tmp_path / "trace"
    code = "import socket; socket.create_connection(('192.0.2.1', 443), 1)"
    done = subprocess.run(
        [*apart(), "strace", "-f", "-qq", "-o", trace, "-e", "trace=%network", sys.executable,
         "-c", code], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "unreachable" in done.stderr
    assert "192.0.2.1" in trace.read_text("utf-8")
