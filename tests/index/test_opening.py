import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import opening
from index.errors import EngineMissing, IndexFileMismatch, UnknownEngine
from index.exact import ExactIndex


@pytest.mark.parametrize(
    ("url", "engine", "path"),
    [
        ("", "auto", None),
        ("memory:", "memory", None),
        ("exact:", "exact", None),
        ("faiss:/a/b c.index", "faiss", Path("/a/b c.index")),
        ("faiss:///a/b", "faiss", Path("/a/b")),
        ("auto:here", "auto", Path("here")),
        ("exact:~/x", "exact", Path.home() / "x"),
    ],
)
def test_urls_are_taken_apart(url: str, engine: str, path: Path | None):
    assert opening.read_url(url) == opening.EngineUrl(engine, path)


@pytest.mark.parametrize("url", ["annoy:", "/a/b", "exact", "FAISS:"])
def test_unknown_engines_list_the_known_ones(url: str):
    with pytest.raises(UnknownEngine, match="auto:, memory:, exact:, faiss:"):
        opening.open_index(url, 4)


@pytest.mark.parametrize("url", ["memory:/a", "faiss://host/a"])
def test_places_that_an_engine_has_not_are_refused(url: str):
    with pytest.raises(UnknownEngine, match="plain path"):
        opening.open_index(url, 4)


def test_the_default_is_faiss_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "find_spec", lambda _: object())
    assert opening.choose_engine().engine == "faiss"
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    choice = opening.choose_engine("memory:")
    assert choice.engine == "exact"
    assert 'pip install "vultus[cpu]"' in choice.reason
    assert type(opening.open_index("", 4)) is ExactIndex
    assert opening.choose_engine("faiss:").reason == "faiss was asked for by name."


def test_faiss_by_name_without_faiss_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EngineMissing, match=r"vultus\[cpu\]"):
        opening.open_index("faiss:", 4)


def test_a_file_is_opened_with_its_marks_by_any_engine(tmp_path: Path, points: NDArray[np.float32]):
    url = f"exact:{tmp_path / 'faces'}"
    opened = opening.open_with_marks(url, 16)
    assert (len(opened.index), opened.marks, opened.path) == (0, {}, tmp_path / "faces")
    assert not (tmp_path / "faces").exists()
    opened.index.add(np.arange(3), points[:3])
    opened.index.save(tmp_path / "faces", {"rev": "3"})
    again = opening.open_with_marks(f"auto:{tmp_path / 'faces'}", 16)
    assert again.marks == {"rev": "3"}
    assert again.index.ids().tolist() == [0, 1, 2]
    assert opening.open_index(url, 16).search(points[2:3], 1).ids.tolist() == [[2]]
    with pytest.raises(IndexFileMismatch, match="vectors of 16 numbers, 128 were asked for"):
        opening.open_index(url, 128)


@pytest.mark.parametrize("module", ["index.opening", "index.protocol", "index.faiss"])
def test_importing_loads_no_engine(module: str):
    code = f"import {module}, sys; print([m for m in ('faiss', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("faiss:/a?kind=hnsw", "no kind 'hnsw'"),
        ("faiss:/a?recall=1", "above 0 and below 1"),
        ("faiss:/a?recall=much", "could not convert"),
        ("faiss:/a?fp16=1", "has no option 'fp16': it has kind, recall"),
        ("exact:/a?kind=flat", "it has none"),
        ("faiss-gpu:?spread=all", "shards or replicas"),
        ("faiss-gpu:?fp16=yes", "fp16 must be 0 or 1"),
        ("faiss-gpu:?gpus=two", "invalid literal"),
    ],
)
def test_options_that_an_engine_has_not_are_refused(url: str, says: str):
    with pytest.raises(UnknownEngine, match=says):
        opening.read_url(url)


def test_options_reach_the_engine(tmp_path: Path, points: NDArray[np.float32]):
    pytest.importorskip("faiss")
    url = f"faiss:{tmp_path / 'faces'}?kind=ivf-flat&recall=0.9"
    index = opening.open_index(url, 16)
    assert (index.plan.kind, index.plan.recall) == ("ivf-flat", 0.9)
    assert opening.empty_index(url, 16).plan == index.plan
    index.add(np.arange(200), points)
    index.save(tmp_path / "faces", {})
    again = opening.open_index(f"faiss:{tmp_path / 'faces'}", 16)
    assert again.plan == index.plan
    assert opening.read_url("faiss-gpu:/a?fp16=1&gpus=2&spread=replicas").options == {
        "fp16": "1",
        "gpus": "2",
        "spread": "replicas",
    }


def test_the_device_cuda_asks_for_the_gpus_engine():
    assert opening.on_device("auto:/a/b", "cuda") == "faiss-gpu:/a/b"
    assert opening.on_device("memory:", "cuda") == "faiss-gpu:"
    assert opening.on_device("faiss:/a/b", "cuda") == "faiss:/a/b"
    assert opening.on_device("auto:/a/b", None) == "auto:/a/b"
