"""YuNet in OpenCV, which is always there and opens in a few milliseconds."""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.weights import YUNET, find
from embedder.yunet import OVERLAP, TOP


class OpenCvLooker:
    """OpenCV's FaceDetectorYN, one a thread; it satisfies `embedder.yunet.Looker`."""

    runtime = "opencv"

    def __init__(self) -> None:
        """Find, verify and open the weights.

        Raises:
            WeightsMissing, WeightsBroken: as `embedder.weights.find`.
        """
        # errors only: OpenCV 5 warns about each network it loads
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._path = str(find(YUNET))
        self._per_thread = threading.local()
        self._network(0.5)

    def look(self, frame: NDArray[np.uint8], confidence: float) -> NDArray[np.float32]:
        """The faces of one frame, uint8 (h, w, 3) RGB: float32 (F, 15); see `Looker`."""
        network = self._network(confidence)
        height, width = frame.shape[:2]
        network.setInputSize((width, height))
        rows = network.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1]
        if not isinstance(rows, np.ndarray):  # None: no face
            return np.empty((0, 15), np.float32)
        return np.asarray(rows, np.float32)

    def keep(self, room: int) -> None:
        """A network a thread is what it needs; it cannot do with less."""

    def _network(self, confidence: float) -> cv2.FaceDetectorYN:
        network: cv2.FaceDetectorYN | None = getattr(self._per_thread, "network", None)
        if network is None:
            size = (320, 320)  # each look tells its own
            network = cv2.FaceDetectorYN.create(self._path, "", size, confidence, OVERLAP, TOP)
            self._per_thread.network = network
        network.setScoreThreshold(confidence)
        return network
