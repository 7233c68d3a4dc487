import numpy as np
import pytest
from numpy.typing import NDArray

from index import levelled as module
from index.errors import Contradiction
from index.levelled import levelled_link, levels
from index.linkage import sized_link

Rows = NDArray[np.float32]
PEOPLE, DIM = 260, 96


def crowd(seed: int) -> Rows:
    """One photo each of many people, and last two people who are like everybody."""
    random = np.random.default_rng(seed)
    common = np.eye(DIM)[0]
    people = random.normal(size=(PEOPLE, DIM)) / DIM**0.5 + 0.3 * common
    hubs = random.normal(size=(2, DIM)) * 0.6 / DIM**0.5 + 0.8 * common
    rows = np.concatenate([people, hubs])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_level_is_the_mean_similarity_to_the_closest_other_clusters(
    points: Rows, monkeypatch: pytest.MonkeyPatch
):
    labels = np.arange(len(points)) // 2
    monkeypatch.setattr(module, "_COHORT", 3)
    monkeypatch.setattr(module, "_PRODUCTS", 100)  # several blocks
    found = levels(points, labels)
    for row, vector in enumerate(points):
        similarities = []
        for label in range(int(labels.max()) + 1):
            mean = points[labels == label].mean(axis=0)
            if label != labels[row]:
                similarities.append(float(vector @ mean / np.linalg.norm(mean)))
        assert found[row] == pytest.approx(np.mean(sorted(similarities)[-3:]), abs=1e-5)


def test_those_who_are_like_everybody_are_not_joined_for_it():
    vectors = crowd(0)
    alike = float(vectors[-1] @ vectors[-2])
    others = vectors[:-2] @ vectors[:-2].T - np.eye(PEOPLE)
    cut = (alike + float(others.max())) / 2  # no other pair is above it
    assert alike > cut
    assert len(np.unique(sized_link(vectors, cut, 0.0))) == PEOPLE + 1
    assert len(np.unique(levelled_link(vectors, cut, 0.0))) == PEOPLE + 2


def test_what_is_known_holds_on_levelled_similarities():
    vectors = crowd(1)
    ties, foes = np.array([[0, 5], [7, 261]]), np.array([[260, 261]])
    labels = levelled_link(vectors, 0.5, 0.0, foes, together=ties)
    assert (labels[ties[:, 0]] == labels[ties[:, 1]]).all()
    assert labels[260] != labels[261]
    with pytest.raises(Contradiction):
        levelled_link(vectors, 0.5, 0.0, foes, together=foes)


def test_beside_many_people_who_looks_like_a_person_is_not_one_of_them():
    others, inside, alike = 240, 0.8, 0.47
    gram = np.eye(others + 6)
    gram[-6:-1, -6:-1], gram[-1, -6:-1], gram[-6:-1, -1] = inside, alike, alike
    np.fill_diagonal(gram, 1)
    vectors = np.linalg.cholesky(gram).astype(np.float32)
    ties = np.array([[others, others + 5]])
    assert sized_link(vectors, 0.45, 0.0)[-6:].tolist() == [others] * 6
    assert levelled_link(vectors, 0.45, 0.0)[-6:].tolist() == [others] * 5 + [others + 1]
    assert levelled_link(vectors, 0.45, 0.0, together=ties)[-6:].tolist() == [others] * 6


def test_of_few_clusters_there_are_no_levels(points: Rows):
    assert np.array_equal(levelled_link(points, 0.4, 0.0), sized_link(points, 0.4, 0.0))
    assert levelled_link(points[:0], 0.5, 0.0).tolist() == []
