"""Inverted lists: the recall that was asked for, and never what was removed or filtered out."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import tuning
from index.errors import IndexFileBroken, WrongNumber
from index.exact import ExactIndex
from index.faiss import FaissIndex
from index.recall import recall
from index.rowfile import read_file, write_rows
from index.rules import Plan

pytest.importorskip("faiss")
Rows = NDArray[np.float32]
KINDS = ("ivf-flat", "ivf-fp16", "ivf-sq8", "ivf-pq")
DIM, COUNT = 32, 2400


def crowd(count: int, seed: int) -> Rows:
    """float32 (count, DIM): people of three photos each, in a crowd with a common direction."""
    random = np.random.default_rng(seed)
    people = random.normal(size=(-(-count // 3), DIM)) + 0.5
    rows = np.repeat(people, 3, axis=0)[:count] + 0.7 * random.normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return crowd(COUNT, 0)


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, rows: Rows, tmp_path_factory: pytest.TempPathFactory):
    """A file of each kind: 2400 rows at the sites 0, 1, 2."""
    index = FaissIndex(DIM, Plan(request.param, 0.95))
    index.add(np.arange(COUNT), rows, np.arange(COUNT) % 3)
    path = tmp_path_factory.mktemp("lists") / "faces"
    assert index.exact
    index.save(path, {"rev": "1"})
    assert not index.exact
    return path


@pytest.fixture
def index(saved: Path) -> FaissIndex:
    """The index read from that file."""
    opened, marks = FaissIndex.load(saved)
    assert marks == {"rev": "1"}
    return opened


def truth_of(index: FaissIndex) -> ExactIndex:
    """The same rows, every one compared."""
    exact, ids = ExactIndex(DIM), index.ids()
    exact.add(ids, index.vectors(ids), index._rows.sites[index._rows.rows_of(ids)])
    return exact


def test_the_recall_that_was_asked_is_reached_on_new_photos(index: FaissIndex):
    assert index.searched.recall == 0.95
    queries, truth = crowd(300, 0) + 0.05 * crowd(300, 1), truth_of(index)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    for k in (1, 10, 50, 100):
        assert recall(index.search(queries, k), truth.search(queries, k)) >= 0.93
    many = index.search(queries[:5], 300)  # more than was measured for: exactly
    assert np.array_equal(many.ids, truth.search(queries[:5], 300).ids)


def test_similarities_are_exact_whatever_the_code(index: FaissIndex, rows: Rows):
    found = index.search(rows[:50], 5)
    for query, hits in zip(rows[:50], found, strict=True):
        vectors = index.vectors(hits.ids).astype(np.float64)
        assert np.array_equal(hits.similarities, (vectors @ query).clip(-1, 1).astype(np.float32))
    assert np.array_equal(found.ids[:, 0], np.arange(50))


def test_one_query_finds_what_many_find(index: FaissIndex, rows: Rows):
    together = index.search(rows[:10], 10)
    alone = [index.search(rows[q : q + 1], 10) for q in range(10)]
    assert np.array_equal(together.ids, np.concatenate([one.ids for one in alone]))


def test_a_file_gives_the_same_answers(index: FaissIndex, rows: Rows, tmp_path: Path):
    index.remove(np.arange(100, 200))
    index.add(np.arange(50_000, 50_100), rows[100:200])
    index.save(tmp_path / "again", {})
    again, _ = FaissIndex.load(tmp_path / "again")
    assert again.searched == index.searched
    a, b = index.search(rows[:200], 10), again.search(rows[:200], 10)
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.similarities, b.similarities)


def test_any_sequence_of_changes_returns_nothing_removed_or_filtered_out(
    index: FaissIndex, rows: Rows
):
    random = np.random.default_rng(5)
    stored = {n: (rows[n], n % 3) for n in range(COUNT)}
    recalls = []
    for step in range(5):
        numbers = random.integers(0, COUNT + 500, size=int(random.integers(1, 400)))
        if random.random() < 0.5:
            known = set(numbers.tolist()) & stored.keys()
            assert index.remove(numbers) == len(known)
            for number in known:
                del stored[number]
        else:
            fresh, site = crowd(len(numbers), 100 + step), step % 3
            index.add(numbers, fresh, np.full(len(numbers), site))
            stored.update({n: (v, site) for n, v in zip(numbers.tolist(), fresh, strict=True)})
        assert len(index) == len(stored)
        queries, truth = rows[random.integers(0, COUNT, size=30)], truth_of(index)
        for within in (None, np.array([1]), np.array([0, 2])):
            found = index.search(queries, 10, within)
            sites = {0, 1, 2} if within is None else set(within.tolist())
            assert all(stored[n][1] in sites for n in found.ids.ravel().tolist())
            recalls.append(recall(found, truth.search(queries, 10, within)))
    assert min(recalls) > 0.8
    assert np.mean(recalls) > 0.93
    assert index.ids().tolist() == sorted(stored)
    held = index.vectors(np.array(sorted(stored)))
    assert np.array_equal(held, np.array([stored[n][0] for n in sorted(stored)]))


def test_large_filters_are_searched_in_the_lists(index: FaissIndex, monkeypatch, rows: Rows):
    monkeypatch.setattr("index.faiss._FILTERED_FLAT", 10)
    found = index.search(rows[:20], 10, np.array([1, 2]))
    assert set((found.ids % 3).ravel().tolist()) == {1, 2}
    assert recall(found, truth_of(index).search(rows[:20], 10, np.array([1, 2]))) >= 0.93


def test_emptying_and_filling_again(index: FaissIndex, rows: Rows):
    assert index.remove(np.arange(COUNT)) == COUNT
    assert (index.search(rows[:2], 3).ids == -1).all()
    index.add(np.array([7, 8]), rows[7:9])
    assert index.search(rows[7:9], 3).ids.tolist() == [[7, 8, -1], [8, 7, -1]]


def test_other_engines_read_the_file_and_leave_the_lists_out(saved: Path, rows: Rows):
    exact, _ = ExactIndex.load(saved)
    assert np.array_equal(exact.vectors(np.arange(COUNT)), rows)


def test_a_flipped_bit_in_the_lists_is_seen(saved: Path, tmp_path: Path):
    whole = bytearray(saved.read_bytes())
    whole[-1000] ^= 4
    (tmp_path / "bent").write_bytes(whole)
    with pytest.raises(IndexFileBroken, match="digest"):
        FaissIndex.load(tmp_path / "bent")


@pytest.mark.parametrize("name", ["sizes", "entries", "codes", "quantizer", "centroids"])
def test_a_sound_digest_does_not_excuse_lists_that_do_not_fit(
    saved: Path, tmp_path: Path, name: str
):
    file = read_file(saved)
    arrays = file.kept.arrays
    if not len(arrays[name]):
        pytest.skip("this kind keeps none")
    bad = tmp_path / "bad"
    arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])
    write_rows(bad, file.rows, {}, file.kept)
    with pytest.raises(IndexFileBroken, match="does not fit its rows"):
        FaissIndex.load(bad)
    file.kept.facts["kind"] = "ivf-nothing"
    write_rows(bad, file.rows, {}, file.kept)
    with pytest.raises(IndexFileBroken):
        FaissIndex.load(bad)


def test_what_is_asked_now_overrules_the_file(saved: Path):
    kind = FaissIndex.load(saved)[0].searched.kind
    assert FaissIndex.load(saved, Plan(kind, 0.9))[0].searched.kind == kind
    assert FaissIndex.load(saved, Plan(recall=0.999))[0].exact  # not measured for so much
    other = FaissIndex.load(saved, Plan("flat"))[0]
    assert (other.exact, other._due()) == (True, False)


def test_a_choice_by_name_outlives_the_process(rows: Rows, tmp_path: Path):
    index = FaissIndex(DIM, Plan("flat"))
    index.add(np.arange(300), rows[:300])
    index.save(tmp_path / "flat", {})
    assert FaissIndex.load(tmp_path / "flat")[0].plan == Plan("flat")


def test_a_recall_out_of_reach_leaves_the_index_exact(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(tuning._WIDTHS, "ivf-pq", (1,))  # so few candidates of so coarse a code
    index = FaissIndex(DIM, Plan("ivf-pq", 0.99))
    index.add(np.arange(1000), rows[:1000])
    index.save(tmp_path / "faces", {})
    again, _ = FaissIndex.load(tmp_path / "faces")
    for one in (index, again):
        assert one.exact
        assert one.searched.reason == "ivf-pq does not reach recall 0.99 on these vectors."


def test_few_vectors_stay_flat(rows: Rows, tmp_path: Path):
    index = FaissIndex(DIM, Plan("ivf-flat"))
    index.add(np.arange(255), rows[:255])
    index.save(tmp_path / "few", {})
    assert index.exact
    assert index.searched.kind == "flat"
    assert "fewer than 256" in index.searched.reason
    index.add(np.array([1000]), rows[1000:1001])
    assert "due" in index.searched.reason
    index.save(tmp_path / "few", {})
    assert index.searched.kind == "ivf-flat"
    index.add(np.arange(2000), rows[:2000])  # four times as many: the lists are made anew
    before = index.searched.lists
    index.save(tmp_path / "few", {})
    assert index.searched.lists > before


@pytest.mark.parametrize("wrong", [{"kind": "ivf"}, {"recall": 1.0}, {"recall": 0.0}])
def test_plans_that_there_are_not(wrong: dict[str, object]):
    with pytest.raises(WrongNumber, match=r"choose one of|for all neighbours"):
        Plan(**wrong)
