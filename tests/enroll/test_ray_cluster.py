"""Finding a cluster, or saying why there is none; how many workers fit."""

from __future__ import annotations

import socket
import sys
from importlib.util import find_spec

import pytest

from enroll.errors import ClusterUnfit, ClusterUnreachable, ExtraMissing
from enroll.ray_cluster import Machine, Workers, connected, share_out


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExtraMissing, match=r'pip install "vultus\[ray\]"'), connected(None):
        pass


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: vultus[ray]")
def test_where_nobody_listens_it_is_said_soon():
    import ray

    if ray.is_initialized():
        pytest.skip("Ray runs in this process already")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(ClusterUnreachable, match=address), connected(address):
            pass


def test_a_ray_client_is_refused():
    with pytest.raises(ClusterUnfit, match=r"ray start --address"), connected("ray://head:10001"):
        pass


def machine(cpus: int, gpus: int = 0) -> Machine:
    return Machine("", "", cpus, gpus)


@pytest.mark.parametrize(
    ("able", "jobs", "gpu", "wanted"),
    [
        ([machine(2)], None, False, Workers(1, 2, 0)),
        ([machine(8), machine(8)], None, False, Workers(2, 8, 0)),
        ([machine(4), machine(9)], None, False, Workers(3, 4, 0)),
        ([machine(16)], 3, False, Workers(5, 3, 0)),
        ([machine(16, 4), machine(8)], None, True, Workers(4, 4, 1)),
        ([machine(16, 1)], 2, True, Workers(1, 2, 1)),
        ([machine(1, 2)], None, True, Workers(1, 1, 1)),
    ],
)
def test_workers_fill_the_machines(
    able: list[Machine], jobs: int | None, gpu: bool, wanted: Workers
):
    assert share_out(able, jobs, gpu=gpu) == wanted


def test_where_none_fits_it_is_said():
    with pytest.raises(ClusterUnfit, match="--jobs"):
        share_out([machine(2)], 4, gpu=False)
    with pytest.raises(ClusterUnfit, match="GPU"):
        share_out([machine(2)], None, gpu=True)
