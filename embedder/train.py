"""The training loop, written out. `train` is the loop; the rest is what it calls, in order.

    for step in …:  draw ─ augment ─ forward ─ objectives ─ backward ─ clip ─ optimizer ─ average
                    every few steps: look for collapse, log, validate, save

Everything drawn by chance follows from (seed, step, process): a run killed at any moment and
started again gives the weights it would have given, bit by bit on a CPU.

Several GPUs: `torchrun --nproc-per-node 8 $(which vultus) train …`. Each process encodes its share
of the batch; vectors are gathered, so that every negative of the whole batch counts.

Big batches on little memory: encoded in chunks without gradients, the objective's gradient taken
at the vectors, then each chunk encoded again with it (Gao, Zhang, Han, Callan, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021).

Letters: N pictures, B batch, D dimensions.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from embedder import checkpoint, collapse
from embedder.augment import Augmenter, augmentation
from embedder.dataset import Pictures, open_pictures
from embedder.dataset_split import Sampler, Split, sampler, split
from embedder.dataset_teacher import with_teacher
from embedder.errors import BadRecipe, CheckpointBroken, DeviceUnavailable, TrainingCollapsed
from embedder.heap import keep_freed_memory
from embedder.network import EmbeddingNetwork, build, network_card
from embedder.objectives import TAUGHT, Batch, Objective
from embedder.optimizer import optimizer_of, rate_at, set_rate, still
from embedder.recipe import Recipe
from embedder.start import load_start
from embedder.train_body import fit_body, imitate
from embedder.train_head import factored, fit_head, reduced, regressed
from embedder.train_log import Log, Row

_VALIDATED = 4096  # pictures looked at in a validation, at most
_AT_ONCE = 64  # pictures through the body at once where nothing learns


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process trains.

    Attributes:
        device: `cpu` or `cuda:<n>`.
        rank: number of the process.
        world: how many there are.
        bf16: whether networks compute in bfloat16.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    bf16: bool = False


@dataclass(slots=True)
class State:
    """What changes while training.

    Attributes:
        network: the weights that learn.
        average: the averaged weights, or None.
        objective: with weights of its own, perhaps.
        optimizer: with its memory.
        step: steps done.
        best: lowest validation EER so far, or None.
        waited: validations since then.
    """

    network: EmbeddingNetwork
    average: EmbeddingNetwork | None
    objective: Objective
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float | None = None
    waited: int = 0

    def chosen(self) -> EmbeddingNetwork:
        """The network to use: the average where there is one."""
        return self.network if self.average is None else self.average


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run ended.

    Attributes:
        folder: the checkpoint to use.
        steps: steps done.
        eer: best validation EER, or None where nothing was validated.
        ended: `steps`, `early` (no better EER for long) or `collapsed`.
        warnings: what the collapse monitor said.
    """

    folder: Path
    steps: int
    eer: float | None
    ended: str
    warnings: tuple[str, ...]


def train(
    recipe: Recipe,
    run: Path,
    *,
    pictures: Pictures | None = None,
    device: str | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Trained:
    """Train as a recipe says.

    On a processor, this process keeps the memory it frees from then on (`embedder.heap`).

    Args:
        recipe: every choice.
        run: folder of checkpoints and logs.
        pictures: what to train on; None: `recipe.data` is opened.
        device: `cpu` or `cuda`; None: CUDA where there is one.
        resume: go on from the latest checkpoint of `run`, if there is one.
        quiet: no progress bar.

    Raises:
        BadRecipe, BadData: it cannot begin.
        CheckpointBroken: `run` holds another run, or `resume` finds another recipe.
        TrainingCollapsed: the recipe says to stop then.
    """
    with processes(device) as alone:
        place = with_precision(alone, recipe)
        if place.device.type == "cpu":
            keep_freed_memory()
        pictures = _pictures(recipe) if pictures is None else pictures
        parts = split(pictures, validation=recipe.validation, test=recipe.test, seed=recipe.seed,
                      by=recipe.by)  # fmt: skip
        draws = sampler(pictures, parts.train, per_class=recipe.per_class, batch=recipe.batch,
                        seed=recipe.seed, labels=not recipe.self_supervised)  # fmt: skip
        feed = Feed(recipe, pictures, draws, place)
        last = checkpoint.latest(run)
        if last is not None and not resume:
            raise CheckpointBroken(f"{run} holds a run already: give --resume, or another folder.")
        state = _begin(recipe, pictures, last, place)
        if last is None:
            _warm(state, feed, parts)
            _save_start(state, recipe, run, place)
        log = Log(run, from_step=state.step, active=place.rank == 0)
        try:
            return _loop(recipe, state, feed, parts, run, place, log, quiet=quiet)
        finally:
            log.close()


def _loop(
    recipe: Recipe, state: State, feed: Feed, parts: Split, run: Path, place: Place, log: Log, *,
    quiet: bool,
) -> Trained:  # fmt: skip
    """The loop itself; see `train`."""
    monitor, warnings, ended = collapse.Monitor(), list[str](), "steps"
    model = wrapped(state, recipe, place)
    hidden = quiet or place.rank != 0 or not sys.stderr.isatty()
    bar = tqdm(total=recipe.steps, initial=state.step, disable=hidden, file=sys.stderr)
    began = time.monotonic()
    with bar:
        while state.step < recipe.steps and ended == "steps":
            if state.step == recipe.frozen > 0:
                model = wrapped(state, recipe, place)  # the body learns from here on
            rate = rate_at(recipe, state.step)
            set_rate(state.optimizer, rate)

            state.optimizer.zero_grad(set_to_none=True)
            for k in range(recipe.accumulate):
                given, labels, teacher = feed.batch(state.step * recipe.accumulate + k)
                done = backward(model, state.objective, given, labels, teacher, recipe, place,
                                _seed(recipe, state.step, place, k))  # fmt: skip
            gradient = clipped(state, recipe.clip)
            state.optimizer.step()
            state.step += 1
            follow(state, recipe.ema)
            bar.update()

            if state.step % collapse.EVERY == 0 or state.step == 1:
                health = collapse.measure(
                    state.step, done.vectors, done.labels,
                    margin=_margin(recipe), gradient=gradient, loss=done.loss,
                )  # fmt: skip
                log.row(Row(health, rate, done.parts, time.monotonic() - began))
                ended = _warned(monitor.look(health), warnings, recipe, place)
            if state.step % recipe.evaluate == 0 or state.step == recipe.steps:
                eer = agreed(validate(state, feed, parts), place)
                log.eer(state.step, eer)
                bar.set_postfix_str("" if eer is None else f"EER {eer:.4f}")
                _keep_best(state, recipe, run, place, eer)
                ended = "early" if _waited_enough(state, recipe) else ended
            if state.step % recipe.checkpoint == 0:
                _save(state, recipe, run, place)
    if ended == "collapsed":
        raise TrainingCollapsed(f"The run was stopped. {warnings[-1]}")
    _save(state, recipe, run, place)
    if place.world > 1:
        dist.barrier()
    return Trained(checkpoint.find(run), state.step, state.best, ended, tuple(warnings))


def _warned(said: str | None, warnings: list[str], recipe: Recipe, place: Place) -> str:
    """Pass a warning on; whether the run ends with it."""
    if said is None:
        return "steps"
    warnings.append(said)
    tell(said, place)
    return "collapsed" if recipe.stop_on_collapse else "steps"


def _waited_enough(state: State, recipe: Recipe) -> bool:
    return 0 < recipe.patience <= state.waited


def _save_start(state: State, recipe: Recipe, run: Path, place: Place) -> None:
    """Keep the weights a run begins with, where these know something (`towards_start`)."""
    if place.rank == 0 and (recipe.init or recipe.warm_head or recipe.warm_body):
        checkpoint.save(run / "start", tensors_of(state), recipe, facts_of(state))


def _save(state: State, recipe: Recipe, run: Path, place: Place) -> None:
    """A checkpoint to go on from, once a step."""
    folder = checkpoint.at_step(run, state.step)
    if place.rank == 0 and not folder.exists():
        checkpoint.save(folder, tensors_of(state), recipe, facts_of(state))
        checkpoint.prune(run)


# --- where -------------------------------------------------------------------------------------


@contextlib.contextmanager
def processes(device: str | None) -> Iterator[Place]:
    """This process among those `torchrun` started; alone where it did not.

    Raises:
        DeviceUnavailable: CUDA is asked for and not there.
    """
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted not in {"cpu", "cuda"}:
        raise DeviceUnavailable(f"There is no device {wanted!r}: known are cpu and cuda.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("torch sees no CUDA here: check nvidia-smi, or use --device cpu.")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    where = torch.device(wanted, int(os.environ.get("LOCAL_RANK", "0")) if wanted == "cuda" else 0)
    if wanted == "cpu":
        where = torch.device("cpu")
    if world == 1:
        yield Place(where)
        return
    dist.init_process_group("nccl" if wanted == "cuda" else "gloo")
    try:
        yield Place(where, dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def with_precision(place: Place, recipe: Recipe) -> Place:
    """The place with the recipe's arithmetic: bfloat16 on a GPU where it does not say."""
    return replace(place, bf16=place.device.type == "cuda" if recipe.bf16 is None else recipe.bf16)


def tell(text: str, place: Place) -> None:
    """A line on stderr, from one process only, beside the progress bar."""
    if place.rank == 0:
        tqdm.write(f"vultus: {text}", file=sys.stderr)


# --- what with ---------------------------------------------------------------------------------


def _pictures(recipe: Recipe) -> Pictures:
    if not recipe.data:
        raise BadRecipe("The recipe names no pictures: give --data, a folder per class.")
    card = network_card(recipe.network)
    return open_pictures(recipe.data, side=card.side, channels=card.channels)


def _begin(recipe: Recipe, pictures: Pictures, last: Path | None, place: Place) -> State:
    """Fresh weights, or those of `init`, or those of the run's latest checkpoint."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, dim=recipe.dim, dropout=recipe.dropout,
                    pretrained=last is None and recipe.init is None)  # fmt: skip
    dim = recipe.dim or network_card(recipe.network).dim
    objective = Objective(recipe.objectives, dim=dim, classes=max(1, len(pictures.names)))
    if recipe.init is not None and last is None:
        load_start(network, recipe.init, norms=recipe.norms)
    network.to(place.device, memory_format=torch.channels_last)
    objective.to(place.device)
    state = State(network, _copy(network) if recipe.ema else None, objective,
                  optimizer_of(recipe, network, objective))  # fmt: skip
    if last is not None:
        _restore(state, recipe, checkpoint.load(last), last)
    return state


def _copy(network: EmbeddingNetwork) -> EmbeddingNetwork:
    average = copy.deepcopy(network)
    average.eval().requires_grad_(False)
    return average


def _restore(state: State, recipe: Recipe, saved: checkpoint.Checkpoint, folder: Path) -> None:
    """Put a checkpoint back; only how long it runs and what it looks at may differ."""
    free = {"steps", "evaluate", "checkpoint", "patience", "data", "stop_on_collapse"}
    old, new = saved.recipe.to_dict(), recipe.to_dict()
    other = sorted(key for key in new if key not in free and old[key] != new[key])
    if other:
        raise CheckpointBroken(
            f"{folder} was written by another recipe ({', '.join(other)} differ): resume with the "
            "same choices, or begin in another folder, perhaps with --init."
        )
    checkpoint.load_into(state.network, saved.part("network"))
    checkpoint.load_into(state.objective, saved.part("objective"))
    if state.average is not None:
        checkpoint.load_into(state.average, saved.part("average"))
    checkpoint.restore_optimizer(state.optimizer, saved.part("optimizer"))
    state.step, state.best = saved.facts["step"], saved.facts["best"]
    state.waited = saved.facts["waited"]


def wrapped(state: State, recipe: Recipe, place: Place) -> nn.Module:
    """The network as this step trains it: the body frozen or not, gradients shared or not."""
    frozen = state.step < recipe.frozen
    state.network.train()
    state.network.body.requires_grad_(not frozen)
    if frozen:
        state.network.body.eval()  # its normalisation must not drift either
    for block in list(state.network.body.children())[: recipe.rest]:
        block.requires_grad_(False).eval()
    if recipe.norms == "keep":
        still(state.network.body if frozen else state.network)
    if place.world == 1:
        return state.network
    return DistributedDataParallel(state.network)


def _warm(state: State, feed: Feed, parts: Split) -> None:
    """Fit what the recipe wants fitted before the first step."""
    if feed.recipe.warm_body:
        _warm_body(state, feed, parts)
    if feed.recipe.warm_head:
        _warm_head(state, feed, parts)
    if state.average is not None:
        state.average.load_state_dict(state.network.state_dict())


def _some(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of rows (N,), by lot, in order."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(rows, min(most, len(rows)), replace=False))


def _warm_body(state: State, feed: Feed, parts: Split) -> None:
    """Fit a body cut out of a whole one to it, on clean pictures."""
    recipe, place = feed.recipe, feed.place
    if recipe.network != "sface-half":
        raise BadRecipe(f"warm_body fits sface-half to SFace: {recipe.network} is no cut of it.")
    chosen = _some(parts.train, recipe.warm_body, recipe.seed)
    whole = build("sface-whole").body.to(place.device)
    pictures = state.network.scale(feed.pixels(chosen))
    near = fit_body(state.network.body, whole, pictures)
    tell(f"the body was fitted to {len(chosen)} pictures: cosine {near:.4f} with SFace's", place)
    if recipe.warm_steps:
        lost = imitate(
            state.network.body, whole, lambda rows: state.network.scale(feed.pixels(rows)),
            parts.train, steps=recipe.warm_steps, seed=recipe.seed, bf16=place.bf16,
        )  # fmt: skip
        tell(f"the body imitated SFace's: {lost:.3f} of its last map's variance is lost", place)


def _warm_head(state: State, feed: Feed, parts: Split) -> None:
    """Fit the head to the teacher on clean pictures, the body as it came."""
    recipe, place = feed.recipe, feed.place
    taught = feed.pictures.teacher
    if taught is None:
        raise BadRecipe("warm_head fits the head to a teacher: let an objective distil one.")
    chosen = _some(parts.train, recipe.warm_head, recipe.seed)
    count = len(chosen)
    body = state.network.body.eval()
    with torch.no_grad(), torch.autocast(place.device.type, torch.bfloat16, enabled=place.bf16):
        found = [
            body(state.network.scale(feed.pixels(chosen[i : i + _AT_ONCE]))).half()
            for i in range(0, count, _AT_ONCE)
        ]
    features, head = torch.cat(found), state.network.head
    wanted = torch.from_numpy(taught[chosen]).to(place.device)
    if recipe.network == "sface-narrow":
        whole = build("sface-whole").head.to(place.device)
        near = factored(head, whole, features)
        tell(f"the head was cut to its channels: cosine {near:.4f} with the whole one", place)
        cosine = regressed(head, features, wanted)
    elif recipe.network == "sface-half":
        reduced(head, features, wanted)
        cosine = regressed(head, features, wanted, anew=True)
    else:
        cosine = fit_head(head, features, wanted, seed=recipe.seed)
    tell(f"the head was fitted to {count} pictures: cosine {cosine:.4f} with the teacher", place)


class Feed:
    """Batches on the device: drawn, shared among processes, augmented."""

    def __init__(self, recipe: Recipe, pictures: Pictures, draws: Sampler, place: Place) -> None:
        self.recipe, self.draws, self.place = recipe, draws, place
        if any(one.name in TAUGHT for one in recipe.objectives):
            pictures = with_teacher(pictures, recipe.teacher)
        self.pictures = pictures
        how, judge = augmentation(recipe.augmentation), augmentation(recipe.judged)
        shape = {"side": pictures.side, "channels": pictures.pixels.shape[3]}
        self.augmenter = None if how is None else Augmenter(how, **shape).to(place.device)
        self.judge = None if judge is None else Augmenter(judge, **shape).to(place.device)
        if recipe.self_supervised and how is None:
            raise BadRecipe("Self-supervision needs two views: choose an augmentation (views).")
        self.resident = _resident(pictures, place)

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """This process's share of a batch.

        Returns:
            Pictures float32 (N, C, S, S) in 0…255, labels int64 (N,), teacher's vectors or None.
        """
        chosen = self.draws.draw(number)[self.place.rank :: self.place.world]
        torch.manual_seed(_seed(self.recipe, number, self.place, 1000))
        x = self.pixels(chosen)
        labels = torch.from_numpy(self.pictures.labels[chosen])
        if self.recipe.self_supervised:  # two views; the picture itself is the label
            x, labels = torch.cat([x, x]), torch.from_numpy(np.concatenate([chosen, chosen]))
            chosen = np.concatenate([chosen, chosen])
        taught = self.pictures.teacher
        teacher = None if taught is None else torch.from_numpy(taught[chosen]).to(self.place.device)
        x = x if self.augmenter is None else self.augmenter(x)
        return x, labels.to(self.place.device), teacher

    def pixels(self, chosen: NDArray[np.int64]) -> Tensor:
        """Pictures by index, int64 (N,): float32 (N, C, S, S) in 0…255, on the device."""
        if self.resident is None:
            rows = torch.from_numpy(np.asarray(self.pictures.pixels[chosen])).to(self.place.device)
        else:
            rows = self.resident[torch.from_numpy(chosen).to(self.place.device)]
        return rows.permute(0, 3, 1, 2).float()  # channels last, as the network


def _resident(pictures: Pictures, place: Place) -> Tensor | None:
    """All pictures as uint8 in the GPU's memory, where they fill less than half of it."""
    if place.device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(place.device)
    if pictures.pixels.nbytes > free // 2:
        return None
    return torch.from_numpy(np.asarray(pictures.pixels)).to(place.device)


def _seed(recipe: Recipe, step: int, place: Place, what: int) -> int:
    """One number of seed, step, process and purpose."""
    sequence = np.random.SeedSequence([recipe.seed, step, place.rank, what])
    return int(sequence.generate_state(1)[0])


# --- a step ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """What a backward pass leaves behind besides gradients.

    Attributes:
        loss: of the whole batch.
        parts: each objective's own value.
        vectors: float (B, D) of all processes, detached.
        labels: int64 (B,).
    """

    loss: float
    parts: dict[str, float]
    vectors: Tensor
    labels: Tensor


def backward(
    model: nn.Module, objective: Objective, pictures: Tensor, labels: Tensor,
    teacher: Tensor | None, recipe: Recipe, place: Place, seed: int,
) -> Done:  # fmt: skip
    """Gradients of a batch added to the weights.

    Args:
        model: the network, perhaps shared among processes.
        objective: of the recipe.
        pictures: float32 (N, C, S, S), this process's.
        labels: int64 (N,), this process's.
        teacher: float32 (N, T), this process's, or None.
        recipe: for `chunk` and `accumulate`.
        place: where.
        seed: of the dropout.
    """
    pieces = list(pictures.split(recipe.chunk or len(pictures)))
    if len(pieces) == 1:
        torch.manual_seed(seed)
        own = encoded(model, pictures, place)
    else:
        own = torch.cat(_without_gradient(model, pieces, seed, place)).requires_grad_()
    batch = Batch(gather(own, place), everyone(labels, place),
                  None if teacher is None else everyone(teacher, place))  # fmt: skip
    loss, named = objective(batch)
    (loss / recipe.accumulate).backward()
    if len(pieces) > 1:
        _chunks_backward(model, pieces, own.grad, seed, place)
    values = {name: float(value) for name, value in named.items()}
    return Done(float(loss.detach()), values, batch.vectors.detach(), batch.labels)


def encoded(model: nn.Module, pictures: Tensor, place: Place) -> Tensor:
    """Vectors float32 (N, D) of float32 (N, C, S, S); in bfloat16 where the place says so."""
    with torch.autocast(place.device.type, torch.bfloat16, enabled=place.bf16):
        vectors = model(pictures)
    return vectors.float()


def _without_gradient(
    model: nn.Module, pieces: list[Tensor], seed: int, place: Place
) -> list[Tensor]:
    """Vectors of each chunk; running averages of normalisation stay as they are."""
    network = model.module if isinstance(model, DistributedDataParallel) else model
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    found = []
    try:
        for m in norms:
            m.momentum = 0.0
        with torch.no_grad():
            for i, piece in enumerate(pieces):
                torch.manual_seed(seed + i)
                found.append(encoded(network, piece, place))
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
    return found


def _chunks_backward(
    model: nn.Module, pieces: list[Tensor], gradient: Tensor, seed: int, place: Place
) -> None:
    """Each chunk again, with gradients; processes share them once, at the last chunk."""
    parts = gradient.split([len(piece) for piece in pieces])
    for i, (piece, part) in enumerate(zip(pieces, parts, strict=True)):
        torch.manual_seed(seed + i)
        alone = isinstance(model, DistributedDataParallel) and i < len(pieces) - 1
        with model.no_sync() if alone else contextlib.nullcontext():
            encoded(model, piece, place).backward(part)


class _Gather(torch.autograd.Function):
    """Rows of all processes; the gradient goes back to one's own.

    Every process computes the same loss of all rows, and shared gradients are averaged over the
    processes, so that each one's share is multiplied by their number: the sum is the gradient a
    single process would have had. Forward: rows (N, D) of this process → (B, D) of all; backward:
    their gradient (B, D) → (N, D).
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.count = len(own)
        return torch.cat(_all(own))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        first = ctx.count * dist.get_rank()
        return gradient[first : first + ctx.count] * dist.get_world_size()


def _all(own: Tensor) -> list[Tensor]:
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own.contiguous())
    return found


def gather(own: Tensor, place: Place) -> Tensor:
    """Vectors of all processes, float32 (B, D), with the gradient of one's own (N, D)."""
    return own if place.world == 1 else _Gather.apply(own)


def everyone(own: Tensor, place: Place) -> Tensor:
    """Rows of all processes, without gradient: shape (N, …) of each → (B, …)."""
    return own if place.world == 1 else torch.cat(_all(own))


def clipped(state: State, limit: float) -> float:
    """The gradient's norm, after which it is cut to a limit (0: not cut)."""
    weights = [*state.network.parameters(), *state.objective.parameters()]
    norm = nn.utils.clip_grad_norm_(weights, limit or math.inf)
    return float(norm)


def follow(state: State, slowness: float) -> None:
    """Move the averaged weights a little towards the weights; faster in the first steps."""
    if state.average is None:
        return
    keep = min(slowness, (1 + state.step) / (10 + state.step))
    ours, theirs = state.average.state_dict(), state.network.state_dict()
    with torch.no_grad():
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - keep)
            else:
                value.copy_(theirs[name])


# --- now and then ------------------------------------------------------------------------------


def vectors_of(
    network: nn.Module, feed: Feed, chosen: NDArray[np.int64], changed: nn.Module | None = None
) -> NDArray[np.float32]:
    """Unit vectors float32 (N, D) of pictures by index, the network as it is used later.

    Args:
        network: in any mode, which it has again afterwards.
        feed: the pictures.
        chosen: int64 (N,).
        changed: what changes the pictures before, float (N, C, S, S) in 0…255 to the same; None:
            nothing does.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    look: nn.Module = nn.Identity() if changed is None else changed
    with torch.no_grad():
        found = [
            nn.functional.normalize(
                encoded(network, look(feed.pixels(chosen[i : i + 256])), feed.place)
            )
            for i in range(0, len(chosen), 256)
        ]
    for module, mode in modes:
        module.training = mode
    return np.asarray(torch.cat(found).cpu().numpy(), np.float32)


def equal_error_rate(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    others: NDArray[np.float32] | None = None,
) -> float | None:
    """Where false matches and false non-matches are as many, over all pairs of two pictures.

    Args:
        vectors: float32 (N, D), unit rows.
        labels: int64 (N,).
        others: float32 (N, D), what the second picture of a pair is; None: as the first.

    Returns:
        0…1, or None where there are no pairs of one kind.
    """
    from sklearn.metrics import roc_curve  # type: ignore[import-untyped]  # it ships no types

    first, second = np.triu_indices(len(labels), 1)
    known = (labels[first] >= 0) & (labels[second] >= 0)
    same = (labels[first] == labels[second])[known]
    if not same.any() or same.all():
        return None
    similarities = vectors @ (vectors if others is None else others).T
    false, true, _ = roc_curve(same, similarities[first, second][known])
    where = int(np.argmin(np.abs(false - (1 - true))))
    return float((false[where] + 1 - true[where]) / 2)


def validate(state: State, feed: Feed, parts: Split) -> float | None:
    """EER over (at most 4096, by seed) validation pictures; None where there is none to tell.

    With `judged`, the mean of it and the EER of changed pictures against clean ones.
    """
    every = feed.pictures.labels
    chosen = parts.validation[every[parts.validation] >= 0]
    if len(chosen) > _VALIDATED:
        rng = np.random.default_rng(feed.recipe.seed)
        chosen = np.sort(rng.choice(chosen, _VALIDATED, replace=False))
    if len(chosen) < 2:
        return None
    clean = vectors_of(state.chosen(), feed, chosen)
    eer = equal_error_rate(clean, every[chosen])
    if eer is None or feed.judge is None:
        return eer
    torch.manual_seed(feed.recipe.seed)
    changed = vectors_of(state.chosen(), feed, chosen, feed.judge)
    harder = equal_error_rate(changed, every[chosen], clean)
    return eer if harder is None else (eer + harder) / 2


def agreed(eer: float | None, place: Place) -> float | None:
    """The first process's EER for all: each has its own running averages of normalisation."""
    if place.world == 1:
        return eer
    told = torch.tensor([math.nan if eer is None else eer], device=place.device)
    dist.broadcast(told, 0)
    return None if bool(told.isnan()) else float(told)


def _keep_best(state: State, recipe: Recipe, run: Path, place: Place, eer: float | None) -> None:
    """Save the network where its EER is the lowest so far; the latest where none is known."""
    better = eer is None or state.best is None or eer < state.best
    state.waited = 0 if better else state.waited + 1
    if not better:
        return
    state.best = eer
    if place.rank == 0:
        weights = {f"network.{k}": v for k, v in state.chosen().state_dict().items()}
        checkpoint.save(run / "best", weights, recipe, facts_of(state))


def tensors_of(state: State) -> dict[str, Tensor]:
    """All tensors a run needs to go on, by `<part>.<name>`; see `checkpoint.Checkpoint`.

    Returns:
        Weights, running averages and remembered vectors, of their modules' shapes and dtypes.
    """
    found = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    if state.average is not None:
        found |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    found |= {f"objective.{k}": v for k, v in state.objective.state_dict().items()}
    memory = checkpoint.optimizer_tensors(state.optimizer)
    return found | {f"optimizer.{k}": v for k, v in memory.items()}


def facts_of(state: State) -> dict[str, Any]:
    """What else it needs, as JSON."""
    with torch.no_grad():
        dim = next(m.out_features for m in reversed(list(state.network.modules()))
                   if isinstance(m, nn.Linear))  # fmt: skip
    return {"step": state.step, "dim": dim, "best": state.best, "waited": state.waited}


def _margin(recipe: Recipe) -> float:
    """The margin triplets are counted with: the recipe's, else FaceNet's."""
    options = next((o.options for o in recipe.objectives if o.name == "triplet"), {})
    return float(options.get("margin", 0.2))


def find_rate(
    recipe: Recipe, pictures: Pictures, *, steps: int = 100, lowest: float = 1e-6,
    highest: float = 1.0, told: Callable[[float, float], None] | None = None,
) -> float:  # fmt: skip
    """A learning rate to begin with: a tenth of the one at which the loss was lowest.

    The rate rises exponentially over a few steps (Smith, "Cyclical Learning Rates for Training
    Neural Networks", WACV 2017); nothing is kept of them.

    Args:
        recipe: what will be trained; its rate is not looked at.
        pictures: what on.
        steps: how many to try.
        lowest: first rate.
        highest: last rate; it ends earlier where the loss explodes.
        told: called with rate and smoothed loss.
    """
    alone = Place(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    place = with_precision(alone, recipe)
    parts = split(pictures, validation=recipe.validation, test=recipe.test, seed=recipe.seed,
                  by=recipe.by)  # fmt: skip
    draws = sampler(pictures, parts.train, per_class=recipe.per_class, batch=recipe.batch,
                    seed=recipe.seed, labels=not recipe.self_supervised)  # fmt: skip
    feed = Feed(recipe, pictures, draws, place)
    state = _begin(recipe, pictures, None, place)
    model, smooth, best, found = wrapped(state, recipe, place), 0.0, math.inf, lowest
    for step in range(steps):
        rate = lowest * (highest / lowest) ** (step / max(1, steps - 1))
        set_rate(state.optimizer, rate)
        state.optimizer.zero_grad(set_to_none=True)
        given, labels, teacher = feed.batch(step)
        loss = backward(model, state.objective, given, labels, teacher,
                        recipe.but(accumulate=1), place, step).loss  # fmt: skip
        clipped(state, recipe.clip)
        state.optimizer.step()
        smooth = loss if step == 0 else 0.9 * smooth + 0.1 * loss
        if told is not None:
            told(rate, smooth)
        if not math.isfinite(smooth) or smooth > 4 * best:
            break
        if smooth < best:
            best, found = smooth, rate
    return found / 10
