"""YuNet in OpenVINO, on the CPU.

A graph of fixed size is a third quicker than one for all sizes, and costs a compilation. So a size
seen for the first time goes through the graph for all sizes; the second time it gets its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.compiled import compiled, openvino
from embedder.yunet import decode, model_path, padded

_SIZES = 48  # graphs kept, one a size of frame; each takes a few megabytes
_ANY = (-1, -1)


class OpenVinoLooker:
    """YuNet compiled for the CPU; it satisfies `embedder.yunet.Looker`.

    Each thread that looks has requests of its own and runs them on one core: what runs side by
    side is frames, not parts of a frame.
    """

    runtime = "openvino"

    def __init__(self, precision: str = "fp32") -> None:
        """Find and compile the network.

        Args:
            precision: `fp32` or `bf16`; bf16 moves points by tenths of a pixel.

        Raises:
            WeightsMissing, WeightsBroken: as `embedder.weights.find`.
        """
        self._core = openvino.Core()
        self._path = str(model_path())
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiling = threading.Lock()
        self._seen: set[tuple[int, int]] = set()
        self._models: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._per_thread = threading.local()

    def look(self, frame: NDArray[np.uint8], confidence: float) -> NDArray[np.float32]:
        """The faces of one frame, uint8 (h, w, 3) RGB: float32 (F, 15); see `Looker`."""
        whole = padded(frame)
        height, width = whole.shape[:2]
        request = self._request((height, width))
        request.infer({0: whole[None]}, share_inputs=True)
        return decode(request.get_output_tensor(0).data[0], height, width, confidence)

    def _request(self, size: tuple[int, int]) -> Any:  # noqa: ANN401 - OpenVINO's request has no public type
        """This thread's request for frames of a size."""
        with self._compiling:
            known = size if size in self._seen else _ANY
            self._seen.add(size)
            model = self._models.get(known)
            if model is None:
                model = self._models[known] = self._compiled(known)
                if len(self._models) > _SIZES:
                    self._models.popitem(last=False)
            self._models.move_to_end(known)
            kept = set(self._models)
        opened = self._per_thread.__dict__.setdefault("opened", {})
        made_for, request = opened.get(known, (None, None))
        if made_for is not model:
            for dropped in opened.keys() - kept:  # a request would keep its graph in memory
                del opened[dropped]
            request = model.create_infer_request()
            opened[known] = (model, request)
        return request

    def _compiled(self, size: tuple[int, int]) -> Any:  # noqa: ANN401 - OpenVINO ships no types
        """The graph for frames of a size; it takes them as uint8 (1, H, W, 3) RGB."""
        part = f"frames of {size}"
        return compiled(self._core, self._path, part, self._options, lambda: self._graph(size))

    def _graph(self, size: tuple[int, int]) -> Any:  # noqa: ANN401 - OpenVINO ships no types
        model = self._core.read_model(self._path)
        model.reshape([1, 3, *size])
        ready = openvino.preprocess.PrePostProcessor(model)
        given = ready.input()
        given.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        given.tensor().set_color_format(openvino.preprocess.ColorFormat.RGB)
        given.preprocess().convert_color(openvino.preprocess.ColorFormat.BGR)
        given.model().set_layout(openvino.Layout("NCHW"))
        return ready.build()
