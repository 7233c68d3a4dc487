import json

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import WrongNumber, WrongShape
from index.suggest import suggestions

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


def odds(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    return 20 * (similarity - 0.4)


def test_a_family_in_two_parts_and_two_in_one_are_found(families: tuple[Rows, Labels]):
    vectors, truth = families
    large = np.flatnonzero(np.bincount(truth) > 5)[:3]
    labels = np.where(truth == large[1], large[0], truth)  # two families in one cluster
    parted = np.flatnonzero(truth == large[2])
    labels[parted[:2]] = 99
    found = suggestions(vectors, labels, odds, least=0.5)
    assert {(s.kind, s.labels) for s in found} == {
        ("merge", (int(large[2]), 99)), ("split", (int(large[0]), int(large[0])))
    }  # fmt: skip
    split = next(s for s in found if s.kind == "split")
    assert len({*truth[split.one].tolist()}) == len({*truth[split.other].tolist()}) == 1
    merge = next(s for s in found if s.kind == "merge")
    assert sorted(merge.other.tolist()) == sorted(parted[:2].tolist())
    expected = (vectors[merge.one] @ vectors[merge.other].T).mean()
    assert merge.similarity == pytest.approx(expected, abs=1e-5)
    assert merge.probability == pytest.approx(1 / (1 + np.exp(-odds(expected))), abs=1e-4)
    assert json.loads(json.dumps(merge.to_dict()))["kind"] == "merge"


def test_what_is_known_is_not_suggested(families: tuple[Rows, Labels]):
    vectors, truth = families
    rows = np.flatnonzero(truth == np.bincount(truth).argmax())
    labels = truth.copy()
    labels[rows[:2]] = 99
    assert len(suggestions(vectors, labels, odds, least=0.5)) == 1
    pair = np.array([[rows[0], rows[2]]])
    assert suggestions(vectors, labels, odds, apart=pair, least=0.5) == ()
    mixed = np.where(truth == truth[0], truth[1], truth)
    pair = np.array([[0, np.flatnonzero(truth == truth[1])[0]]])
    assert truth[0] != truth[1]
    assert len(suggestions(vectors, mixed, odds, least=0.5)) == 1
    assert suggestions(vectors, mixed, odds, together=pair, least=0.5) == ()


def test_the_likeliest_come_first_and_no_more_than_asked(points: Rows):
    found = suggestions(points, np.arange(200) // 2, odds, least=0, most=30)
    assert len(found) == 30
    assert [s.probability for s in found] == sorted((s.probability for s in found), reverse=True)


def test_equal_rows_large_clusters_and_nothing(points: Rows):
    assert suggestions(points[:0], np.empty(0, dtype=np.int64), odds) == ()
    equal = suggestions(points[[3, 3, 3]], np.zeros(3, dtype=np.int64), odds, least=0)
    assert [s.probability < 0.01 for s in equal] == [True]
    many = np.repeat(points[:2], 300, axis=0)
    (split,) = suggestions(many, np.zeros(600, dtype=np.int64), odds)
    assert (len(split.one), len(split.other)) == (300, 300)
    with pytest.raises(WrongNumber, match="probability"):
        suggestions(points, np.zeros(200, dtype=np.int64), odds, least=2)
    with pytest.raises(WrongShape, match=r"\(200,\)"):
        suggestions(points, np.zeros(2, dtype=np.int64), odds)
