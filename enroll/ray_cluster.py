"""A Ray cluster for the time of a run: started here or joined, and looked over before any work."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from enroll.errors import ClusterUnfit, ClusterUnreachable, ExtraMissing
from enroll.ray_worker import build

_STORE: Final = 512 << 20  # bytes of the object store of a Ray of our own
_ANSWER: Final = 120.0  # seconds in which every machine should say what it has
_KNOCK: Final = 10.0  # seconds for the head of a cluster to take a connection
_SIZES: Final = ("CPU", "GPU")
_CLIENT: Final = "ray://"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the cluster: its id, name, and how many CPUs and GPUs Ray may use."""

    node: str
    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers there are, and what each takes.

    Attributes:
        count: workers in all.
        cpus: CPUs, and threads, of each.
        gpus: GPUs of each.
    """

    count: int
    cpus: int
    gpus: int


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join a cluster, or start a Ray of our own; leave it, or stop it, at the end.

    Args:
        address: `auto` for the cluster this machine belongs to, or `HOST:6379` of its head; None:
            a Ray on this machine alone. Where this process is connected already, that connection
            is used and kept.

    Raises:
        ExtraMissing: Ray is not installed.
        ClusterUnreachable: nobody answers.
        ClusterUnfit: the cluster runs another version of Ray or Python, or the address is a Ray
            Client's, for which there is no Ray Data.
    """
    if address is not None and address.startswith(_CLIENT):
        raise ClusterUnfit(
            f"{address} is the address of a Ray Client, through which photos cannot be sent: make "
            "this machine one of the cluster (ray start --address HEAD:6379 --num-cpus 0) and give "
            "--address auto."
        )
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    with _signals_kept():
        _start(ray, address)
        try:
            yield
        finally:
            ray.shutdown()


def _ray() -> Any:  # noqa: ANN401 - a module
    """Ray, with nothing told to its makers and nothing on our standard output."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError:
        raise ExtraMissing("Encoding on a Ray cluster needs", "ray") from None
    for name in ("ray", "ray._private", "ray.util"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs what it raises
    return ray


def _start(ray: Any, address: str | None) -> None:  # noqa: ANN401 - a module
    common = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"address": "local", "include_dashboard": False, "object_store_memory": _STORE}
    try:
        _knock(address)
        ray.init(**common, **({"address": address} if address else own))
    except (ConnectionError, TimeoutError, ValueError, OSError) as error:
        where = f"No Ray cluster answers at {address}" if address else "Ray does not start here"
        raise ClusterUnreachable(
            f"{where} ({_line(error)}): make this machine one of the cluster (ray start --address "
            "HEAD:6379), give --address auto, or leave it out to use this machine alone."
        ) from error
    except RuntimeError as error:
        where = f"The cluster at {address} cannot be joined" if address else "Ray does not start"
        raise ClusterUnfit(f"{where}: {_words(error)}") from error


def _knock(address: str | None) -> None:
    """Fail soon where nobody listens: Ray itself would try for a quarter of an hour."""
    parts = urlsplit(f"//{address or ''}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=_KNOCK).close()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM over; give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)


def machines() -> list[Machine]:
    """The machines that are there now.

    Raises:
        ClusterUnfit: one of them has no Vultus, or another one than this process.
    """
    ray = _ray()
    found = [
        Machine(
            node["NodeID"], node["NodeManagerHostname"],
            *(int(node["Resources"].get(size, 0)) for size in _SIZES),
        )
        for node in ray.nodes() if node["Alive"]
    ]  # fmt: skip
    able = [machine for machine in found if machine.cpus]
    if not able:
        raise ClusterUnfit("No machine of the cluster lets Ray use a CPU.")
    _same_code(able)
    return able


def _same_code(able: list[Machine]) -> None:
    """Ask every machine what it would run."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def asked() -> str:  # sent as it stands: it must answer where there is no Vultus, too
        try:
            from enroll.ray_worker import build
        except ImportError as error:
            return f"missing: {error}"
        return build()

    remote = ray.remote(num_cpus=0, max_retries=1)(asked)
    answers = [
        remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node, soft=False)
        ).remote()
        for machine in able
    ]
    try:
        told = ray.get(answers, timeout=_ANSWER)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise ClusterUnfit(f"A machine of the cluster does not answer: {_line(error)}") from error
    ours = build()
    for machine, answer in zip(able, told, strict=True):
        if answer.startswith("missing: "):
            raise ClusterUnfit(
                f"The machine {machine.name} cannot load Vultus "
                f"({answer.removeprefix('missing: ')}): install the same version there, with the "
                "extras cpu, faces and ray."
            )
        if answer != ours:
            raise ClusterUnfit(
                f"The machine {machine.name} has another version of Vultus than this process: "
                "install the same on all of them."
            )


def share_out(able: list[Machine], jobs: int | None, *, gpu: bool) -> Workers:
    """How many workers fit.

    Args:
        able: the machines.
        jobs: CPUs of a worker; None: all of the smallest machine, or its share of a GPU.
        gpu: each worker has a GPU of its own.

    Raises:
        ClusterUnfit: none fits.
    """
    if gpu:
        able = [machine for machine in able if machine.gpus]
        if not able:
            raise ClusterUnfit("No machine of the cluster has a GPU: leave out --device cuda.")
        most = min(max(machine.cpus // machine.gpus, 1) for machine in able)
    else:
        most = min(machine.cpus for machine in able)
    cpus = most if jobs is None else jobs
    count = sum(
        min(machine.cpus // cpus, machine.gpus if gpu else machine.cpus) for machine in able
    )
    if not count:
        raise ClusterUnfit(
            f"No machine of the cluster has {cpus} CPUs for a worker: ask for fewer with --jobs."
        )
    return Workers(count, cpus, int(gpu))


def free(workers: Workers) -> bool:
    """Whether at least one of the workers could start now."""
    left = _ray().available_resources()
    return bool(left.get("CPU", 0) >= workers.cpus and left.get("GPU", 0) >= workers.gpus)


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())
