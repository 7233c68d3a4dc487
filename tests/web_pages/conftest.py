"""A real server and a real Chromium whose camera shows people who do not exist."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from store.keys import add_key
from verify.opening import Parts, Places
from web.tokens import new_key, parse_key, seal_secret

if TYPE_CHECKING:
    from enroll.folder import NamedPhoto
    from verify.evaluation import VerificationResult

webdriver = pytest.importorskip("selenium.webdriver")

ROOT = Path(__file__).resolve().parents[2]
CODE = "import vultus; vultus.main()"
ENROLLED = 4  # people of the gallery; the last is in the library alone
FRAMES = 12


@dataclass(frozen=True)
class Served:
    """A running server with a gallery and a library."""

    url: str
    database: Path
    keys: dict[str, str]

    def client(self) -> httpx.Client:
        head = {"Authorization": f"Bearer {self.keys['admin']}"}
        return httpx.Client(base_url=self.url, headers=head, timeout=30)


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
def gallery(album: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people with three photos each, and a library of five people clustered."""
    from enroll.cluster import ClusterRules, cluster_library
    from enroll.folder import NamedPhoto, PeopleFolder
    from enroll.person import enroll_people
    from verify.report import write_report

    root = tmp_path_factory.mktemp("gallery")
    names = list(album)
    library = root / "library"
    library.mkdir()
    for name in names[: ENROLLED + 1]:
        for file in album[name][3:6]:
            shutil.copy(file, library / f"{name.replace(' ', '-')}-{file.name}")
    photos = tuple(NamedPhoto(file, name) for name in names[:ENROLLED] for file in album[name][:3])
    with Parts(Places(database=str(root / "gallery.sqlite3"))) as parts:
        done = list(enroll_people(parts, PeopleFolder(root, photos, "", 0)))
        found = cluster_library(parts, library, ClusterRules())
        write_report(measured(parts, photos, root / "people"), root / "report.html")
    assert {one.status for one in done} == {"enrolled"}
    assert len(found.clusters) == ENROLLED + 1
    return root / "gallery.sqlite3"


def measured(parts: Parts, photos: Sequence[NamedPhoto], folder: Path) -> VerificationResult:
    """What `vultus evaluate verification --all-pairs` finds on some photos."""
    from verify.evaluate import PairSource, Rules, evaluate_verification

    for photo in photos:
        (folder / photo.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(str(photo.source)), folder / photo.name)
    rules = Rules(quiet=True)
    return evaluate_verification(parts.embedder, folder, PairSource(), rules)


def make_keys(database: Path) -> dict[str, str]:
    keys = {}
    with Parts(Places(database=str(database))) as parts, parts.store.begin() as session:
        for name in ("admin", "verify"):
            uid, keys[name] = new_key()
            secret = parse_key(keys[name])
            assert secret is not None
            add_key(session, uid, name, seal_secret(secret[1]), [name])
    return keys


@pytest.fixture(scope="module")
def served(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`vultus serve` with a copy of the gallery."""
    place = tmp_path_factory.mktemp("served")
    for file in gallery.parent.glob("gallery.*"):
        shutil.copy(file, place)
    database = place / "gallery.sqlite3"
    keys = make_keys(database)
    kept = {k: v for k, v in os.environ.items() if k[:7] != "VULTUS_" or k == "VULTUS_WEIGHTS"}
    if cache := os.environ.get("VULTUS_CACHE"):
        kept["VULTUS_CACHE"] = cache
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = place / "server.log"
    report = str(gallery.parent / "report.html")
    command = [sys.executable, "-c", CODE, "serve", "--port", str(port), "--database",
               str(database), "--lockout", "off", "--report", report]  # fmt: skip
    environment = kept | {"PYTHONPATH": str(ROOT)}
    with log.open("w") as written:
        process = subprocess.Popen(command, env=environment, stderr=written, stdout=written)
    url = f"http://127.0.0.1:{port}"
    _wait_until_ready(process, url, log)
    yield Served(url, database, keys)
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    process.kill()
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def film(photo: Path, to: Path) -> Path:
    """A portrait before a camera that trembles a little, as an MJPEG file."""
    picture = Image.open(photo).convert("RGB").resize((480, 480))
    with to.open("wb") as written:
        for i in range(FRAMES):
            frame = Image.new("RGB", (640, 480), (96, 100, 104))
            frame.paste(picture, (80 + i % 3, i % 2))
            frame.save(written, "JPEG", quality=95)
    return to


@pytest.fixture(scope="session")
def browse(chromium: str, chromedriver: str) -> Callable[..., Any]:
    """Open a Chromium: `with browse(video) as driver`."""

    @contextmanager
    def opened(video: Path | None = None, *more: str, size: str = "1280,800") -> Iterator[Any]:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        given = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                 "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                 f"--window-size={size}", *more]  # fmt: skip
        if video is not None:
            given.append(f"--use-file-for-fake-video-capture={video}")
        for one in given:
            options.add_argument(one)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=chromedriver)
        with webdriver.Chrome(options=options, service=service) as driver:
            driver.set_script_timeout(30)
            yield driver

    return opened
