"""The graph in OpenVINO, on the CPU, in bf16 where the processor has it.

Requests of one crop are kept in flight, one a core: what a convolution works on stays in the
core's own cache, and the vectors do not depend on how many crops came together. A last layer whose
weights outweigh everything before it (SFace: 50,176 × 128) is another matter: it is bound by the
memory its weights are read from, so it is run apart, on `_ROWS` crops at once.

Weights stored in fewer bits are made float32 before anything is compiled: where a convolution's
int8 weights and their factors were left to OpenVINO 2026.4 in bf16, one compilation in five gave
vectors of cosine 0.6 with the right ones.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.compiled import compiled, openvino

from openvino.passes import (  # type: ignore[import-untyped]  # isort: skip  # after that line
    ConstantFolding,
    Manager,
)

_ROWS = 16
_HEAVY = 1_000_000  # weights of a last layer that are worth running apart


class OpenVinoNetwork:
    """One ONNX file compiled for the CPU; it satisfies `embedder.encoder.Network`."""

    runtime = "openvino"
    device = "cpu"

    def __init__(self, path: str, precision: str | None = None, jobs: int | None = None) -> None:
        """Compile an ONNX file.

        Args:
            path: the file; its one input is (N, 3, S, S) float32.
            precision: `bf16` or `fp32`; None: bf16 where the processor has it.
            jobs: cores to use; None: all.
        """
        core = openvino.Core()
        able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision or ("bf16" if able else "fp32")
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            # other threads decode and detect: a request pinned to a busy core would wait for it
            "ENABLE_CPU_PINNING": False,
        }
        if jobs is not None:
            options["INFERENCE_NUM_THREADS"] = jobs
        parts = functools.cache(lambda: _read(core, path))
        body = compiled(core, path, "body, unpacked", options, lambda: parts()[0])
        self._queue = openvino.AsyncInferQueue(body)
        self._queue.set_callback(_store)
        options["PERFORMANCE_HINT"] = "LATENCY"
        head = compiled(core, path, f"head, unpacked, {_ROWS} rows", options, lambda: parts()[1])
        self._head: Any = None if head is None else head.create_infer_request()
        self._one_at_a_time = threading.Lock()  # the queue hands one request to two threads

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph, one crop a request, as many requests in flight as the device likes.

        Args:
            tensor: float32 (N, 3, S, S).

        Returns:
            float32 (N, D).
        """
        rows: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(tensor)
        with self._one_at_a_time:
            for i in range(len(tensor)):
                self._queue.start_async({0: tensor[i : i + 1]}, (rows, i))
            self._queue.wait_all()
            return np.stack(rows) if self._head is None else self._through_head(rows)

    def _through_head(self, rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The last layer, on blocks of one size, the last of them filled up with zeros.

        Args:
            rows: N times float32 (F,), what the layers before it gave.

        Returns:
            float32 (N, D).
        """
        block = np.zeros((_ROWS, len(rows[0])), np.float32)
        done = []
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            block[: len(some)] = some
            self._head.infer({0: block}, share_inputs=True)
            done.append(self._head.get_output_tensor(0).data[: len(some)].astype(np.float32))
        return np.concatenate(done)


def _read(core: Any, path: str) -> tuple[Any, Any | None]:  # noqa: ANN401 - OpenVINO ships no types
    """The graph for one crop without its last layer, and that layer for `_ROWS`, if it is heavy."""
    last = _heavy_last(_unpacked(core, path, _ROWS))
    if last is None:
        return _unpacked(core, path, 1), None
    whole, layer = last
    part = _unpacked(core, path, 1)
    same = next(op for op in part.get_ops() if op.get_friendly_name() == layer.get_friendly_name())
    body = openvino.Model([same.input_value(0)], part.get_parameters(), "body")
    shape = list(layer.input(0).get_shape())
    features = openvino.opset13.parameter(shape, np.float32, name="features")
    layer.input(0).replace_source_output(features.output(0))
    return body, openvino.Model(whole.get_results(), [features], "head")


def _unpacked(core: Any, path: str, rows: int) -> Any:  # noqa: ANN401 - OpenVINO ships no types
    """A graph for so many crops at once, its weights float32."""
    model = core.read_model(path)
    shape = model.inputs[0].partial_shape
    shape[0] = rows
    model.reshape(shape)
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def _heavy_last(model: Any) -> tuple[Any, Any] | None:  # noqa: ANN401 - OpenVINO ships no types
    """The graph and its last matrix product, where that has more than `_HEAVY` weights."""
    products = [op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul"]
    if not products or np.prod(products[-1].input(1).get_shape()) < _HEAVY:
        return None
    return model, products[-1]


def _store(request: Any, place: tuple[list[NDArray[np.float32]], int]) -> None:  # noqa: ANN401 - OpenVINO's request has no public type
    rows, i = place
    rows[i] = request.get_output_tensor(0).data[0].astype(np.float32)
