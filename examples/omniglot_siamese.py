"""Siamese networks on Omniglot: trained on 30 alphabets, asked about 20 others it never saw.

    VULTUS_DATA=/path/to/pictures python examples/omniglot_siamese.py --out omniglot
    python examples/omniglot_siamese.py --data omniglot.npz --steps 4000

One-shot, 20 ways: twenty new characters with one example each, and a drawing by another hand; which
is it? Prints the share answered rightly over 1,000 seeded episodes, with characters drawn across
the evaluation alphabets and within one of them.

A character turned by a quarter is another character, so that the training characters count four
times (Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", ICML 2016); those
asked about are never turned.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mnist_triplets import data_file
from numpy.typing import NDArray

from embedder import checkpoint
from embedder.dataset import Pictures, open_pictures
from embedder.dataset_readers import TEST
from embedder.recipe import RECIPES, Recipe
from embedder.torch_encoder import encode_pictures
from embedder.train import train
from embedder.train_scores import one_shot_accuracy


@dataclass(frozen=True)
class Scores:
    """How a run ended.

    Attributes:
        steps: steps done.
        seconds: of training.
        across: share of episodes answered rightly, characters drawn across alphabets.
        width: half of its 95 % interval.
        within: the same with all characters of an episode from one alphabet, mean over alphabets.
    """

    steps: int
    seconds: float
    across: float
    width: float
    within: float


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


def turned(pictures: Pictures) -> Pictures:
    """The pictures not kept for the test, each four times: as it is and turned by quarters."""
    chosen = np.flatnonzero(pictures.given != TEST)
    pixels, labels = np.asarray(pictures.pixels[chosen]), pictures.labels[chosen]
    count = len(pictures.names)
    return Pictures(
        np.concatenate([np.rot90(pixels, k, axes=(1, 2)) for k in range(4)]),
        np.concatenate([labels + k * count for k in range(4)]),
        tuple(f"{name} {90 * k}°" if k else name for k in range(4) for name in pictures.names),
        np.tile(pictures.given[chosen], 4),
    )


def within(
    vectors: NDArray[np.float32], alphabets: NDArray[np.str_], truth: NDArray[np.int64], *,
    ways: int, episodes: int, seed: int,
) -> float:  # fmt: skip
    """Mean accuracy of episodes that stay inside one alphabet, over those large enough.

    Args:
        vectors: float32 (N, D), unit rows.
        alphabets: str (N,), of each drawing.
        truth: int64 (N,), its character.
        ways: characters an episode.
        episodes: over all alphabets together.
        seed: of them.
    """
    shares = []
    names = np.unique(alphabets)
    for alphabet in names:
        mine = alphabets == alphabet
        if len(np.unique(truth[mine])) >= ways:
            share, _ = one_shot_accuracy(
                vectors[mine], truth[mine], ways=ways, episodes=max(1, episodes // len(names)),
                seed=seed,
            )  # fmt: skip
            shares.append(share)
    return float(np.mean(shares)) if shares else float("nan")


def measured(
    recipe: Recipe, run: Path, *, ways: int = 20, episodes: int = 1000, resume: bool = False
) -> Scores:
    """Train on the background characters, then ask about the evaluation characters."""
    pictures = open_pictures(recipe.data, side=28, channels=1)
    began = time.monotonic()
    done = train(recipe, run, pictures=turned(pictures), resume=resume)
    seconds = time.monotonic() - began
    test = np.flatnonzero(pictures.given == TEST)
    vectors = encode_pictures(checkpoint.load(done.folder).network(), pictures.pixels[test])
    truth = pictures.labels[test]
    alphabets = np.array([pictures.names[label].partition("/")[0] for label in truth])
    asked = {"ways": ways, "episodes": episodes, "seed": recipe.seed}
    across, width = one_shot_accuracy(vectors, truth, **asked)
    inside = within(vectors, alphabets, truth, **asked)
    return Scores(done.steps, seconds, across, width, inside)


def main() -> None:
    """Train, encode, ask."""
    given = choices()
    if given.threads:
        torch.set_num_threads(given.threads)
    data = str(data_file(given.data, "omniglot.npz"))
    recipe = RECIPES["omniglot"].but(data=data, seed=given.seed)
    if given.steps:
        recipe = recipe.but(steps=given.steps)
    run = Path(given.out or tempfile.mkdtemp(prefix="omniglot-"))
    found = measured(recipe, run, ways=given.ways, episodes=given.episodes, resume=given.resume)
    print(f"recipe {recipe.name}, {found.steps} steps of {recipe.batch}, seed {recipe.seed}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    title = f"{given.ways}-way one-shot"
    print(f"{'training':34} {found.seconds:8.1f} s")
    print(f"{f'{title}, across alphabets':34} {found.across:8.4f} ± {found.width:.4f}")
    print(f"{f'{title}, within one':34} {found.within:8.4f}")
    print(f"run: {run}")


if __name__ == "__main__":
    main()
