"""The graph in OpenVINO, on the CPU, in bf16 where the processor has it.

Requests of a fixed small batch are kept in flight, one a core: on a processor this beats one
large batch, and the vectors do not depend on how many crops came together.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.weights import cache_folder

# OpenVINO's converter reports usage to a server when this package is importable. Nothing leaves
# the machine here: with the entry None its import fails and OpenVINO uses its own empty stub.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None blocks an import

import openvino  # type: ignore[import-untyped]  # noqa: E402 - no types; after the line above


class OpenVinoNetwork:
    """One ONNX file compiled for the CPU; it satisfies `embedder.encoder.Network`."""

    runtime = "openvino"
    device = "cpu"

    def __init__(self, path: str, precision: str | None = None) -> None:
        """Compile an ONNX file.

        Args:
            path: the file; its one input is (N, 3, S, S) float32.
            precision: `bf16` or `fp32`; None: bf16 where the processor has it.
        """
        core = openvino.Core()
        able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision or ("bf16" if able else "fp32")
        model = core.read_model(path)
        shape = model.inputs[0].partial_shape
        shape[0] = 1
        model.reshape(shape)
        self._model = core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
                "CACHE_DIR": str(_compiled_folder()),
            },
        )
        self._queue = openvino.AsyncInferQueue(self._model)
        self._queue.set_callback(_store)
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
        return np.stack(rows)


def _store(request: Any, place: tuple[list[NDArray[np.float32]], int]) -> None:  # noqa: ANN401 - OpenVINO's request has no public type
    rows, i = place
    rows[i] = request.get_output_tensor(0).data[0].astype(np.float32)


def _compiled_folder() -> Path:
    folder = cache_folder() / "openvino"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
