from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify import pairs as module
from verify.errors import PairsUnusable
from verify.pairs import (
    Everybody,
    Listed,
    balanced_draw,
    file_splits,
    fold_of_people,
    person_splits,
    read_pairs,
    score_all,
    score_pairs,
)
from verify.photoset import Listing, PhotoSet, list_people


def photo_set(counts: list[int], failed: tuple[int, ...] = (), seed: int = 0) -> PhotoSet:
    generator = np.random.default_rng(seed)
    people = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    files = tuple(f"p{person}/p{person}_{row:04}.jpg" for row, person in enumerate(people))
    names = tuple(f"p{number}" for number in range(len(counts)))
    vectors = generator.standard_normal((len(people), 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[list(failed)] = 0
    shown = Listing(Path("people"), files, people, names)
    looked = np.ones(len(people), dtype=bool)
    return PhotoSet(shown, vectors, looked, dict.fromkeys(failed, "face_not_found"))


def plain_scores(photos: PhotoSet, used: np.ndarray) -> dict[tuple[int, int], float]:
    scores = {}
    for a, b in combinations(np.flatnonzero(used).tolist(), 2):
        bad = {a, b} & set(photos.reasons)
        scores[a, b] = -np.inf if bad else float(photos.vectors[a] @ photos.vectors[b])
    return scores


@pytest.mark.parametrize("few", [1_000_000, 10])
@pytest.mark.parametrize("block", [512, 7])
def test_all_pairs_are_plain_loops(monkeypatch: pytest.MonkeyPatch, few: int, block: int):
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_BLOCK", block)
    photos = photo_set([1, 5, 3, 1, 8, 2], failed=(3, 9))
    used = np.ones(20, dtype=bool)
    used[[0, 11]] = False
    found, people = score_all(photos, used), photos.listing.people
    plain = plain_scores(photos, used)
    mated = sorted(s for (a, b), s in plain.items() if people[a] == people[b])
    other = sorted(s for (a, b), s in plain.items() if people[a] != people[b])
    assert found.mated == pytest.approx(mated, abs=1e-6)
    assert found.nonmated == pytest.approx(other, abs=1e-6)
    for a, b, s in zip(found.mated_first, found.mated_second, found.mated, strict=True):
        assert s == pytest.approx(plain[min(a, b), max(a, b)], abs=1e-6)
    for a, b, s in zip(found.tail_first, found.tail_second, found.tail, strict=True):
        assert s == pytest.approx(plain[min(a, b), max(a, b)], abs=1e-6)
    assert len(found.tail) >= (0.1 * len(other) if few == 10 else len(other))
    assert found.tail == pytest.approx(other[::-1][: len(found.tail)], abs=1e-6)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.data())
def test_exposure_is_counting(counts: list[int], data: st.DataObject):
    photos = photo_set(counts)
    people, n = photos.listing.people, len(photos.listing)
    kinds = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    used = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    for left, right in ((kinds == 0, kinds == 0), (kinds == 0, kinds == 1)):
        chosen = [
            (a, b)
            for a, b in combinations(np.flatnonzero(used).tolist(), 2)
            if people[a] != people[b] and ((left[a] and right[b]) or (right[a] and left[b]))
        ]
        between = {tuple(sorted((int(people[a]), int(people[b])))) for a, b in chosen}
        trials = np.zeros(len(counts))
        for a, b in chosen:
            trials[people[a]] += 1
            trials[people[b]] += 1
        everything = [
            p for p in combinations(np.flatnonzero(used), 2) if len(set(people[[*p]])) > 1
        ]
        first, second = np.array(everything, dtype=np.int64).reshape(-1, 2).T
        for way in (Everybody(used, people), Listed(first, second, people)):
            found = way.exposure(left, right)
            assert found.trials.tolist() == trials.tolist()
            assert (found.total, found.pairs) == (len(chosen), len(between))
            assert found.people == np.count_nonzero(trials)


def folder(root: Path, people: dict[str, int]) -> Listing:
    for name, count in people.items():
        (root / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (root / name / f"{name}_{number:04}.jpg").touch()
    return list_people(root)


def test_lfw_folds(tmp_path: Path):
    shown = folder(tmp_path / "lfw", {"Ann Lee": 3, "Bo": 2, "Cy": 1})
    file = tmp_path / "pairs.txt"
    file.write_text(
        "2\t1\nAnn Lee\t1\t3\nAnn Lee\t2\tBo\t1\nBo\t1\t2\nBo\t2\tCy\t1\n", encoding="utf-8"
    )
    found = read_pairs(file, shown)
    names = [
        (shown.files[a], shown.files[b]) for a, b in zip(found.first, found.second, strict=True)
    ]
    assert names[0] == ("Ann Lee/Ann Lee_0001.jpg", "Ann Lee/Ann Lee_0003.jpg")
    assert names[3] == ("Bo/Bo_0002.jpg", "Cy/Cy_0001.jpg")
    assert found.same.tolist() == [True, False, True, False]
    assert found.folds is not None
    assert found.folds.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("head", ["1\n", ""])
def test_a_file_without_folds(tmp_path: Path, head: str):
    shown = folder(tmp_path / "lfw", {"Ann": 2, "Bo": 1})
    (tmp_path / "pairs.txt").write_text(f"{head}Ann 1 2\nAnn 2 Bo 1\n", encoding="utf-8")
    found = read_pairs(tmp_path / "pairs.txt", shown)
    assert (found.folds, len(found.first)) == (None, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no pairs"),
        ("Ann 1 9\n", "photo 9 of Ann"),
        ("Ann 1 Zoe 1\n", "photo 1 of Zoe"),
        ("Ann one two\n", "no pair of LFW's form"),
        ("Ann 1 Ann 2\n", "names one person"),
        ("10 300\nAnn 1 2\n", "not complete"),
    ],
)
def test_broken_pair_files(tmp_path: Path, text: str, message: str):
    shown = folder(tmp_path / "lfw", {"Ann": 2, "Bo": 1})
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8")
    with pytest.raises(PairsUnusable, match=message):
        read_pairs(tmp_path / "pairs.txt", shown)


def test_csv_pairs(tmp_path: Path):
    shown = folder(tmp_path / "lfw", {"Ann": 2, "Anne": 1, "Bo": 1})
    file = tmp_path / "pairs.csv"
    file.write_text(
        "a,b,same\nAnn/Ann_0001.jpg,Anne/Anne_0001.jpg,1\nlfw/Ann/Ann_0002.jpg,Bo/Bo_0001.jpg,no\n",
        encoding="utf-8",
    )
    found = read_pairs(file, shown)
    assert found.same.tolist() == [True, False]
    ann, anne, bo = (found.people[[shown.person(r) for r in range(4)].index(n)]
                     for n in ("Ann", "Anne", "Bo"))  # fmt: skip
    assert ann == anne != bo


def test_csv_pairs_of_a_flat_folder(tmp_path: Path):
    """Folders that hold several people are no people."""
    shown = folder(tmp_path / "all", {"mixed": 4})
    file = tmp_path / "pairs.csv"
    photo = "mixed/mixed_000{}.jpg".format
    file.write_text(f"{photo(1)},{photo(2)},1\n{photo(1)},{photo(3)},0\n", encoding="utf-8")
    found = read_pairs(file, shown)
    assert len(set(found.people.tolist())) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x/1.jpg,mixed/mixed_0001.jpg,1", "no photo in"),
        ("mixed/mixed_0001.jpg,mixed/mixed_0002.jpg,maybe", "line 1"),
        ("a,b,same\n", "no pairs"),
        (
            "\n".join(f"mixed/mixed_0001.jpg,mixed/mixed_0002.jpg,{same}" for same in (1, 0)),
            "contradicts itself",
        ),
    ],
)
def test_broken_csv(tmp_path: Path, text: str, message: str):
    shown = folder(tmp_path / "all", {"mixed": 2})
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8")
    with pytest.raises(PairsUnusable, match=message):
        read_pairs(tmp_path / "pairs.csv", shown)


def test_listed_pairs_are_scored():
    photos = photo_set([3, 3, 3], failed=(2,))
    first, second = np.array([0, 1, 2, 3]), np.array([4, 5, 6, 8])
    people = photos.listing.people
    found = score_pairs(
        photos, module.Pairs(first, second, people[first] == people[second], None, people)
    )
    assert len(found.mated) + len(found.nonmated) == 4
    assert np.isneginf(np.concatenate([found.mated, found.nonmated])).sum() == 1
    assert len(found.tail) == len(found.nonmated)


def test_person_folds_share_nobody():
    generator = np.random.default_rng(0)
    fold = fold_of_people(40, 3)
    first, second = generator.integers(40, size=(2, 500))
    tested = np.zeros(500, dtype=int)
    for measured, choosing in person_splits(fold[first], fold[second]):
        tested += measured
        here = set(first[measured]) | set(second[measured])
        there = set(first[choosing]) | set(second[choosing])
        assert not here & there
    assert (tested == 1).all()
    assert np.bincount(fold).tolist() == [4] * 10


def test_the_files_folds_are_each_against_the_rest():
    folds = np.array([0, 0, 1, 2])
    splits = [(a.tolist(), b.tolist()) for a, b in file_splits(folds)]
    assert splits[1] == ([False, False, True, False], [True, True, False, True])


def test_the_balanced_draw_is_balanced_and_person_disjoint():
    photos = photo_set([4] * 40)
    used = np.ones(160, dtype=bool)
    found = balanced_draw(photos.listing, used, 0)
    assert found.folds is not None
    assert found.same.sum() == 240
    assert (~found.same).sum() == 240  # a fold: 4 people, 24 mated pairs, 24 of 96 others
    seen: dict[int, int] = {}
    for row, fold in zip(found.first, found.folds, strict=True):
        assert seen.setdefault(int(found.people[row]), int(fold)) == fold
    assert len(set(zip(found.first.tolist(), found.second.tolist(), strict=True))) == 480


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_SCORES", 10)
    with pytest.raises(PairsUnusable, match="--people N"):
        score_all(photo_set([3, 3, 3]), np.ones(9, dtype=bool))


def test_people_one_or_two_folders_down(tmp_path: Path):
    for name in ("test/Ann", "train/Ann", "train/Bo"):
        (tmp_path / "two" / name).mkdir(parents=True)
        (tmp_path / "two" / name / "1.jpg").touch()
    assert list_people(tmp_path / "two").names == ("Ann", "Bo")
    for name in ("Ann/spring/1.jpg", "Ann/1.jpg", "Bo/1.jpg"):
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / name).touch()
    assert list_people(tmp_path / "one").names == ("Ann", "Bo")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "Cy.jpg").touch()
    assert list_people(tmp_path / "flat").names == ("Cy",)
