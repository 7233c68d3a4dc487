"""What must hold of an ONNX file before it is anybody's encoder: its form, and a test run.

Letters: N crops, S crop side, D dimensions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.align import Crop
from embedder.card import PARITY, EncoderCard
from embedder.detect import Face
from embedder.encoder import Network, NetworkEncoder
from embedder.errors import ModelUnusable, RuntimeMissing

if TYPE_CHECKING:
    import onnx

_LEAST_OPSET = 7
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})  # the last: what ONNX Runtime itself adds
_PROBES = 24
_SAME = 0.99999  # a network whose vectors are all nearer than this sees nothing
# Half of what one space allows: probes are few, and drawn.
_OTHER_RUNTIME = 1.0 - (1.0 - PARITY) / 2


def check_form(data: bytes, card: EncoderCard, where: str) -> None:
    """Make sure that a file is a graph from crops to vectors as its card says.

    Args:
        data: the file's bytes.
        card: side and dimensions.
        where: what messages call the file.

    Raises:
        ModelUnusable: it is no ONNX file, has another input or output, or wants more than is here.
    """
    model = _parsed(data, where)
    _check_opset(model, where)
    given = [value for value in model.graph.input if not _is_weight(model, value.name)]
    if len(given) != 1 or len(model.graph.output) != 1:
        raise ModelUnusable(
            f"{where} has {len(given)} inputs and {len(model.graph.output)} outputs: an encoder "
            "has one input, the crops, and one output, their vectors."
        )
    _check_shape(given[0], (3, card.side, card.side), f"{where}: its input")
    _check_shape(model.graph.output[0], (card.dim,), f"{where}: its output")


def _parsed(data: bytes, where: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import (  # type: ignore[import-untyped]  # it ships no types
        DecodeError,
    )
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load_model_from_string(data)
        if any(uses_external_data(tensor) for tensor in model.graph.initializer):
            raise ModelUnusable(
                f"{where} keeps its weights in another file: export it with all weights inside."
            )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        first = (str(error).strip().splitlines() or ["broken"])[0]
        raise ModelUnusable(f"{where} is no ONNX file that can be read ({first}).") from error
    return model


def _check_opset(model: onnx.ModelProto, where: str) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    strange = sorted({node.domain for node in model.graph.node} - _DOMAINS)
    if strange:
        raise ModelUnusable(
            f"{where} uses operators of {strange[0]!r}, which no runtime here has: export it with "
            "operators of ONNX alone."
        )
    for used in model.opset_import:
        if used.domain in {"", "ai.onnx"} and not _LEAST_OPSET <= used.version <= newest:
            raise ModelUnusable(
                f"{where} is of opset {used.version}: {_LEAST_OPSET} to {newest} can be read here. "
                "Export it with another opset, or install a newer onnx."
            )


def _is_weight(model: onnx.ModelProto, name: str) -> bool:
    return any(tensor.name == name for tensor in model.graph.initializer)


def _check_shape(value: onnx.ValueInfoProto, wanted: tuple[int, ...], what: str) -> None:
    """Float32 (N, …) with N free; a length that the file leaves open is seen in the test run."""
    from onnx import TensorProto

    form = value.type.tensor_type
    lengths = [d.dim_value if d.HasField("dim_value") else None for d in form.shape.dim]
    told = " × ".join("N" if n is None else str(n) for n in lengths)
    fits = len(lengths) == len(wanted) + 1 and all(
        given is None or given == want for given, want in zip(lengths[1:], wanted, strict=False)
    )
    if form.elem_type != TensorProto.FLOAT or not fits:
        kind = TensorProto.DataType.Name(form.elem_type).lower()
        right = " × ".join(map(str, ("N", *wanted)))
        raise ModelUnusable(f"{what} is {kind} {told}; its card says float {right}.")
    if lengths[0] is not None:
        raise ModelUnusable(
            f"{what} takes exactly {lengths[0]} at a time: export it with a free batch dimension."
        )


def probes(side: int, count: int = _PROBES, seed: int = 0) -> list[Crop]:
    """Crops made of coloured blocks, coarse and fine, and of slopes; the same for one seed.

    Args:
        side: S.
        count: N.
        seed: of the colours.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        cells = (2, 4, 7, 14)[i % 4]
        colours = rng.uniform(0, 255, (cells, cells, 3))
        at = np.minimum(np.arange(side) * cells // side, cells - 1)
        slope = rng.uniform(-60, 60, 2) @ (np.indices((side, side)).reshape(2, -1) / side - 0.5)
        shaded = colours[at][:, at] + slope.reshape(side, side, 1)
        found.append(_crop(np.clip(shaded, 0, 255).astype(np.uint8)))
    return found


def _crop(pixels: NDArray[np.uint8]) -> Crop:
    """Uint8 (S, S, 3) as a crop."""
    side = pixels.shape[0]
    face = Face(np.array([0, 0, side, side], np.float32), None, 1.0)
    return Crop(pixels, np.eye(2, 3, dtype=np.float64), face)


def try_out(
    path: Path, card: EncoderCard, pictures: NDArray[np.uint8] | None = None
) -> dict[str, str | None]:
    """Run a graph on probes in every runtime that is installed.

    Args:
        path: the ONNX file.
        card: its card.
        pictures: uint8 (N, S, S, 3), RGB, of what the encoder is for; they judge whether OpenVINO
            may compute in bf16. None: drawn probes do, which have little of what it looks for,
            so that rounding weighs more in their vectors.

    Returns:
        runtime → the precision it may compute in, None where its vectors are others than those of
        the reference (ONNX Runtime where it is installed).

    Raises:
        ModelUnusable: it does not run, or what it gives are no vectors that can be compared.
        RuntimeMissing: no runtime is installed.
    """
    crops = probes(card.side)
    names = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    if not names:
        raise RuntimeMissing(
            'Neither OpenVINO nor ONNX Runtime is installed: pip install "vultus[cpu]".'
        )
    reference = _vectors(names[0], path, card, crops, "fp32")
    check_vectors(reference, _single(names[0], path, card, crops), card, path.name)
    found: dict[str, str | None] = {names[0]: "fp32"}
    if names[0] == "onnxruntime" and "openvino" in names:
        wanted = _OTHER_RUNTIME
        if pictures is not None:
            crops, wanted = [_crop(picture) for picture in pictures], PARITY
            reference = _vectors(names[0], path, card, crops, "fp32")
        found["openvino"] = _openvino(path, card, crops, reference, wanted)
    return found


def _openvino(
    path: Path, card: EncoderCard, crops: Sequence[Crop], reference: NDArray[np.float32],
    wanted: float,
) -> str | None:  # fmt: skip
    """The fastest precision in which OpenVINO gives the reference's vectors, float32 (N, D)."""
    for precision in ("bf16", "fp32"):
        vectors = _vectors("openvino", path, card, crops, precision)
        if vectors.shape == reference.shape and least_cosine(vectors, reference) >= wanted:
            return precision
    return None


def least_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The least cosine between rows of the same place.

    Args:
        one: float32 (N, D), unit rows.
        other: float32 (N, D), unit rows.
    """
    return float((one * other).sum(axis=1).min())


def _single(name: str, path: Path, card: EncoderCard, crops: Sequence[Crop]) -> NDArray[np.float32]:
    """The first three crops one at a time, float32 (3, D)."""
    encoder = NetworkEncoder(card, _opened(name, path, "fp32"))
    try:
        return np.concatenate([encoder.encode([crop]).vectors for crop in crops[:3]])
    except _refusals() as error:
        raise _does_not_run(path.name, error) from error


def _vectors(
    name: str, path: Path, card: EncoderCard, crops: Sequence[Crop], precision: str
) -> NDArray[np.float32]:
    """Unit vectors float32 (N, D) of crops in a runtime."""
    try:
        return NetworkEncoder(card, _opened(name, path, precision)).encode(crops).vectors
    except _refusals() as error:
        raise _does_not_run(path.name, error) from error


def _opened(name: str, path: Path, precision: str) -> Network:
    try:
        if name == "openvino":
            from embedder.openvino_encoder import OpenVinoNetwork

            return OpenVinoNetwork(str(path), precision)
        from embedder.onnx_encoder import OnnxNetwork

        return OnnxNetwork(str(path))
    except _refusals() as error:
        raise _does_not_run(path.name, error) from error


def _refusals() -> tuple[type[Exception], ...]:
    """What runtimes raise where a graph cannot be opened or run."""
    found: list[type[Exception]] = [RuntimeError, ValueError, IndexError]
    if importlib.util.find_spec("onnxruntime"):
        from onnxruntime.capi import (  # type: ignore[import-untyped]  # it ships no types
            onnxruntime_pybind11_state as state,
        )

        kinds = (kind for kind in vars(state).values() if isinstance(kind, type))
        found += [kind for kind in kinds if issubclass(kind, Exception)]
    return tuple(found)


def _does_not_run(file: str, error: Exception) -> ModelUnusable:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelUnusable(f"{file} does not run ({first}): export it anew.")


def check_vectors(
    vectors: NDArray[np.float32], alone: NDArray[np.float32], card: EncoderCard, file: str
) -> None:
    """Make sure that what a graph gives can be compared.

    Args:
        vectors: float32 (N, D), of probes encoded together.
        alone: float32 (M, D), of the first M of them one at a time.
        card: tells D.
        file: what messages call the graph.

    Raises:
        ModelUnusable: another length, no unit vectors, all the same, or dependent on the batch.
    """
    if vectors.ndim != 2 or vectors.shape[1] != card.dim:
        raise ModelUnusable(
            f"{file} gives vectors of shape {vectors.shape}; its card says (N, {card.dim})."
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or not np.allclose(lengths, 1.0, atol=1e-3):
        raise ModelUnusable(f"{file} gives vectors that are not finite or zero: export it anew.")
    nearness = vectors @ vectors.T
    if float(nearness.min()) > _SAME:
        raise ModelUnusable(f"{file} gives every picture the same vector: it has learnt nothing.")
    if least_cosine(vectors[: len(alone)], alone) < PARITY:
        raise ModelUnusable(
            f"{file} gives a picture another vector when others are beside it: export the network "
            "in evaluation mode."
        )
