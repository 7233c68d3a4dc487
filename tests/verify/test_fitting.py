import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from verify.calibration import BINS, Calibration
from verify.errors import NothingToMeasure
from verify.fitting import RATES, comparisons, fit


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def album(
    counts: list[int], seed: int, noise: float = 0.6
) -> tuple[NDArray[np.float32], list[str]]:
    """Photos of people around random directions, shuffled: float32 (N, 16) and N names."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = unit(rng.normal(size=(len(counts), 16)))
    return unit(centres[people] + noise * unit(rng.normal(size=(len(people), 16)))), [
        f"person {person}" for person in people
    ]


def fitted(vectors: NDArray[np.float32], names: list[str], seed: int = 0) -> Calibration:
    return fit(vectors, names, space="toy", source="toy", data_digest="0" * 64, seed=seed)


def plain_curves(
    vectors: NDArray[np.float32], names: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight a bin of non-mated and of mated comparisons, pair by pair of people."""
    nonmated, mated = np.zeros(BINS), np.zeros(BINS)
    photos = {name: [i for i, other in enumerate(names) if other == name] for name in names}
    ordered = sorted(photos)
    for first in ordered:
        for second in ordered:
            if first > second:
                continue
            pairs = [
                (i, j) for i in photos[first] for j in photos[second] if first != second or i < j
            ]
            for i, j in pairs:
                similarity = float(np.dot(vectors[i], vectors[j]))
                place = min(max(math.floor((similarity + 1) * 1000), 0), BINS - 1)
                (mated if first == second else nonmated)[place] += 1 / len(pairs)
    return nonmated, mated


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(0, 100))
def test_each_pair_of_people_counts_one(counts: list[int], seed: int):
    vectors, names = album(counts, seed)
    calibration = fitted(vectors, names)
    nonmated, mated = plain_curves(vectors, names)
    k = len(counts)
    assert calibration.people == k
    assert calibration.person_pairs == k * (k - 1) // 2
    assert calibration.mated_people == sum(count > 1 for count in counts)
    assert calibration.photos == sum(counts)
    assert calibration.nonmated.sum() == pytest.approx(calibration.person_pairs, abs=1e-6)
    assert calibration.mated.sum() == pytest.approx(calibration.mated_people, abs=1e-6)
    # a similarity within rounding of an edge may fall on its other side: rare, and by one bin
    off = np.abs(calibration.nonmated - nonmated) > 1e-6
    off |= np.abs(calibration.mated - mated) > 1e-6
    assert off.sum() <= 2


def test_a_person_with_many_photos_weighs_no_more():
    direction = np.eye(3, dtype=np.float32)
    vectors = np.concatenate([np.repeat(direction[:1], 9, axis=0), direction[1:]])
    vectors[-1] = [0.6, 0.8, 0.0]
    calibration = fitted(vectors, ["Ada"] * 9 + ["Bob", "Cy"])
    # Ada–Bob 0.0, Ada–Cy 0.6, Bob–Cy 0.8: one each, however many photos Ada has
    assert calibration.fmr_at(0.7) == pytest.approx(1 / 3)
    assert calibration.fmr_at(0.5) == pytest.approx(2 / 3)
    assert calibration.fmr_at(-0.5) == pytest.approx(1)
    assert calibration.mated_people == 1
    assert calibration.fnmr_at(0.99) == 0.0


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 1024, 1025])
def test_every_pair_comes_once_whatever_the_blocks(n: int):
    vectors = unit(np.random.default_rng(n).normal(size=(n, 4)))
    people = np.arange(n)  # each row its own, so that the yielded people name the rows
    seen = np.zeros((n, n), dtype=int)
    for similarities, first, second in comparisons(vectors, people):
        np.add.at(seen, (first, second), 1)
        true = np.einsum("ij,ij->i", vectors[first], vectors[second])
        np.testing.assert_allclose(similarities, true, atol=1e-6)
    assert np.array_equal(seen, np.triu(np.ones((n, n), dtype=int), 1))


def test_a_set_larger_than_a_block_is_weighed_as_a_small_one():
    counts = [1, 2, 3, 40] * 14  # 644 photos
    vectors, names = album(counts, seed=2)
    owner = np.unique(names, return_inverse=True)[1]
    share = 1 / np.bincount(owner)[owner]
    similarity = vectors @ vectors.T
    strangers = np.triu(owner[:, None] != owner, 1)
    calibration = fitted(vectors, names)
    for threshold in (-0.2, 0.0, 0.2, 0.5):
        above = strangers & (similarity >= threshold)
        rate = np.outer(share, share)[above].sum() / calibration.person_pairs
        assert calibration.fmr_at(threshold) == pytest.approx(rate, abs=1e-4)


def facts(calibration: Calibration) -> dict[str, Any]:
    return {key: value for key, value in calibration.to_dict().items() if key != "created"}


def test_intervals_hold_the_rate_and_follow_the_seed():
    vectors, names = album([2, 3] * 20, seed=3)
    calibration = fitted(vectors, names)
    assert list(calibration.intervals) == [0.1, 0.01]  # 780 pairs of people: no less than 0.0038
    for rate, (low, high) in calibration.intervals.items():
        assert 0 <= low <= calibration.fmr_at(calibration.threshold(rate)) <= high
        assert low < high
    assert facts(fitted(vectors, names)) == facts(calibration)
    assert fitted(vectors, names, seed=1).intervals != calibration.intervals


def test_the_interval_covers_other_people():
    """Of 30 sets of people drawn alike, the 95 % interval holds the true rate in most."""
    everyone, names = album([1] * 1500, seed=5)
    truth = fitted(everyone, names)
    held = 0
    for start in range(0, 1500, 50):
        part = slice(start, start + 50)
        calibration = fitted(everyone[part], names[part])
        low, high = calibration.intervals[0.1]
        held += low <= truth.fmr_at(calibration.threshold(0.1)) <= high
    assert held >= 24


def test_few_people_have_no_intervals():
    vectors, names = album([2] * 8, seed=4)  # 28 pairs of people: not even 0.1
    assert fitted(vectors, names).intervals == {}


def test_every_supported_rate_has_an_interval():
    vectors, names = album([1] * 25, seed=4)  # 300 pairs of people: 0.01 to the dot
    assert list(fitted(vectors, names).intervals) == [rate for rate in RATES if rate >= 0.01]


@pytest.mark.parametrize(("rate", "tolerance"), [(0.1, 0.1), (0.01, 0.25), (0.001, 0.6)])
def test_what_is_fitted_on_some_people_holds_for_others(rate: float, tolerance: float):
    vectors, names = album([2] * 600, seed=8)
    half = np.array([int(name.split()[1]) < 300 for name in names])
    threshold = fitted(vectors[half], [n for n, h in zip(names, half, strict=True) if h])
    others = fitted(vectors[~half], [n for n, h in zip(names, half, strict=True) if not h])
    assert others.fmr_at(threshold.threshold(rate)) == pytest.approx(rate, rel=tolerance)


@pytest.mark.parametrize("names", [[], ["Ada"], ["Ada", "Ada"]])
def test_one_person_is_not_enough(names: list[str]):
    vectors = unit(np.ones((len(names), 4)))
    with pytest.raises(NothingToMeasure, match="two people at least"):
        fitted(vectors, names)


def test_it_is_kept_for_its_space_and_data():
    vectors, names = album([2, 2], seed=1)
    calibration = fit(vectors, names, space="toy-16-abc", source="album", data_digest="ab" * 32)
    assert (calibration.space, calibration.source) == ("toy-16-abc", "album")
    assert calibration.data_digest == "ab" * 32
    assert len(calibration.created) == len("2026-01-31")
