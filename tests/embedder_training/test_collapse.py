"""The monitor warns within 200 steps of runs made to collapse, and is quiet on healthy ones."""

import numpy as np
import pytest
import torch
from torch import nn

from embedder.collapse import EVERY, Health, Monitor, active_share, measure
from embedder.objectives import Batch, Objective, Weighted, squared_distances

CLASSES, EACH = 12, 5
HEALTHY = {
    "triplet": Weighted("triplet", options={"margin": 0.3}),
    "ratio": Weighted("triplet-ratio", options={"unit": True}),
    "contrastive": Weighted("contrastive"),
    "supcon": Weighted("supcon"),
    "same-different": Weighted("same-different"),
}


def run(objective, *, rate, steps=200, seed=0, optimizer=torch.optim.Adam):
    """A small network on points around class centres; what the monitor says, and when."""
    torch.manual_seed(seed)
    centres = torch.randn(CLASSES, 20)
    network = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 16))
    weighed = Objective([objective], dim=16, classes=CLASSES)
    weights = [*network.parameters(), *weighed.parameters()]
    steering = optimizer(weights, lr=rate)
    monitor, said = Monitor(), []
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    for step in range(1, steps + 1):
        vectors = network(centres[labels] + 0.7 * torch.randn(len(labels), 20))
        loss, _ = weighed(Batch(vectors, labels))
        steering.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(weights, float("inf")))
        steering.step()
        if step % EVERY == 0:
            health = measure(step, vectors, labels, margin=objective.options.get("margin", 0.2),
                             gradient=norm, loss=loss.item())  # fmt: skip
            warning = monitor.look(health)
            if warning:
                said.append(warning)
    return said


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_quiet_on_healthy_runs(name):
    assert run(HEALTHY[name], rate=2e-3) == []


def test_a_margin_too_large_and_a_rate_too_high():
    hard = Weighted("triplet", options={"margin": 5.0, "mining": "hard"})
    said = run(hard, rate=3.0, optimizer=torch.optim.SGD)
    assert said
    assert "--rate" in said[0] or "margin" in said[0]


def test_an_exploding_run():
    said = run(
        Weighted("contrastive", options={"unit": False}), rate=1e6, optimizer=torch.optim.SGD
    )
    assert "no number" in said[0]


def looks(monitor, **series):
    """Feed looks whose numbers are given as lists; the warnings."""
    healthy = {"active": 0.5, "distance": 1.0, "spread": 5.0, "gradient": 1.0, "loss": 0.3}
    count = len(next(iter(series.values())))
    said = [
        monitor.look(Health(i * EVERY, **{**healthy, **{k: v[i] for k, v in series.items()}}))
        for i in range(count)
    ]
    return [s for s in said if s]


def test_each_trouble_is_told_once_with_advice():
    (together,) = looks(Monitor(), distance=[0.9, 0.5] + [0.01] * 12)
    assert "fall together" in together
    assert "--rate" in together
    (line,) = looks(Monitor(), spread=[4.0] + [1.02] * 12)
    assert "one line" in line
    (stuck,) = looks(Monitor(), active=[1.0] * 14, loss=[2.0] * 14)
    assert "margin" in stuck


def test_vectors_that_begin_close_and_part_are_healthy():
    assert looks(Monitor(), distance=[0.01 * 1.6**i for i in range(10)]) == []
    assert looks(Monitor(), active=[1.0] * 20, loss=[2.0 * 0.9**i for i in range(20)]) == []


def test_the_numbers():
    labels = torch.arange(4).repeat_interleave(3)
    same = measure(1, torch.ones(12, 5), labels, margin=0.2, gradient=1.0, loss=0.2)
    assert same.distance == pytest.approx(0, abs=1e-3)
    assert same.active == 1.0
    apart = measure(1, torch.eye(4).repeat_interleave(3, 0), labels, margin=0.2, gradient=1, loss=0)
    assert apart.active == 0.0
    assert apart.spread == pytest.approx(3.0, abs=0.01)  # four corners span three directions
    assert apart.distance == pytest.approx(9 / 11 * np.sqrt(2), rel=1e-3)


def test_active_share_against_plain_loops():
    torch.manual_seed(1)
    x, labels = (
        nn.functional.normalize(torch.randn(9, 3)),
        torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3]),
    )
    squared = squared_distances(x)
    hits = [
        bool(squared[a, p] - squared[a, n] + 0.3 > 0)
        for a in range(9) for p in range(9) for n in range(9)
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    ]  # fmt: skip
    assert active_share(squared, labels, 0.3) == pytest.approx(np.mean(hits))
