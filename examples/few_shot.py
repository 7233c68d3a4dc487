"""Few pictures and a pretrained body: two folders of fifty things become an encoder.

    python examples/few_shot.py --data my_things/ --out run     a folder a thing: mug/*.jpg
    VULTUS_DATA=/path/to/pictures python examples/few_shot.py                the figures
    python examples/few_shot.py --fashion fashion_mnist.npz.xz --body small  the same on one body

With `--data` the body is `picture` (EfficientNet-Lite0, extra `pictures`), which stands still; a
new head learns from your pictures (about a hundred in all are enough; a fifth of them is kept to
ask about), and an ONNX file with its card comes out. Then show the camera your things:

    vultus models import run/model
    vultus enroll my_things/ --model few-shot --detector whole
    vultus identify --source 0 --model few-shot --detector whole

Without `--data` it measures on Fashion-MNIST: 50 bags and 50 shoes (sandal, sneaker, boot pooled)
are shown, and all 4,000 test pictures of the four classes asked about. The body is the small CNN
trained on the other six classes, which goes on learning with the head, then `picture`.

Letters: N pictures, S side, C channels.
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
from embedder.align import align
from embedder.dataset import Pictures, fitted, from_arrays, open_pictures
from embedder.dataset_readers import TEST, TRAIN
from embedder.dataset_split import split
from embedder.detect import open_detector
from embedder.export import export
from embedder.network import EmbeddingNetwork, network_card
from embedder.objectives import Weighted
from embedder.photo import SUFFIXES, read_photo
from embedder.recipe import RECIPES, Recipe
from embedder.torch_encoder import encode_pictures
from embedder.train import train
from embedder.train_scores import knn_accuracy

BAG, SHOES, OTHERS = 8, (5, 7, 9), (0, 1, 2, 3, 4, 6)
BODY_STEPS, HEAD_STEPS = 1500, 40
SMALL_STEPS, FROZEN = 300, 20  # the small body has never seen such things and must learn too
_BLOCK = 64


@dataclass(frozen=True)
class Scores:
    """How well few pictures tell others.

    Attributes:
        body: what saw them: `small` or `picture`.
        shown: how many pictures were shown.
        asked: how many were asked about.
        accuracy: share of them named rightly by their five nearest pictures shown.
        seconds: of all training.
    """

    body: str
    shown: int
    asked: int
    accuracy: float
    seconds: float


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Few pictures and a pretrained body.")
    parser.add_argument("--data", help="your pictures, a folder a thing")
    parser.add_argument("--fashion", help="fashion_mnist.npz.xz, to measure")
    parser.add_argument("--body", choices=["small", "picture"], action="append",
                        help="which body to measure; default both")  # fmt: skip
    parser.add_argument("--body-steps", type=int, default=BODY_STEPS, help="of the small body")
    parser.add_argument("--steps", type=int, default=HEAD_STEPS, help="of the head")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", help="folder of the run")
    return parser.parse_args()


def head_recipe(network: str, steps: int, seed: int, init: Path | None = None) -> Recipe:
    """A new head on a body that stands still."""
    return Recipe(
        name="few-shot", network=network, init=None if init is None else str(init), by="photo",
        validation=0.0, test=0.0, augmentation="things", batch=32, per_class=16, steps=steps,
        frozen=steps, rate=1e-3, warmup=5, dropout=0.1, evaluate=steps, checkpoint=steps, seed=seed,
        objectives=(Weighted("supcon"),),
    )  # fmt: skip


def things(folder: Path, side: int) -> Pictures:
    """Pictures of a folder per thing, cut as `vultus` cuts them with the detector `whole`."""
    detector, pixels, names = open_detector("whole"), [], []
    for file in sorted(folder.glob("*/*")):
        if file.suffix.lower() in SUFFIXES:
            photo = read_photo(file)
            pixels.append(align(photo, detector.detect(photo)[0], side).pixels)
            names.append(file.parent.name)
    if not names:
        raise SystemExit(f"{folder} holds no pictures in folders, such as {folder}/mug/1.jpg.")
    return from_arrays(np.stack(pixels), np.unique(names, return_inverse=True)[1])


def own(given: argparse.Namespace) -> None:
    """Train a head on the user's folders, ask about a fifth of the pictures, export."""
    run = Path(given.out or tempfile.mkdtemp(prefix="few-shot-"))
    card = network_card("picture")
    pictures = things(Path(given.data), card.side)
    recipe = head_recipe("picture", given.steps, given.seed).but(
        data=given.data, validation=0.2, per_class=max(2, 32 // max(1, len(pictures.names)))
    )
    done = train(recipe, run, pictures=pictures)
    parts = split(pictures, validation=0.2, test=0.0, seed=given.seed, by="photo")
    network = checkpoint.load(done.folder).network()
    shown, asked = parts.train, parts.validation
    accuracy = knn_accuracy(
        encode_pictures(network, pictures.pixels[shown]), pictures.labels[shown],
        encode_pictures(network, pictures.pixels[asked]), pictures.labels[asked],
        k=min(5, len(shown)),
    )  # fmt: skip
    model = export(run, run / "model")
    print(f"{len(shown)} pictures of {len(pictures.names)} things shown, {len(asked)} asked about: "
          f"{accuracy:.4f} named rightly")  # fmt: skip
    print(f"{model.path}: {model.size / 1e6:.1f} MB. Now:\n"
          f"  vultus models import {model.path.parent}\n"
          f"  vultus enroll {given.data} --model few-shot --detector whole\n"
          f"  vultus identify --source 0 --model few-shot --detector whole")  # fmt: skip


def shown_and_asked(pictures: Pictures, count: int, seed: int) -> tuple[Pictures, Pictures]:
    """`count` bags and as many shoes to show, and all test pictures of the four classes.

    Args:
        pictures: Fashion-MNIST.
        count: of each of the two.
        seed: of the draw.

    Returns:
        Pictures labelled 0 (bag) and 1 (shoe).
    """
    rng = np.random.default_rng(seed)
    shoe, bag = np.isin(pictures.labels, SHOES), pictures.labels == BAG
    known = [
        rng.choice(np.flatnonzero(which & (pictures.given == TRAIN)), count, replace=False)
        for which in (bag, shoe)
    ]
    asked = np.flatnonzero((bag | shoe) & (pictures.given == TEST))
    chosen = np.concatenate(known)
    return tuple(
        from_arrays(np.asarray(pictures.pixels[rows]), shoe[rows].astype(np.int64))
        for rows in (chosen, asked)
    )


def body_of_six(
    pictures: Pictures, run: Path, steps: int, seed: int, *, resume: bool = False
) -> None:
    """Train the small CNN on the classes that are neither bags nor shoes."""
    rows = np.flatnonzero(np.isin(pictures.labels, OTHERS) & (pictures.given == TRAIN))
    six = from_arrays(np.asarray(pictures.pixels[rows]), pictures.labels[rows])
    recipe = RECIPES["fashion"].but(
        name="six", batch=192, per_class=32, steps=steps, evaluate=steps, test=0.0, seed=seed
    )
    train(recipe, run, pictures=six, resume=resume)


def encoded(network: EmbeddingNetwork, pixels: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Unit vectors float32 (N, D) of uint8 (N, S, S, C), fitted to the network block by block."""
    card = network_card(name)
    return np.concatenate([
        encode_pictures(network, np.stack([
            fitted(p, card.side, card.channels) for p in pixels[i : i + _BLOCK]
        ]))
        for i in range(0, len(pixels), _BLOCK)
    ])  # fmt: skip


def measured(
    data: Path, body: str, run: Path, *, body_steps: int = BODY_STEPS,
    steps: int = HEAD_STEPS, count: int = 50, seed: int = 0, resume: bool = False,
) -> Scores:  # fmt: skip
    """Bags and shoes of Fashion-MNIST: train the head on a few, ask about all test pictures."""
    pictures = open_pictures(data, side=28, channels=1)
    shown, asked = shown_and_asked(pictures, count, seed)
    began = time.monotonic()
    init = None
    if body == "small":
        init = run / "body"
        body_of_six(pictures, init, body_steps, seed, resume=resume)
    card = network_card(body)
    large = from_arrays(
        np.stack([fitted(p, card.side, card.channels) for p in shown.pixels]), shown.labels
    )
    recipe = head_recipe(body, steps, seed, init)
    if body == "small":
        recipe = recipe.but(
            steps=SMALL_STEPS, frozen=FROZEN, augmentation="garments", evaluate=SMALL_STEPS
        )
    done = train(recipe, run / "head", pictures=large, resume=resume)
    seconds = time.monotonic() - began
    network = checkpoint.load(done.folder).network()
    accuracy = knn_accuracy(
        encoded(network, shown.pixels, body), shown.labels,
        encoded(network, asked.pixels, body), asked.labels,
    )  # fmt: skip
    return Scores(body, len(shown), len(asked), accuracy, seconds)


def main() -> None:
    """The user's own things, or the figures."""
    given = choices()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.data:
        own(given)
        return
    run = Path(given.out or tempfile.mkdtemp(prefix="few-shot-"))
    file = data_file(given.fashion, "fashion_mnist.npz.xz")
    print(f"{'body':8} {'shown':>6} {'asked':>6} {'accuracy':>9} {'training':>10}")
    for body in given.body or ("small", "picture"):
        found = measured(file, body, run / body, body_steps=given.body_steps, steps=given.steps,
                         seed=given.seed)  # fmt: skip
        print(f"{body:8} {found.shown:6} {found.asked:6} {found.accuracy:9.4f} "
              f"{found.seconds:8.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
