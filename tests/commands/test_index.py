"""`vultus index`: status, build, verify, benchmark, with their exit codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Done, Gallery

Inside = Callable[..., "Done"]


def test_status_and_verify_of_a_sound_index(inside: Inside, own: Gallery):
    assert inside("index", "build", *own.at).code == 0
    said = inside("index", "status", *own.at, "--format", "json")
    assert said.code == 0
    values = said.json()
    assert (values["state"], values["vectors"], values["recall"]) == ("in step", 24, 1.0)
    assert inside("index", "verify", *own.at, "--format", "json").json()["different"] == 0
    table = inside("index", "status", *own.at).out
    assert "in step" in table
    assert "every one is compared" in table


def test_an_index_out_of_step_exits_with_3_and_names_what_mends_it(inside: Inside, own: Gallery):
    from index.exact import ExactIndex

    assert inside("index", "build", *own.at).code == 0
    (path,) = own.database.parent.glob("*.vultus-index")
    index, marks = ExactIndex.load(path)
    index.remove(index.ids()[:1])
    index.save(path, marks)
    for command in ("status", "verify"):
        done = inside("index", command, *own.at)
        assert done.code == 3
        assert "run vultus index build" in done.err
    assert inside("index", "verify", *own.at, "--format", "json").json()["missing"] == 1
    assert inside("index", "build", "--quiet", *own.at).code == 0
    assert inside("index", "verify", *own.at).code == 0


def test_benchmark(inside: Inside, own: Gallery):
    said = inside("index", "benchmark", "--k", "3", *own.at, "--format", "json").json()
    exact = next(one for one in said["engines"] if one["engine"] == "exact")
    assert (said["k"], exact["recall"]) == (3, 1.0)
    assert "recall@3" in inside("index", "benchmark", "--k", "3", *own.at).out


def test_wrong_usage_and_a_missing_gpu(inside: Inside, own: Gallery):
    assert inside("index", "build", "--recall", "1.5", *own.at).code == 64
    assert inside("index", "status", "--index", "faiss:x?kind=tree", *own.at).code == 64
    from index.opening import _gpus

    if not _gpus():
        done = inside("index", "build", "--device", "cuda", *own.at)
        assert done.code == 3
        assert "--device cpu" in done.err
