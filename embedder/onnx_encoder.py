"""The graph in ONNX Runtime, on the CPU or on CUDA.

On CUDA the weights and the arithmetic are fp16 (the numbers that go in and come out stay float32),
and a batch is copied over once and back once, by an I/O binding. ONNX Runtime would fall back to
the CPU without a word: a session that does not run on CUDA first, or a node of the network that was
left to the CPU, is refused.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as faults  # type: ignore[import-untyped]

from embedder.errors import DeviceUnavailable

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FAULTS = (  # what opening a session raises; they have no common base but Exception
    faults.EPFail, faults.Fail, faults.InvalidGraph, faults.NotImplemented,
    faults.RuntimeException, RuntimeError, ValueError,
)  # fmt: skip
_NOT_STARTED = (
    "ONNX Runtime could not start {0} ({1}): check the driver with nvidia-smi, or use --device cpu."
)


class OnnxNetwork:
    """One ONNX file opened for inference; it satisfies `embedder.encoder.Network`."""

    runtime = "onnxruntime"

    def __init__(self, path: str, device: str = "cpu", jobs: int | None = None) -> None:
        """Open an ONNX file.

        Args:
            path: the file; its one input is (N, 3, S, S) float32.
            device: `cpu` or `cuda`.
            jobs: cores to use; None: all.

        Raises:
            DeviceUnavailable: CUDA was asked for and this build or machine has none.
        """
        self.device = device
        self.precision = "fp32" if device == "cpu" else "fp16"
        self._session = open_session(path, device, jobs, half=device == "cuda")
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            tensor: float32 (N, 3, S, S).

        Returns:
            float32 (N, D).
        """
        if self.device == "cpu":
            (output,) = self._session.run([self._output], {self._input: tensor})
            return np.asarray(output, dtype=np.float32)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(
            self._input, onnxruntime.OrtValue.ortvalue_from_numpy(tensor, "cuda", 0)
        )
        binding.bind_output(self._output, "cuda", 0)
        self._session.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0], dtype=np.float32)


def open_session(path: str, device: str, jobs: int | None = None, *, half: bool = False) -> Any:  # noqa: ANN401 - ONNX Runtime ships no types
    """An inference session on a device, never on another one.

    Args:
        path: an ONNX file.
        device: `cpu` or `cuda`.
        jobs: cores to use; None: all.
        half: compute in fp16; what goes in and comes out stays as the file says.

    Raises:
        DeviceUnavailable: CUDA was asked for and this build or machine has none.
    """
    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceUnavailable(
            f"ONNX Runtime here has no {provider}: install the extra gpu "
            '(pip install "vultus[gpu]") on a machine with an NVIDIA GPU, or use --device cpu.'
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = jobs or os.cpu_count() or 1
    options.log_severity_level = 3
    if device == "cuda":
        # a node that CUDA cannot run is an error then, not silently the processor's work
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    graph = in_half(path) if half else path
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=[provider])
    except _FAULTS as error:
        if device == "cpu":
            raise
        raise DeviceUnavailable(_NOT_STARTED.format(provider, error)) from error
    return require_provider(session, provider)


def require_provider(session: Any, provider: str) -> Any:  # noqa: ANN401 - ONNX Runtime ships no types
    """The session, if that provider comes first in it.

    Raises:
        DeviceUnavailable: ONNX Runtime put another one in its place.
    """
    if session.get_providers()[0] != provider:
        raise DeviceUnavailable(_NOT_STARTED.format(provider, "it fell back to another device"))
    return session


def in_half(path: str) -> bytes:
    """An ONNX file with weights and arithmetic in fp16, its input and output as they were."""
    import onnx
    from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]
        convert_float_to_float16,
    )

    model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    return bytes(model.SerializeToString())
