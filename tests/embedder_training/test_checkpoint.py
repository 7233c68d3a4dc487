import json
from contextlib import suppress

import pytest
import torch

from embedder import checkpoint
from embedder.errors import CheckpointBroken
from embedder.network import build
from embedder.recipe import Recipe


def write(folder, step=3):
    weights = {f"network.{k}": v for k, v in build("small", dim=8).state_dict().items()}
    facts = {"step": step, "dim": 8, "best": None, "waited": 0}
    checkpoint.save(folder, weights, Recipe(dim=8), facts)


def test_round_trip(tmp_path):
    write(tmp_path / "step-00000003")
    found = checkpoint.load(tmp_path / "step-00000003")
    assert found.recipe == Recipe(dim=8)
    assert found.facts["step"] == 3
    assert found.network()(torch.zeros(1, 1, 28, 28)).shape == (1, 8)
    assert {p.name for p in (tmp_path / "step-00000003").iterdir()} == {
        "state.safetensors", "state.json",
    }  # fmt: skip


def test_the_latest_and_the_best(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    with pytest.raises(CheckpointBroken, match="no checkpoint"):
        checkpoint.find(tmp_path)
    for step in (1, 2, 10):
        write(checkpoint.at_step(tmp_path, step), step)
    (tmp_path / ".step-00000011.abc").mkdir()  # a run was killed while writing
    checkpoint.prune(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]
    assert checkpoint.find(tmp_path) == checkpoint.at_step(tmp_path, 10)
    write(tmp_path / "best")
    assert checkpoint.find(tmp_path) == tmp_path / "best"


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_best_that_is_replaced_is_never_lost(tmp_path, monkeypatch, moment):
    """The writer is killed before, between or after the two renames."""
    write(tmp_path / "best", 1)
    renamed, real = [], checkpoint.Path.rename

    def rename(self, target):
        if len(renamed) == ["before", "between", "after"].index(moment):
            raise KeyboardInterrupt
        renamed.append(real(self, target))

    with monkeypatch.context() as killed, suppress(KeyboardInterrupt):
        killed.setattr(checkpoint.Path, "rename", rename)
        killed.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)  # it does not tidy up
        write(tmp_path / "best", 2)
    assert len(renamed) == ["before", "between", "after"].index(moment)
    found = checkpoint.load(checkpoint.find(tmp_path))
    assert found.facts["step"] == (2 if moment == "after" else 1)
    checkpoint.prune(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    write(tmp_path / "best", 3)
    assert checkpoint.load(tmp_path / "best").facts["step"] == 3


def test_broken_files_are_told(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a" / checkpoint.STATE).write_bytes(b"no")
    with pytest.raises(CheckpointBroken, match="no checkpoint that can be read"):
        checkpoint.load(tmp_path / "a")
    write(tmp_path / "b")
    facts = json.loads((tmp_path / "b" / checkpoint.FACTS).read_text())
    facts["dim"] = 9
    (tmp_path / "b" / checkpoint.FACTS).write_text(json.dumps(facts))
    with pytest.raises(CheckpointBroken, match="does not fit"):
        checkpoint.load(tmp_path / "b").network()


def test_the_optimizer_remembers():
    torch.manual_seed(0)
    for make in (torch.optim.AdamW, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)):
        layers = [torch.nn.Linear(3, 2) for _ in range(2)]
        layers[1].load_state_dict(layers[0].state_dict())
        first, second = (make(layer.parameters()) for layer in layers)
        for turn in range(4):
            if turn == 2:
                layers[1].load_state_dict(layers[0].state_dict())
                checkpoint.restore_optimizer(second, checkpoint.optimizer_tensors(first))
            for layer, optimizer in zip(layers, (first, second), strict=True):
                if turn < 2 and layer is layers[1]:
                    continue
                optimizer.zero_grad()
                layer(torch.ones(1, 3)).square().sum().backward()
                optimizer.step()
        assert torch.equal(layers[0].weight, layers[1].weight)
