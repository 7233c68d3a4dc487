"""The Milvus engine, held against the contract of all engines and against real servers.

Milvus Lite stands for a cluster: in this process, and as a server of its own process.
"""

import importlib.util
import inspect
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import (
    EngineMissing,
    IndexServerMismatch,
    IndexServerRefused,
    IndexServerUnreachable,
    UnknownEngine,
    VectorIndexError,
    WrongNumber,
)
from index.exact import ExactIndex
from index.milvus import MilvusIndex
from index.milvus_place import MilvusPlace, index_type, read_place, rule_type
from index.neighbors import NO_ID
from index.opening import open_with_marks, read_url
from index.protocol import FileIndex, ServerIndex, VectorIndex
from index.recall import recall

Rows = NDArray[np.float32]
Make = Callable[[int], MilvusIndex]


def _contract() -> dict[str, Callable[..., None]]:
    """The tests of every engine that need no file of the engine's own."""
    path = Path(__file__).with_name("test_engines.py")
    spec = importlib.util.spec_from_file_location("contract_of_engines", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: test
        for name, test in vars(module).items()
        if name.startswith("test_")
        and set(inspect.signature(test).parameters) <= {"engine", "points"}
        and "file" not in name
    }


CONTRACT = _contract()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusPlace]:
    """A store of Milvus Lite that stays open."""
    place = read_place(f"milvus:{tmp_path_factory.mktemp('milvus') / 'faces.db'}")
    place = replace(place, timeout=60.0)  # of a machine that has other work
    holder = MilvusIndex(replace(place, collection="holder"), 2)
    yield place
    holder.close()


@pytest.fixture
def make(store: MilvusPlace, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes an index in a collection of its own."""
    made: list[MilvusIndex] = []

    def one(dim: int) -> MilvusIndex:
        name = f"c{abs(hash(request.node.name))}_{len(made)}"
        made.append(MilvusIndex(replace(store, collection=name), dim))
        return made[-1]

    yield one
    for index in made:
        index._ask("drop_collection")
        index.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Milvus Lite in a process of its own: its start is waited for by the client."""
    port = free_port()
    with started(tmp_path_factory.mktemp("milvus-server"), port):
        yield f"milvus:http://127.0.0.1:{port}"


class started:  # noqa: N801 used like a function
    """A server that lives as long as the block."""

    def __init__(self, folder: Path, port: int) -> None:
        place = ["--data-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
        self.command = [sys.executable, "-m", "milvus_lite", "server", *place]

    def __enter__(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_of_every_engine(name: str, make: Make, points: Rows):
    test = CONTRACT[name]
    given = {"engine": make, "points": points}
    assert test(**{key: given[key] for key in inspect.signature(test).parameters}) is None


def test_the_contract_was_found():
    assert len(CONTRACT) >= 9
    assert "test_search_equals_the_oracle" in CONTRACT
    assert "test_equal_similarities_go_by_the_lower_id" in CONTRACT


def test_an_engine_is_a_server_index(make: Make):
    index = make(4)
    assert isinstance(index, VectorIndex)
    assert isinstance(index, ServerIndex)
    assert not isinstance(index, FileIndex)
    assert (index.exact, index.dim, index.type) == (True, 4, "FLAT")


def test_any_sequence_of_changes_equals_an_exact_engine(make: Make):
    random = np.random.default_rng(11)
    # Few directions, so that equal similarities are common.
    compass = np.vstack([np.eye(4), -np.eye(4)]).astype(np.float32)
    one, other = make(4), ExactIndex(4)
    for _ in range(60):
        numbers = random.integers(0, 25, size=random.integers(0, 7))
        if random.random() < 0.6:
            rows, sites = compass[random.integers(0, 8, len(numbers))], numbers % 3
            one.add(numbers, rows, sites)
            other.add(numbers, rows, sites)
        else:
            assert one.remove(numbers) == other.remove(numbers)
        assert len(one) == len(other)
    assert len(other) > 0
    assert np.array_equal(one.ids(), other.ids())
    for within in (None, np.array([1]), np.array([0, 2])):
        a, b = one.search(compass, 6, within), other.search(compass, 6, within)
        assert np.array_equal(a.ids, b.ids)
        assert np.array_equal(a.similarities, b.similarities)


def test_more_rows_than_one_request_takes(make: Make):
    random = np.random.default_rng(2)
    rows = random.normal(size=(9000, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    one, other = make(8), ExactIndex(8)
    for index in (one, other):
        index.add(np.arange(9000), rows, np.arange(9000) % 2)
    assert np.array_equal(one.ids(), np.arange(9000))
    asked = random.permutation(9000)
    assert np.array_equal(one.vectors(asked), rows[asked])
    a, b = one.search(rows[:2], 8999), other.search(rows[:2], 8999)
    assert np.array_equal(a.ids, b.ids)
    assert one.remove(np.arange(0, 9000, 2)) == 4500
    assert len(one) == 4500
    assert (one.search(rows[:2], 20000).ids[:, 4500:] == NO_ID).all()  # k above the limit: padding


def test_more_neighbours_than_milvus_finds_is_an_error(make: Make):
    index = make(2)
    angles = np.linspace(0, 3, 16400)
    rows = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    index.add(np.arange(16400), rows)
    with pytest.raises(WrongNumber, match=r"at most 16383 neighbours .* got k 16384"):
        index.search(rows[:1], 16384)
    found = index.search(rows[:1], 16383)
    assert (found.ids != NO_ID).all()


def test_the_marks_are_kept_beside_the_vectors_and_are_no_vector(
    store: MilvusPlace, points: Rows, caplog: pytest.LogCaptureFixture
):
    place = replace(store, collection="marked")
    index = MilvusIndex(place, 16)
    assert index.marks() == {}
    index.keep_marks({"rev": "3", "space": "é" * 50})
    index.keep_marks({"rev": "4", "space": "é" * 50})
    assert (len(index), index.ids().tolist(), index.remove(np.array([0]))) == (0, [], 0)
    somewhere = np.eye(16, dtype=np.float32)[:1]
    assert index.search(somewhere, 3).ids.tolist() == [[NO_ID] * 3]
    index.add(np.arange(30), points[:30])
    assert NO_ID not in index.search(somewhere, 30, np.array([0])).ids
    index.close()
    again = MilvusIndex(place, 16)
    assert again.marks() == {"rev": "4", "space": "é" * 50}
    assert len(again) == 30
    with pytest.raises(WrongNumber, match="4096"):
        again.keep_marks({"space": "x" * 5000})
    assert not again.settle()
    assert caplog.records == []
    again.close()


def test_a_collection_of_another_length_or_program_is_refused(make: Make, points: Rows):
    index = make(16)
    index.add(np.arange(3), points[:3])
    with pytest.raises(IndexServerMismatch, match=r"of 16 numbers, 128 were asked for: name ano"):
        MilvusIndex(index.place, 128)
    client = index._connection._client
    client.create_collection("theirs", dimension=16)
    with pytest.raises(IndexServerMismatch, match="not made by Vultus, its fields are id, vector"):
        MilvusIndex(replace(index.place, collection="theirs"), 16)
    assert len(index) == 3  # still open


def test_a_store_is_private_and_takes_one_process_at_a_time(tmp_path: Path, points: Rows):
    url = f"milvus:{tmp_path / 'own' / 'faces.db'}"
    code = f"from index.milvus import MilvusIndex\nprint(len(MilvusIndex.open({url!r}, 16)))"
    other = [sys.executable, "-c", code]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    index = MilvusIndex.open(url, 16)
    index.add(np.arange(7), points[:7])
    assert (tmp_path / "own" / "faces.db").stat().st_mode & 0o077 == 0
    done = subprocess.run(other, env=here, capture_output=True, text=True, check=False)
    assert "IndexServerUnreachable" in done.stderr
    assert "no other process has it open" in done.stderr
    index.close()
    done = subprocess.run(other, env=here, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("milvus:http://host/faces", MilvusPlace("http://host:19530", "faces")),
        ("milvus:https://host/a/b", MilvusPlace("https://host:443", "b", "a")),
        ("milvus:http://[::1]:80/f_1", MilvusPlace("http://[::1]:80", "f_1")),
        (
            "milvus:http://h:1/f?timeout=2.5&device=gpu&index=HNSW",
            MilvusPlace("http://h:1", "f", "", False, "gpu", "HNSW", 2.5),
        ),
        ("milvus:./here.db", MilvusPlace("here.db", lite=True)),
        ("milvus:/a/b c.db", MilvusPlace("/a/b c.db", lite=True)),
    ],
)
def test_urls_are_taken_apart(url: str, place: MilvusPlace):
    assert read_place(url) == place
    assert (read_url(url).engine, read_url(url).path) == ("milvus", None)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "a path that ends in .db"),
        ("/a/b", "a path that ends in .db"),
        ("ftp://host/a.db", "http://HOST:PORT/COLLECTION"),
        ("http://host", "names no collection"),
        ("http://host/a/b/c", "names no collection"),
        ("http://host/a-b", "letters, digits and _ only"),
        ("http://user:secret@host/a", "VULTUS_MILVUS_TOKEN"),
        ("http:///a", "names no host"),
        ("http://host:99999/a", "port"),
        ("http://host/a?timeout=0", "timeout"),
        ("http://host/a?timeout=nan", "timeout"),
        ("http://host/a?device=tpu", "device=cpu or device=gpu"),
        ("http://host/a?index=ANNOY", "FLAT, HNSW, IVF_FLAT, GPU_CAGRA"),
        ("http://host/a?token=secret", "no options but"),
    ],
)
def test_urls_that_name_no_collection_are_refused_and_not_repeated(rest: str, said: str):
    with pytest.raises(UnknownEngine, match=said) as refused:
        read_url(f"milvus:{rest}")
    assert "secret" not in str(refused.value)


def test_the_index_type_follows_size_and_device():
    sizes = (0, 200_000, 200_001, 20_000_000, 20_000_001)
    assert [rule_type(n, "cpu").name for n in sizes] == ["FLAT", "FLAT", "HNSW", "HNSW", "IVF_FLAT"]
    gpu = [rule_type(n, "gpu").name for n in (100_000, 100_001, 10**9)]
    assert gpu == ["FLAT", "GPU_CAGRA", "GPU_CAGRA"]
    assert rule_type(0, "cpu").exact
    assert not rule_type(10**6, "cpu").exact
    for name in ("HNSW", "GPU_CAGRA"):  # Milvus wants a breadth of at least the count
        kind = index_type(name, 10**6)
        assert all(min(kind.search(k).values()) >= k for k in (1, 100, 1000, kind.most))
    assert index_type("GPU_CAGRA", 10**6).search(100) == {"itopk_size": 128}
    assert index_type("IVF_FLAT", 25_000_000).build == {"nlist": 20_000}
    assert index_type("IVF_FLAT", 25_000_000).search(10) == {"nprobe": 625}


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(EngineMissing, match=r'pip install "vultus\[milvus\]"'):
        MilvusIndex.open("milvus:http://127.0.0.1/faces", 4)


def test_a_missing_milvus_lite_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "milvus_lite.server_manager", None)
    with pytest.raises(EngineMissing, match="run pip install milvus-lite, or name a server"):
        MilvusIndex.open(f"milvus:{tmp_path / 'faces.db'}", 4)


def test_importing_loads_no_client():
    code = "import index.opening, index.milvus, sys; print('pymilvus' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_token_comes_from_the_environment_and_a_dotenv_file_is_not_read(
    server: str, tmp_path: Path
):
    (tmp_path / ".env").write_text("VULTUS_DATABASE=theirs\n")
    code = f"""
import os
from index.milvus import MilvusIndex
index = MilvusIndex.open({server + "/token"!r}, 4)
print(index._connection._client._config.token, os.environ.get("VULTUS_DATABASE"), index.place)
index.close()
"""
    own = {k: v for k, v in os.environ.items() if not k.startswith("VULTUS_")}
    here = {**own, "VULTUS_MILVUS_TOKEN": "root:secret", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=here, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["root:secret", "None", f"{server.removeprefix('milvus:')}/token"]


def test_a_server_is_shared_and_found_at_once(server: str, points: Rows):
    one, other = (MilvusIndex.open(f"{server}/shared", 16) for _ in range(2))
    one.add(np.arange(50), points[:50])
    assert other.search(points[49:50], 1).ids.tolist() == [[49]]
    one.remove(np.array([49]))
    assert other.search(points[49:50], 1).ids.tolist() != [[49]]
    opened = open_with_marks(f"{server}/shared", 16)
    assert (opened.path, opened.marks, len(opened.index)) == (None, {}, 49)
    for index in (one, other, opened.index):
        index.close()


def test_an_approximate_type_is_used_when_asked_for(server: str, caplog: pytest.LogCaptureFixture):
    random = np.random.default_rng(5)
    rows = random.normal(size=(3000, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    plain = MilvusIndex.open(f"{server}/grown", 32)
    plain.add(np.arange(3000), rows)
    truth = plain.search(rows[:100], 10)
    graph = MilvusIndex.open(f"{server}/grown?index=HNSW", 32)
    assert (graph.type, graph.exact) == ("FLAT", True)
    with caplog.at_level(logging.WARNING):
        assert graph.settle()
    assert "gets the index type HNSW, it had FLAT" in caplog.text
    assert (graph.type, graph.exact) == ("HNSW", False)
    found = graph.search(rows[:100], 10)
    assert recall(found, truth) > 0.95
    assert not graph.settle()
    again = MilvusIndex.open(f"{server}/grown", 32)
    assert again.type == "HNSW"
    assert again.settle()  # nothing asks for it any more: 3,000 vectors are compared
    assert np.array_equal(again.search(rows[:100], 10).ids, truth.ids)
    for index in (plain, graph, again):
        index.close()


def test_milvus_lite_has_no_gpu_and_says_so(server: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        index = MilvusIndex.open(f"{server}/gpu?index=GPU_CAGRA", 4)
    assert "is Milvus Lite: its index type is FLAT, not GPU_CAGRA" in caplog.text
    assert index.type == "FLAT"
    index.close()


def test_a_database_that_is_not_there_is_refused(server: str):
    with pytest.raises(IndexServerRefused, match=r"/nowhere/faces refused .*nowhere"):
        MilvusIndex.open(f"{server}/nowhere/faces", 4)


@pytest.mark.timeout(30)
def test_a_refused_connection_is_an_error_within_the_time_asked():
    with pytest.raises(IndexServerUnreachable, match=r"did not answer within 1 s: check that it r"):
        MilvusIndex.open(f"milvus:http://127.0.0.1:{free_port()}/faces?timeout=1", 4)


@pytest.mark.timeout(30)
def test_a_server_that_hangs_is_an_error_within_the_time_asked():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(IndexServerUnreachable, match="allow more with"):
            MilvusIndex.open(f"milvus:http://127.0.0.1:{port}/faces?timeout=1", 4)


@pytest.mark.timeout(60)
def test_a_server_that_starts_late_is_waited_for(tmp_path: Path, points: Rows):
    port = free_port()
    made: list[MilvusIndex | VectorIndexError] = []

    def open_it() -> None:
        try:
            made.append(MilvusIndex.open(f"milvus:http://127.0.0.1:{port}/faces?timeout=40", 16))
        except VectorIndexError as error:
            made.append(error)

    waiting = threading.Thread(target=open_it)
    waiting.start()
    time.sleep(0.5)  # it has been refused a few times by now
    with started(tmp_path / "late", port):
        waiting.join()
        assert isinstance(made[0], MilvusIndex), made
        made[0].add(np.array([1]), points[:1])
        assert len(made[0]) == 1
    with pytest.raises(IndexServerUnreachable, match="did not answer within 2 s"):
        impatient(made[0]).search(points[:1], 1)
    made[0].close()


def impatient(index: MilvusIndex) -> MilvusIndex:
    index._connection.place = replace(index.place, timeout=2.0)
    return index
