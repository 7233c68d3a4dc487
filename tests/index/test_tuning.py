import numpy as np

from index.faiss import import_faiss
from index.tuning import Effort, best_of, effort_for

EFFORTS = (Effort(10, 8, 28, 0.99), Effort(100, 20, 208, 0.99))


def test_the_effort_for_more_neighbours_than_were_measured_is_to_compare_all():
    assert effort_for(EFFORTS, 1, 1.0, 64).probes == 8
    assert effort_for(EFFORTS, 11, 1.0, 64).width == 208
    assert effort_for(EFFORTS, 101, 1.0, 64) is None


def test_a_filter_looks_into_more_lists():
    assert effort_for(EFFORTS, 10, 0.25, 64).probes == 32
    assert effort_for(EFFORTS, 10, 0.01, 64).probes == 64


def test_the_best_of_the_proposed_rows():
    vectors = np.eye(4, dtype=np.float32)
    query = np.array([[0.1, 0.5, 0.3, 0.8]], dtype=np.float32)
    similarities, rows = best_of(import_faiss(), vectors, query, np.array([[0, -1, 2, 3]]), 2)
    assert sorted(zip(rows[0].tolist(), similarities[0].round(3).tolist(), strict=True)) == [
        (2, np.float32(0.3)),
        (3, np.float32(0.8)),
    ]
    similarities, rows = best_of(import_faiss(), vectors, query, np.array([[1, -1]]), 5)
    assert rows.tolist() == [[1, -1]]
    assert similarities[0, 1] == -np.inf
