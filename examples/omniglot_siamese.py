"""Siamese networks on Omniglot: trained on 30 alphabets, asked about 20 others it never saw.

    VULTUS_DATA=/path/to/pictures python examples/omniglot_siamese.py --out omniglot
    python examples/omniglot_siamese.py --data omniglot.npz --steps 4000

One-shot, 20 ways: twenty new characters with one example each, and a drawing by another hand; which
is it? Prints the share answered rightly over 1,000 seeded episodes, with characters drawn across
the evaluation alphabets and within one of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from embedder import checkpoint
from embedder.dataset import open_pictures
from embedder.dataset_split import split
from embedder.recipe import RECIPES
from embedder.torch_encoder import encode_pictures
from embedder.train import train
from embedder.train_scores import one_shot_accuracy


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Siamese networks on Omniglot.")
    parser.add_argument("--data", help="omniglot.npz, or a folder per character")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", help="folder of the run")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def within(
    vectors: np.ndarray, alphabets: np.ndarray, truth: np.ndarray, given: argparse.Namespace
) -> float:
    """Mean accuracy of episodes that stay inside one alphabet, over those large enough."""
    shares = []
    names = np.unique(alphabets)
    for alphabet in names:
        mine = alphabets == alphabet
        if len(np.unique(truth[mine])) >= given.ways:
            episodes = max(1, given.episodes // len(names))
            share, _ = one_shot_accuracy(vectors[mine], truth[mine], ways=given.ways,
                                         episodes=episodes, seed=given.seed)  # fmt: skip
            shares.append(share)
    return float(np.mean(shares)) if shares else float("nan")


def main() -> None:
    """Train, encode, ask."""
    given = choices()
    if given.threads:
        torch.set_num_threads(given.threads)
    data = given.data or str(Path(os.environ.get("VULTUS_DATA", ".")) / "omniglot.npz")
    recipe = RECIPES["omniglot"].but(data=data, seed=given.seed)
    if given.steps:
        recipe = recipe.but(steps=given.steps)
    run = Path(given.out or tempfile.mkdtemp(prefix="omniglot-"))
    pictures = open_pictures(data, side=28, channels=1)
    began = time.monotonic()
    done = train(recipe, run, pictures=pictures, resume=given.resume)
    seconds = time.monotonic() - began
    test = split(pictures, validation=recipe.validation, test=recipe.test, seed=recipe.seed).test
    vectors = encode_pictures(checkpoint.load(done.folder).network(), pictures.pixels[test])
    truth = pictures.labels[test]
    alphabets = np.array([pictures.names[label].partition("/")[0] for label in truth])
    across, width = one_shot_accuracy(vectors, truth, ways=given.ways, episodes=given.episodes,
                                      seed=given.seed)  # fmt: skip
    inside = within(vectors, alphabets, truth, given)
    print(f"recipe {recipe.name}, {done.steps} steps of {recipe.batch}, seed {recipe.seed}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    print(f"{'training':34} {seconds:8.1f} s")
    print(f"{f'{given.ways}-way one-shot, across alphabets':34} {across:8.4f} ± {width:.4f}")
    print(f"{f'{given.ways}-way one-shot, within one':34} {inside:8.4f}")
    print(f"run: {run}")


if __name__ == "__main__":
    main()
