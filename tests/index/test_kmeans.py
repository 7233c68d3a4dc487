import numpy as np
import pytest
from numpy.typing import NDArray

from index import kmeans as module
from index.errors import WrongNumber
from index.kmeans import kmeans

Rows = NDArray[np.float32]


@pytest.fixture(params=["faiss", "numpy"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setattr(module, "find_spec", lambda _: None)


def test_well_separated_directions_are_found():
    random = np.random.default_rng(0)
    truth = np.arange(100) % 5
    rows = np.eye(32)[truth] + 0.05 * random.normal(size=(100, 32))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    found = kmeans(vectors, 5, tries=10)
    assert np.array_equal(found.labels, truth)
    for label in range(5):
        mean = vectors[found.labels == label].mean(axis=0)
        assert found.centroids[label] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    similarities = (vectors * found.centroids[found.labels]).sum(axis=1)
    assert found.objective == pytest.approx(similarities.mean(), abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 17, 150, 199, 200])
def test_k_clusters_come_back_and_none_is_empty(points: Rows, k: int):
    found = kmeans(points, k)
    assert np.array_equal(np.unique(found.labels), np.arange(k))
    assert found.centroids.shape == (k, 16)
    assert np.linalg.norm(found.centroids, axis=1) == pytest.approx(1, abs=1e-5)


def test_empty_clusters_are_filled_where_most_rows_are_the_same(points: Rows):
    vectors = np.vstack([np.repeat(points[:1], 90, axis=0), points[1:10]])
    found = kmeans(vectors, 10)
    assert np.array_equal(np.unique(found.labels), np.arange(10))
    assert found.objective == pytest.approx(1, abs=1e-5)
    assert np.array_equal(np.unique(kmeans(vectors[:90], 4).labels), np.arange(4))


def test_opposite_rows_have_a_centroid_of_length_one():
    vectors = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    assert np.linalg.norm(kmeans(vectors, 1).centroids) == pytest.approx(1)


def test_the_same_seed_gives_the_same_clusters(points: Rows):
    one, two = kmeans(points, 12, seed=4), kmeans(points, 12, seed=4)
    assert np.array_equal(one.labels, two.labels)
    assert one.objective == two.objective


def test_more_clusters_are_tighter(points: Rows):
    objectives = [kmeans(points, k).objective for k in (2, 8, 32, 128)]
    assert objectives == sorted(objectives)


def test_nothing_is_printed(points: Rows, capfd: pytest.CaptureFixture[str]):
    kmeans(points, 50)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("k", [-1, 0, 201])
def test_impossible_numbers_of_clusters_are_refused(points: Rows, k: int):
    with pytest.raises(WrongNumber, match=f"from 1 to the number of rows, 200, got {k}"):
        kmeans(points, k)


def test_other_numbers_outside_their_range_are_refused(points: Rows):
    for numbers in ({"seed": -1}, {"tries": 0}, {"steps": 0}):
        with pytest.raises(WrongNumber, match="at least"):
            kmeans(points, 2, **numbers)


def test_moved_centroids_and_rows_trained_on_are_told(
    points: Rows, monkeypatch: pytest.MonkeyPatch
):
    found = kmeans(points, 12)
    assert found.trained_on == 200
    assert found.reseeded >= 0
    assert kmeans(np.repeat(points[:1], 20, axis=0), 3).reseeded > 0
    monkeypatch.setattr(module, "_TRAINED", 50)
    monkeypatch.setattr(module, "_TRAINED_EACH", 4)
    sampled = kmeans(points, 12)
    assert sampled.trained_on == 50
    assert len(sampled.labels) == 200
    assert np.array_equal(np.unique(sampled.labels), np.arange(12))


def test_a_row_that_every_cluster_is_closed_to_has_its_own(points: Rows):
    apart = np.array([[0, 1], [0, 2], [1, 2]])
    labels = kmeans(points, 2, apart=apart).labels
    assert len(set(labels[:3].tolist())) == 3
    assert labels.max() == 2
