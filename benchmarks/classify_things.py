"""Closed sets of things: k-NN accuracy and k-means of an encoder, as `vultus evaluate` tells them.

    python benchmarks/classify_things.py [--count 100] [--model picture] [--seed 0]

Needs VULTUS_DATA: of Fashion-MNIST's test pictures so many of each class are drawn, enlarged to
112 × 112 (bicubic) and written out, a folder per class.
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from embedder.embed import open_embedder
from verify.classification import classification
from verify.plot_sources import of_folder

NAMES = ("tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
         "boot")  # fmt: skip


def write_out(place: Path, count: int, seed: int) -> None:
    """Write `count` pictures of each class as `place/NAME/N.png`."""
    packed = (Path(os.environ["VULTUS_DATA"]) / "fashion_mnist.npz.xz").read_bytes()
    file = np.load(io.BytesIO(lzma.decompress(packed)))
    rng = np.random.default_rng(seed)
    for number, name in enumerate(NAMES):
        (place / name).mkdir()
        rows = rng.permutation(np.flatnonzero(file["y_test"] == number))[:count]
        for i, row in enumerate(rows):
            picture = Image.fromarray(file["x_test"][row]).resize((112, 112))
            picture.save(place / name / f"{i:03}.png")


def main() -> None:
    """Write out, encode, measure, print."""
    parser = argparse.ArgumentParser(description="Closed sets of things.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--model", default="picture")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_out(Path(folder), given.count, given.seed)
        embedder = open_embedder(given.model, detector="whole")
        found = of_folder(embedder, Path(folder), limit=1 << 30, pictures=False)
    print(classification(found).text())


if __name__ == "__main__":
    main()
