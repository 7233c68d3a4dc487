"""What OpenVINO compiled is read back only as it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

pytest.importorskip("openvino", reason="the extra cpu is not installed")

from embedder.compiled import compiled, openvino  # after the line above


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path / "vultus"))
    return tmp_path / "vultus" / "openvino"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """y = x · W, W of 64 × 64 random numbers."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    kind = onnx.TensorProto.FLOAT
    model = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "product",
        [onnx.helper.make_tensor_value_info("x", kind, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", kind, [1, 64])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    path = tmp_path / "product.onnx"
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(model, opset_imports=opset, ir_version=8), path)
    return path


def run(path: Path, built: list[str], part: str = "all") -> NDArray[np.float32]:
    core = openvino.Core()

    def build() -> object:
        built.append(part)
        return core.read_model(path)

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = compiled(core, str(path), part, options, build)
    return np.asarray(model(np.ones((1, 64), np.float32))[0])


def test_the_second_time_it_is_read(cache: Path, graph: Path):
    built: list[str] = []
    first = run(graph, built)
    assert np.array_equal(run(graph, built), first)
    assert built == ["all"]
    assert len(list(cache.glob("*.graph"))) == 1
    run(graph, built, "another part")
    assert built == ["all", "another part"]


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "noise", "exchanged"])
def test_a_harmed_file_is_compiled_anew(cache: Path, graph: Path, damage: str):
    built: list[str] = []
    first = run(graph, built)
    (file,) = cache.glob("*.graph")
    data = bytearray(file.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
    elif damage == "exchanged":
        weights = onnx.load(graph)
        weights.graph.name = "another"
        onnx.save(weights, graph.with_name("another.onnx"))
        run(graph.with_name("another.onnx"), [])
        data = bytearray(next(f for f in cache.glob("*.graph") if f != file).read_bytes())
    else:
        data = {"cut": data[:-100], "empty": bytearray(), "noise": bytearray(range(256))}[damage]
    file.write_bytes(data)
    assert np.array_equal(run(graph, built), first)
    assert built == ["all", "all"]
    assert np.array_equal(run(graph, built), first)
    assert built == ["all", "all"], "what was compiled anew is kept"


def test_another_file_under_the_same_name_is_another_graph(cache: Path, graph: Path):
    built: list[str] = []
    first = run(graph, built)
    model = onnx.load(graph)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights * 2, "w"))
    onnx.save(model, graph)
    assert np.allclose(run(graph, built), 2 * first, rtol=1e-4)
    assert len(list(cache.glob("*.graph"))) == 2


def test_that_there_is_no_such_part_is_remembered(cache: Path, graph: Path):
    core = openvino.Core()
    asked: list[str] = []

    def none() -> None:
        asked.append("head")

    for _ in range(2):
        assert compiled(core, str(graph), "head", {}, none) is None
    assert asked == ["head"]
    assert [file.stat().st_size for file in cache.glob("*.graph")] == [32]


def test_a_cache_that_cannot_be_written_only_costs_time(cache: Path, graph: Path):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    built: list[str] = []
    assert np.array_equal(run(graph, built), run(graph, built))
    assert built == ["all", "all"]
