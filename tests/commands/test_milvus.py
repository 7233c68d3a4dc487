"""The program with a Milvus index: Milvus Lite in its process, and as a server that all share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = ["--data-dir", str(tmp_path / "server"), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "milvus_lite", "server", *place]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield f"milvus:http://127.0.0.1:{port}/faces?timeout=30"
    running.kill()
    running.wait(timeout=30)


def names(done: Done) -> set[str]:
    assert done.code in (0, 1), done
    return {line.split(",")[1] for line in done.out.splitlines()}


def test_enrol_identify_forget_with_a_store_beside_the_database(
    vultus: Vultus, inside: Callable[..., Done], own: Gallery, tmp_path: Path
):
    at = (*own.at, "--index", f"milvus:{tmp_path / 'faces.db'}")
    name, probe = own.genuine
    done = vultus("identify", probe, *at, "--format", "csv")
    assert names(done) == {name}
    assert done.err == ""
    stranger = own.strangers[0]
    new = tmp_path / "new" / "Somebody New"
    new.mkdir(parents=True)
    for file in sorted(stranger.parent.glob("*.jpg"))[:2]:
        shutil.copy(file, new)
    assert names(inside("identify", stranger, *at, "--format", "csv")) == {"unknown_person"}
    assert inside("enroll", new.parent, *at).code == 0
    assert names(inside("identify", stranger, *at, "--format", "csv")) == {"Somebody New"}
    done = inside("doctor", *at)
    assert (done.code, "in step" in done.out) == (0, True), done.out
    assert inside("forget", "Somebody New", "--yes", *at).code == 0
    assert names(inside("identify", stranger, *at, "--format", "csv")) == {"unknown_person"}


def test_a_server_follows_whoever_changes_the_gallery(
    vultus: Vultus, inside: Callable[..., Done], own: Gallery, tmp_path: Path, server: str
):
    at = (*own.at, "--index", server)
    probes = [files[0] for files in own.probes.values()]
    assert names(inside("identify", *probes, *at, "--format", "csv")) == set(own.names)
    name, probe = own.genuine
    # somebody forgets without the server, another process enrols with it
    assert inside("forget", name, "--yes", *own.at).code == 0
    assert names(inside("identify", probe, *at, "--format", "csv")) == {"unknown_person"}
    done = vultus("enroll", own.folder / name, "--name", "Their New Name", *at)
    assert done.code == 0, done
    assert names(inside("identify", probe, *at, "--format", "csv")) == {"Their New Name"}
    # the same collection for another gallery: refused, and left alone
    done = inside("enroll", own.folder, "--database", tmp_path / "other.db", "--index", server)
    assert done.code == 3
    assert "name another collection" in done.err
    assert names(inside("identify", probe, *at, "--format", "csv")) == {"Their New Name"}


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("milvus:http://host", 64, ("names no collection", "write http://HOST:PORT/COLLECTION")),
        ("milvus:http://me:secret@host/a", 64, ("VULTUS_MILVUS_TOKEN",)),
        ("milvus:http://127.0.0.1:1/a?timeout=1", 3, ("did not answer within 1 s", "check that")),
        (f"milvus:{os.devnull}/a.db", 3, ("cannot be opened", "name another path")),
    ],
)
def test_what_is_wrong_is_said(
    inside: Callable[..., Done],
    unchanged: Gallery,
    url: str,
    code: int,
    words: tuple[str, ...],
):
    done = inside("identify", unchanged.genuine[1], *unchanged.at, "--index", url)
    assert done.code == code, done
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err
