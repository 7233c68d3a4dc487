"""From a folder of pictures to an ONNX file by two commands."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from embedder.cli_train import export_command, train
from embedder.errors import BadRecipe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Twelve things, eight pictures each."""
    place = tmp_path_factory.mktemp("things")
    rng = np.random.default_rng(0)
    for name in "abcdefghijkl":
        shape = rng.integers(0, 190, (7, 7)).repeat(4, 0).repeat(4, 1)
        (place / name).mkdir()
        for i in range(8):
            grey = (shape + rng.integers(0, 60, (28, 28))).astype(np.uint8)
            Image.fromarray(grey).save(place / name / f"{i}.png")
    return place


def call(command, *arguments):
    done = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


SMALL = ("--network", "small", "--dim", 16, "--objectives", "triplet,supcon:0.5", "--batch", 32,
         "--augmentation", "digits", "--frozen", 0, "--device", "cpu", "--quiet")  # fmt: skip


def test_train_resume_tune_export(people, tmp_path, monkeypatch):
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    call(train, "--data", people, "--out", run, "--steps", 6, *SMALL)
    done = call(train, "--out", run, "--resume", "--steps", 8, "--quiet", "--format", "json")
    facts = json.loads(done.output)
    assert facts["steps"] == 8
    assert facts["warnings"] == []
    tuned = call(
        train, "--init", run, "--data", people, "--out", tmp_path / "t", "--steps", 2, "-q"
    )
    assert "faces-tuned: 2 steps" in tuned.output
    recipe = json.loads((tmp_path / "t" / "step-00000002" / "state.json").read_text())["recipe"]
    assert recipe["frozen"] == 500
    assert [o["weight"] for o in recipe["objectives"]] == [1.0, 0.5]
    written = call(export_command, run, "--out", tmp_path / "model", "--format", "json")
    assert json.loads(written.output)["parity"] > 0.9995


def test_show_prints_a_recipe_that_can_be_read_again(tmp_path):
    shown = call(train, "simclr", "--data", "x", "--seed", 5, "--show").output
    (tmp_path / "r.json").write_text(shown)
    assert call(train, tmp_path / "r.json", "--show").output == shown
    assert json.loads(shown)["seed"] == 5
    assert json.loads(call(train, "simclr", "--show").output)["data"] == ""


def test_a_rate_is_proposed(people, tmp_path, monkeypatch):
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path))
    done = call(train, "omniglot", "--data", people, "--find-rate", "--batch", 16, "-q")
    assert 0 < float(done.output) <= 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["magic"], "known are vultus-face-1,.*mnist-triplet"),
        ([], "names no pictures"),
        (["--data", "x", "--augmentation", "digits", "--batch", "1"], "batch is 1"),
        (["--data", "x", "--objectives", "triplet:much"], "triplet:0.5"),
    ],
)
def test_mistakes_are_explained(arguments, words):
    with pytest.raises(BadRecipe, match=words):
        CliRunner().invoke(train, arguments, catch_exceptions=False)


def test_help_loads_no_torch():
    code = (
        "import sys, vultus\n"
        "try:\n    vultus.main(['train', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "assert not {'torch', 'cv2', 'kornia'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--self-supervised" in done.stdout
