"""Triplets on MNIST: a small CNN turns digits into vectors; k-NN and k-means read them.

    VULTUS_DATA=/path/to/pictures python examples/mnist_triplets.py --out mnist --steps 3000
    python examples/mnist_triplets.py --data mnist.npz.xz --objective ratio
    python examples/mnist_triplets.py --data fashion_mnist.npz.xz --recipe fashion

Prints one table. `--out` keeps the run: its log, its best checkpoint and `vectors.npz`, for a
picture by UMAP. Runs again with `--resume` go on where they were.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from embedder import checkpoint
from embedder.dataset import open_pictures
from embedder.dataset_split import split
from embedder.recipe import RECIPES, Recipe
from embedder.torch_encoder import encode_pictures
from embedder.train import train
from embedder.train_scores import kmeans_accuracy, knn_accuracy


@dataclass(frozen=True)
class Scores:
    """How a run ended.

    Attributes:
        steps: steps done.
        seconds: of training.
        knn: share of test pictures that their five nearest training pictures name rightly.
        kmeans: share in the right one of ten clusters.
        eer: on validation pictures, or None.
    """

    steps: int
    seconds: float
    knn: float
    kmeans: float
    eer: float | None


def data_file(given: str | None, name: str) -> Path:
    """The file given, or the one of that name among the development pictures."""
    if given is not None:
        return Path(given)
    return Path(os.environ.get("VULTUS_DATA", ".")) / name


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Triplets on MNIST.")
    parser.add_argument("--data", help="mnist.npz.xz or a folder of idx files")
    parser.add_argument(
        "--recipe", default=None, choices=["mnist-triplet", "mnist-ratio", "fashion"]
    )
    parser.add_argument("--objective", choices=["margin", "ratio"], default="margin")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", help="folder of the run")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def recipe_of(given: argparse.Namespace) -> Recipe:
    """The built-in recipe with what the command line changes."""
    name = given.recipe or {"margin": "mnist-triplet", "ratio": "mnist-ratio"}[given.objective]
    recipe = RECIPES[name]
    file = data_file(given.data, recipe.data)
    asked = {key: getattr(given, key) for key in ("steps", "batch", "rate", "seed")}
    return recipe.but(data=str(file), **{k: v for k, v in asked.items() if v is not None})


def measured(recipe: Recipe, run: Path, *, resume: bool = False) -> Scores:
    """Train on the training pictures, encode the test pictures, and read their vectors."""
    pictures = open_pictures(recipe.data, side=28, channels=1)
    began = time.monotonic()
    done = train(recipe, run, pictures=pictures, resume=resume)
    seconds = time.monotonic() - began
    parts = split(pictures, validation=recipe.validation, test=recipe.test, seed=recipe.seed,
                  by=recipe.by)  # fmt: skip
    network = checkpoint.load(done.folder).network()
    known = encode_pictures(network, pictures.pixels[parts.train])
    seen = encode_pictures(network, pictures.pixels[parts.test])
    names, truth = pictures.labels[parts.train], pictures.labels[parts.test]
    np.savez(run / "vectors.npz", vectors=seen, labels=truth)
    return Scores(done.steps, seconds, knn_accuracy(known, names, seen, truth),
                  kmeans_accuracy(seen, truth), done.eer)  # fmt: skip


def main() -> None:
    """Train, encode, print."""
    given = choices()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = recipe_of(given)
    run = Path(given.out or tempfile.mkdtemp(prefix="mnist-"))
    found = measured(recipe, run, resume=given.resume)
    print(f"recipe {recipe.name}, {found.steps} steps of {recipe.batch}, seed {recipe.seed}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    print(f"{'training':12} {found.seconds:8.1f} s")
    print(f"{'k-NN, k=5':12} {found.knn:8.4f}")
    print(f"{'k-means':12} {found.kmeans:8.4f}")
    print(f"{'EER':12} {'-' if found.eer is None else format(found.eer, '8.4f')}")
    print(f"run: {run}")


if __name__ == "__main__":
    main()
