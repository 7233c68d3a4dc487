"""Pictures of things: how often the nearest picture is of the same kind, and what one costs.

    python benchmarks/encode_things.py [--count 1000] [--seed 0]

Needs VULTUS_DATA: Fashion-MNIST (official splits; a seeded draw of the training pictures is the
gallery, one of the test pictures the probes) and Omniglot (evaluation part: one drawing of each of
200 characters is the gallery, three others of each are the probes). Both are cut to what is drawn
on them, so that they have the shapes of real pictures. Prints one table.
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.embed import open_embedder
from embedder.encoder import open_network_encoder

Pictures = tuple[list[NDArray[np.uint8]], NDArray[np.generic]]


def tight(picture: NDArray[np.uint8], ground: int) -> NDArray[np.uint8]:
    """A grey picture cut to what differs from its ground, as RGB."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - ground) > 16)
    cut = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return cv2.cvtColor(cut, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def fashion(data: Path, count: int, rng: np.random.Generator) -> tuple[Pictures, Pictures]:
    """Gallery and probes of Fashion-MNIST."""
    file = np.load(io.BytesIO(lzma.decompress((data / "fashion_mnist.npz.xz").read_bytes())))
    parts = []
    for part in ("train", "test"):
        rows = rng.permutation(len(file[f"y_{part}"]))[:count]
        pictures = [tight(picture, 0) for picture in file[f"x_{part}"][rows]]
        parts.append((pictures, file[f"y_{part}"][rows]))
    return parts[0], parts[1]


def omniglot(data: Path, rng: np.random.Generator) -> tuple[Pictures, Pictures]:
    """Gallery and probes of Omniglot."""
    file = np.load(data / "omniglot.npz")
    ink = np.unpackbits(file["ink"], axis=-1)[..., :105]
    names = np.char.add(np.char.add(file["alphabet"], "/"), file["character"])
    chosen = rng.permutation(np.unique(names[file["part"] == "evaluation"]))[:200]
    drawn = np.stack([rng.permutation(np.flatnonzero(names == name))[:4] for name in chosen])
    gallery, probes = drawn[:, 0], drawn[:, 1:].ravel()

    def of(rows: NDArray[np.int64]) -> Pictures:
        return [tight((255 - 255 * ink[row]).astype(np.uint8), 255) for row in rows], names[rows]

    return of(gallery), of(probes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    data = Path(os.environ["VULTUS_DATA"])
    embedder = open_embedder("picture")
    rng = np.random.default_rng(asked.seed)
    sets = {"Fashion-MNIST": fashion(data, asked.count, rng), "Omniglot": omniglot(data, rng)}
    for name, parts in sets.items():
        vectors = [np.concatenate([e.vectors for e in embedder.embed(p, "all")]) for p, _ in parts]
        nearest = (vectors[1] @ vectors[0].T).argmax(axis=1)
        right = float((parts[0][1][nearest] == parts[1][1]).mean())
        print(f"{name:16} {len(parts[0][0])} gallery, {len(parts[1][0])} probes, 1-NN {right:.4f}")
    faces = [f for picture in sets["Fashion-MNIST"][1][0][:64] for f in
             embedder.faces(embedder.read(picture))]  # fmt: skip
    for runtime in ("openvino", "onnxruntime"):
        encoder = open_network_encoder("picture", runtime=runtime)
        crops = [face.crop for face in faces]
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            encoder.encode(crops)
            times.append((time.perf_counter() - begun) / len(crops) * 1e3)
        print(f"{runtime:16} {encoder.network.precision}, {min(times):.1f} ms a picture")


if __name__ == "__main__":
    main()
