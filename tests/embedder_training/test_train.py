"""The loop, on drawn digits: bars at places; small enough for two slow cores."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from embedder import checkpoint
from embedder.dataset import from_arrays
from embedder.errors import BadRecipe, CheckpointBroken, TrainingCollapsed
from embedder.network import build
from embedder.objectives import Objective, Weighted
from embedder.optimizer import optimizer_of, rate_at, set_rate
from embedder.recipe import Recipe
from embedder.train import (
    Place,
    backward,
    equal_error_rate,
    find_rate,
    train,
)

ROOT = Path(__file__).resolve().parents[2]
TINY = Recipe(
    network="small", dim=16, augmentation="digits", batch=48, per_class=6, steps=40, warmup=5,
    rate=2e-3, evaluate=20, checkpoint=20, ema=0.9, dropout=0.1,
    objectives=(Weighted("triplet", options={"margin": 0.3}),), validation=0.25, test=0.0,
)  # fmt: skip


def glyphs(classes=24, each=12, seed=0):
    """Each class a pattern of blocks; each picture noisy."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(0, 2, (classes, 7, 7)).repeat(4, axis=1).repeat(4, axis=2) * 190
    x = shapes.repeat(each, axis=0) + rng.integers(0, 60, (classes * each, 28, 28))
    return from_arrays(x.astype(np.uint8), np.arange(classes).repeat(each))


PICTURES = glyphs()


def weights(folder):
    return load_file(folder / checkpoint.STATE)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[k], other[k]) for k in one)


def test_it_learns_and_writes_what_it_did(tmp_path):
    done = train(TINY, tmp_path, pictures=PICTURES, device="cpu", quiet=True)
    assert done.ended == "steps"
    assert done.steps == 40
    assert done.warnings == ()
    assert done.eer < 0.15
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(r["loss"]) for r in rows if r["loss"]]
    assert [int(r["step"]) for r in rows if r["loss"]] == [1, 10, 20, 30, 40]
    assert [int(r["step"]) for r in rows if r["eer"]] == [20, 40]
    assert min(losses) >= 0
    found = checkpoint.load(checkpoint.find(tmp_path))
    assert found.recipe == TINY
    pictures = torch.zeros(1, 1, 28, 28)
    assert found.network()(pictures).shape == (1, 16)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [
        "best", "step-00000020", "step-00000040", "tensorboard",
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_weights(tmp_path):
    short = TINY.but(steps=12)
    for name, recipe in (("a", short), ("b", short), ("c", short.but(seed=1))):
        train(recipe, tmp_path / name, pictures=PICTURES, device="cpu", quiet=True)
    a, b, c = (weights(checkpoint.at_step(tmp_path / n, 12)) for n in "abc")
    assert same(a, b)
    assert not same(a, c)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from embedder.objectives import Weighted
from test_train import PICTURES, TINY
from embedder.train import train
recipe = TINY.but(steps=int(sys.argv[2]), checkpoint=3, frozen=5, evaluate=7, dropout=0.3,
                  objectives=[Weighted("triplet", options={{"margin": 0.3, "memory": 100}})])
train(recipe, Path(sys.argv[1]), pictures=PICTURES, device="cpu", resume=True, quiet=True)
"""


def start(script, *arguments, launcher=()):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), *map(str, arguments)],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    script = tmp_path / "go.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)))
    whole = start(script, tmp_path / "whole", 24)
    broken = start(script, tmp_path / "broken", 24)
    mark = checkpoint.at_step(tmp_path / "broken", 6) / checkpoint.FACTS
    deadline = time.monotonic() + 150
    while not mark.is_file() and broken.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    assert broken.returncode == -signal.SIGKILL
    assert not checkpoint.at_step(tmp_path / "broken", 24).exists()
    finish(start(script, tmp_path / "broken", 24))
    finish(whole)
    end = [checkpoint.at_step(tmp_path / name, 24) for name in ("whole", "broken")]
    assert same(*map(weights, end))
    assert checkpoint.load(end[0]).facts == checkpoint.load(end[1]).facts
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "broken")]
    steps = [[line.split(",")[0] for line in log.splitlines()] for log in logs]
    assert steps[0] == steps[1]


def test_resume_wants_the_same_recipe(tmp_path):
    train(TINY.but(steps=2), tmp_path, pictures=PICTURES, device="cpu", quiet=True)
    with pytest.raises(CheckpointBroken, match="holds a run already"):
        train(TINY, tmp_path, pictures=PICTURES, device="cpu", quiet=True)
    with pytest.raises(CheckpointBroken, match="rate differ"):
        train(TINY.but(rate=1.0), tmp_path, pictures=PICTURES, device="cpu", resume=True)


def test_fine_tuning_begins_with_the_weights_given_and_a_frozen_body(tmp_path):
    train(TINY.but(steps=4), tmp_path / "a", pictures=PICTURES, device="cpu", quiet=True)
    tuned = TINY.but(steps=3, frozen=3, init=str(tmp_path / "a"), ema=0.0)
    train(tuned, tmp_path / "b", pictures=PICTURES, device="cpu", quiet=True)
    before = checkpoint.load(checkpoint.find(tmp_path / "a")).network().state_dict()
    after = checkpoint.load(checkpoint.at_step(tmp_path / "b", 3)).network().state_dict()
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"head"}


def test_early_stopping(tmp_path):
    recipe = TINY.but(steps=500, evaluate=2, patience=2, rate=1e-9, ema=0.0)
    done = train(recipe, tmp_path, pictures=PICTURES, device="cpu", quiet=True)
    assert done.ended == "early"
    assert done.steps < 60


def test_self_supervision_needs_no_labels(tmp_path):
    loose = from_arrays(PICTURES.pixels)
    recipe = TINY.but(self_supervised=True, steps=40, validation=0.1, batch=32, ema=0.0,
                      objectives=[Weighted("nt-xent", options={"temperature": 0.2})])  # fmt: skip
    done = train(recipe, tmp_path, pictures=loose, device="cpu", quiet=True)
    assert done.eer is None
    with (tmp_path / "log.csv").open(newline="") as file:
        losses = [float(r["loss"]) for r in csv.DictReader(file)]
    assert losses[-1] < 0.75 * losses[0]
    with pytest.raises(BadRecipe, match="two views"):
        train(recipe.but(augmentation="none"), tmp_path / "x", pictures=loose, device="cpu")


def test_a_teacher_is_followed(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(24, 16)).astype(np.float32).repeat(12, axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    recipe = TINY.but(objectives=[Weighted("distil-vectors"), Weighted("distil-similarity")])
    train(recipe, tmp_path, pictures=PICTURES.taught(vectors), device="cpu", quiet=True)
    with (tmp_path / "log.csv").open(newline="") as file:
        losses = [float(r["loss"]) for r in csv.DictReader(file) if r["loss"]]
    assert losses[-1] < 0.6 * losses[0]


def test_resting_blocks_and_kept_normalisation_do_not_change(tmp_path):
    recipe = TINY.but(rest=2, norms="keep", judged="digits", ema=0.0, steps=20)
    torch.manual_seed(recipe.seed)
    begun = build("small", dim=16, dropout=0.1)
    done = train(recipe, tmp_path, pictures=PICTURES, device="cpu", quiet=True)
    after = checkpoint.load(done.folder).part("network")
    before = begun.state_dict()
    still = {k for k in before if torch.equal(before[k], after[k])}
    assert {k for k in before if "running" in k or k.startswith(("body.0.", "body.1."))} <= still
    assert {"body.2.0.weight", "body.2.1.weight", "head.2.weight"}.isdisjoint(still)


def test_validation_looks_at_harder_pictures_too(tmp_path):
    easy = train(TINY, tmp_path / "a", pictures=PICTURES, device="cpu", quiet=True)
    hard = train(TINY.but(judged="things"), tmp_path / "b", pictures=PICTURES, device="cpu",
                 quiet=True)  # fmt: skip
    assert same(weights(tmp_path / "a" / "step-00000040"), weights(tmp_path / "b/step-00000040"))
    assert hard.eer > easy.eer


@pytest.mark.parametrize("name", ["triplet", "supcon", "distil-similarity"])
def test_a_batch_in_chunks_has_the_gradients_of_the_whole(name):
    """With normalisation standing still; moving, each chunk has its own mean by design."""
    torch.manual_seed(0)
    x, labels, teacher = (
        torch.rand(12, 1, 28, 28) * 255,
        torch.arange(4).repeat(3),
        torch.rand(12, 8),
    )
    objective = Objective([Weighted(name)], dim=8, classes=4)
    found = []
    for chunk in (None, 5):
        torch.manual_seed(1)
        network = build("small", dim=8).eval()
        recipe = TINY.but(chunk=chunk, accumulate=2)
        done = backward(
            network, objective, x, labels, teacher, recipe, Place(torch.device("cpu")), 7
        )
        found.append((done.loss, [p.grad for p in network.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_chunks_draw_the_same_dropout_twice_and_average_statistics_once():
    torch.manual_seed(0)
    x, labels = torch.rand(8, 1, 28, 28) * 255, torch.arange(4).repeat(2)
    network = build("small", dim=8, dropout=0.5).train()
    twin = build("small", dim=8, dropout=0.5).train()
    twin.load_state_dict(network.state_dict())
    objective = Objective([Weighted("supcon")], dim=8, classes=4)
    backward(network, objective, x, labels, None, TINY.but(chunk=4), Place(torch.device("cpu")), 3)
    with torch.no_grad():
        for i, piece in enumerate(x.split(4)):
            torch.manual_seed(3 + i)
            twin(piece)
    ours, theirs = network.state_dict(), twin.state_dict()
    for name in ours:
        if "running" in name:
            torch.testing.assert_close(ours[name], theirs[name])


TWO = """
import os
import sys
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from embedder.objectives import Objective, Weighted
from embedder.optimizer import optimizer_of, rate_at, set_rate
from embedder.recipe import Recipe
from embedder.train import backward, processes
torch.set_num_threads(1)
def grads(place, x, labels, chunk):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    model = DistributedDataParallel(net) if place.world > 1 else net
    objective = Objective([Weighted("supcon")], dim=5, classes=4)
    backward(model, objective, x, labels, None, Recipe(chunk=chunk), place, 0)
    return net[1].weight.grad
with processes("cpu") as place:
    torch.manual_seed(9)
    x, labels = torch.randn(12, 1, 4, 4), torch.arange(4).repeat(3)
    import dataclasses
    mine = slice(place.rank * 6, place.rank * 6 + 6)
    alone = grads(dataclasses.replace(place, world=1), x, labels, None)
    for chunk in (None, 4):
        shared = grads(place, x[mine], labels[mine], chunk)
        torch.testing.assert_close(shared, alone)
    # in one piece: print writes its arguments one by one, and two processes share the pipe
    os.write(1, f"equal {place.rank} {place.world}\\n".encode())
"""

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def run_two(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *LAUNCH, str(script), *map(str, arguments)], env=environment,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_two_processes_have_the_gradient_of_one(tmp_path):
    """Every negative of the whole batch counts: vectors are gathered."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    done = run_two(script)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n"))[-2:] == ["equal 0 2", "equal 1 2"]


def test_two_processes_train(tmp_path):
    script = tmp_path / "go.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)))
    done = run_two(script, tmp_path / "run", 9)
    assert done.returncode == 0, done.stderr
    found = checkpoint.load(checkpoint.at_step(tmp_path / "run", 9))
    assert found.facts["step"] == 9
    assert all(v.isfinite().all() for v in found.part("network").values())


def test_a_run_made_to_collapse_is_stopped(tmp_path):
    hard = Weighted("triplet", options={"margin": 4.0, "mining": "hard"})
    recipe = TINY.but(steps=150, rate=30.0, warmup=0, clip=0.0, augmentation="none",
                      stop_on_collapse=True, optimizer="sgd", objectives=[hard])  # fmt: skip
    with pytest.raises(TrainingCollapsed, match="step"):
        train(recipe, tmp_path, pictures=PICTURES, device="cpu", quiet=True)


def test_the_rate_rises_then_falls():
    recipe = Recipe(rate=1.0, floor=0.1, warmup=10, steps=110)
    rates = [rate_at(recipe, step) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_a_relative_rate_goes_by_the_size_of_the_weights():
    recipe = TINY.but(optimizer="adamw-relative", rate=1e-2)
    network = build("small", dim=16)
    with torch.no_grad():
        network.head[-1].weight.fill_(0.003)
        network.head[-1].bias.zero_()
    optimizer = optimizer_of(recipe, network, Objective(recipe.objectives, dim=16, classes=2))
    set_rate(optimizer, 1e-2)
    rates = {group["params"][0]: group["lr"] for group in optimizer.param_groups}
    assert rates[network.head[-1].weight] == pytest.approx(3e-5)
    assert rates[network.head[-1].bias] == pytest.approx(1e-5)  # at zero: still a rate
    assert rates[network.body[0][1].weight] == pytest.approx(1e-2)  # normalisation begins at one


def test_relative_rates_resume_as_if_uninterrupted(tmp_path):
    recipe = TINY.but(optimizer="adamw-relative", rate=1e-2, steps=10, checkpoint=5)
    train(recipe, tmp_path / "whole", pictures=PICTURES, device="cpu", quiet=True)
    half = checkpoint.at_step(tmp_path / "whole", 5)
    shutil.copytree(half, tmp_path / "parted" / half.name)
    train(recipe, tmp_path / "parted", pictures=PICTURES, device="cpu", resume=True, quiet=True)
    ends = [weights(checkpoint.at_step(tmp_path / run, 10)) for run in ("whole", "parted")]
    assert same(*ends)


def test_the_rate_finder_finds_one_that_learns():
    told = []
    rate = find_rate(TINY, PICTURES, steps=30, told=lambda r, loss: told.append((r, loss)))
    assert 1e-6 <= rate <= 0.1
    assert len(told) > 10


def test_equal_error_rate():
    eye = np.eye(3, dtype=np.float32).repeat(2, axis=0)
    assert equal_error_rate(eye, np.array([0, 0, 1, 1, 2, 2])) == 0
    assert equal_error_rate(eye, np.array([0, 1, 0, 1, 2, 2])) > 0.3
    assert equal_error_rate(eye, np.zeros(6, np.int64)) is None
    assert equal_error_rate(eye, np.full(6, -1)) is None


def test_modules_have_no_dropout_by_default():
    assert all(m.p == 0 for m in build("small").modules() if isinstance(m, nn.Dropout))
