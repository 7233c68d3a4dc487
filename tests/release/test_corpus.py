"""What once broke a reader of strangers' bytes is kept, and read again here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


TARGETS = ["photo", "pairs", "archive", "calibration", "body", "index", "consents", "sidecar"]


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs_are_refused_by_a_sentence(target: str):
    if target == "body":
        pytest.importorskip("python_multipart", reason="the extra web is not installed")
    number = len(list((ROOT / "tests" / "corpus" / target).glob("*")))
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "fuzz.py", target, "--replay"],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}: {number} kept inputs, no crash\n"
