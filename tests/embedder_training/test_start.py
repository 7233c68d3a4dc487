"""An exported encoder is a start again: the same vectors, and it can learn."""

import json
from functools import partial

import onnx
import pytest
import torch

from embedder import checkpoint, export
from embedder.errors import BadRecipe, CheckpointBroken
from embedder.model_import import import_model
from embedder.network import EmbeddingNetwork as Network
from embedder.network import build, global_head, unit
from embedder.recipe import Recipe
from embedder.start import load_graph, load_start, start_recipe


def stirred(network, seed=0):
    """A network whose normalisations do something."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
        if isinstance(module, torch.nn.PReLU):
            module.weight.data.uniform_(0, 0.5)
    return network.eval()


def tiny():
    """What faces are seen by, in small: PReLU, a normalisation that stands alone, a folded head."""
    body = torch.nn.Sequential(unit(3, 8, stride=2), unit(8, 8, 3, 2, 8), torch.nn.BatchNorm2d(8))
    return Network(3, body, global_head(8, 7, 6))


def test_a_graph_gives_its_weights_back(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_LARGEST", 300)
    network = stirred(tiny())
    path = tmp_path / "tiny.onnx"
    pictures = torch.rand(3, 3, 28, 28) * 255
    for change in (lambda _: None, export.shrink, partial(export.shrink, packed=True)):
        model = export.to_onnx(network, side=28)
        change(model)
        path.write_bytes(model.SerializeToString())
        again = tiny()
        load_graph(again, path, side=28)
        with torch.no_grad():
            ours, theirs = again.eval()(pictures), network(pictures)
        assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.9995
    stored = {i.data_type for i in model.graph.initializer}
    assert {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT} <= stored
    with pytest.raises(CheckpointBroken, match="no graph of this network"):
        load_graph(build("small", dim=6), path, side=28)


def test_an_exported_run_is_a_start(tmp_path, monkeypatch):
    monkeypatch.setenv("VULTUS_MODELS", str(tmp_path / "models"))
    network = stirred(build("small", dim=8))
    weights = {f"network.{k}": v for k, v in network.state_dict().items()}
    facts = {"step": 3, "dim": 8, "best": None, "waited": 0}
    checkpoint.save(tmp_path / "run" / "best", weights, Recipe(name="mine", dim=8), facts)
    export.export(tmp_path / "run", tmp_path / "model")
    assert start_recipe(str(tmp_path / "run")) == Recipe(name="mine", dim=8)
    assert start_recipe(str(tmp_path / "model")) == Recipe(name="mine", dim=8, norms="keep")
    import_model(tmp_path / "model")
    pictures = torch.rand(3, 1, 28, 28) * 255
    for start in (str(tmp_path / "run"), str(tmp_path / "model"), "mine"):
        again = build("small", dim=8)
        load_start(again, start)
        with torch.no_grad():
            found, wanted = again.eval()(pictures), network(pictures)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(BadRecipe, match="norms"):
        load_start(again, str(tmp_path / "model"), norms="learn")


def test_no_such_start(tmp_path):
    with pytest.raises(CheckpointBroken, match="no nobody to begin with"):
        start_recipe("nobody")
    (tmp_path / "card.json").write_text(json.dumps({"digests": {}}))
    with pytest.raises(CheckpointBroken, match="no checkpoint"):
        start_recipe(str(tmp_path))
