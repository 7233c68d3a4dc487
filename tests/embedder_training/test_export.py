import json

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from embedder import checkpoint, export
from embedder.card import PARITY
from embedder.card_file import read_card
from embedder.dataset import from_arrays
from embedder.dataset_teacher import crop_of
from embedder.encoder import open_network_encoder
from embedder.errors import BadData, BadRecipe, CheckpointBroken, WeightsBroken
from embedder.licences import commercial
from embedder.model_import import import_model
from embedder.network import build
from embedder.onnx_encoder import OnnxNetwork
from embedder.quantize import slow_activations
from embedder.recipe import Recipe
from embedder.torch_encoder import encode_pictures, open_torch_encoder
from embedder.train import train


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


def test_export_equals_torch_in_each_precision(run, tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(export, "_LARGEST", 20_000)
    colour = np.broadcast_to(pictures, (5, 28, 28, 3)).transpose(0, 3, 1, 2).astype(np.float32)
    ours = encode_pictures(checkpoint.load(run / "best").network(), pictures)
    done = {}
    for precision in ("fp32", "fp16", "packed"):
        folder = tmp_path / precision
        done[precision] = one = export.export(run, folder, precision=precision, pictures=pictures)
        assert one.parity >= (0.9995 if precision == "packed" else 0.9999)
        assert [p.name for p in sorted(folder.iterdir())] == [
            f"digits-{precision}.onnx", "digits.json",
        ]  # fmt: skip
        # another N than the graph was made with
        vectors = OnnxNetwork(str(one.path)).run(np.ascontiguousarray(colour))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, ours, atol=1e-2 if precision == "packed" else 3e-3)
        card = json.loads(one.card_path.read_text())
        assert card["space"] == one.card.space
        assert card["recipe"]["name"] == "digits"
        assert "/somewhere" not in card["trained_on"]
    assert done["fp32"].card.space == done["fp16"].card.space
    assert done["fp16"].size < 0.6 * done["fp32"].size
    assert done["packed"].size < 0.7 * done["fp16"].size


def test_packed_weights_are_the_nearest_of_255(run, monkeypatch):
    monkeypatch.setattr(export, "_LARGEST", 20_000)
    model = export.to_onnx(checkpoint.load(run / "best").network(), side=28)
    before = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    export.shrink(model, packed=True)
    after = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    packed = [name.removesuffix(".int8") for name in after if name.endswith(".int8")]
    assert packed == [name for name, array in before.items() if array.size >= 20_000]
    for name in packed:
        whole, small, by = before[name], after[f"{name}.int8"], after[f"{name}.factor"]
        assert by.shape == (len(whole), *[1] * (whole.ndim - 1))
        assert np.abs(small).reshape(len(small), -1).max(axis=1).tolist() == [127] * len(small)
        assert np.all(np.abs(small * by - whole) <= by * 0.5001)


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


@pytest.fixture(scope="module")
def shapes():
    """Pictures of discs and bars with noise, four kinds in turn: uint8 (96, 28, 28, 1)."""
    rng = np.random.default_rng(5)
    rows, columns = np.indices((28, 28))
    found = np.empty((96, 28, 28, 1), np.uint8)
    for i in range(96):
        x, y, r = rng.uniform((9, 9, 5), (19, 19, 9))
        kinds = (
            (rows - y) ** 2 + (columns - x) ** 2 < r**2, abs(rows - y) < r / 2,
            abs(columns - x) < r / 2, abs(rows - columns) < r / 2,
        )  # fmt: skip
        noise = rng.normal(0, 12, (28, 28))
        found[i, ..., 0] = np.clip(40 + 180 * kinds[i % 4] + noise, 0, 255)
    return found


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """A small network after a few real steps, as a run."""
    place = tmp_path_factory.mktemp("trained")
    pictures = from_arrays(shapes, np.arange(96) % 4)
    recipe = Recipe(
        name="shapes", data="shapes", network="small", dim=16, by="photo", batch=32, per_class=8,
        steps=30, warmup=3, evaluate=30, checkpoint=30, validation=0.2, test=0.0,
    )  # fmt: skip
    train(recipe, place / "run", pictures=pictures, quiet=True)
    return place / "run"


def test_int8_says_how_far_it_is_and_shares_the_space_only_when_near(trained, shapes, tmp_path):
    with pytest.raises(BadRecipe, match="--calibration"):
        export.export(trained, tmp_path, precision="int8")
    with pytest.raises(BadData, match="at least 32"):
        export.export(trained, tmp_path, precision="int8", pictures=shapes[:20])
    reference = export.export(trained, tmp_path / "a")
    done = export.export(trained, tmp_path / "c", precision="int8", pictures=shapes, own_space=True)
    assert done.compared == 24
    assert 0.95 < done.parity <= done.mean <= 1.0 + 1e-9
    assert done.own_space == (done.parity < PARITY) == (done.card.space != reference.card.space)
    if done.own_space:
        with pytest.raises(WeightsBroken, match=r"on 24 pictures the cosine is 0\..*--own-space"):
            export.export(trained, tmp_path / "b", precision="int8", pictures=shapes)
        assert list((tmp_path / "b").iterdir()) == [], "nothing is kept"
    assert done.size < 0.5 * reference.size
    # what the file gives is what the export said of it
    colour = np.broadcast_to(shapes, (96, 28, 28, 3)).transpose(0, 3, 1, 2).astype(np.float32)
    found = OnnxNetwork(str(done.path)).run(np.ascontiguousarray(colour))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    ours = encode_pictures(checkpoint.load(checkpoint.find(trained)).network(), shapes)
    assert float((found * ours).sum(axis=1).mean()) == pytest.approx(done.mean, abs=0.005)


def test_int8_that_is_too_far_gets_a_space_and_a_name_of_its_own(
    trained, shapes, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "PARITY", 1.1)
    with pytest.raises(WeightsBroken, match="Nothing was kept"):
        export.export(trained, tmp_path, precision="int8", pictures=shapes)
    assert list(tmp_path.iterdir()) == []
    done = export.export(trained, tmp_path, precision="int8", pictures=shapes, own_space=True)
    assert (done.card.name, done.own_space) == ("shapes-int8", True)
    assert list(done.card.digests) == ["shapes-int8.onnx"]
    assert done.card_path.name == "shapes-int8.json"


def test_an_export_keeps_what_was_exported_before(run, tmp_path):
    export.export(run, tmp_path)
    second = export.export(run, tmp_path, precision="fp16")
    names = [p.name for p in sorted(tmp_path.iterdir())]
    assert names == ["digits-fp16.onnx", "digits-fp32.onnx", "digits.json"]
    card, facts = read_card(second.card_path)
    assert set(card.digests) == {"digits-fp32.onnx", "digits-fp16.onnx"}
    assert facts["recipe"]["data"] == "digits.npz", "no place on this machine"


def test_weights_are_mixed_with_those_the_run_began_with(run, tmp_path):
    place = tmp_path / "run"
    saved = checkpoint.load(run / "best")
    checkpoint.save(place / "best", saved.tensors, saved.recipe, saved.facts)
    with pytest.raises(CheckpointBroken, match="holds no start"):
        export.export(place, tmp_path / "none", start_share=0.5)
    other = {k: v + 0.25 if v.is_floating_point() else v for k, v in saved.tensors.items()}
    checkpoint.save(place / "start", other, saved.recipe, saved.facts)
    mixed = saved.network()
    checkpoint.towards_start(mixed, place, 0.4)
    ours = saved.network().state_dict()
    for name, value in mixed.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, ours[name] + 0.1)
    done = export.export(place, tmp_path / "model", start_share=0.4)
    assert json.loads(done.card_path.read_text())["start_share"] == 0.4
    plain = export.export(place, tmp_path / "plain")
    assert plain.card.space != done.card.space


def test_only_a_start_that_knows_something_is_kept(tmp_path):
    shown = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    pictures = from_arrays(shown, np.arange(8).repeat(5))
    recipe = Recipe(dim=8, steps=2, batch=8, per_class=2, validation=0.25, test=0.0, warmup=0)
    train(recipe, tmp_path / "fresh", pictures=pictures, device="cpu", quiet=True)
    assert not (tmp_path / "fresh" / "start").exists()
    begun = recipe.but(init=str(tmp_path / "fresh"), ema=0.9)
    train(begun, tmp_path / "begun", pictures=pictures, device="cpu", quiet=True)
    kept = checkpoint.load(tmp_path / "begun" / "start").network().state_dict()
    first = checkpoint.load(checkpoint.find(tmp_path / "fresh")).network().state_dict()
    assert all(torch.equal(kept[name], first[name]) for name in first)
    export.export(tmp_path / "begun", tmp_path / "model", start_share=1.0)


def test_what_is_said_of_an_export_stands_in_its_card(run, tmp_path):
    said = export.Statement("shoes", "Apache-2.0", "own", "my shoes", "whole")
    done = export.export(run, tmp_path, statement=said)
    assert (done.path.name, done.card_path.name) == ("shoes-fp32.onnx", "shoes.json")
    card, _ = read_card(done.card_path)
    assert (card.weights_licence, card.data_licence) == ("Apache-2.0", "own")
    assert commercial(card).passes
    with pytest.raises(BadRecipe, match="cannot be the name"):
        export.export(run, tmp_path, statement=export.Statement("../x"))


def test_an_export_is_imported_and_opened_by_name(trained, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("VULTUS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("VULTUS_CACHE", str(tmp_path / "cache"))
    ours = encode_pictures(checkpoint.load(checkpoint.find(trained)).network(), shapes)
    crops = [crop_of(p) for p in shapes]
    monkeypatch.setattr(export, "_LARGEST", 20_000)
    for precision in ("fp32", "fp16", "packed", "int8"):
        export.export(
            trained, tmp_path / precision, precision=precision, pictures=shapes, own_space=True
        )
        done = import_model(tmp_path / precision, replace=True)
        found = open_network_encoder(done.model.card.name, runtime="onnxruntime").encode(crops)
        cosines = (found.vectors * ours).sum(axis=1)
        assert cosines.min() > (0.95 if precision == "int8" else PARITY)


def test_activations_that_do_not_fuse_are_told():
    graph = export.to_onnx(build("mobileface", dim=16), side=112)
    assert slow_activations(graph) == ("PRelu",)
    assert slow_activations(export.to_onnx(build("small", dim=16), side=28)) == ()
