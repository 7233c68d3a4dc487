from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import NothingToMeasure
from verify.open_set import (
    cmc,
    default_sizes,
    gallery_size,
    identification_rate,
    open_set_curve,
    open_set_points,
    search,
    searches,
    split_folder,
)
from verify.photoset import Listing, PhotoSet

SCORES = st.one_of(
    st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0, float("-inf")]), st.floats(-1, 1, width=32)
)


def listing(counts: list[int]) -> Listing:
    people = np.repeat(np.arange(len(counts)), counts)
    files = tuple(f"p{person}/{row:04}.jpg" for row, person in enumerate(people))
    return Listing(Path("people"), files, people, tuple(f"p{n}" for n in range(len(counts))))


def photo_set(counts: list[int], seed: int = 0, failed: tuple[int, ...] = ()) -> PhotoSet:
    generator = np.random.default_rng(seed)
    shown = listing(counts)
    centres = generator.standard_normal((len(counts), 8))
    vectors = centres[shown.people] + 0.9 * generator.standard_normal((len(shown), 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[list(failed)] = 0
    looked = np.ones(len(shown), dtype=bool)
    return PhotoSet(shown, vectors, looked, dict.fromkeys(failed, "face_not_found"))


@st.composite
def found_searches(draw: st.DrawFn):
    k, p, s = draw(st.integers(1, 6)), draw(st.integers(1, 8)), draw(st.integers(1, 8))
    cells = st.lists(SCORES, min_size=k, max_size=k)
    mated = np.array(draw(st.lists(cells, min_size=p, max_size=p)), np.float32)
    strangers = np.array(draw(st.lists(cells, min_size=s, max_size=s)), np.float32)
    true = np.array(draw(st.lists(st.integers(0, k - 1), min_size=p, max_size=p)))
    return mated, true, strangers


def plain_rank(row: list[float], own: int) -> int:
    """Everybody at least as similar stands before; nobody finds what has no vector."""
    if row[own] == -np.inf:
        return len(row) + 1
    return 1 + sum(1 for k, score in enumerate(row) if k != own and score >= row[own])


@given(found_searches(), st.sampled_from([0.3, 0.5, 0.9]))
def test_rates_are_plain_counts(drawn, asked: float):
    mated, true, strangers = drawn
    # many strangers of one photo each, so that every asked rate is supported
    many = np.tile(strangers, (10, 1))
    found = searches(mated, true, true, many, np.arange(len(many)))
    ranks = [plain_rank(row, own) for row, own in zip(mated.tolist(), true.tolist(), strict=True)]
    assert found.ranks.tolist() == ranks
    for rank, rate in enumerate(cmc(found), start=1):
        assert rate == pytest.approx(sum(r <= rank for r in ranks) / len(ranks), abs=1e-9)
    (point,) = open_set_points(found, [asked])
    if point.threshold is None:
        return
    fpir = sum(max(row) >= point.threshold for row in many.tolist()) / len(many)
    missed = [
        rank > 1 or row[own] < point.threshold
        for rank, row, own in zip(ranks, mated.tolist(), true.tolist(), strict=True)
    ]
    assert fpir <= asked + 1e-9
    assert (point.fpir.errors, point.fpir.trials) == (round(fpir * len(many)), len(many))
    assert (point.fnir.errors, point.fnir.trials) == (sum(missed), len(missed))


@given(found_searches())
def test_the_det_is_plain_counts(drawn):
    mated, true, strangers = drawn
    found = searches(mated, true, true, strangers, np.arange(len(strangers)))
    curve = open_set_curve(found)
    assert curve is not None
    for threshold, fpir, fnir in zip(
        curve.thresholds, curve.false_accepts, curve.false_rejects, strict=True
    ):
        assert fpir == pytest.approx(np.mean([max(row) >= threshold for row in strangers.tolist()]))
        hits = [
            plain_rank(row, own) == 1 and row[own] >= threshold
            for row, own in zip(mated.tolist(), true.tolist(), strict=True)
        ]
        assert fnir == pytest.approx(1 - np.mean(hits), abs=1e-9)


def test_a_search_is_the_nearest_photo_of_each_person():
    photos = photo_set([3, 2, 4, 2], failed=(1, 7))
    gallery, probes = np.array([8, 0, 1, 5, 3]), np.array([2, 4, 7, 10])
    people = np.array([0, 1, 2])
    found = search(photos, probes, gallery, people)
    for q, probe in enumerate(probes):
        for k, person in enumerate(people):
            plain = [
                float(photos.vectors[probe] @ photos.vectors[row])
                for row in gallery
                if photos.listing.people[row] == person and not {row, probe} & {1, 7}
            ]
            assert found[q, k] == pytest.approx(max(plain, default=-np.inf), abs=1e-6)


def test_a_failed_probe_is_a_miss_and_a_tie_is_one():
    mated = np.array([[-np.inf, -np.inf], [0.5, 0.5], [0.9, 0.1]], np.float32)
    true = np.array([0, 0, 0])
    found = searches(mated, true, np.arange(3), np.empty((0, 2), np.float32), np.empty(0, int))
    assert found.ranks.tolist() == [3, 2, 1]
    assert cmc(found) == pytest.approx((1 / 3, 2 / 3))
    assert open_set_curve(found) is None
    assert not open_set_points(found)[0].fnir.supported


def test_rank_ten_of_a_small_gallery_is_its_last_rank():
    mated = np.array([[-np.inf, 0.2], [0.1, 0.2], [0.1, 0.2], [0.1, 0.2]], np.float32)
    found = searches(
        mated, np.zeros(4, int), np.arange(4), np.empty((0, 2), np.float32), np.empty(0, int)
    )
    assert identification_rate(found, 10).value == 0.75


def test_small_rates_need_many_strangers():
    mated = np.full((5, 2), 0.5, np.float32)
    for people, supported in ((299, False), (300, True)):
        strangers = np.full((people, 2), 0.1, np.float32)
        found = searches(mated, np.zeros(5, int), np.arange(5), strangers, np.arange(people))
        (point,) = open_set_points(found, [0.01])
        assert point.fpir.supported is supported


def test_a_split_gives_every_photo_one_role():
    shown = listing([1, 4, 2, 1, 3, 2])
    roles, words = split_folder(shown, 1, None, 0)
    rows = np.concatenate([roles.gallery, roles.mated, roles.strangers])
    assert sorted(rows.tolist()) == list(range(len(shown)))
    counts = np.bincount(shown.people[roles.gallery], minlength=6)
    assert set(counts.tolist()) <= {0, 1}
    assert set(shown.people[roles.mated]) == set(np.flatnonzero(counts))
    assert not set(shown.people[roles.strangers]) & set(np.flatnonzero(counts))
    assert "first 1 photo" in words


def test_a_share_is_left_out_by_the_seed():
    shown = listing([4] * 20)
    one, _ = split_folder(shown, 2, 0.5, 0)
    assert len(np.unique(shown.people[one.gallery])) == 10
    assert len(one.gallery) == len(one.mated) == 20
    same, _ = split_folder(shown, 2, 0.5, 0)
    other, _ = split_folder(shown, 2, 0.5, 1)
    assert np.array_equal(one.gallery, same.gallery)
    assert not np.array_equal(one.gallery, other.gallery)


def test_nobody_to_enrol():
    with pytest.raises(NothingToMeasure, match="more than 2 photos"):
        split_folder(listing([2, 1]), 2, None, 0)


def test_a_smaller_gallery_is_a_gallery():
    generator = np.random.default_rng(0)
    mated, strangers = generator.random((30, 6)), generator.random((400, 6))
    mated, strangers = mated.astype(np.float32), strangers.astype(np.float32)
    true = np.arange(30) % 6
    order = np.array([4, 1, 0, 5, 2, 3])
    size = gallery_size(
        2, order, mated, true, true, strangers, np.arange(400), np.array([1, 2, 3, 4, 5, 6])
    )
    chosen = np.isin(true, [1, 4])
    columns = np.array([1, 4])
    found = searches(
        mated[chosen][:, columns], np.searchsorted(columns, true[chosen]), true[chosen],
        strangers[:, columns], np.arange(400),
    )  # fmt: skip
    assert (size.people, size.photos, size.rank1.trials) == (2, 7, 10)
    assert size.points == open_set_points(found)


def test_default_sizes():
    assert default_sizes(496) == (15, 31, 62, 124, 248, 496)
    assert default_sizes(7) == (7,)
