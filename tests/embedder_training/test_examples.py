"""The examples run from one command, here on drawn pictures and for a few steps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.errors import WeightsMissing
from embedder.weights import PICTURE, SFACE, find

ROOT = Path(__file__).resolve().parents[2]


def run(name, *arguments, cache):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VULTUS_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, arguments), "--threads", "1"],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights_needed(file):
    """Skip where the package that carries pretrained weights is not installed."""
    try:
        find(file)
    except WeightsMissing as error:
        pytest.skip(str(error))


def things(place, names, each, side=112, noise=60, seed=0):
    """A folder a thing: each a pattern of coloured blocks, each picture noisy."""
    rng = np.random.default_rng(seed)
    for name in names:
        (place / name).mkdir(parents=True)
        shape = rng.integers(0, 190, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
        for i in range(each):
            pixels = (shape + rng.integers(0, noise, shape.shape)).astype(np.uint8)
            Image.fromarray(pixels).save(place / name / f"{i}.png")
    return place


def number(text, row):
    return float(next(line for line in text.splitlines() if line.startswith(row)).split()[-1])


@pytest.mark.parametrize("script", ["mnist_triplets.py", "fashion_mnist.py"])
def test_digits(tmp_path, script):
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 2, (10, 7, 7)).repeat(4, axis=1).repeat(4, axis=2) * 190
    x = shapes.repeat(30, axis=0) + rng.integers(0, 60, (300, 28, 28))
    x, y = x.astype(np.uint8), np.arange(10).repeat(30)
    order = rng.permutation(300)
    x, y = x[order], y[order]
    np.savez(tmp_path / "d.npz", x_train=x[:240], y_train=y[:240], x_test=x[240:], y_test=y[240:])
    text = run(script, "--data", tmp_path / "d.npz", "--steps", 15, "--batch", 60, "--out",
               tmp_path / "run", cache=tmp_path / "c")  # fmt: skip
    assert number(text, "k-NN") > 0.9
    assert number(text, "k-means") > 0.6
    assert (tmp_path / "run" / "vectors.npz").is_file()


def test_omniglot(tmp_path):
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 2, (60, 7, 7)).repeat(15, axis=1).repeat(15, axis=2)
    ink = shapes.repeat(6, axis=0) ^ (rng.random((360, 105, 105)) < 0.05)
    which = np.arange(60).repeat(6)
    np.savez(tmp_path / "o.npz", ink=np.packbits(ink.astype(bool), axis=-1), alphabet=which // 20,
             character=which, part=np.where(which < 40, "background", "evaluation"))  # fmt: skip
    text = run("omniglot_siamese.py", "--data", tmp_path / "o.npz", "--steps", 8, "--ways", 5,
               "--episodes", 50, "--out", tmp_path / "run", cache=tmp_path / "c")  # fmt: skip
    assert float(text.split("across alphabets")[1].split()[0]) > 0.6


def test_few_shot_on_own_things(tmp_path):
    weights_needed(PICTURE)
    folder = things(tmp_path / "things", ("cup", "key"), 8)
    text = run("few_shot.py", "--data", folder, "--steps", 2, "--out", tmp_path / "run",
               cache=tmp_path / "c")  # fmt: skip
    assert float(text.split("asked about:")[1].split()[0]) > 0.9
    assert f"vultus models import {tmp_path / 'run' / 'model'}" in text
    assert (tmp_path / "run" / "model" / "few-shot-fp32.onnx").is_file()


def test_few_shot_on_bags_and_shoes(tmp_path):
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 2, (10, 7, 7)).repeat(4, axis=1).repeat(4, axis=2) * 190
    y = rng.permutation(np.arange(10).repeat(70))
    x = (shapes[y] + rng.integers(0, 60, (700, 28, 28))).astype(np.uint8)
    np.savez(tmp_path / "f.npz", x_train=x[:600], y_train=y[:600], x_test=x[600:], y_test=y[600:])
    text = run("few_shot.py", "--fashion", tmp_path / "f.npz", "--body", "small", "--body-steps", 3,
               "--steps", 3, "--out", tmp_path / "run", cache=tmp_path / "c")  # fmt: skip
    row = next(line for line in text.splitlines() if line.startswith("small")).split()
    asked = int(np.isin(y[600:], (5, 7, 8, 9)).sum())
    assert [int(row[1]), int(row[2])] == [100, asked]
    assert float(row[3]) > 0.9


def test_simclr(tmp_path):
    names = [f"person {i}" for i in range(12)]
    people = things(tmp_path / "people", names, 3, noise=120)
    text = run("simclr_faces.py", "--data", people, "--people", people, "--network", "small",
               "--steps", 4, "--batch", 12, "--out", tmp_path / "run",
               cache=tmp_path / "c")  # fmt: skip
    low, high = (float(w) for w in text.split("95 %")[1].split()[::2][:2])
    assert low <= number(text, "after") - number(text, "before") + 1e-4
    assert high >= number(text, "after") - number(text, "before") - 1e-4
    assert number(text, "after") > 0.6


def test_new_camera(tmp_path):
    weights_needed(SFACE)
    names = [f"person {i}" for i in range(8)]
    enrolled = things(tmp_path / "enrolled", names, 2, noise=20)
    camera = things(tmp_path / "camera", names, 2, noise=60)
    text = run("new_camera.py", "--enrolled", enrolled, "--camera", camera, "--steps", 2,
               "--batch", 8, "--out", tmp_path / "run", cache=tmp_path / "c")  # fmt: skip
    before, after = (float(w) for w in text.split("\ncamera")[1].split()[:2])
    assert 0 <= after <= max(before, 0.5)
    people, mated = text.split("; ")[1].split(" people")[0], text.split("about, ")[1].split()[0]
    assert 0 < int(people) < 8
    assert int(mated) == 4 * int(people)  # two photos each, through the camera and not
