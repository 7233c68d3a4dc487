"""What training reaches on the development pictures: the classics, transfer, resuming, collapse.

    VULTUS_DATA=... python benchmarks/training.py [--only mnist,fashion] [--seed 0] [--threads 2]
        [--out runs/]

Each row runs an example of `examples/` or a recipe as it is and prints what it reached beside the
target. `--out` keeps the runs: a run that is there is resumed, one that is complete only measured.

    mnist      both triplet losses: k-NN and k-means (k = 10) accuracy of the test set
    fashion    k-NN accuracy of the test set
    omniglot   20 ways, one shot, 1,000 seeded episodes, trained on `background` alone
    few-shot   50 bags and 50 shoes shown, 4,000 pictures asked about; two bodies
    simclr     no labels: accuracy on LFW's development pairs, against the first weights
    camera     people in masks: FNMR at FMR 0.01, on people that were not learned from
    resume     SIGKILL at random moments, then `--resume`: the same weights as without
    collapse   warned within 200 steps of a run made to collapse; quiet on five healthy ones
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pictures import data_folder
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import few_shot
import mnist_triplets
import new_camera
import omniglot_siamese
import simclr_faces

from embedder import checkpoint
from embedder.dataset import open_pictures
from embedder.objectives import Weighted
from embedder.recipe import RECIPES, Recipe
from embedder.train import train

STEPS = 200  # within which a collapse must be told
KILLS, RESUMED = 3, 60


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: was measured.
        measured: in words.
        target: in words.
        met: whether the target was reached.
        seconds: of training, or of the whole check.
    """

    what: str
    measured: str
    target: str
    met: bool
    seconds: float


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        seed: of everything.
        out: where the runs are kept.
        steps: of every training, to try a row out; None: the recipe's.
    """

    seed: int
    out: Path
    steps: int | None

    def recipe(self, name: str) -> Recipe:
        """A built-in recipe on the development pictures."""
        recipe = RECIPES[name]
        recipe = recipe.but(data=str(data_folder() / recipe.data), seed=self.seed)
        return recipe if self.steps is None else recipe.but(steps=self.steps)


def mnist(asked: Asked) -> Iterator[Row]:
    """Margin triplet and softmax-ratio triplet."""
    for name in ("mnist-triplet", "mnist-ratio"):
        found = mnist_triplets.measured(asked.recipe(name), asked.out / name, resume=True)
        met = found.knn >= 0.990 and found.kmeans >= 0.985 and found.seconds <= 600
        yield Row(f"{name}: k-NN / k-means", f"{found.knn:.4f} / {found.kmeans:.4f}",
                  "≥ 0.990 / ≥ 0.985, ≤ 600 s", met, found.seconds)  # fmt: skip


def fashion(asked: Asked) -> Iterator[Row]:
    """Supervised contrast on garments."""
    found = mnist_triplets.measured(asked.recipe("fashion"), asked.out / "fashion", resume=True)
    yield Row("fashion: k-NN", f"{found.knn:.4f}", "≥ 0.93", found.knn >= 0.93, found.seconds)


def omniglot(asked: Asked) -> Iterator[Row]:
    """New characters of new alphabets."""
    found = omniglot_siamese.measured(asked.recipe("omniglot"), asked.out / "omniglot", resume=True)
    yield Row("omniglot 20-way one-shot, across", f"{found.across:.4f} ± {found.width:.4f}",
              "≥ 0.95", found.across >= 0.95, found.seconds)  # fmt: skip
    yield Row("omniglot, within one alphabet", f"{found.within:.4f}", "reported", True, 0.0)


def few(asked: Asked) -> Iterator[Row]:
    """Bags and shoes."""
    file = data_folder() / "fashion_mnist.npz.xz"
    body_steps = few_shot.BODY_STEPS if asked.steps is None else asked.steps
    for body in ("small", "picture"):
        found = few_shot.measured(file, body, asked.out / f"few-{body}", seed=asked.seed,
                                  body_steps=body_steps, resume=True)  # fmt: skip
        yield Row(f"few-shot, body {body}, {found.asked} asked", f"{found.accuracy:.4f}", "≥ 0.99",
                  found.accuracy >= 0.99, found.seconds)  # fmt: skip


def simclr(asked: Asked) -> Iterator[Row]:
    """Faces without names."""
    recipe = simclr_faces.recipe_of(data_folder() / "faces-unlabelled.zip", seed=asked.seed)
    recipe = recipe if asked.steps is None else recipe.but(steps=asked.steps)
    pairs = simclr_faces.pairs_for(None, recipe)
    found = simclr_faces.measured(recipe, asked.out / "simclr", *pairs, resume=True)
    gain = found.after - found.before
    yield Row(f"simclr, {found.pairs} pairs: gain",
              f"{found.before:.3f} → {found.after:.3f}: {gain:+.3f} "
              f"({found.low:+.3f} to {found.high:+.3f})",
              "≥ +0.05, interval above 0", gain >= 0.05 and found.low > 0,
              found.seconds)  # fmt: skip


def camera(asked: Asked) -> Iterator[Row]:
    """People in masks."""
    recipe = new_camera.recipe_of(seed=asked.seed)
    recipe = recipe if asked.steps is None else recipe.but(steps=asked.steps)
    clean, seen = new_camera.development(asked.seed)
    found = new_camera.measured(
        recipe, asked.out / "camera", clean, seen, same_photos=True, resume=True
    )
    met = found.before >= 0.10 and found.after <= found.before / 2
    yield Row(f"camera, {found.people} people, {found.mated} mated: FNMR at FMR 0.01",
              f"{found.before:.3f} → {found.after:.3f}", "≥ 0.10 → at most half", met,
              found.seconds)  # fmt: skip
    yield Row("the same, clean pictures", f"{found.clean:.3f} → {found.clean_after:.3f}",
              "reported", True, 0.0)  # fmt: skip


def resume(asked: Asked) -> Iterator[Row]:
    """Killed at random moments, and not: the weights of both."""
    began = time.monotonic()
    recipe = asked.out / "resume.json"
    chosen = asked.recipe("mnist-triplet").but(
        batch=60, per_class=6, steps=RESUMED, checkpoint=3, evaluate=20, dropout=0.2,
        objectives=(Weighted("triplet", options={"margin": 0.5, "memory": 300}),),
    )  # fmt: skip
    recipe.write_text(json.dumps(chosen.to_dict()))
    with tempfile.TemporaryDirectory() as place:
        whole, broken = Path(place) / "whole", Path(place) / "broken"
        start(recipe, whole).wait()
        rng, killed = random.Random(asked.seed), 0  # noqa: S311 - not for secrets
        while killed < KILLS:
            process = start(recipe, broken)
            if not wait_for_steps(broken, process, rng.uniform(0, 2)):
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        start(recipe, broken).wait()
        ends = [load_file(checkpoint.at_step(p, RESUMED) / checkpoint.STATE)
                for p in (whole, broken)]  # fmt: skip
    same = ends[0].keys() == ends[1].keys() and all(
        torch.equal(ends[0][key], ends[1][key]) for key in ends[0]
    )
    yield Row(f"resume after {killed} × SIGKILL", f"{len(ends[0])} tensors "
              f"{'identical' if same else 'DIFFER'}", "identical weights", same and killed > 0,
              time.monotonic() - began)  # fmt: skip


def start(recipe: Path, run: Path) -> subprocess.Popen[bytes]:
    """`vultus train` of one thread on the CPU, going on where it was."""
    command = "import torch, vultus; torch.set_num_threads(1); vultus.main()"
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore", "-c", command, "train", str(recipe), "--out", str(run),
         "--resume", "--device", "cpu", "--quiet"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def wait_for_steps(run: Path, process: subprocess.Popen[bytes], more: float) -> bool:
    """Wait until a run has a checkpoint it had not, then a moment; False where it has ended."""
    before = checkpoint.latest(run)
    while process.poll() is None:
        if checkpoint.latest(run) != before:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(more)
            return process.poll() is None
        time.sleep(0.01)
    return False


def healthy(asked: Asked) -> list[Recipe]:
    """Five runs that go well: the recipes' own choices, two hundred steps of sixty pictures."""
    names = ("mnist-triplet", "mnist-ratio", "fashion", "omniglot")
    runs = [
        asked.recipe(name).but(steps=STEPS, evaluate=STEPS, batch=60, per_class=5) for name in names
    ]
    pairs = (Weighted("contrastive", options={"memory": 400}),)
    return [*runs, runs[0].but(name="mnist-contrastive-memory", objectives=pairs)]


def made_to_collapse(asked: Asked) -> Recipe:
    """A margin no unit vectors can reach, the hardest triplets, and a rate far too high."""
    hard = (Weighted("triplet", options={"margin": 4.0, "mining": "hard"}),)
    return asked.recipe("mnist-triplet").but(
        name="made-to-collapse", steps=STEPS, evaluate=STEPS, batch=60, per_class=5, rate=10.0,
        warmup=0, clip=0.0, optimizer="sgd", objectives=hard,
    )  # fmt: skip


def collapse(asked: Asked) -> Iterator[Row]:
    """What the monitor says."""
    began = time.monotonic()
    said = warned(made_to_collapse(asked))
    steps = [int(found) for text in said for found in re.findall(r"^step (\d+)", text)]
    first = min(steps, default=None)
    yield Row("collapse: first warning of a run made to", f"step {first}", f"≤ {STEPS}",
              first is not None and first <= STEPS, time.monotonic() - began)  # fmt: skip
    began = time.monotonic()
    loud = [recipe.name for recipe in healthy(asked) if warned(recipe)]
    yield Row("collapse: warnings on five healthy runs", ", ".join(loud) or "none", "none",
              not loud, time.monotonic() - began)  # fmt: skip


def warned(recipe: Recipe) -> tuple[str, ...]:
    """What the monitor says of a run."""
    with tempfile.TemporaryDirectory() as run:
        pictures = open_pictures(recipe.data, side=28, channels=1)
        return train(recipe, Path(run), pictures=pictures, quiet=True).warnings


ROWS: dict[str, Callable[[Asked], Iterator[Row]]] = {
    "mnist": mnist, "fashion": fashion, "omniglot": omniglot, "few-shot": few, "simclr": simclr,
    "camera": camera, "resume": resume, "collapse": collapse,
}  # fmt: skip


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(ROWS), help="rows, comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--steps", type=int, help="of every training, to try a row out")
    parser.add_argument("--out", type=Path, help="folder that keeps the runs")
    given = parser.parse_args()
    strange = set(given.only.split(",")) - set(ROWS)
    if strange:
        parser.error(f"there is no {', '.join(sorted(strange))}: known are {', '.join(ROWS)}")
    torch.set_num_threads(given.threads)
    out = given.out or Path(tempfile.mkdtemp(prefix="training-"))
    out.mkdir(parents=True, exist_ok=True)
    asked = Asked(given.seed, out, given.steps)
    print(f"seed {given.seed}, {given.threads} threads; runs in {out}")
    print(f"{'what':58} {'measured':>34} {'target':28} {'met':4} {'seconds':>8}")
    for name in given.only.split(","):
        for row in ROWS[name](asked):
            print(f"{row.what:58} {row.measured:>34} {row.target:28} "
                  f"{'yes' if row.met else 'NO':4} {row.seconds:8.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
