"""SimCLR on faces without names: two views of a face lie close, and people follow from that.

    VULTUS_DATA=/path/to/pictures python examples/simclr_faces.py --out simclr
    python examples/simclr_faces.py --data photos/ --people people/ --network mobileface

`--data` holds aligned faces (112×112, as `vultus` cuts them) without labels; the development
pictures have 14,844. `--people` is a folder per person, any photos, to see what was learned: the
share of pairs told rightly as one person or two, the threshold chosen on one half of the people
and applied to the other. Without it the pairs are those of LFW's development lists, the threshold
chosen on the train list.

Prints the accuracy of the network before and after, and a 95 % interval of the difference from a
bootstrap over people.

Letters: N pictures, P pairs, S side, C channels.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mnist_triplets import data_file
from numpy.typing import NDArray

from embedder import checkpoint
from embedder.align import align
from embedder.dataset import fitted
from embedder.dataset_split import part_of
from embedder.detect import choose, open_detector
from embedder.network import EmbeddingNetwork, build, network_card
from embedder.objectives import Weighted
from embedder.photo import SUFFIXES, read_photo
from embedder.recipe import RECIPES, Recipe
from embedder.torch_encoder import encode_pictures
from embedder.train import train

SIDE = 112
NETWORK, STEPS, BATCH = "small", 1200, 128  # minutes on two cores: faces of 28×28, grey
_DRAWS = 1000
_MOST = 1000  # pairs of each kind from a folder of people
Photos = dict[str, list[Path]]
Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Pairs:
    """Pairs of faces.

    Attributes:
        pixels: uint8 (N, S, S, C), aligned faces as a network takes them.
        left: int64 (P,), rows of `pixels`.
        right: int64 (P,).
        first: int64 (P,), the person of the left face.
        second: int64 (P,), of the right one.
    """

    pixels: NDArray[np.uint8]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @property
    def same(self) -> NDArray[np.bool_]:
        """Bool (P,), whether both are one person."""
        return self.first == self.second


@dataclass(frozen=True)
class Scores:
    """What self-supervision brought.

    Attributes:
        before: accuracy on the pairs of the network with its first weights.
        after: of the trained network.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        pairs: how many were told.
        steps: steps done.
        seconds: of training.
    """

    before: float
    after: float
    low: float
    high: float
    pairs: int
    steps: int
    seconds: float


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="SimCLR on faces without names.")
    parser.add_argument("--data", help="aligned faces without labels: a folder or a .zip")
    parser.add_argument("--people", help="a folder per person, to measure; default: LFW's pairs")
    parser.add_argument("--network", default=NETWORK, help="mobileface for a GPU or a long night")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", help="folder of the run")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def recipe_of(
    data: Path, *, network: str = NETWORK, steps: int = STEPS, batch: int = BATCH, seed: int = 0
) -> Recipe:
    """The recipe `simclr`, in small where the network is small."""
    large = network_card(network).side > 28
    return RECIPES["simclr"].but(
        data=str(data), network=network, steps=steps, batch=batch, seed=seed,
        chunk=64 if large else None, ema=0.99, rate=2e-3, bf16=True, evaluate=steps,
        objectives=(Weighted("nt-xent", options={"temperature": 0.2}),),
    )  # fmt: skip


def lfw_pairs(folder: Path, part: str) -> list[Pair]:
    """The pairs of one of LFW's development lists, `pairs-<part>.txt` beside the photos."""
    found = []
    for line in (folder / f"pairs-{part}.txt").read_text(encoding="utf-8").splitlines():
        words = re.split(r"\s+", line.strip())
        if len(words) == 3:
            words = [words[0], words[1], words[0], words[2]]
        if len(words) == 4:
            names = (words[0], int(words[1])), (words[2], int(words[3]))
            files = [folder / part / name / f"{name}_{n:04}.jpg" for name, n in names]
            found.append((files[0], files[1]))
    return found


def drawn_pairs(photos: Photos, seed: int) -> list[Pair]:
    """As many pairs of one person as of two, at most a thousand of each, drawn by seed."""
    rng = np.random.default_rng(seed)
    mated = [(a, b) for files in photos.values() for i, a in enumerate(files) for b in files[:i]]
    rng.shuffle(mated)
    mated = [(a, b) for a, b in mated[:_MOST]]
    names = sorted(photos)
    others = []
    for _ in mated:
        one, two = rng.choice(len(names), 2, replace=False)
        files = photos[names[one]], photos[names[two]]
        others.append(tuple(some[rng.integers(len(some))] for some in files))
    return mated + others


def own_pairs(folder: Path, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs of two halves of the people in a folder per person."""
    halves: tuple[Photos, Photos] = ({}, {})
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in SUFFIXES:
            half = halves[part_of(path.parent.name, (0.5, 0.5), seed) - 1]
            half.setdefault(path.parent.name, []).append(path)
    return drawn_pairs(halves[0], seed), drawn_pairs(halves[1], seed)


def faces_of(files: list[Path]) -> Iterator[NDArray[np.uint8] | None]:
    """The face nearest to the middle of each photo, uint8 (S, S, 3); None where there is none."""
    detector = open_detector("yunet")
    for file in files:
        photo = read_photo(file)
        if photo.pixels.shape[:2] == (SIDE, SIDE):  # aligned already
            yield photo.pixels
            continue
        found = detector.detect(photo)
        yield align(photo, choose(found, photo, "centre"), SIDE).pixels if found else None


def as_pairs(chosen: list[Pair], network: str) -> Pairs:
    """Pairs of files as pairs of faces; those with a photo without a face are left out.

    Args:
        chosen: pairs of photos, each in the folder of its person.
        network: whose side and channels the faces get.
    """
    files = sorted({file for pair in chosen for file in pair})
    faces = {f: face for f, face in zip(files, faces_of(files), strict=True) if face is not None}
    row = {file: i for i, file in enumerate(faces)}
    names = {name: i for i, name in enumerate(sorted({file.parent.name for file in faces}))}
    seen = [pair for pair in chosen if all(file in faces for file in pair)]
    left, right, first, second = (
        np.array(values, np.int64)
        for values in (
            [row[a] for a, _ in seen], [row[b] for _, b in seen],
            [names[a.parent.name] for a, _ in seen], [names[b.parent.name] for _, b in seen],
        )
    )  # fmt: skip
    card = network_card(network)
    pixels = np.stack([fitted(face, card.side, card.channels) for face in faces.values()])
    return Pairs(pixels, left, right, first, second)


def told_rightly(network: EmbeddingNetwork, chosen: Pairs, asked: Pairs) -> NDArray[np.bool_]:
    """Which pairs are told rightly.

    Args:
        network: gives the vectors.
        chosen: pairs on which the threshold of the highest accuracy is taken.
        asked: pairs it is applied to.

    Returns:
        bool (P,) of `asked`.
    """
    known, same = similarities(network, chosen), chosen.same
    reached = [((known >= cut) == same).mean() for cut in known]
    threshold = known[int(np.argmax(reached))]
    return (similarities(network, asked) >= threshold) == asked.same


def similarities(network: EmbeddingNetwork, pairs: Pairs) -> NDArray[np.float32]:
    """Cosines float32 (P,) of the pairs."""
    vectors = encode_pictures(network, pairs.pixels)
    return np.einsum("pd,pd->p", vectors[pairs.left], vectors[pairs.right])


def interval(
    gain: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """95 % interval of the mean gain, people drawn with replacement.

    Args:
        gain: int64 (P,), −1, 0 or 1.
        first: int64 (P,), one person of each pair.
        second: int64 (P,), the other; a pair of two weighs the product of their draws.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    people = int(max(first.max(), second.max())) + 1
    means = []
    for _ in range(_DRAWS):
        times = np.bincount(rng.integers(people, size=people), minlength=people)
        weight = np.where(first == second, times[first], times[first] * times[second])
        means.append(float((gain * weight).sum() / max(1, weight.sum())))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def measured(recipe: Recipe, run: Path, chosen: Pairs, asked: Pairs, *,
             resume: bool = False) -> Scores:  # fmt: skip
    """Ask the network about pairs with its first weights, train it without labels, ask again."""
    torch.manual_seed(recipe.seed)
    before = told_rightly(build(recipe.network, dim=recipe.dim), chosen, asked)
    began = time.monotonic()
    done = train(recipe, run, resume=resume)
    seconds = time.monotonic() - began
    after = told_rightly(checkpoint.load(done.folder).network(), chosen, asked)
    gain = after.astype(np.int64) - before.astype(np.int64)
    low, high = interval(gain, asked.first, asked.second, recipe.seed)
    return Scores(float(before.mean()), float(after.mean()), low, high, len(asked.left),
                  done.steps, seconds)  # fmt: skip


def pairs_for(given: str | None, recipe: Recipe) -> tuple[Pairs, Pairs]:
    """Pairs to choose the threshold on, and pairs to ask about."""
    if given is not None:
        chosen, asked = own_pairs(Path(given), recipe.seed)
    else:
        folder = data_file(None, "lfw-dev")
        chosen, asked = lfw_pairs(folder, "train"), lfw_pairs(folder, "test")
    return as_pairs(chosen, recipe.network), as_pairs(asked, recipe.network)


def main() -> None:
    """Before, training, after."""
    given = choices()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = recipe_of(
        data_file(given.data, "faces-unlabelled.zip"), network=given.network, steps=given.steps,
        batch=given.batch, seed=given.seed,
    )  # fmt: skip
    run = Path(given.out or tempfile.mkdtemp(prefix="simclr-"))
    found = measured(recipe, run, *pairs_for(given.people, recipe), resume=given.resume)
    print(f"recipe {recipe.name}, {found.steps} steps of {recipe.batch}, seed {recipe.seed}, "
          f"{found.seconds:.1f} s, {found.pairs} pairs")  # fmt: skip
    print(f"{'before':12} {found.before:8.4f}")
    print(f"{'after':12} {found.after:8.4f}")
    print(f"{'difference':12} {found.after - found.before:+8.4f}   "
          f"95 % {found.low:+.4f} to {found.high:+.4f}")  # fmt: skip
    print(f"run: {run}")


if __name__ == "__main__":
    main()
