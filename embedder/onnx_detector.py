"""YuNet in ONNX Runtime, for CUDA; on a processor OpenCV and OpenVINO are quicker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.onnx_encoder import open_session
from embedder.yunet import decode, model_path, padded


class OnnxLooker:
    """YuNet opened in ONNX Runtime; it satisfies `embedder.yunet.Looker`."""

    runtime = "onnxruntime"

    def __init__(self, device: str = "cuda") -> None:
        """Find and open the network.

        Args:
            device: `cpu` or `cuda`.

        Raises:
            WeightsMissing, WeightsBroken: as `embedder.weights.find`.
            DeviceUnavailable: as `embedder.onnx_encoder.open_session`.
        """
        self._session = open_session(str(model_path()), device)
        self._input = self._session.get_inputs()[0].name

    def look(self, frame: NDArray[np.uint8], confidence: float) -> NDArray[np.float32]:
        """The faces of one frame, uint8 (h, w, 3) RGB: float32 (F, 15); see `Looker`."""
        whole = padded(frame)
        height, width = whole.shape[:2]
        planes = np.ascontiguousarray(whole[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
        (anchors,) = self._session.run(None, {self._input: planes})
        return decode(np.asarray(anchors, np.float32)[0], height, width, confidence)

    def keep(self, room: int) -> None:
        """One session is what it needs; it cannot do with less."""
