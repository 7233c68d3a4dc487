"""Encoders in OpenCV: three times slower than in OpenVINO, and ready in a fifth of the time.

For a command that encodes one photo or two. OpenCV is there anyway, and it opens SFace's official
file and those of the encoders trained here as they are; nothing else is imported, converted or
compiled.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.sface import INPUT


class OpenCvNetwork:
    """An ONNX file opened in OpenCV; it satisfies `embedder.encoder.Network`."""

    runtime = "opencv"
    device = "cpu"
    precision = "fp32"

    def __init__(self, file: Path) -> None:
        """Open a file, which was verified.

        Args:
            file: an encoder whose input is called `data`.
        """
        # errors only: OpenCV 5 warns about each network it loads
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._network = cv2.dnn.readNetFromONNX(str(file))
        # the file lists its weights as inputs too: OpenCV 5 wants to be told which one is meant
        self._input = INPUT if cv2.__version__.partition(".")[0] != "4" else ""
        self._one_at_a_time = threading.Lock()

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph, crop by crop.

        Args:
            tensor: float32 (N, 3, 112, 112).

        Returns:
            float32 (N, 128).
        """
        rows = []
        with self._one_at_a_time:
            for i in range(len(tensor)):
                self._network.setInput(tensor[i : i + 1], self._input)
                rows.append(np.array(self._network.forward(), np.float32).reshape(-1))
        return np.stack(rows)
