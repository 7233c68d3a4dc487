"""The contract of index.protocol, for every engine, against the plainest oracle there is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.errors import NotUnit, UnknownId, WrongDtype, WrongNumber, WrongShape
from index.exact import ExactIndex
from index.flat import FlatIndex
from index.neighbors import NO_ID
from index.protocol import FileIndex, VectorIndex

Rows = NDArray[np.float32]
Stored = dict[int, tuple[Rows, int]]


def oracle(
    stored: Stored, query: Rows, k: int, within: list[int] | None
) -> list[tuple[int, float]]:
    """Every stored row compared in plain Python, best first, ties by the lower id."""
    scored = []
    for number, (vector, site) in stored.items():
        if within is None or site in within:
            dot = sum(float(a) * float(b) for a, b in zip(query, vector, strict=True))
            scored.append((-float(np.float32(min(1.0, max(-1.0, dot)))), number))
    return [(number, -score) for score, number in sorted(scored)[:k]]


def test_an_engine_is_a_vector_index_with_a_file(engine: type[FlatIndex]):
    assert isinstance(engine(4), VectorIndex)
    assert isinstance(engine(4), FileIndex)
    assert engine(4).exact
    assert engine(4).dim == 4


def test_search_equals_the_oracle(engine: type[FlatIndex], points: Rows):
    index, numbers, sites = engine(16), np.arange(200) * 3 + 1, np.arange(200) % 4
    index.add(numbers[::-1].copy(), points[::-1].copy(), sites[::-1].copy())
    stored = {int(n): (v, int(s)) for n, v, s in zip(numbers, points, sites, strict=True)}
    for within in (None, [2], [0, 3, 99], []):
        asked = None if within is None else np.array(within, dtype=np.int64)
        found = index.search(points[:9], 7, asked)
        assert found.ids.shape == (9, 7)
        for query, hits in zip(points[:9], found, strict=True):
            expected = oracle(stored, query, 7, within)
            assert [number for number, _ in hits] == [number for number, _ in expected]
            assert [s for _, s in hits] == pytest.approx([s for _, s in expected], abs=1e-7)


def test_an_empty_index_and_too_few_rows_give_padding(engine: type[FlatIndex], points: Rows):
    index = engine(16)
    assert len(index) == 0
    assert len(index.search(points[:2], 3)[0]) == 0
    index.add(np.array([5]), points[:1])
    found = index.search(points[:2], 3)
    assert found.ids.tolist() == [[5, NO_ID, NO_ID]] * 2
    assert np.isneginf(found.similarities[:, 1:]).all()
    assert found[0][0] == (5, pytest.approx(1))
    assert index.search(points[:0], 3).ids.shape == (0, 3)


def test_adding_an_id_again_replaces_vector_and_site(engine: type[FlatIndex], points: Rows):
    index = engine(16)
    index.add(np.array([1, 2]), points[:2], np.array([7, 7]))
    index.add(np.array([2]), points[2:3])
    assert len(index) == 2
    assert np.array_equal(index.vectors(np.array([2, 1])), points[[2, 0]])
    assert [n for n, _ in index.search(points[:1], 5, np.array([7]))[0]] == [1]
    assert [n for n, _ in index.search(points[:1], 5, np.array([0]))[0]] == [2]


def test_of_an_id_given_twice_in_one_call_the_last_counts(engine: type[FlatIndex], points: Rows):
    index = engine(16)
    index.add(np.array([4, 9, 4]), points[:3], np.array([1, 2, 3]))
    assert index.ids().tolist() == [4, 9]
    assert np.array_equal(index.vectors(np.array([4])), points[2:3])
    assert len(index.search(points[:1], 2, np.array([1]))[0]) == 0


def test_removing_counts_what_was_there(engine: type[FlatIndex], points: Rows):
    index = engine(16)
    index.add(np.arange(10), points[:10])
    assert index.remove(np.array([3, 3, 77, 0])) == 2
    assert index.ids().tolist() == [1, 2, 4, 5, 6, 7, 8, 9]
    assert 3 not in index.search(points[3:4], 10).ids
    assert index.remove(np.arange(10)) == 8
    assert len(index) == 0
    index.add(np.array([3]), points[3:4])
    assert index.search(points[3:4], 1).ids.tolist() == [[3]]


def test_unknown_ids_have_no_vector(engine: type[FlatIndex], points: Rows):
    index = engine(16)
    index.add(np.arange(3), points[:3])
    with pytest.raises(UnknownId, match="id 8"):
        index.vectors(np.array([1, 8]))
    assert index.vectors(np.array([], dtype=np.int64)).shape == (0, 16)


def test_equal_similarities_go_by_the_lower_id(engine: type[FlatIndex], points: Rows):
    index = engine(16)
    order = np.random.default_rng(0).permutation(100)
    index.add(order, np.repeat(points[:1], 100, axis=0))
    index.add(np.array([500]), points[1:2])
    found = index.search(points[:2], 20)
    assert found.ids.tolist() == [list(range(20)), [500, *range(19)]]


def test_engines_agree_to_the_last_bit(engine: type[FlatIndex]):
    random = np.random.default_rng(1)
    rows = random.normal(size=(3000, 24)).astype(np.float32)
    rows[1000:1500] = rows[:500]  # ties
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    one, other = engine(24), ExactIndex(24)
    one.add(np.arange(3000), rows, np.arange(3000) % 2)
    other.add(np.arange(3000)[::-1].copy(), rows[::-1].copy(), np.arange(3000)[::-1] % 2)
    for within in (None, np.array([1])):
        a, b = one.search(rows[:1500], 10, within), other.search(rows[700:701], 10, within)
        assert np.array_equal(a.ids[700:701], b.ids)
        assert np.array_equal(a.similarities[700:701], b.similarities)


def test_what_cannot_be_used_is_refused_and_nothing_is_stored(
    engine: type[FlatIndex], points: Rows
):
    index, one = engine(16), np.array([1])
    with pytest.raises(WrongShape, match=r"\(N, 16\), got \(1, 15\)"):
        index.add(one, points[:1, :15])
    with pytest.raises(WrongShape, match=r"got \(16,\)"):
        index.search(points[0], 1)
    with pytest.raises(WrongDtype, match="float64"):
        index.add(one, points[:1].astype(np.float64))
    with pytest.raises(NotUnit, match=r"row 0 .* length 2"):
        index.add(one, 2 * points[:1])
    with pytest.raises(NotUnit, match=r"row 1 .* length nan"):
        index.add(np.array([1, 2]), np.vstack([points[:1], np.full((1, 16), np.nan, np.float32)]))
    for number in (0, 1e30, np.inf):
        with pytest.raises(NotUnit, match="leave out rows that are zero or not finite"):
            index.search(np.full((1, 16), number, np.float32), 1)
    with pytest.raises(WrongShape, match=r"ids must have shape \(2,\), got \(1,\)"):
        index.add(one, points[:2])
    with pytest.raises(WrongShape, match="sites"):
        index.add(one, points[:1], np.array([1, 2]))
    with pytest.raises(WrongDtype, match="ids must be int64"):
        index.add(np.array([1.0]), points[:1])
    with pytest.raises(WrongNumber, match="-1"):
        index.add(np.array([-1]), points[:1])
    with pytest.raises(WrongNumber, match="k must be at least 1"):
        index.search(points[:1], 0)
    with pytest.raises(WrongNumber, match="dim 0"):
        engine(0)
    assert len(index) == 0


def test_the_callers_arrays_are_copied(engine: type[FlatIndex], points: Rows):
    index, mine = engine(16), points[:2].copy()
    index.add(np.array([0, 1]), mine)
    mine[:] = points[5]
    index.vectors(np.array([0]))[:] = 0
    assert np.array_equal(index.vectors(np.array([0, 1])), points[:2])


def test_saving_and_loading_keeps_everything(engine: type[FlatIndex], points: Rows, tmp_path: Path):
    index = engine(16)
    index.add(np.arange(50), points[:50], np.arange(50) % 3)
    index.remove(np.array([7]))
    index.save(tmp_path / "faces", {"rev": "12", "space": "é"})
    again, marks = engine.load(tmp_path / "faces")
    assert marks == {"rev": "12", "space": "é"}
    assert np.array_equal(again.ids(), index.ids())
    for within in (None, np.array([2])):
        a, b = index.search(points, 9, within), again.search(points, 9, within)
        assert np.array_equal(a.ids, b.ids)
        assert np.array_equal(a.similarities, b.similarities)
    again.add(np.array([7, 60]), points[[7, 60]])
    assert again.remove(np.array([1])) == 1
    assert np.array_equal(again.vectors(np.array([7, 60, 2])), points[[7, 60, 2]])
    assert np.array_equal(engine.load(tmp_path / "faces")[0].ids(), index.ids())


def test_an_empty_index_can_be_saved(engine: type[FlatIndex], points: Rows, tmp_path: Path):
    engine(16).save(tmp_path / "none", {})
    index, marks = engine.load(tmp_path / "none")
    assert (len(index), index.dim, marks) == (0, 16, {})
    index.add(np.array([3]), points[:1])
    assert index.ids().tolist() == [3]


ids = st.lists(st.integers(0, 12), max_size=6)
steps = st.one_of(
    st.tuples(st.just("add"), ids, st.integers(0, 2)),
    st.tuples(st.just("remove"), ids, st.just(0)),
    st.tuples(st.just("file"), st.just([]), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(script=st.lists(steps, max_size=12), seed=st.integers(0, 99))
def test_any_sequence_of_changes_equals_a_plain_dict(
    any_engine: type[FlatIndex],
    script: list[tuple[str, list[int], int]],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
):
    random = np.random.default_rng(seed)
    # Few directions, so that equal similarities are common.
    compass = np.eye(4, dtype=np.float32)[random.integers(0, 4, size=40)]
    index, stored = any_engine(4), dict[int, tuple[Rows, int]]()
    for action, numbers, site in script:
        given_ids = np.array(numbers, dtype=np.int64)
        if action == "add":
            rows = compass[random.integers(0, 40, size=len(numbers))]
            index.add(given_ids, rows, np.full(len(numbers), site))
            stored.update({n: (v, site) for n, v in zip(numbers, rows, strict=True)})
        elif action == "remove":
            known = set(numbers) & set(stored)
            assert index.remove(given_ids) == len(known)
            for number in known:
                del stored[number]
        else:
            path = tmp_path_factory.mktemp("index") / "file"
            index.save(path, {})
            index, _ = any_engine.load(path)
        assert len(index) == len(stored)
    assert index.ids().tolist() == sorted(stored)
    for within in (None, [1], [0, 2]):
        asked = None if within is None else np.array(within)
        for query, hits in zip(compass[:4], index.search(compass[:4], 5, asked), strict=True):
            assert list(hits) == oracle(stored, query, 5, within)
