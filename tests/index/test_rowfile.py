import fcntl
import hashlib
import json
import stat
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from index import rowfile
from index.errors import IndexFileBroken
from index.exact import ExactIndex
from index.rowfile import read_rows
from index.rows import ALIGNED

Rows = NDArray[np.float32]


@pytest.fixture
def saved(tmp_path: Path, points: Rows) -> Path:
    index = ExactIndex(16)
    index.add(np.arange(5), points[:5], np.arange(5))
    index.save(tmp_path / "faces", {"rev": "1"})
    return tmp_path / "faces"


def test_the_file_is_a_safetensors_file_for_its_owner_only(saved: Path, points: Rows):
    tensors = load_file(saved)
    assert {name: array.shape for name, array in tensors.items()} == {
        "vectors": (5, 16),
        "ids": (5,),
        "sites": (5,),
    }
    assert np.array_equal(tensors["vectors"], points[:5])
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_many_vectors_are_mapped_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch):
    few, _ = read_rows(saved)
    monkeypatch.setattr(rowfile, "_COPIED", few.vectors.nbytes - 1)
    rows, _ = read_rows(saved)
    assert not rows.vectors.flags.writeable
    assert np.array_equal(few.vectors, rows.vectors)
    few.vectors[0] = 0  # a copy: the file stays as it is
    assert not np.array_equal(few.vectors, rows.vectors)


@pytest.mark.parametrize("marks", [{}, {"rev": "1"}, {"rev": "12345678", "space": "sface"}])
def test_rows_begin_with_a_cache_line_in_memory_and_mapped(
    tmp_path: Path, points: Rows, marks: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    index = ExactIndex(16)
    index.add(np.arange(200), points)
    assert index._rows.vectors.ctypes.data % ALIGNED == 0
    index.save(tmp_path / "faces", marks)
    for most in (0, 1 << 20):
        monkeypatch.setattr(rowfile, "_COPIED", most)
        rows, _ = read_rows(tmp_path / "faces")
        assert rows.vectors.ctypes.data % ALIGNED == 0


def test_any_flipped_bit_is_seen_or_harmless(saved: Path, points: Rows):
    whole = saved.read_bytes()
    random = np.random.default_rng(0)
    seen = 0
    for place in random.integers(0, len(whole), size=300).tolist():
        bent = bytearray(whole)
        bent[place] ^= 1 << int(random.integers(8))
        saved.write_bytes(bent)
        try:
            index, marks = ExactIndex.load(saved)
        except IndexFileBroken:
            seen += 1
            continue
        assert marks == {"rev": "1"}  # a blank in the header that became another blank
        assert np.array_equal(index.vectors(np.arange(5)), points[:5])
    assert seen > 290


def test_every_shortened_file_is_broken(saved: Path):
    whole = saved.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(IndexFileBroken, match=r"faces is broken: .* delete it .* rebuilt"):
            ExactIndex.load(saved)
    saved.write_bytes(whole + b"\0")
    with pytest.raises(IndexFileBroken):
        ExactIndex.load(saved)


def test_another_version_is_named(saved: Path):
    saved.write_bytes(saved.read_bytes().replace(b"vultus-index-1", b"vultus-index-9"))
    with pytest.raises(IndexFileBroken, match="its format is 'vultus-index-9'"):
        ExactIndex.load(saved)


def test_a_file_of_something_else_is_broken(tmp_path: Path):
    path = tmp_path / "other"
    save_file({"weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(IndexFileBroken):
        ExactIndex.load(path)
    save_file({"weight": np.zeros((2, 2), np.float32)}, path, {"format": "pt"})
    with pytest.raises(IndexFileBroken, match="weight"):
        ExactIndex.load(path)
    path.write_text("not tensors")
    with pytest.raises(IndexFileBroken):
        ExactIndex.load(path)


def forged(
    path: Path, points: Rows, ids: NDArray[np.integer], sites: NDArray[np.int64], dim: str
) -> None:
    arrays = {"vectors": points, "ids": ids, "sites": sites}
    facts = {"format": "vultus-index-1", "dim": dim, "marks": "{}"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in ("vectors", "ids", "sites"):
        digest.update(arrays[name].tobytes())
    save_file(arrays, path, facts | {"sha256": digest.hexdigest()})


def test_a_sound_digest_does_not_excuse_wrong_contents(tmp_path: Path, points: Rows):
    path, three = tmp_path / "forged", np.arange(3)
    forged(path, points[:3], three, three, "16")
    assert len(ExactIndex.load(path)[0]) == 3
    for ids, sites, dim in ((three, three[:2], "16"), (three, three, "8"), (three, three, "x")):
        forged(path, points[:3], ids, sites, dim)
        with pytest.raises(IndexFileBroken):
            ExactIndex.load(path)
    forged(path, points[:3], np.array([1, 2, 1]), three, "16")
    with pytest.raises(IndexFileBroken, match="twice"):
        ExactIndex.load(path)
    forged(path, points[:3], three.astype(np.int32), three, "16")
    with pytest.raises(IndexFileBroken):
        ExactIndex.load(path)


def test_a_missing_file_is_not_a_broken_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        ExactIndex.load(tmp_path / "nowhere")


def test_a_failed_save_leaves_the_old_file_and_no_other(
    saved: Path, points: Rows, monkeypatch: pytest.MonkeyPatch
):
    index, _ = ExactIndex.load(saved)
    index.add(np.array([77]), points[:1])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        index.save(saved, {})
    monkeypatch.undo()
    assert [path.name for path in saved.parent.iterdir()] == ["faces"]
    assert len(ExactIndex.load(saved)[0]) == 5


def test_a_mapped_index_outlives_the_replacing_of_its_file(saved: Path, points: Rows):
    old, _ = ExactIndex.load(saved)
    other = ExactIndex(16)
    other.add(np.array([9]), points[9:10])
    other.save(saved, {})
    assert np.array_equal(old.vectors(np.arange(5)), points[:5])
    assert ExactIndex.load(saved)[0].ids().tolist() == [9]


def test_what_a_killed_writer_left_goes_with_the_next_save_and_a_living_one_stays(
    saved: Path, points: Rows
):
    abandoned = saved.with_name(f".{saved.name}.dead")
    abandoned.write_bytes(saved.read_bytes())
    other = saved.with_name(f".{saved.name}-else.dead")
    other.write_bytes(b"of another index")
    living = saved.with_name(f".{saved.name}.alive")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        index = ExactIndex(16)
        index.add(np.arange(5), points[:5])
        index.save(saved, {"rev": "2"})
        assert living.exists()
    assert not abandoned.exists()
    assert other.exists()
    assert ExactIndex.load(saved)[1] == {"rev": "2"}
