import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ive
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from index import choose_k as module
from index.choose_k import choose_k
from index.errors import WrongNumber
from index.kmeans import kmeans, sums_of

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


def test_ten_digits_are_found_without_a_calibration():
    pixels, digits = load_digits(return_X_y=True)
    trained = LinearDiscriminantAnalysis().fit(pixels[::2], digits[::2])
    rows = trained.transform(pixels[1::2])
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    chosen = choose_k(vectors, most=50, seeds=2)
    assert 9 <= chosen.k <= 11
    assert chosen.criterion == "silhouette"
    assert chosen.best["silhouette"] == chosen.k
    assert 8 <= chosen.best["bic"] <= 16
    assert all(candidate.links is None for candidate in chosen.candidates)


def test_many_small_clusters_are_counted_by_links(families: tuple[Rows, Labels]):
    vectors, truth = families
    alone = np.linalg.qr(np.random.default_rng(5).normal(size=(64, 64)))[0][:20]
    vectors = np.vstack([vectors, alone.astype(np.float32)])
    true = len(np.unique(truth)) + 20
    tried: list[int] = []
    chosen = choose_k(vectors, lambda s: s > 0.45, seeds=2, progress=tried.append)
    assert chosen.k == pytest.approx(true, rel=0.1)
    assert chosen.criterion == "links"
    assert sorted(tried) == [candidate.k for candidate in chosen.candidates]
    best = max(chosen.candidates, key=lambda candidate: candidate.links or 0)
    assert best.k == chosen.k
    assert best.stability > 0.8
    assert f"k = {chosen.k}" in chosen.explanation


def test_the_curve_goes_to_json_and_is_the_same_for_the_same_seed(points: Rows):
    one = choose_k(points[:60], lambda s: 1 / (1 + np.exp(-20 * (s - 0.4))), seeds=2)
    two = choose_k(points[:60], lambda s: 1 / (1 + np.exp(-20 * (s - 0.4))), seeds=2)
    assert one == two
    read = json.loads(json.dumps(one.to_dict()))
    assert read["k"] == one.k
    assert [c["k"] for c in read["candidates"]] == [c.k for c in one.candidates]
    assert read["candidates"][0]["links"] == one.candidates[0].links


def test_links_are_bcubed_of_the_pairs(points: Rows):
    labels = kmeans(points, 20).labels
    linked = points @ points.T > 0.3
    np.fill_diagonal(linked, True)
    inside = labels[:, None] == labels
    shares = module._Links.of(points, lambda s: s > 0.3, 0).agreement(labels)
    assert shares.precision == pytest.approx(np.mean((linked & inside).sum(1) / inside.sum(1)))
    assert shares.recall == pytest.approx(np.mean((linked & inside).sum(1) / linked.sum(1)))


def test_the_silhouette_equals_the_slow_way(points: Rows):
    found = kmeans(points, 150)
    widths = []
    for row, vector in enumerate(points):
        mates = np.flatnonzero(found.labels == found.labels[row])
        mates = mates[mates != row]
        if not len(mates):
            widths.append(0.0)
            continue
        mean = points[mates].mean(axis=0)
        own = 1 - vector @ mean / np.linalg.norm(mean)
        following = 1 - np.delete(found.centroids, found.labels[row], axis=0) @ vector
        widths.append((following.min() - own) / max(following.min(), own))
    sums = sums_of(points, found.labels, 150)
    assert module._silhouette(points, found, sums) == pytest.approx(np.mean(widths), abs=1e-5)


def test_the_expansion_of_the_bessel_function_agrees_with_scipy():
    for order, x in ((9.5, 3.0), (63.0, 40.0), (63.0, 300.0), (255.0, 900.0)):
        assert module._log_bessel(order, x) == pytest.approx(np.log(ive(order, x)) + x, abs=1e-3)


def test_one_row_equal_rows_and_a_range(points: Rows):
    assert choose_k(points[:1]).k == 1
    assert choose_k(np.repeat(points[:1], 5, axis=0), lambda s: s > 0.5, least=1).k == 1
    assert {c.k for c in choose_k(points, least=4, most=6).candidates} == {4, 5, 6}
    for numbers in ({"least": 0}, {"least": 9, "most": 3}, {"seeds": 0}, {"seed": -1}):
        with pytest.raises(WrongNumber, match="k is chosen from"):
            choose_k(points, **numbers)
    with pytest.raises(WrongNumber, match="at least one row"):
        choose_k(points[:0])


def test_of_very_many_rows_a_sample_is_tried(points: Rows, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_ROWS", 50)
    assert choose_k(points, most=10, seeds=1).rows == 50
