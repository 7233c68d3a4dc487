"""Files that Vultus writes outlive a power cut and failing calls, and the instrument sees both."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def run(*words: str) -> tuple[int, str]:
    """Exit code and output of the script."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "power_cut.py", *words],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("disk", ["honest", "lying"])
def test_after_a_power_cut_a_file_is_whole_and_what_was_acknowledged(disk: str):
    """A disk that ignores syncs loses something, so the script would see it."""
    words = ["--only", "file-cuts", "--versions", "2", "--writers", "file", "key"]
    code, told = run(*words, *(["--lying"] if disk == "lying" else []))
    cases, faults = map(int, re.search(r"^file-cuts +(\d+) +(\d+)", told, re.MULTILINE).groups())
    assert code == 0, told
    assert cases > 100
    assert (faults > 0) == (disk == "lying")


def test_calls_really_fail_and_the_file_is_whole():
    code, told = run(
        "--only", "file-faults", "--faults", "4", "--versions", "2", "--writers", "file"
    )
    assert code == 0, told
    assert "'refused': " in told
    assert "never came so far" not in told
