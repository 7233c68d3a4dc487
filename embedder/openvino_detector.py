"""YuNet in OpenVINO, on the CPU.

A graph of fixed size is a third quicker than one for all sizes where frames are small (256 × 256),
a tenth at 640 × 480, and no quicker above; it costs a compilation and memory. So a small size seen
for the first time goes through the graph for all sizes; the second time it gets its own.

OpenVINO lets one frame at a time through a compiled graph that computes in the thread that asks.
So there are several of each, one a core at the most, and whoever looks borrows one.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.compiled import compiled, openvino
from embedder.yunet import decode, model_path, padded

Size = tuple[int, int]
_ANY: Size = (-1, -1)
_OWN = 640 * 640  # pixels of the largest frames that get graphs of their own
_ROOM = 160_000_000  # bytes a core for graphs that wait
_IDLE = 500  # looks after which a graph nobody asked for makes room for another
# bytes of a graph: what it takes when it is opened, and for each pixel of its frames
_OPENED, _OWN_PIXEL, _ANY_PIXEL = 4_000_000, 45, 55


@dataclass(slots=True, eq=False)
class _Graph:
    """A compiled graph that somebody uses or that waits.

    Attributes:
        size: rows and columns of its frames, or `_ANY`.
        weight: bytes it takes, about.
        request: OpenVINO's; None until it is compiled.
        used: the number of its last look.
    """

    size: Size
    weight: int
    request: Any = None
    used: int = 0


class OpenVinoLooker:
    """YuNet compiled for the CPU; it satisfies `embedder.yunet.Looker`.

    A look runs in the thread that asks, on one core: what runs side by side is frames, not parts
    of a frame.
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
        self._most = os.cpu_count() or 1
        self._room = _ROOM * self._most
        self._compiling = threading.Lock()
        self._turn = threading.Condition()
        self._looks = 0
        self._seen: set[Size] = set()
        self._waiting: list[_Graph] = []
        self._opened: Counter[Size] = Counter()  # graphs that are opened, or about to be
        self._weight = 0  # of all that are opened

    def look(self, frame: NDArray[np.uint8], confidence: float) -> NDArray[np.float32]:
        """The faces of one frame, uint8 (h, w, 3) RGB: float32 (F, 15); see `Looker`."""
        whole = padded(frame)
        height, width = whole.shape[:2]
        with self._borrowed((height, width)) as request:
            request.infer({0: whole[None]}, share_inputs=True)
            return decode(request.get_output_tensor(0).data[0], height, width, confidence)

    def keep(self, room: int) -> None:
        """Keep no more graphs than fit into so many bytes, but for those in use."""
        with self._turn:
            self._room = room
            self._drop(0, idle=0)

    @contextmanager
    def _borrowed(self, size: Size) -> Iterator[Any]:
        """A request for frames of a size, which nobody else has meanwhile."""
        graph = self._taken(size)
        try:
            if graph.request is None:
                with self._compiling:  # the second one finds what the first one kept
                    graph.request = self._compiled(graph.size).create_infer_request()
            yield graph.request
        finally:
            self._put_back(graph)

    def _taken(self, size: Size) -> _Graph:
        """A graph for frames of a size: one that waits, or another one as long as there is room."""
        with self._turn:
            self._looks += 1
            kind = self._kind(size)
            self._seen.add(size)
            while True:
                for graph in self._waiting:
                    if graph.size == kind:
                        self._waiting.remove(graph)
                        return self._heavier(graph, size)
                opened = self._opened[kind]
                if opened == 0 or (opened < self._most and self._fits(_weight(kind, size))):
                    self._opened[kind] += 1
                    return self._heavier(_Graph(kind, 0), size)
                self._turn.wait()

    def _kind(self, size: Size) -> Size:
        """Which graph frames of a size go through: their own, or the one for all."""
        if self._opened[size]:
            return size
        if size not in self._seen or size[0] * size[1] > _OWN:
            return _ANY
        return size if self._fits(_weight(size, size)) else _ANY

    def _heavier(self, graph: _Graph, size: Size) -> _Graph:
        """The graph, as heavy as frames of a size make it."""
        weight = max(graph.weight, _weight(graph.size, size))
        self._weight += weight - graph.weight
        graph.weight = weight
        return graph

    def _put_back(self, graph: _Graph) -> None:
        """Have a graph wait for the next look; not where there is no room for it."""
        with self._turn:
            graph.used = self._looks
            kept = graph.request is not None
            if kept and self._weight > self._room:
                kept = self._fits(0)
            if kept:
                self._waiting.append(graph)
            else:
                self._forget(graph)
            self._turn.notify_all()

    def _fits(self, weight: int) -> bool:
        """Whether there is room for so many bytes, once graphs that nobody asks for have gone."""
        self._drop(weight, _IDLE)
        return self._weight + weight <= self._room

    def _drop(self, weight: int, idle: int) -> None:
        """Drop graphs nobody asked for in so many looks, until there is room for so many bytes."""
        for graph in sorted(self._waiting, key=lambda one: one.used):
            if self._weight + weight <= self._room or graph.used + idle > self._looks:
                return
            self._waiting.remove(graph)
            self._forget(graph)

    def _forget(self, graph: _Graph) -> None:
        self._opened[graph.size] -= 1
        self._weight -= graph.weight

    def _compiled(self, size: Size) -> Any:  # noqa: ANN401 - OpenVINO ships no types
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


def _weight(kind: Size, size: Size) -> int:
    """Bytes of a graph of a kind, once it has seen a frame of a size."""
    return _OPENED + (_ANY_PIXEL if kind == _ANY else _OWN_PIXEL) * size[0] * size[1]
