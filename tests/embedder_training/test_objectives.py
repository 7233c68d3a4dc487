"""Every objective against plain loops over numpy arrays."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from embedder.errors import BadRecipe
from embedder.objectives import (
    OBJECTIVES,
    ArcFace,
    Batch,
    Contrastive,
    DistilSimilarity,
    DistilVectors,
    NtXent,
    Objective,
    SameDifferent,
    SupCon,
    TripletMargin,
    TripletRatio,
    Weighted,
)

N, D = 14, 6


@pytest.fixture
def batch():
    torch.manual_seed(3)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4])
    return Batch(torch.randn(N, D) * 2, labels, torch.randn(N, D))


def rows(batch, unit):
    x = batch.vectors.numpy().astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x


def triplets(labels):
    """All (a, p, n)."""
    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if a != p and labels[a] == labels[p] and labels[a] != labels[n]:
                    yield a, p, n


def pairs(labels, *, same):
    return [
        (i, j) for i, j in combinations(range(len(labels)), 2) if (labels[i] == labels[j]) == same
    ]


def mean_active(values):
    active = [v for v in values if v > 0]
    return sum(active) / len(active)


def test_triplet_all(batch):
    x, labels = rows(batch, True), batch.labels.tolist()
    wanted = mean_active(
        ((x[a] - x[p]) ** 2).sum() - ((x[a] - x[n]) ** 2).sum() + 0.3
        for a, p, n in triplets(labels)
    )
    assert TripletMargin(0.3, "all")(batch).item() == pytest.approx(wanted, rel=1e-5)


def test_triplet_semi_hard(batch):
    x, labels = rows(batch, True), batch.labels.tolist()
    losses = []
    for a, p, n in triplets(labels):
        near, far = ((x[a] - x[p]) ** 2).sum(), ((x[a] - x[n]) ** 2).sum()
        if near < far <= near + 0.5:
            losses.append(near - far + 0.5)
    assert losses
    got = TripletMargin(0.5, "semi-hard")(batch).item()
    assert got == pytest.approx(mean_active(losses), rel=1e-5)


def test_triplet_hard(batch):
    x, labels = rows(batch, True), batch.labels.tolist()
    losses = []
    for a in range(N):
        near = max(((x[a] - x[p]) ** 2).sum() for b, p, _ in triplets(labels) if b == a)
        far = min(((x[a] - x[n]) ** 2).sum() for b, _, n in triplets(labels) if b == a)
        losses.append(near - far + 0.2)
    assert TripletMargin(0.2, "hard")(batch).item() == pytest.approx(mean_active(losses), rel=1e-5)


def ratio(x, a, p, n, temperature):
    positive = np.abs(x[a] - x[p]).sum() / temperature
    negative = np.abs(x[a] - x[n]).sum() / temperature
    total = math.exp(positive) + math.exp(negative)
    return abs(math.exp(positive) / total) + abs(1 - math.exp(negative) / total)


@pytest.mark.parametrize(("unit", "temperature"), [(False, 1.0), (True, 0.2)])
def test_triplet_ratio(batch, unit, temperature):
    x, labels = rows(batch, unit), batch.labels.tolist()
    wanted = np.mean([ratio(x, a, p, n, temperature) for a, p, n in triplets(labels)])
    got = TripletRatio(unit, temperature)(batch).item()
    assert got == pytest.approx(wanted, rel=1e-5)


def test_triplet_ratio_hard(batch):
    x, labels = rows(batch, True), batch.labels.tolist()
    values = []
    for a in range(N):
        mine = [t for t in triplets(labels) if t[0] == a]
        p = max((t[1] for t in mine), key=lambda i: np.abs(x[a] - x[i]).sum())
        n = min((t[2] for t in mine), key=lambda i: np.abs(x[a] - x[i]).sum())
        values.append(ratio(x, a, p, n, 0.5))
    got = TripletRatio(True, 0.5, "hard")(batch).item()
    assert got == pytest.approx(np.mean(values), rel=1e-5)


def test_triplet_ratio_goes_to_zero_as_classes_part():
    vectors = torch.tensor([[0.0, 0.0], [0.1, 0.0], [50.0, 0.0], [50.0, 0.1]])
    apart = TripletRatio()(Batch(vectors, torch.tensor([0, 0, 1, 1])))
    mixed = TripletRatio()(Batch(vectors, torch.tensor([0, 1, 0, 1])))
    assert apart < 1e-6
    assert mixed > 0.9


@pytest.mark.parametrize("unit", [True, False])
def test_contrastive(batch, unit):
    x, labels = rows(batch, unit), batch.labels.tolist()
    near = [0.5 * ((x[i] - x[j]) ** 2).sum() for i, j in pairs(labels, same=True)]
    far = [
        0.5 * max(0.0, 1.3 - np.linalg.norm(x[i] - x[j])) ** 2 for i, j in pairs(labels, same=False)
    ]
    got = Contrastive(1.3, unit)(batch).item()
    assert got == pytest.approx(np.mean(near) + np.mean(far), rel=1e-4)


def test_contrastive_has_a_gradient_where_vectors_agree():
    vectors = torch.zeros(4, 3, requires_grad=True)
    Contrastive(1.0, unit=False)(Batch(vectors, torch.tensor([0, 0, 1, 1]))).backward()
    assert torch.isfinite(vectors.grad).all()


def test_same_different(batch):
    objective = SameDifferent(D)
    x, labels = rows(batch, False), batch.labels.tolist()
    w = objective.judge.weight.detach().numpy().astype(np.float64)[0]
    c = objective.judge.bias.item()

    def logit(i, j):
        return np.abs(x[i] - x[j]) @ w + c

    near = np.mean([np.log1p(np.exp(-logit(i, j))) for i, j in pairs(labels, same=True)])
    far = np.mean([np.log1p(np.exp(logit(i, j))) for i, j in pairs(labels, same=False)])
    assert objective(batch).item() == pytest.approx(0.5 * (near + far), rel=1e-5)


def test_supcon(batch):
    x, labels = rows(batch, True), batch.labels.tolist()
    losses = []
    for a in range(N):
        others = [j for j in range(N) if j != a]
        total = sum(math.exp(x[a] @ x[j] / 0.1) for j in others)
        mine = [j for j in others if labels[j] == labels[a]]
        losses.append(-np.mean([x[a] @ x[j] / 0.1 - math.log(total) for j in mine]))
    assert SupCon(0.1)(batch).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_nt_xent_of_two_views():
    torch.manual_seed(5)
    vectors, labels = torch.randn(10, D), torch.arange(5).repeat(2)
    x = vectors.numpy() / np.linalg.norm(vectors.numpy(), axis=1, keepdims=True)
    losses = []
    for a in range(10):
        p = (a + 5) % 10
        total = sum(math.exp(x[a] @ x[j] / 0.5) for j in range(10) if j != a)
        losses.append(-math.log(math.exp(x[a] @ x[p] / 0.5) / total))
    objective = NtXent(0.5)
    for asked in (objective, lambda batch: objective.loss(batch.vectors, batch.labels)):
        assert asked(Batch(vectors, labels)).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_arcface(batch):
    objective = ArcFace(5, D, margin=0.5, scale=16.0)
    w = objective.loss.W.detach().numpy().astype(np.float64)  # (D, C)
    w = w / np.linalg.norm(w, axis=0)
    cosines = rows(batch, True) @ w
    losses = []
    for i, label in enumerate(batch.labels.tolist()):
        logits = 16.0 * cosines[i]
        angle = math.acos(cosines[i, label])
        if angle + 0.5 < math.pi:
            logits[label] = 16.0 * math.cos(angle + 0.5)
        else:  # past π the cosine would rise again; the library goes on in a straight line
            logits[label] = 16.0 * (cosines[i, label] - 0.5 * math.sin(0.5))
        losses.append(-logits[label] + math.log(np.exp(logits).sum()))
    assert objective(batch).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_distillation(batch):
    x = rows(batch, True)
    t = batch.teacher.numpy().astype(np.float64)
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    vectors = np.mean([1 - x[i] @ t[i] for i in range(N)])
    similarity = np.mean(
        [(x[i] @ x[j] - t[i] @ t[j]) ** 2 for i in range(N) for j in range(N) if i != j]
    )
    assert DistilVectors()(batch).item() == pytest.approx(vectors, rel=1e-5)
    assert DistilSimilarity()(batch).item() == pytest.approx(similarity, rel=1e-5)


def test_distillation_without_a_teacher(batch):
    with pytest.raises(BadRecipe, match="teacher"):
        DistilVectors()(Batch(batch.vectors, batch.labels))


# Left out: labels of nt-xent are the pictures themselves, and distilling asks for no label.
@pytest.mark.parametrize(
    "name", sorted(set(OBJECTIVES) - {"distil-vectors", "distil-similarity", "nt-xent"})
)
def test_unlabelled_vectors_do_not_count(batch, name):
    torch.manual_seed(0)
    objective = Objective([Weighted(name)], dim=D, classes=5)
    labels = torch.cat([batch.labels, torch.full((3,), -1)])
    more = Batch(torch.cat([batch.vectors, torch.randn(3, D)]), labels)
    wanted, _ = objective(Batch(batch.vectors, batch.labels))
    torch.testing.assert_close(objective(more)[0], wanted)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_descending_helps(batch, name):
    """Plain gradient steps on the vectors make each objective smaller."""
    torch.manual_seed(0)
    labels = torch.arange(7).repeat(2) if name == "nt-xent" else batch.labels
    # averaged over the active ones, semi-hard triplets stay as hard as they were chosen
    options = {"mining": "hard"} if name == "triplet" else {}
    objective = Objective([Weighted(name, options=options)], dim=D, classes=5)
    vectors = nn.Parameter(batch.vectors.clone())
    optimizer = torch.optim.Adam([vectors, *objective.parameters()], lr=0.05)
    values = []
    for _ in range(40):
        loss, _ = objective(Batch(vectors, labels, batch.teacher))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]


def test_objectives_combine_with_weights(batch):
    both = Objective([Weighted("supcon", 2.0), Weighted("contrastive", 0.5)], dim=D, classes=5)
    total, parts = both(batch)
    wanted = 2.0 * parts["supcon"] + 0.5 * parts["contrastive"]
    torch.testing.assert_close(total, wanted)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([], "at least one"),
        ([Weighted("magic")], "known are triplet"),
        ([Weighted("triplet", options={"marge": 1})], "no such option"),
        ([Weighted("triplet", options={"mining": "x"})], "known are semi-hard"),
    ],
)
def test_bad_choices(chosen, words):
    with pytest.raises(BadRecipe, match=words):
        Objective(chosen, dim=D, classes=2)
