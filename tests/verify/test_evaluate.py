import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedder.embed import Embedder
from enroll import cluster
from index.partition import agreement
from verify import evaluate as module
from verify.calibration import Calibration
from verify.cuts import CUT_RATE, cuts_of
from verify.errors import NothingToMeasure, UnsupportedRate
from verify.evaluate import (
    PairSource,
    Rules,
    clustering,
    evaluate_clustering,
    evaluate_identification,
    evaluate_verification,
    identification,
    operating_point,
    verification,
    verify_all,
    verify_listed,
)
from verify.evaluation import Estimate, Rate, Setup
from verify.evaluation_text import facenet_lines, text
from verify.open_set import split_folder
from verify.pairs import Pairs
from verify.photoset import Listing, PhotoSet

EVERYBODY = PairSource()


def photo_set(people: int, each: int, failed: tuple[int, ...] = (), noise: float = 0.5) -> PhotoSet:
    generator = np.random.default_rng(0)
    who = np.repeat(np.arange(people), each)
    vectors = generator.standard_normal((people, 16))[who]
    vectors = vectors + noise * generator.standard_normal((len(who), 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[list(failed)] = 0
    files = tuple(f"p{person:03}/{row}.jpg" for row, person in enumerate(who))
    shown = Listing(Path("people"), files, who, tuple(f"p{n:03}" for n in range(people)))
    looked = np.ones(len(who), dtype=bool)
    return PhotoSet(shown, vectors, looked, dict.fromkeys(failed, "face_not_found"))


def setup(*, kind: str = "verification", drop: bool = False) -> Setup:
    return Setup(kind, "toy", "m", "m-16", "whole", "centre", "words", drop, 0, "2026-01-01")


def all_pairs(photos: PhotoSet, *, drop: bool = False):
    rows = np.arange(len(photos.listing))
    used = np.ones(len(rows), dtype=bool)
    scored, folds, _ = verify_all(photos, used, Rules(drop_failures=drop))
    return verification(photos, scored, folds, EVERYBODY, setup(drop=drop), (rows, rows))


def test_a_missed_face_is_an_error():
    photos = photo_set(30, 3, failed=(0, 50))
    counted, dropped = all_pairs(photos), all_pairs(photos, drop=True)
    assert (counted.mated, dropped.mated) == (90, 86)
    assert counted.nonmated == 90 * 89 // 2 - 90
    assert dropped.nonmated == 88 * 87 // 2 - 86
    loose = counted.points[0]
    assert loose.fnmr.errors >= 4
    assert loose.fnmr.value == pytest.approx(loose.fnmr.errors / 90)
    assert dropped.points[0].fnmr.errors < loose.fnmr.errors
    assert [one.similarity for one in counted.false_non_matches[:4]] == [None] * 4
    assert (counted.failures.failed, counted.failures.fta.errors) == (2, 2)
    assert counted.failures.reasons == {"face_not_found": 2}
    assert "--drop-failures" in text(dropped)
    assert "counted as errors" in text(counted)


def test_what_the_data_cannot_support_is_unsupported():
    found = all_pairs(photo_set(30, 3))  # 435 pairs of people: 3 / 435 = 0.0069
    assert [point.fmr.supported for point in found.points] == [True, True, *[False] * 4]
    assert found.points[2].threshold is None
    assert found.validation is None
    lines = facenet_lines(found)
    assert lines[1] == "Validation rate: unsupported @ FAR=0.00100"
    assert found.to_dict()["points"][3]["fnmr"]["value"] is None
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["format"]


def test_points_are_plain_counts():
    photos = photo_set(30, 3, noise=1.0)
    found = all_pairs(photos)
    scores, who = photos.vectors @ photos.vectors.T, photos.listing.people
    one, other = np.triu_indices(90, 1)
    same, values = who[one] == who[other], scores[one, other]
    for point in found.points[:2]:
        assert point.threshold is not None
        assert point.fmr.errors == np.sum(values[~same] >= point.threshold)
        assert point.fnmr.errors == np.sum(values[same] < point.threshold)
        assert point.fmr.value is not None
        assert point.fmr.value <= point.asked
        assert (point.fnmr.trials, point.fnmr.units) == (90, 30)
        assert (point.fmr.trials, point.fmr.units) == (3915, 435)
    worst = found.false_matches[0].similarity
    assert worst == pytest.approx(values[~same].max(), abs=1e-6)


def test_facenets_lines():
    photos = photo_set(130, 3)
    found = all_pairs(photos)
    lines = facenet_lines(found)
    assert lines[0] == f"Accuracy: {found.accuracy.mean:.5f}+-{found.accuracy.std:.5f}"
    assert lines[2].startswith("Area Under Curve (AUC): ")
    assert lines[3].startswith("Equal Error Rate (EER): ")
    assert found.accuracy.folds == 10


def listed(photos: PhotoSet, folds: np.ndarray | None) -> Pairs:
    one, other = np.triu_indices(len(photos.listing), 1)
    same = photos.listing.people[one] == photos.listing.people[other]
    keep = same | (np.arange(len(one)) % 9 == 0)
    one, other, same = one[keep], other[keep], same[keep]
    if folds is not None:
        folds = np.arange(len(one)) % 10
    return Pairs(one, other, same, folds, photos.listing.people)


@pytest.mark.parametrize("folds", [None, np.zeros(1)])
def test_the_output_says_where_folds_come_from(folds: np.ndarray | None):
    photos = photo_set(40, 2)
    _, found, words = verify_listed(photos, listed(photos, folds), None, Rules(seed=3))
    assert found.accuracy is not None
    assert found.accuracy.mean > 0.9
    expected = "person-disjoint folds, drawn with seed 3" if folds is None else "10 folds of the"
    assert expected in words


def test_thresholds_from_other_pairs():
    photos = photo_set(40, 2)
    pairs = listed(photos, None)
    half = np.arange(len(pairs.first)) % 2 == 0
    scored, found, words = verify_listed(photos, pairs.where(half), pairs.where(~half), Rules())
    assert found.accuracy is not None
    assert (found.accuracy.folds, found.accuracy.std) == (1, 0.0)
    assert "people occur in both" in words
    assert len(scored.mated) + len(scored.nonmated) == half.sum()


def test_nothing_left_to_compare():
    photos = photo_set(2, 2, failed=(0, 1, 2, 3))
    with pytest.raises(NothingToMeasure, match="No pair is left"):
        verify_listed(photos, listed(photos, None), None, Rules(drop_failures=True))
    with pytest.raises(NothingToMeasure, match="needs both"):
        all_pairs(photo_set(1, 4))


def test_rates_above_the_tail_are_refused():
    photos = photo_set(30, 3)
    scored, _, _ = verify_all(photos, np.ones(90, dtype=bool), Rules())
    with pytest.raises(UnsupportedRate, match="ask for less"):
        operating_point(scored, 0.2)


def test_identification_counts_failures():
    photos = photo_set(60, 3, failed=(0, 4))
    roles, _ = split_folder(photos.listing, 1, 0.5, 0)
    found = identification(photos, roles, (5, 1000), setup(kind="identification"))
    assert (found.gallery_people, found.mated, found.strangers) == (30, 60, 90)
    assert [size.people for size in found.sizes] == [5, 30]
    assert found.ranks[1].trials == 60
    assert found.points[0].fnir.supported is False  # 30 strangers: 3 / 30 = 0.1
    assert found.points[2].fnir.supported is True
    assert found.failures.fte.errors + found.failures.fta.errors == 2
    dropped = identification(photos, roles, None, setup(kind="identification", drop=True))
    assert dropped.gallery_photos + dropped.mated + dropped.strangers <= 178
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert "rank-1" in text(found)
    for one in (*found.misses, *found.false_positives):
        assert one.first_person != one.second_person


def test_clustering_tells_merges_and_splits(monkeypatch: pytest.MonkeyPatch):
    photos = photo_set(3, 3, failed=(8,))
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])  # rows 2 and 3 are of two people
    monkeypatch.setattr(module, "levelled_link", lambda *_: labels)
    found = clustering(photos, (0.5, 0.1), setup(kind="clustering"))
    (merge,) = found.merges
    assert (merge.first, merge.second) == ("people/p000/2.jpg", "people/p001/3.jpg")
    assert merge.similarity == pytest.approx(float(photos.vectors[2] @ photos.vectors[3]), abs=1e-6)
    best = max((float(photos.vectors[a] @ photos.vectors[b]), a, b)
               for a, b in ((0, 2), (1, 2), (3, 4), (3, 5)))  # fmt: skip
    assert len(found.splits) == 2
    assert found.splits[0].similarity == pytest.approx(best[0], abs=1e-6)
    alone = np.append(labels, 99)  # the failed photo is a cluster of its own
    assert found.agreement == agreement(alone, photos.listing.people)
    assert found.photos == 9
    assert clustering(photos, (0.5, 0.1), setup(drop=True)).photos == 8
    assert "worst merges" in text(found)


def test_no_vector_no_clusters():
    with pytest.raises(NothingToMeasure, match="usable face"):
        clustering(photo_set(1, 2, failed=(0, 1)), (0.5, 0.1), setup())


def test_clusters_are_cut_as_the_command_cuts(curve: Callable[..., Calibration]):
    calibration = curve({1000: 50_000.0, 1500: 49_000.0, 1700: 1000.0})
    cut, strangers = cuts_of(calibration)
    assert cluster.cuts_of is cuts_of
    assert calibration.fmr_at(cut) <= max(CUT_RATE, calibration.smallest_fmr * 1.001)
    assert strangers < cut
    with pytest.raises(UnsupportedRate, match="more people"):
        cuts_of(curve({1000: 3.0}))


def test_the_whole_way(embedder: Embedder, people: dict[str, list[Path]]):
    root = next(iter(people.values()))[0].parents[1]
    rules = Rules(quiet=True)
    found = evaluate_verification(embedder, root, PairSource(people=6), rules)
    assert found.people == 6
    assert found.auc.value is not None
    assert found.auc.value > 0.9
    assert found.setup.space == embedder.space
    searched = evaluate_identification(embedder, root, module.SearchSource(enrol=2), rules)
    assert searched.gallery_photos == 2 * searched.gallery_people
    grouped = evaluate_clustering(embedder, root, (0.4, 0.05), rules)
    assert grouped.agreement.bcubed.f > 0.5


def test_how_figures_are_shown():
    assert str(Rate(None, None, None, 0, 5, 5)) == "unsupported"
    assert str(Rate(0.0, 0.0, 0.03, 0, 500, 100)) == "none in 500 [0, 0.03]"
    assert str(Rate(0.25, 0.1, 0.4, 5, 20, 20)) == "0.25 [0.1, 0.4]"
    assert str(Estimate(None)) == "unsupported"
    assert str(Estimate(0.5, 0.4, 0.6)) == "0.5000 [0.4000, 0.6000]"
