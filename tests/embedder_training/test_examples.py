"""The examples run from one command, here on drawn pictures and for a few steps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name, *arguments, cache):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VULTUS_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, arguments), "--threads", "1"],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


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
