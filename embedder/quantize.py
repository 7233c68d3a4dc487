"""Weights and activations in 8 bits: static quantisation with calibration pictures.

Scales of weights are found a channel, those of activations from what calibration pictures cause
(smallest and largest value seen); the graph keeps its form, with QuantizeLinear and
DequantizeLinear around what is quantised (QDQ), so that any runtime takes it. It is fast where a
convolution and its activation fuse: ReLU and ReLU6 do, PReLU does not.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018.

Letters: N pictures, C channels, S side.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.errors import BadData, RuntimeMissing

if TYPE_CHECKING:
    import onnx

LEAST_PICTURES, MOST_PICTURES = 32, 512
_HELD_OUT = 4  # one picture in so many judges, and calibrates nothing
_ALONE = frozenset({"PRelu", "LeakyRelu", "Sigmoid", "HardSwish", "Softplus", "Elu", "Tanh"})


def calibration_split(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pictures calibrate, and which are kept to judge.

    Args:
        count: N, at least 32.
        seed: of the draw.

    Returns:
        Two int64 arrays of rows without a common one, three quarters and one.

    Raises:
        BadData: fewer than 32 pictures.
    """
    if count < LEAST_PICTURES:
        raise BadData(
            f"There are {count} calibration pictures: int8 needs at least {LEAST_PICTURES}, of the "
            "kind the encoder will see."
        )
    rows = np.random.default_rng(seed).permutation(count).astype(np.int64)
    held = np.arange(count) % _HELD_OUT == 0
    return rows[~held], rows[held]


def drawn(pixels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """At most 512 of many pictures, by lot.

    Args:
        pixels: uint8 (N, S, S, C).
        seed: of the draw.
    """
    rows = np.random.default_rng(seed).permutation(len(pixels))[:MOST_PICTURES]
    return np.asarray(pixels[np.sort(rows)], np.uint8)


def quantise(model: onnx.ModelProto, tensor: NDArray[np.float32]) -> onnx.ModelProto:
    """A graph with int8 weights and activations.

    Args:
        model: float32, one input (N, C, S, S) with N free; it stays as it is.
        tensor: float32 (N, C, S, S), what calibrates.

    Raises:
        RuntimeMissing: ONNX Runtime, which quantises, is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise RuntimeMissing('ONNX Runtime is not installed: pip install "vultus[cpu]".')
    import onnx
    from onnxruntime.quantization import (  # type: ignore[import-untyped]  # it ships no types
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import (  # type: ignore[import-untyped]
        quant_pre_process,
    )

    with tempfile.TemporaryDirectory() as place, hushed():
        given, folded, done = (str(Path(place) / f"{name}.onnx") for name in ("a", "b", "c"))
        onnx.save(model, given)
        # Batch normalisations are folded into convolutions first: they would be quantised alone.
        quant_pre_process(given, folded, skip_symbolic_shape=True)
        quantize_static(
            folded, done, _reader(model.graph.input[0].name, tensor), QuantFormat.QDQ,
            per_channel=True, weight_type=QuantType.QInt8, activation_type=QuantType.QInt8,
        )  # fmt: skip
        found = onnx.load(done)
    del found.metadata_props[:]
    used = {node.domain for node in found.graph.node} | {""}
    kept = [one for one in found.opset_import if one.domain in used]
    del found.opset_import[:]  # the optimiser declares what it could have used
    found.opset_import.extend(kept)
    return found


def _reader(name: str, tensor: NDArray[np.float32]) -> object:
    """What hands calibration pictures out one at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    rows: Iterator[dict[str, NDArray[np.float32]]] = (
        {name: tensor[i : i + 1]} for i in range(len(tensor))
    )

    class Pictures(CalibrationDataReader):  # type: ignore[misc]  # its base has no types
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(rows, None)

    return Pictures()


@contextmanager
def hushed() -> Iterator[None]:
    """Without the advice of libraries on the log, which is of other programs than this one."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def slow_activations(model: onnx.ModelProto) -> tuple[str, ...]:
    """The kinds of activations in a graph that do not fuse in int8, which is no faster then."""
    kinds = {node.op_type for node in model.graph.node}
    return tuple(sorted(kinds & _ALONE))
