"""A real server process for the session, and the application in this process for cheap tests."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from store.keys import add_key
from verify.opening import Parts, Places
from web.tokens import new_key, parse_key, seal_secret

ROOT = Path(__file__).resolve().parents[2]
CODE = "import vultus; vultus.main()"
ENROLLED = 4


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    database: Path
    keys: dict[str, str]
    process: subprocess.Popen[str]
    log: Path
    certificate: Path | None = None

    def client(self, key: str = "admin") -> httpx.Client:
        head = {"Authorization": f"Bearer {self.keys[key]}"}
        verify: ssl.SSLContext | bool = True
        if self.certificate is not None:
            verify = ssl.create_default_context(cafile=self.certificate)
        return httpx.Client(base_url=self.url, headers=head, timeout=30, verify=verify)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def uid(self, name: str) -> str:
        with self.client() as http:
            found = http.get("/v1/people", params={"q": name}).raise_for_status().json()["items"]
        assert len(found) == 1, found
        return str(found[0]["uid"])


@pytest.fixture(scope="session")
def album() -> dict[str, list[Path]]:
    """The generated people: name → photos."""
    folder = Path(str(resources.files("enroll"))) / "people" / "people"
    if not folder.is_dir():
        pytest.skip("the generated people are not installed")
    if not any(find_spec(name) for name in ("openvino", "onnxruntime")):
        pytest.skip("the extra cpu is not installed")
    return {one.name: sorted(one.glob("*.jpg")) for one in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def strangers() -> list[Path]:
    folder = Path(str(resources.files("enroll"))) / "people" / "strangers"
    return sorted(folder.glob("*/*.jpg"))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    kept = {k: v for k, v in os.environ.items() if k[:7] != "VULTUS_" or k == "VULTUS_WEIGHTS"}
    return kept | {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "VULTUS_CACHE": os.environ.get("VULTUS_CACHE", str(home / "cache")),
        "PYTHONPATH": str(ROOT),
    }


def make_keys(database: Path | str) -> dict[str, str]:
    """A key a scope, one for the site north, one revoked and one expired."""
    from datetime import UTC, datetime

    from store.keys import revoke_key

    wanted = {
        "admin": (["admin"], None, None),
        "verify": (["verify"], None, None),
        "identify": (["identify"], None, None),
        "enrol": (["enrol", "verify"], None, None),
        "north": (["verify", "identify", "enrol"], ["north"], None),
        "revoked": (["admin"], None, None),
        "expired": (["admin"], None, datetime(2020, 1, 1, tzinfo=UTC)),
    }
    keys = {}
    with Parts(Places(database=str(database))) as parts, parts.store.begin() as session:
        for name, (scopes, sites, expires) in wanted.items():
            uid, keys[name] = new_key()
            secret = parse_key(keys[name])
            assert secret is not None
            add_key(session, uid, name, seal_secret(secret[1]), scopes, sites, expires)
        revoke_key(session, "revoked")
    return keys


@pytest.fixture(scope="session")
def gallery(
    album: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """Make a copy of a gallery of four people, three photos each."""
    import shutil

    from enroll.folder import NamedPhoto, PeopleFolder
    from enroll.person import enroll_people

    root = tmp_path_factory.mktemp("gallery")
    chosen = list(album.items())[:ENROLLED]
    photos = tuple(NamedPhoto(file, name) for name, files in chosen for file in files[:3])
    with Parts(Places(database=str(root / "gallery.sqlite3"))) as parts:
        done = list(enroll_people(parts, PeopleFolder(root, photos, "", 0)))
    assert {one.status for one in done} == {"enrolled"}

    def copy(place: Path) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        for file in root.glob("gallery.*"):
            shutil.copy(file, place)
        return place / "gallery.sqlite3"

    return copy


@pytest.fixture(scope="session")
def launch(environment: dict[str, str]) -> Callable[..., Served]:
    """Start a server of a gallery with fresh keys, or with those it has, and wait for it."""

    def started(
        database: Path | str, log: Path, *more: str, keys: dict[str, str] | None = None,
        certificate: Path | None = None,
    ) -> Served:  # fmt: skip
        keys = make_keys(database) if keys is None else keys
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with log.open("w") as written:
            process = subprocess.Popen(
                [sys.executable, "-c", CODE, "serve", "--port", str(port), "--database",
                 str(database), *more],
                env=environment, text=True, stderr=written, stdout=written,
            )  # fmt: skip
        url = f"http{'' if certificate is None else 's'}://localhost:{port}"
        served = Served(url, Path(database), keys, process, log, certificate)
        end = time.monotonic() + 90
        while time.monotonic() < end and process.poll() is None:
            try:
                with served.client() as http:
                    if http.get("/health/ready", timeout=2).status_code == 200:
                        return served
            except httpx.HTTPError:
                time.sleep(0.1)
        process.kill()
        pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")

    return started


@pytest.fixture(scope="session")
def server(
    gallery: Callable[[Path], Path],
    launch: Callable[..., Served],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """`vultus serve` on a free port; tests add their own people and do not touch the four."""
    place = tmp_path_factory.mktemp("served")
    served = launch(gallery(place), place / "server.log", "--failures", "400/1m")
    yield served
    served.stop()
