"""Enrolment with many machines: workers of a Ray cluster encode, this process stores.

    photos ─left out: done─▶ blocks of addresses ─Ray Data─▶ workers ─rows─▶ in order, to the store

Only addresses go out and only faces, vectors and reasons come back; the database and the index are
this process's alone. So what is durable, what is resumed and what is refused is decided by the same
code as without a cluster (`enroll.person`), in the same order, and the result is the same.

A worker that dies is started again and its block repeated, at most three times. A photo that cannot
be decoded is a rejected photo.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedder.photo import printable
from enroll.encoding import Encoded, Work, admit_all
from enroll.errors import ClusterFailed, ClusterUnfit
from enroll.folder import NamedPhoto
from enroll.intake import Looked, look
from enroll.ray_cluster import Workers, connected, free, machines, share_out
from enroll.ray_resume import left_out
from enroll.ray_rows import Reply, from_table
from enroll.ray_worker import Task, Worker
from enroll.storage import is_stored, variables

if TYPE_CHECKING:
    from ray.data import Dataset

_BLOCK: Final = 32  # photos of a block: what a worker is given at a time, and does again if it dies
_SEGMENT: Final = 1 << 17  # photos whose addresses are handed to Ray at once
_REPEATS: Final = 3
_log = logging.getLogger("vultus.enroll")


@dataclass
class RayEngine:
    """The engine `ray`; see `enroll.encoding.Engine`.

    Attributes:
        address: the cluster, as `enroll.ray_cluster.connected` takes it; None: this machine.
        workers: how many there were, once it has begun.
        devices: what their encoders ran on.
    """

    address: str | None = None
    workers: int = 0
    devices: set[str] = field(default_factory=set)

    def encoded(self, photos: Sequence[NamedPhoto], work: Work) -> Iterator[Encoded]:
        """Look at photos and encode them on the cluster, one result a photo, in their order.

        Raises:
            ExtraMissing: Ray is not installed.
            ClusterUnreachable, ClusterUnfit: there is no cluster, or its machines cannot do this.
            ClusterFailed: it broke off; what was committed is kept.
        """
        rest = iter(photos)
        with contextlib.ExitStack() as stack:

            @functools.cache
            def plan() -> _Plan:  # a run with nothing to do needs no cluster
                stack.enter_context(connected(self.address))
                return self._plan(work)

            while some := list(islice(rest, _SEGMENT)):
                yield from self._segment(some, work, plan)

    def describe(self) -> str:
        """What the photos were encoded with, such as `ray, 8 workers: cpu openvino bf16`."""
        return f"ray, {self.workers} workers: {', '.join(sorted(self.devices)) or 'not used'}"

    def _plan(self, work: Work) -> _Plan:
        parts = work.parts
        device = parts.places.device or os.environ.get("VULTUS_DEVICE")
        workers = share_out(machines(), work.jobs, gpu=device == "cuda")
        self.workers = workers.count
        if not free(workers):
            _log.warning("The Ray cluster is busy: waiting for %d free CPUs.", workers.cpus)
        task = Task(
            parts.card.name, parts.detector, device, parts.places.runtime, parts.places.max_pixels,
            work.rule, work.gate, workers.cpus, variables(),
        )  # fmt: skip
        return _Plan(task, workers)

    def _segment(
        self, photos: list[NamedPhoto], work: Work, plan: Callable[[], _Plan]
    ) -> Iterator[Encoded]:
        """Photos that are done, and the replies for the others, in the photos' order."""
        with work.parts.store.read() as session:
            known = left_out(photos, session, work.are_done)
        wanted = [number for number in range(len(photos)) if number not in known]
        replies = _replies(photos, wanted, plan()) if wanted else iter(())
        try:
            for number, photo in enumerate(photos):
                if number in known:
                    yield _known(photo, known[number], work)
                else:
                    yield self._checked(photo, number, next(replies, None))
        finally:
            if isinstance(replies, Generator):
                replies.close()

    def _checked(self, photo: NamedPhoto, number: int, reply: Reply | None) -> Encoded:
        """A reply as what is stored, unless it tells that its machine is not fit."""
        if reply is None or reply.number != number:
            raise ClusterFailed(
                f"The cluster left out {printable(_address(photo))}: run it again to go on."
            )
        if reply.fault:
            raise ClusterUnfit(f"The machine {reply.machine} cannot encode: {reply.fault}")
        looked = reply.looked
        if looked.digest is None and _is_here(photo):
            raise ClusterUnfit(
                f"The machine {reply.machine} does not see {looked.source}, which is here: keep "
                "photos where all machines have them under one path, or in s3:// storage."
            )
        self.devices.add(reply.device)
        return Encoded(looked, photo.name, reply.admitted)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the workers are told, and how many there are."""

    task: Task
    workers: Workers


def _known(photo: NamedPhoto, seen: Looked, work: Work) -> Encoded:
    """A photo that was done when the run began; it is looked at here if it was erased since."""
    if seen.digest is not None and work.is_done(seen.digest):
        return Encoded(seen, photo.name, None)
    embedder = work.parts.embedder
    looked = look(photo.source, embedder, work.rule, work.is_done)
    return Encoded(looked, photo.name, *admit_all([looked], embedder, work.rule, work.gate))


def _replies(photos: list[NamedPhoto], wanted: list[int], plan: _Plan) -> Iterator[Reply]:
    """The replies of the workers for some photos, in their order."""
    import ray

    rows = [_row(photos[number], number) for number in wanted]
    come = 0
    try:
        with _settings():
            tables = _dataset(rows, plan).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=1
            )
            for table in tables:
                yield from from_table(table)
                come += len(table)
    except ray.exceptions.RayError as error:
        near = rows[min(come, len(rows) - 1)]["label"]
        raise ClusterFailed(
            f"The cluster broke off near {near}: {_cause(error)} What is committed is kept: run it "
            "again to go on, and if it ends here again, leave that photo out."
        ) from error


def _row(photo: NamedPhoto, number: int) -> dict[str, Any]:
    address = _address(photo)
    place = address if is_stored(address) else Path(address).absolute()
    return {"number": number, "place": os.fsencode(place), "label": printable(address)}


def _dataset(rows: list[dict[str, Any]], plan: _Plan) -> Dataset:
    import ray

    workers = plan.workers
    # Few photos are cut finer, so that every worker gets some.
    block = min(_BLOCK, -(-len(rows) // (2 * workers.count)))
    blocks = -(-len(rows) // block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of max_task_retries; see pyproject
        return ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Worker,
            fn_constructor_args=(plan.task,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers.count),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            max_task_retries=_REPEATS,
        )


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Ray Data with results in order and without bars and remarks of its own."""
    from ray.data import DataContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own old settings
        context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    with DataContext.current(context):
        yield


def _address(photo: NamedPhoto) -> str | os.PathLike[str]:
    """Where a photo is.

    Raises:
        ClusterUnfit: it is in this process's memory only.
    """
    if isinstance(photo.source, (str, os.PathLike)):
        return photo.source
    raise ClusterUnfit("Pictures in memory cannot be sent to a cluster: give paths or addresses.")


def _is_here(photo: NamedPhoto) -> bool:
    """Whether this process can read a photo that a worker could not."""
    address = _address(photo)
    return not is_stored(address) and Path(address).is_file() and os.access(address, os.R_OK)


def _cause(error: BaseException) -> str:
    """The innermost reason, in a sentence."""
    from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError

    if isinstance(error, (ActorDiedError, ActorUnavailableError, OutOfMemoryError)):
        return (
            f"a worker died over the same photos {_REPEATS + 1} times (a picture that ends its "
            "decoder, or too little memory)."
        )
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{(lines or [type(cause).__name__])[-1].rstrip('.')}."
