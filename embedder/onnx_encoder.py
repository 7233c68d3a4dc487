"""The graph in ONNX Runtime, on the CPU or on CUDA."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from embedder.errors import DeviceUnavailable

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxNetwork:
    """One ONNX file opened for inference; it satisfies `embedder.encoder.Network`."""

    runtime = "onnxruntime"
    precision = "fp32"

    def __init__(self, path: str, device: str = "cpu") -> None:
        """Open an ONNX file.

        Args:
            path: the file; its one input is (N, 3, S, S) float32.
            device: `cpu` or `cuda`.

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
        options.intra_op_num_threads = os.cpu_count() or 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=[provider])
        if self._session.get_providers()[0] != provider:
            raise DeviceUnavailable(
                f"ONNX Runtime could not start {provider}: check the driver with nvidia-smi, "
                "or use --device cpu."
            )
        self._input = self._session.get_inputs()[0].name
        self.device = device

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph.

        Args:
            tensor: float32 (N, 3, S, S).

        Returns:
            float32 (N, D).
        """
        (output,) = self._session.run(None, {self._input: tensor})
        return np.asarray(output, dtype=np.float32)
