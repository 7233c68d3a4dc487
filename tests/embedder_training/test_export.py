import json

import numpy as np
import pytest
import torch

from embedder import checkpoint, export
from embedder.dataset_teacher import crop_of
from embedder.errors import BadRecipe, WeightsBroken
from embedder.network import build
from embedder.onnx_encoder import OnnxNetwork
from embedder.recipe import Recipe
from embedder.torch_encoder import encode_pictures, open_torch_encoder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was never trained: weights with statistics of their own all the same."""
    place = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = build("small", dim=32).train()
    network(torch.rand(64, 1, 28, 28) * 255)
    weights = {f"network.{k}": v for k, v in network.state_dict().items()}
    recipe = Recipe(name="digits", data="/somewhere/digits.npz", dim=32, dropout=0.2)
    checkpoint.save(place / "best", weights, recipe, {"step": 5, "dim": 32, "best": None})
    return place


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(3).integers(0, 256, (5, 28, 28, 1), np.uint8)


def test_export_equals_torch_in_both_precisions(run, tmp_path, pictures):
    colour = np.broadcast_to(pictures, (5, 28, 28, 3)).transpose(0, 3, 1, 2).astype(np.float32)
    ours = encode_pictures(checkpoint.load(run / "best").network(), pictures)
    done = {}
    for precision in export.PRECISIONS:
        folder = tmp_path / precision
        done[precision] = one = export.export(run, folder, precision=precision, pictures=pictures)
        assert one.parity >= 0.9999
        assert [p.name for p in sorted(folder.iterdir())] == [
            f"digits-{precision}.onnx", "digits.json",
        ]  # fmt: skip
        # another N than the graph was made with
        vectors = OnnxNetwork(str(one.path)).run(np.ascontiguousarray(colour))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, ours, atol=3e-3)
        card = json.loads(one.card_path.read_text())
        assert card["space"] == one.card.space
        assert card["recipe"]["name"] == "digits"
        assert "/somewhere" not in card["trained_on"]
    assert done["fp32"].card.space == done["fp16"].card.space
    assert done["fp16"].size < 0.6 * done["fp32"].size


def test_an_export_that_differs_is_not_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "PARITY", 1.1)
    with pytest.raises(WeightsBroken, match="other vectors"):
        export.export(run, tmp_path)
    assert list(tmp_path.glob("*.onnx")) == []


def test_an_unknown_precision(run, tmp_path):
    with pytest.raises(BadRecipe, match="fp32, fp16"):
        export.export(run, tmp_path, precision="int3")


def test_a_run_is_an_encoder(run, pictures):
    encoder = open_torch_encoder(run)
    found = encoder.encode([crop_of(p) for p in pictures])
    assert found.vectors.shape == (5, 32)
    assert found.space.startswith("digits-32-")
    ours = encode_pictures(checkpoint.load(run / "best").network(), pictures)
    np.testing.assert_allclose(found.vectors, ours, atol=1e-4)
