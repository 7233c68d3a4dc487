"""Enrolment on a Ray cluster, held against enrolment in this process: the same rows, bit for bit.

One Ray on this machine serves the whole module.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vultus
from embedder.quality import DEFAULT_GATE
from enroll import ray_engine as module
from enroll.errors import ClusterFailed, ClusterUnfit
from enroll.folder import NamedPhoto, read_people
from enroll.gallery import Gallery
from enroll.intake import Looked
from enroll.person import CONFLICT, enroll_people
from enroll.ray_cluster import connected
from enroll.ray_engine import RayEngine
from enroll.ray_rows import Reply, from_table
from enroll.ray_worker import Task, Worker, build
from store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from .conftest import Shelf

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: vultus[ray]"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
ROWS = (
    "SELECT photos.digest, source, size, width, height, outcome, reason, claimed.name, x, y, w, h, "
    "points, confidence, quality, crop, vector, people.name FROM photos "
    "LEFT JOIN people AS claimed ON claimed_id = claimed.id LEFT JOIN faces ON photo_id = photos.id"
    " LEFT JOIN templates ON face_id = faces.id LEFT JOIN people ON person_id = people.id "
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Where object storage will be, in the environment before Ray's processes take it over."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield url


@pytest.fixture(scope="module")
def bucket(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty bucket of an S3 server of our own."""
    if find_spec("moto") is None or find_spec("flask_cors") is None:
        pytest.skip("moto's server is not installed")
    port = endpoint.rpartition(":")[2]
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("w") as kept:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
            stdout=kept, stderr=kept,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not _listens(int(port)):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        from pyarrow.fs import S3FileSystem

        S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True
        ).create_dir("photos")
        yield "photos"
    finally:
        server.terminate()
        server.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def put(bucket: str, folder: Path, prefix: str) -> str:
    """Copy a folder into the bucket; its address there."""
    from pyarrow.fs import LocalFileSystem, S3FileSystem, copy_files

    port = os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]
    storage = S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http")
    copy_files(
        str(folder), f"{bucket}/{prefix}", source_filesystem=LocalFileSystem(),
        destination_filesystem=storage, use_threads=False,
    )  # fmt: skip
    return f"s3://{bucket}/{prefix}"


@pytest.fixture(scope="module")
def cluster(endpoint: str) -> Iterator[None]:
    """A Ray on this machine."""
    assert endpoint
    with connected(None):
        yield


@pytest.fixture
def folder(
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    portraits: list[list[NDArray[np.uint8]]],
    picture: Callable[..., Path],
) -> Path:
    """People, and photos that must be refused for every kind of reason."""
    names = list(people)
    root = album({name: people[name][:4] for name in names[:5]})
    ann, bob = root / names[0], root / names[1]
    shutil.copy(ann / "1.jpg", bob / "9-not-bob.jpg")
    shutil.copy(ann / "2.jpg", ann / "2-twice.jpg")
    (ann / "text.jpg").write_text("<html>")
    (ann / "cut.jpg").write_bytes((ann / "1.jpg").read_bytes()[:3000])
    (bob / "gone.jpg").symlink_to(root / "nowhere.jpg")
    picture(np.full((90, 90, 3), 90, np.uint8), f"photos/{names[2]}/nobody.png")
    picture(np.hstack([portraits[0][0], portraits[1][0]]), f"photos/{names[2]}/two.png")
    return root


def rows(shelf: Shelf) -> list[tuple[object, ...]]:
    return shelf.ask(ROWS + "ORDER BY photos.digest, x")


def on_ray(shelf: Shelf, folder: Path, engine: RayEngine | None = None) -> list[dict[str, object]]:
    steps = enroll_people(shelf.parts, read_people(folder), None, engine or RayEngine())
    return [outcome.to_dict() for outcome in steps]


@pytest.mark.usefixtures("cluster")
def test_the_result_is_that_of_this_process(
    open_shelf: Callable[..., Shelf], folder: Path, tmp_path: Path
):
    here, there = open_shelf(tmp_path / "here.db"), open_shelf(tmp_path / "there.db")
    engine = RayEngine()
    wanted = [outcome.to_dict() for outcome in here.enroll(folder)]
    assert on_ray(there, folder, engine) == wanted
    reasons = {str(outcome["reason"]) for outcome in wanted}
    assert reasons == {"None", CONFLICT, "not_an_image", "face_not_found", "multiple_faces"}
    assert rows(there) == rows(here)
    events = "SELECT action, details FROM events ORDER BY id"
    assert there.ask(events) == here.ask(events)
    assert len(there.parts.index) == len(here.parts.index) == there.count("templates") > 15
    assert engine.workers >= 1
    assert engine.describe().startswith(f"ray, {engine.workers} workers: cpu ")


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_dies_and_a_run_that_is_broken_off_lose_nothing(
    open_shelf: Callable[..., Shelf],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    died = tmp_path / "died"

    class Dying(Worker):  # sent to the workers as it stands
        def __call__(self, block: object) -> object:
            if not died.exists():
                died.touch()
                os._exit(1)
            return Worker.__call__(self, block)

    whole, cut = open_shelf(tmp_path / "whole.db"), open_shelf(tmp_path / "cut.db")
    whole.enroll(folder)
    monkeypatch.setattr(module, "Worker", Dying)
    people = read_people(folder)
    with closing(enroll_people(cut.parts, people, None, RayEngine())) as steps:  # type: ignore[type-var]
        seen = [next(steps) for _ in range(3)]
    assert died.exists()
    assert 3 <= cut.count("photos") <= whole.count("photos")
    outcomes = cut.enroll(folder)  # one engine goes on where another was broken off
    assert [outcome.status for outcome in outcomes[:3]] == [
        "unchanged" if outcome.status == "enrolled" else outcome.status for outcome in seen
    ]
    assert rows(cut) == rows(whole)


def test_a_run_with_nothing_to_do_needs_no_cluster(enrolled: Shelf, enrolled_folder: Path):
    later = timedelta(minutes=2)
    with enrolled.parts.store.begin() as session:
        for photo in session.query(schema.Photo):
            photo.added += later
    engine = RayEngine("nobody.invalid:1")
    report = Gallery(enrolled.parts).enroll(enrolled_folder / "photos", engine=engine)
    assert report.counts == {"enrolled": 0, "unchanged": 8, "rejected": 0}
    assert engine.describe() == "ray, 0 workers: not used"


@pytest.mark.usefixtures("cluster")
def test_photos_in_object_storage_by_the_command(
    bucket: str,
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    open_shelf: Callable[..., Shelf],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    names = list(people)[:2]
    local = album({name: people[name][:3] for name in names})
    (local / names[0] / "notes.txt").write_text("no photo")
    (local / names[0] / "broken.jpg").write_text("no photo either")
    address = put(bucket, local, "set/people")
    database = tmp_path / "stored.db"
    command = ["enroll", address, "--engine", "ray", "--database", str(database), "--format"]
    with pytest.raises(SystemExit) as ended:
        vultus.main([*command, "json"])
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert ended.value.code == 3  # one was rejected
    assert f"{address}: a folder a person: 2 people, 7 photos" in said.err
    assert "1 other files ignored" in said.err
    assert report["device"].startswith("ray, ")
    assert (report["enrolled"], report["rejected"]) == (6, 1)
    files = {(file["file"], file["person"]) for file in report["files"]}
    assert (f"{address}/{names[1]}/1.jpg", names[1]) in files

    here = open_shelf(tmp_path / "here.db")
    here.enroll(local)
    stored = open_shelf(database)
    columns = (0, *range(2, 18))  # all but the path
    assert [[r[i] for i in columns] for r in rows(stored)] == [
        [r[i] for i in columns] for r in rows(here)
    ]
    stored.parts.close()
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"{address}/{names[1]}/{n}.jpg\n" for n in (3, 1)))
    with pytest.raises(SystemExit) as ended:
        vultus.main(["enroll", "--list", str(listing), "--database", str(database), "-q"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("0 photos enrolled, 2 unchanged, 0 rejected (cpu")


# --- what a worker says of itself, without a cluster


def task(**other: object) -> Task:
    usual: dict[str, object] = {
        "model": "sface", "detector": "yunet", "device": "cpu", "runtime": None,
        "max_pixels": 10**8, "rule": "reject", "gate": DEFAULT_GATE, "jobs": 1, "variables": {},
    }  # fmt: skip
    return Task(**(usual | other))  # type: ignore[arg-type]


def block(*paths: Path) -> object:
    import pyarrow as pa

    rows = [
        {"number": n, "place": os.fsencode(path), "label": f"photo {n}"}
        for n, path in enumerate(paths)
    ]
    return pa.Table.from_pylist(rows)


def test_a_worker_that_cannot_open_the_encoder_says_so(tmp_path: Path):
    worker = Worker(task(runtime="abacus"))
    (reply,) = from_table(worker(block(tmp_path / "a.jpg")))
    assert "abacus" in reply.fault
    photo = NamedPhoto(tmp_path / "a.jpg", "Ann")
    with pytest.raises(ClusterUnfit, match=r"cannot encode: .*abacus"):
        RayEngine()._checked(photo, 0, reply)


def test_a_photo_that_only_this_machine_sees_ends_the_run(people: dict[str, list[Path]]):
    path = next(iter(people.values()))[0]
    reply = Reply(0, Looked(str(path)), None, "far", "cpu")
    with pytest.raises(ClusterUnfit, match=r"machine far does not see .*s3://"):
        RayEngine()._checked(NamedPhoto(path, "Ann"), 0, reply)


def test_a_reply_that_is_missing_ends_the_run():
    with pytest.raises(ClusterFailed, match=r"left out b\.jpg"):
        RayEngine()._checked(NamedPhoto("b.jpg", "Bob"), 1, None)


def test_pictures_in_memory_are_not_sent():
    with pytest.raises(ClusterUnfit, match="in memory"):
        module._row(NamedPhoto(b"bytes", "Ann"), 0)


def test_the_code_of_a_machine_is_told_by_its_digest():
    assert build() == build()
    assert len(build()) == 64
