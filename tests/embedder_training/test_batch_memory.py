"""Vectors of earlier batches against plain loops; and the ring after a restart."""

import numpy as np
import pytest
import torch

from embedder.errors import BadRecipe
from embedder.objectives import Batch, Objective, Weighted

D, SIZE = 5, 20


def batches(count, each=8, seed=0):
    torch.manual_seed(seed)
    return [Batch(torch.randn(each, D), torch.randint(0, 4, (each,))) for _ in range(count)]


def remembering(name, **options):
    return Objective([Weighted(name, options={"memory": SIZE, **options})], dim=D, classes=4)


def unit(vectors):
    x = vectors.double().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def remembered(seen):
    """The last vectors and labels, and where the newest batch begins in them."""
    vectors = np.concatenate([unit(b.vectors) for b in seen])[-SIZE:]
    labels = np.concatenate([b.labels.numpy() for b in seen])[-SIZE:]
    return vectors, labels, len(labels) - len(seen[-1].labels)


def wanted_contrastive(seen, margin):
    known, names, first = remembered(seen)
    near, far = [], []
    for i, (a, label) in enumerate(zip(unit(seen[-1].vectors), seen[-1].labels, strict=True)):
        for j, (b, other) in enumerate(zip(known, names, strict=True)):
            distance = np.linalg.norm(a - b)
            if label == other and j != first + i:
                near.append(0.5 * distance**2)
            if label != other:
                far.append(0.5 * max(0.0, margin - distance) ** 2)
    return np.mean(near) + np.mean(far)


def wanted_hard_triplets(seen, margin):
    known, names, first = remembered(seen)
    losses = []
    for i, (a, label) in enumerate(zip(unit(seen[-1].vectors), seen[-1].labels, strict=True)):
        squared = ((known - a) ** 2).sum(axis=1)
        mates = [squared[j] for j in range(len(names)) if names[j] == label and j != first + i]
        others = squared[names != label.item()]
        if mates and len(others):
            losses.append(max(0.0, max(mates) - min(others) + margin))
    active = [loss for loss in losses if loss > 0]
    return np.mean(active)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("contrastive", {"margin": 1.3}, lambda seen: wanted_contrastive(seen, 1.3)),
        ("triplet", {"margin": 0.2, "mining": "hard"}, lambda s: wanted_hard_triplets(s, 0.2)),
    ],
)
def test_earlier_batches_count(name, options, wanted):
    objective, seen = remembering(name, **options), []
    for batch in batches(4):  # 32 vectors go round a ring of 20
        seen.append(batch)
        value, _ = objective(batch)
        assert value.item() == pytest.approx(wanted(seen), rel=1e-4)


def test_only_this_batch_has_a_gradient():
    objective = remembering("supcon")
    first, second = batches(2)
    for batch in (first, second):
        batch.vectors.requires_grad_()
        value, _ = objective(batch)
    value.backward()
    assert first.vectors.grad is None
    assert second.vectors.grad.abs().sum() > 0


@pytest.mark.parametrize("done", [1, 3])  # before and after the ring went round
def test_a_restart_goes_on_where_it_was(done):
    whole, early, late = (remembering("contrastive") for _ in range(3))
    series = batches(5)
    for batch in series[:done]:
        whole(batch)
        early(batch)
    late.load_state_dict({k: v.clone() for k, v in early.state_dict().items()})
    for batch in series[done:]:
        assert torch.equal(late(batch)[0], whole(batch)[0])


def test_nameless_vectors_are_not_remembered():
    objective, plain = remembering("contrastive"), remembering("contrastive")
    first, second = batches(2)
    nobody = Batch(torch.randn(3, D), torch.full((3,), -1))
    mixed = Batch(
        torch.cat([first.vectors, nobody.vectors]), torch.cat([first.labels, nobody.labels])
    )
    assert objective(nobody)[0] == 0
    torch.testing.assert_close(objective(mixed)[0], plain(first)[0])
    torch.testing.assert_close(objective(second)[0], plain(second)[0])


def test_a_memory_holds_a_batch_at_least():
    with pytest.raises(BadRecipe, match="smaller than the batch of 30"):
        remembering("triplet")(batches(1, each=30)[0])
