"""Fine-tuning to a new camera: an encoder learns what people look like where it will be used.

    VULTUS_DATA=/path/to/pictures python examples/new_camera.py --out tuned
    python examples/new_camera.py --enrolled people/ --camera captures/ --out tuned

`--enrolled` and `--camera` hold the same people, a folder per person, as aligned faces (112×112,
as `vultus` cuts them): the photos they are enrolled with, and pictures from the camera. Without
them the development pictures are taken and the camera sees people who wear masks up to their eyes,
drawn by `embedder.augment`.

Half of the people are learned from and the other half is asked about: each picture of the camera
is compared with each enrolled picture of another file. What is learned: a picture of the camera
gets the vector that the encoder, as it was, gave the person's clean picture; triplets of both. The
vectors are of a new space: calibrate again, and enrol again or migrate.

Letters: N pictures, P people, S side, D dimensions.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mnist_triplets import data_file
from numpy.typing import NDArray

from embedder import checkpoint
from embedder.augment import drawn, mask
from embedder.dataset import Pictures, open_pictures
from embedder.dataset_split import part_of
from embedder.network import EmbeddingNetwork, build, network_card
from embedder.objectives import Weighted
from embedder.recipe import Recipe
from embedder.torch_encoder import encode_pictures
from embedder.train import train

SET = "pins_"  # of the development pictures: people with many photos each
TOPS = (0.47, 0.51)  # upper edge of the masks, share of the side: the eyes' middles lie at 0.46
EACH, PEOPLE = 8, 90  # photos a person, and people, at most
FMR = 1e-2
STEPS, BATCH = 60, 32
_BLOCK = 256


@dataclass(frozen=True)
class Scores:
    """How a run ended.

    Attributes:
        before: FNMR at FMR 1e-2 of camera against enrolment, on people not learned from.
        after: of the tuned network, at its own threshold for that FMR.
        clean: FNMR of enrolled pictures against each other, before.
        clean_after: the same after.
        people: asked about.
        mated: comparisons of one person.
        steps: steps done.
        seconds: of training.
    """

    before: float
    after: float
    clean: float
    clean_after: float
    people: int
    mated: int
    steps: int
    seconds: float


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fine-tuning to a new camera.")
    parser.add_argument("--enrolled", help="aligned faces, a folder per person")
    parser.add_argument("--camera", help="the same people through the camera")
    parser.add_argument("--init", help="run to begin with; default: SFace as published")
    parser.add_argument("--people", type=int, default=PEOPLE, help="of the development pictures")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", help="folder of the run")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def masked(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Pictures of people who put a mask on, up to their eyes.

    Args:
        pixels: uint8 (N, S, S, 3), aligned faces.
        seed: of shapes and colours.

    Returns:
        uint8 (N, S, S, 3).
    """
    torch.manual_seed(seed)
    found = []
    for i in range(0, len(pixels), _BLOCK):
        x = torch.from_numpy(np.array(pixels[i : i + _BLOCK])).permute(0, 3, 1, 2) / 255
        x = drawn(x, 1.0, partial(mask, tops=TOPS))
        found.append((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(found)


def development(seed: int, people: int = PEOPLE) -> tuple[Pictures, Pictures]:
    """Enrolled pictures of one set of people, and the same photos through the drawn camera."""
    every = open_pictures(data_file(None, "faces-labelled-a.zip"), side=112)
    wanted = [i for i, name in enumerate(every.names) if name.startswith(SET)][:people]
    rows = np.concatenate([np.flatnonzero(every.labels == i)[:EACH] for i in wanted])
    labels = np.searchsorted(wanted, every.labels[rows])
    names = tuple(every.names[i] for i in wanted)
    given = np.full(len(rows), -1, np.int8)
    clean = Pictures(np.asarray(every.pixels[rows]), labels.astype(np.int64), names, given)
    return clean, replace(clean, pixels=masked(clean.pixels, seed))


def own(enrolled: str, camera: str) -> tuple[Pictures, Pictures]:
    """The user's two folders; labels count the people of both."""
    first, second = (open_pictures(place, side=112) for place in (enrolled, camera))
    names = tuple(sorted({*first.names, *second.names}))
    return renamed(first, names), renamed(second, names)


def renamed(pictures: Pictures, names: tuple[str, ...]) -> Pictures:
    """The labelled pictures, with labels that count other names."""
    number = np.array([names.index(name) for name in pictures.names], np.int64)
    rows = np.flatnonzero(pictures.labels >= 0)
    return Pictures(np.asarray(pictures.pixels[rows]), number[pictures.labels[rows]], names,
                    pictures.given[rows])  # fmt: skip


def of_half(pictures: Pictures, half: int, seed: int) -> NDArray[np.int64]:
    """Rows, int64 (count,), of the pictures whose people fall into half 0 or 1, by a hash."""
    mine = [part_of(name, (0.5, 0.5), seed) - 1 == half for name in pictures.names]
    return np.flatnonzero(np.array(mine)[pictures.labels])


def lessons(clean: Pictures, seen: Pictures, network: EmbeddingNetwork, seed: int) -> Pictures:
    """What half of the people teach: both kinds of pictures, with the vectors they should get.

    A clean picture should keep its vector; one of the camera should get the mean of its person's
    clean ones.
    """
    mine, theirs = of_half(clean, 0, seed), of_half(seen, 0, seed)
    kept = encode_pictures(network, clean.pixels[mine])
    means = np.zeros((len(clean.names), kept.shape[1]), np.float32)
    np.add.at(means, clean.labels[mine], kept)
    wanted = means[seen.labels[theirs]]
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    wanted = wanted[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    theirs = theirs[lengths[:, 0] > 0]  # a person without a clean picture teaches nothing
    return Pictures(
        np.concatenate([clean.pixels[mine], seen.pixels[theirs]]),
        np.concatenate([clean.labels[mine], seen.labels[theirs]]),
        clean.names,
        np.full(len(mine) + len(theirs), -1, np.int8),
        np.concatenate([kept, wanted]),
    )


def fnmr(
    enrolled: NDArray[np.float32], probes: NDArray[np.float32], owners: NDArray[np.int64],
    askers: NDArray[np.int64], *, same_files: bool,
) -> tuple[float, int]:  # fmt: skip
    """Share of mated comparisons below the threshold that 1 % of the non-mated ones reach.

    Args:
        enrolled: float32 (N, D), unit rows.
        probes: float32 (M, D), unit rows.
        owners: int64 (N,), whose picture it is.
        askers: int64 (M,).
        same_files: row i of both is one photo: those comparisons are left out.

    Returns:
        The share, and how many mated comparisons there are.
    """
    similar = probes @ enrolled.T
    mated = askers[:, None] == owners[None, :]
    others = similar[~mated]
    if same_files:
        np.fill_diagonal(mated, val=False)
    threshold = np.quantile(others, 1 - FMR, method="higher")
    return float((similar[mated] < threshold).mean()), int(mated.sum())


def asked(
    network: EmbeddingNetwork, clean: Pictures, seen: Pictures, seed: int, *, same_photos: bool
) -> tuple[float, float, int]:
    """FNMR of camera against enrolment and of enrolment against itself, on the other half."""
    mine, theirs = of_half(clean, 1, seed), of_half(seen, 1, seed)
    kept = encode_pictures(network, clean.pixels[mine])
    met = encode_pictures(network, seen.pixels[theirs])
    owners, askers = clean.labels[mine], seen.labels[theirs]
    camera, count = fnmr(kept, met, owners, askers, same_files=same_photos)
    return camera, fnmr(kept, kept, owners, owners, same_files=True)[0], count


def recipe_of(
    init: str | None = None, *, steps: int = STEPS, batch: int = BATCH, seed: int = 0
) -> Recipe:
    """Fine-tuning: low rate, normalisation as it came, the first blocks at rest."""
    start = None if init is None else checkpoint.find(Path(init))
    network = "sface-whole" if start is None else checkpoint.load(start).recipe.network
    return Recipe(
        name="camera", network=network, init=None if start is None else str(start),
        objectives=(Weighted("distil-vectors", 2.0), Weighted("triplet", options={"margin": 0.3})),
        norms="keep", rest=9, validation=0.0, test=0.0, per_class=4, batch=batch, steps=steps,
        rate=4e-5, warmup=10, bf16=True, ema=0.9, evaluate=steps, checkpoint=100, seed=seed,
    )  # fmt: skip


def measured(
    recipe: Recipe, run: Path, clean: Pictures, seen: Pictures, *, same_photos: bool,
    resume: bool = False,
) -> Scores:  # fmt: skip
    """Ask about one half of the people, learn from the other half, ask again.

    Args:
        recipe: how.
        run: folder of the run.
        clean: enrolled pictures.
        seen: the camera's.
        same_photos: row i of both is one photo, as where the camera is drawn.
        resume: go on where the run was.
    """
    if recipe.init is None:
        network = build(recipe.network).eval()
    else:
        network = checkpoint.load(checkpoint.find(Path(recipe.init))).network()
    before, still, mated = asked(network, clean, seen, recipe.seed, same_photos=same_photos)
    began = time.monotonic()
    taught = lessons(clean, seen, network, recipe.seed)
    done = train(recipe, run, pictures=taught, resume=resume)
    seconds = time.monotonic() - began
    tuned = checkpoint.load(done.folder).network()
    after, still_after, _ = asked(tuned, clean, seen, recipe.seed, same_photos=same_photos)
    people = len(np.unique(clean.labels[of_half(clean, 1, recipe.seed)]))
    return Scores(before, after, still, still_after, people, mated, done.steps, seconds)


def main() -> None:
    """Before, fine-tuning, after."""
    given = choices()
    if bool(given.enrolled) != bool(given.camera):
        raise SystemExit("Give both --enrolled and --camera, or neither.")
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = recipe_of(given.init, steps=given.steps, batch=given.batch, seed=given.seed)
    if network_card(recipe.network).side != 112:
        raise SystemExit(f"{recipe.network} sees no aligned faces of 112×112.")
    run = Path(given.out or tempfile.mkdtemp(prefix="camera-"))
    if given.enrolled:
        clean, seen = own(given.enrolled, given.camera)
    else:
        clean, seen = development(given.seed, given.people)
    found = measured(recipe, run, clean, seen, same_photos=not given.enrolled, resume=given.resume)
    print(f"{recipe.network}, {found.steps} steps of {recipe.batch}, seed {recipe.seed}, "
          f"{found.seconds:.1f} s; {found.people} people asked about, "
          f"{found.mated} mated comparisons")  # fmt: skip
    print(f"{'FNMR at FMR 0.01':18} {'before':>8} {'after':>8}")
    print(f"{'camera':18} {found.before:8.4f} {found.after:8.4f}")
    print(f"{'clean':18} {found.clean:8.4f} {found.clean_after:8.4f}")
    print(f"run: {run}")


if __name__ == "__main__":
    main()
