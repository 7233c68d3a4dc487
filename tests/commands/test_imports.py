"""What a command loads: help loads nothing heavy, answers never load torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Gallery, Vultus

HEAVY = {
    "torch", "cv2", "faiss", "sqlalchemy", "alembic", "onnx", "onnxruntime", "openvino", "sklearn",
    "scipy", "PIL", "numpy", "tqdm", "asyncio", "cryptography", "jinja2", "pandas", "ray",
}  # fmt: skip
SPY = """
import json, sys, vultus
try:
    vultus.main()
finally:
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    print("LOADED " + json.dumps(loaded), file=sys.stderr)
"""


def loaded(vultus: Vultus, *arguments: object) -> set[str]:
    done = vultus.code(SPY, *arguments)
    assert done.code == 0, done
    return HEAVY & set(json.loads(done.err.rpartition("LOADED ")[2]))


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_root_loads_nothing_heavy(vultus: Vultus, option: str):
    assert loaded(vultus, option) == set()


@pytest.mark.parametrize("command", ["verify", "enroll", "people", "models"])
def test_help_of_a_command_opens_no_network(vultus: Vultus, command: str):
    assert not loaded(vultus, command, "--help") & {"torch", "onnxruntime", "openvino", "sklearn"}


def test_a_list_of_people_opens_no_network(vultus: Vultus, shared: Gallery):
    assert not loaded(vultus, "people", "list", *shared.at) & {"torch", "onnxruntime", "openvino"}


def test_a_photo_is_verified_without_what_is_slow_to_load(vultus: Vultus, shared: Gallery):
    """The start is most of what a verification takes; docs/speed.md has the figures."""
    name, probe = shared.genuine
    asked = (name, "--source", probe, *shared.at)
    assert loaded(vultus, "verify", *asked) == {"cv2", "PIL", "numpy"}
    usual = loaded(vultus, "verify", *asked, "--runtime", "openvino", "--explain")
    assert usual >= {"sqlalchemy", "openvino", "faiss"}, "the spy sees them where they are used"


@pytest.mark.parametrize("command", ["verify", "identify", "enroll"])
def test_torch_is_for_training_only(vultus: Vultus, shared: Gallery, command: str):
    name, probe = shared.genuine
    asked = {
        "verify": (name, "--source", probe),
        "identify": (probe,),
        "enroll": (shared.folder, "--dry-run"),
    }
    assert "torch" not in loaded(vultus, command, *asked[command], *shared.at)


def test_the_commands_run_as_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "vultus", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout[:6]) == (0, "vultus")
