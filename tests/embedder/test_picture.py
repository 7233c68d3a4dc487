from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from embedder import picture
from embedder.admission import admit
from embedder.align import align
from embedder.detect import Face
from embedder.embed import open_embedder
from embedder.encoder import open_network_encoder, to_tensor, unit_rows
from embedder.errors import WeightsBroken, WeightsMissing
from embedder.photo import Photo, read_photo
from embedder.quality import DEFAULT_GATE
from embedder.state_dict import read_state_dict
from embedder.weights import PICTURE, digest_of, find

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")

Weights = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def weights(own_cache: Path) -> Weights:  # noqa: ARG001 - the cache must be set first
    try:
        return read_state_dict(find(PICTURE).read_bytes())
    except WeightsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def graph(weights: Weights) -> Path:  # noqa: ARG001 - skips without them
    return picture.model_path()


def drawn(kind: str, seed: int) -> Photo:
    """A thing on white, at some place and of some size: a ring, a cross or a ladder."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :200]
    x, y = x - rng.uniform(90, 110), y - rng.uniform(65, 85)
    r = rng.uniform(40, 55)
    ring = np.abs(np.hypot(x, y) - r) < 10
    cross = ((np.abs(x) < 10) | (np.abs(y) < 10)) & (np.hypot(x, y) < r)
    ladder = (np.abs(np.abs(x) - 25) < 6) | ((np.abs(x) < 25) & (y % 24 < 6))
    shape = {"ring": ring, "cross": cross, "ladder": ladder}[kind]
    pixels = np.full((150, 200, 3), 255, np.uint8)
    pixels[shape] = rng.integers(0, 130, 3)
    return read_photo(pixels)


# The graph against a slow network of loops over the same numbers


def slow_convolution(
    x: NDArray[np.float64], kernel: NDArray[np.floating], stride: int
) -> NDArray[np.float64]:
    """Convolution of (I, H, W) padded as TensorFlow's SAME, place by place."""
    out, channels, side, _ = kernel.shape
    sizes = [-(-n // stride) for n in x.shape[1:]]
    missing = [max((m - 1) * stride + side - n, 0) for m, n in zip(sizes, x.shape[1:], strict=True)]
    x = np.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in missing)))
    y = np.empty((out, *sizes))
    for row in range(sizes[0]):
        for column in range(sizes[1]):
            seen = x[:, row * stride :, column * stride :][:, :side, :side]
            if channels == 1 and out > 1:
                y[:, row, column] = (kernel[:, 0] * seen).sum(axis=(1, 2))
            else:
                y[:, row, column] = np.tensordot(kernel, seen, 3)
    return y


def slow_features(weights: Weights, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The features (1280,) of one picture (3, H, W) as the paper describes the network."""

    def layer(x: NDArray[np.float64], conv: str, norm: str, stride: int = 1) -> NDArray[np.float64]:
        y = slow_convolution(x, weights[f"{conv}.weight"].astype(float), stride)
        mean, variance, scale, shift = (
            weights[f"{norm}.{part}"].astype(float)[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / np.sqrt(variance + 1e-3) * scale + shift

    def relu6(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(x, 0, 6)

    x = relu6(layer(x, "_conv_stem", "_bn0", 2))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        name, start = f"_blocks.{number}", x
        if f"{name}._expand_conv.weight" in weights:
            x = relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0"))
        x = relu6(layer(x, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        x = layer(x, f"{name}._project_conv", f"{name}._bn2")
        if x.shape == start.shape:
            x = x + start
    return relu6(layer(x, "_conv_head", "_bn1")).mean(axis=(1, 2))


def test_the_graph_is_the_network_of_the_paper(weights: Weights, graph: Path):
    crop = align(drawn("ring", 1), Face(np.array([0, 0, 200, 150], np.float32), None, 1.0), 224)
    tensor = to_tensor([crop], picture.card())
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (fast,) = session.run(None, {picture.INPUT: tensor})
    slow = slow_features(weights, tensor[0].astype(float))
    assert fast.shape == (1, picture.DIM)
    assert np.abs(fast[0] - slow).max() < 1e-3
    assert slow.max() > 0.5, "there is something to compare"


def test_folding_a_normalisation():
    rng = np.random.default_rng(5)
    kernel = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    scale, shift, mean = rng.normal(size=(3, 4)).astype(np.float32)
    variance = rng.uniform(0.01, 2, 4).astype(np.float32)
    x = rng.normal(size=(3, 6, 7))
    folded, bias = picture.fold(kernel, scale, shift, mean, variance)
    before = slow_convolution(x, kernel, 2) - mean[:, None, None]
    want = before / np.sqrt(variance + 1e-3)[:, None, None] * scale[:, None, None]
    assert (folded.dtype, bias.dtype) == (np.float32, np.float32)
    found = slow_convolution(x, folded, 2) + bias[:, None, None]
    assert np.abs(found - want - shift[:, None, None]).max() < 1e-4


def test_the_file_that_is_expected(graph: Path):
    assert digest_of(graph) == picture._CONVERTED_SHA256
    model = onnx.load(graph)
    onnx.checker.check_model(model, full_check=True)
    (given,), (answer,) = model.graph.input, model.graph.output
    shapes = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (given, answer)
    ]
    assert shapes == [["N", 3, 224, 224], ["N", 1280]]


def test_every_convolution_is_used_and_the_classifier_is_not(weights: Weights, graph: Path):
    kept = {i.name for i in onnx.load(graph).graph.initializer}
    assert {name for name in weights if "conv" in name} <= kept
    assert not any("_fc" in name for name in kept)


@pytest.mark.parametrize("damage", ["truncated", "swapped", "absent"])
def test_a_damaged_cached_graph_is_made_again(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
):
    whole = graph.read_bytes()
    path = tmp_path / graph.name
    content = {"truncated": whole[:-100], "swapped": whole[::-1], "absent": None}[damage]
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path))
    assert picture.model_path() == path
    assert path.read_bytes() == whole


def test_other_weights_are_never_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake = tmp_path / PICTURE.name
    fake.write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path))
    monkeypatch.setattr("embedder.weights._carried", lambda _wanted: iter(()))
    with pytest.raises(WeightsBroken, match=r"vultus\[pictures\]"):
        picture.model_path()


@pytest.mark.usefixtures("graph")
def test_the_runtimes_agree():
    pytest.importorskip("openvino", reason="the extra cpu is not installed")
    box = Face(np.array([0, 0, 200, 150], np.float32), None, 1.0)
    crops = [align(drawn(kind, s), box, 224) for kind in ("ring", "cross") for s in range(4)]
    fast, slow = (open_network_encoder("picture", runtime=r) for r in ("openvino", "onnxruntime"))
    assert fast.network.precision == "fp32"
    assert (fast.encode(crops).vectors * slow.encode(crops).vectors).sum(axis=1).min() >= 0.99999


@pytest.mark.usefixtures("graph")
def test_things_are_told_apart():
    """Each drawing is nearest to one of its kind, of 18 drawings of three kinds."""
    embedder = open_embedder("picture")
    assert embedder.detector.name == "whole"
    kinds = [kind for kind in ("ring", "cross", "ladder") for _ in range(6)]
    photos = [drawn(kind, seed) for seed, kind in enumerate(kinds)]
    faces = [face for photo in photos for face in embedder.faces(photo)]
    assert max(face.quality.clipped for face in faces) > DEFAULT_GATE.clipped, "much plain white"
    assert [admit([face], "reject", DEFAULT_GATE).reason for face in faces] == [None] * 18
    vectors = embedder.encode(faces).vectors
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(18), abs=1e-5)
    nearest = (vectors @ vectors.T - 2 * np.eye(18)).argmax(axis=1)
    assert [kinds[i] for i in nearest] == kinds


def test_the_card():
    card = picture.card()
    assert (card.name, card.dim, card.side, card.detector) == ("picture", 1280, 224, "whole")
    assert card.space.startswith("picture-1280-")
    assert card.weights_licence == "Apache-2.0"
    assert "ImageNet" in card.data_licence
    assert card.digests == {PICTURE.name: PICTURE.sha256}


def test_unit_rows_of_features_are_not_negative(graph: Path):
    """ReLU6 before the mean: cosines of this space lie between 0 and 1."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(6).normal(size=(2, 3, 224, 224)).astype(np.float32)
    (features,) = session.run(None, {picture.INPUT: noise})
    assert (unit_rows(features) >= 0).all()
