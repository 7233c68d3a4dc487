import math
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder import sface
from embedder.align import Crop
from embedder.encoder import to_tensor, unit_rows
from embedder.errors import WeightsMissing
from embedder.weights import SFACE, digest_of, find

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")


@pytest.fixture(scope="module")
def official(own_cache: Path) -> Path:  # noqa: ARG001 - the cache must be set first
    try:
        return find(SFACE)
    except WeightsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folded(official: Path) -> Path:  # noqa: ARG001 - skips without it
    return sface.model_path()


def slowly_dequantised(
    quantised: NDArray[np.int8],
    scale: NDArray[np.float32],
    zero: NDArray[np.int8],
    axis: int,
    block: int,
) -> NDArray[np.float32]:
    """DequantizeLinear of ONNX, opset 21, one entry at a time."""
    out = np.empty(quantised.shape, np.float32)
    for place in product(*map(range, quantised.shape)):
        of_block = list(place)
        of_block[axis] //= block
        shifted = int(quantised[place]) - int(zero[tuple(of_block)])
        out[place] = np.float32(shifted) * scale[tuple(of_block)]
    return out


@st.composite
def quantised_arrays(
    draw: st.DrawFn,
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8], int, int]:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    axis = draw(st.integers(0, len(shape) - 1))
    block = draw(st.integers(1, 8))
    blocks = list(shape)
    blocks[axis] = math.ceil(shape[axis] / block)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (
        rng.integers(-128, 128, shape, dtype=np.int8),
        rng.uniform(1e-4, 2, blocks).astype(np.float32),
        rng.integers(-128, 128, blocks, dtype=np.int8),
        axis,
        block,
    )


@settings(max_examples=150, deadline=None)
@given(quantised_arrays())
def test_dequantising_is_the_loop_of_the_standard(
    arguments: tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8], int, int],
):
    fast = sface.dequantise(*arguments)
    assert fast.dtype == np.float32
    assert np.array_equal(fast, slowly_dequantised(*arguments))


def test_the_folded_graph_wants_one_picture_batch(folded: Path):
    model = onnx.load(folded)
    onnx.checker.check_model(model)
    (given_,) = model.graph.input
    (answer,) = model.graph.output
    assert (given_.name, answer.name) == (sface.INPUT, sface.OUTPUT)
    shapes = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (given_, answer)
    ]
    assert shapes == [["N", 3, 112, 112], ["N", 128]]
    kinds = {node.op_type for node in model.graph.node}
    assert "DequantizeLinear" not in kinds
    weights = {i.name for i in model.graph.initializer}
    wanted = {name for node in model.graph.node for name in node.input}
    assert weights <= wanted, "no weight is carried unused"
    types = {i.data_type for i in model.graph.initializer}
    assert onnx.TensorProto.INT8 not in types


def test_folding_gives_the_file_that_is_expected(folded: Path):
    assert digest_of(folded) == sface._FOLDED_SHA256


@pytest.mark.parametrize("damage", ["truncated", "swapped", "empty", "absent"])
def test_a_damaged_cached_graph_is_made_again(
    folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
):
    whole = folded.read_bytes()
    path = tmp_path / folded.name
    content = {"truncated": whole[:-100], "swapped": whole[::-1], "empty": b"", "absent": None}
    if content[damage] is not None:
        path.write_bytes(content[damage])
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path))
    assert sface.model_path() == path
    assert path.read_bytes() == whole


def test_a_good_cached_graph_is_left_alone(folded: Path):
    before = folded.stat().st_mtime_ns
    assert sface.model_path() == folded
    assert folded.stat().st_mtime_ns == before


def test_the_vectors_are_those_of_the_official_file(
    official: Path, folded: Path, crops: list[Crop]
):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    original = onnxruntime.InferenceSession(
        str(official), options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(official).graph
    used = {name for node in graph.node for name in node.input}
    demanded = [i for i in original.get_inputs() if i.name != sface.INPUT]
    # It still demands the weights it had before quantisation, and uses none of them.
    assert demanded
    assert not used & {i.name for i in demanded}
    weights = {i.name: np.full(i.shape, np.nan, np.float32) for i in demanded}
    tensor = to_tensor(crops[:6], sface.card(mirror=False))
    slow = [original.run(None, {sface.INPUT: tensor[i : i + 1], **weights})[0] for i in range(6)]
    session = onnxruntime.InferenceSession(str(folded), providers=["CPUExecutionProvider"])
    (fast,) = session.run(None, {sface.INPUT: tensor})
    cosines = (unit_rows(np.concatenate(slow)) * unit_rows(fast)).sum(axis=1)
    assert cosines.min() >= 0.999999
    assert (unit_rows(fast) @ unit_rows(fast).T)[0, 1:].max() < 0.99, "the crops differ"


def test_the_cards_name_two_spaces():
    plain, mirror = sface.card(mirror=False), sface.card(mirror=True)
    assert (plain.name, mirror.name) == ("sface", "sface-mirror")
    assert plain.space != mirror.space
    assert plain.digests == {SFACE.name: SFACE.sha256}
