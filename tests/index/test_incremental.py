import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import Contradiction, WrongShape
from index.exact import ExactIndex
from index.incremental import join

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


def halves(families: tuple[Rows, Labels]) -> tuple[Rows, Labels, Rows, Labels]:
    vectors, truth = families
    old = np.arange(len(truth)) % 2 == 0
    return vectors[old], truth[old] * 7 + 3, vectors[~old], truth[~old] * 7 + 3


def test_new_rows_join_their_family_or_begin_one(families: tuple[Rows, Labels]):
    old, labels, new, expected = halves(families)
    found = join(new, old, labels, 0.4, 0.0)
    known = np.isin(expected, labels)
    assert np.array_equal(found[known], expected[known])
    fresh = found[~known]
    assert (fresh > labels.max()).all()
    assert np.array_equal(fresh[:, None] == fresh, expected[~known][:, None] == expected[~known])


def test_an_index_may_find_the_neighbours(families: tuple[Rows, Labels]):
    old, labels, new, _ = halves(families)
    index = ExactIndex(64)
    index.add(np.arange(len(old)), old)
    near = index.search(new, 5)
    assert np.array_equal(join(new, old, labels, 0.4, 0.0, neighbors=near),
                          join(new, old, labels, 0.4, 0.0))  # fmt: skip


def test_labels_elsewhere_do_not_matter(families: tuple[Rows, Labels]):
    old, labels, new, expected = halves(families)
    one = expected == expected[np.isin(expected, labels)][0]
    changed = np.where(labels == expected[one][0], labels, labels % 2)
    assert np.array_equal(
        join(new[one], old, labels, 0.4, 0.0), join(new[one], old, changed, 0.4, 0.0)
    )


def test_beside_many_clusters_a_tight_one_takes_nobody_much_less_alike():
    size, tight, alike = 220, 0.8, 0.45
    gram = np.eye(size)
    gram[:5, :5], gram[5, :5], gram[:5, 5] = tight, alike, alike  # five photos, and somebody else
    np.fill_diagonal(gram, 1)
    rows = np.linalg.cholesky(gram).astype(np.float32)
    old, new = np.delete(rows, 5, axis=0), rows[5:6]
    labels = np.concatenate([np.zeros(5, dtype=np.int64), np.arange(1, size - 5)])
    assert join(new, old[:100], labels[:100], 0.45, 0.1).tolist() == [0]
    assert join(new, old, labels, 0.45, 0.1).tolist() == [size - 5]
    assert join(new, old[4:], labels[4:], 0.44, 0.1).tolist() == [0]  # one photo has no cohesion


def test_pairs_apart_and_together_are_kept(points: Rows):
    old, labels = points[:3], np.array([0, 1, 1])
    new = points[[0, 0, 0]]
    assert join(new, old, labels, 0.4, 0.0).tolist() == [0, 0, 0]
    one_photo = np.array([[3, 4]])
    assert join(new, old, labels, 0.4, 0.0, apart=one_photo).tolist() == [0, 2, 0]
    told = np.array([[0, 3]])
    assert join(new, old, labels, 0.4, 0.0, apart=told).tolist() == [2, 0, 0]
    tied = np.array([[1, 5], [2, 5], [0, 5]])
    assert join(new, old, labels, 0.4, 0.0, together=tied).tolist() == [0, 0, 1]
    among = np.array([[3, 4]])
    found = join(points[[0, 9]], old, labels, 0.6, 0.0, together=among)
    assert found[0] == found[1]
    with pytest.raises(Contradiction, match="rows 3 and 4 must be apart"):
        join(new, old, labels, 0.4, 0.0, one_photo, np.array([[3, 0], [0, 4]]))


def test_nothing_old_nothing_new_and_arrays_that_do_not_fit(points: Rows):
    none = np.empty(0, dtype=np.int64)
    assert join(points[[5, 5, 7]], points[:0], none, 0.5, 0.0).tolist() == [0, 0, 1]
    assert join(points[:0], points, np.arange(200), 0.5, 0.0).tolist() == []
    with pytest.raises(WrongShape, match="vectors_old and labels_old"):
        join(points, points, none, 0.5, 0.0)
