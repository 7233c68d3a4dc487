"""A server and a Chromium for benchmarks of the page."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from store.keys import add_key
from verify.opening import Parts, Places
from web.tokens import new_key, parse_key, seal_secret

ROOT = Path(__file__).resolve().parents[1]
CODE = "import vultus; vultus.main()"


def people() -> dict[str, list[Path]]:
    """The generated people: name → photos."""
    folder = Path(str(resources.files("enroll"))) / "people" / "people"
    return {one.name: sorted(one.glob("*.jpg")) for one in sorted(folder.iterdir())}


def film(photo: Path, to: Path) -> Path:
    """A portrait before a camera that trembles a little, as an MJPEG file."""
    picture = Image.open(photo).convert("RGB").resize((480, 480))
    with to.open("wb") as written:
        for i in range(12):
            frame = Image.new("RGB", (640, 480), (96, 100, 104))
            frame.paste(picture, (80 + i % 3, i % 2))
            frame.save(written, "JPEG", quality=95)
    return to


def add_admin(parts: Parts) -> str:
    """A key that may do everything."""
    uid, key = new_key()
    secret = parse_key(key)
    if secret is None:
        raise SystemExit("the key cannot be read")
    with parts.store.begin() as session:
        add_key(session, uid, "bench", seal_secret(secret[1]), ["admin"])
    return key


@contextmanager
def served(place: Path, enrolled: Mapping[str, Sequence[Path]]) -> Iterator[tuple[str, str]]:
    """A server with people enrolled, its address, and a key."""
    from enroll.folder import NamedPhoto, PeopleFolder
    from enroll.person import enroll_people

    database = place / "gallery.sqlite3"
    photos = tuple(NamedPhoto(file, name) for name, files in enrolled.items() for file in files)
    with Parts(Places(database=str(database))) as parts:
        if photos:
            list(enroll_people(parts, PeopleFolder(place, photos, "", 0)))
        key = add_admin(parts)
    with serving(database) as url:
        yield url, key


@contextmanager
def serving(database: Path) -> Iterator[str]:
    """`vultus serve` on a free port; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", CODE, "serve", "--port", str(port), "--database",
               str(database), "--lockout", "off"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (database.parent / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 - ours
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                if _answers(f"{url}/health/ready"):
                    break
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def chromium(video: Path | None = None) -> Iterator[Any]:
    """A headless Chromium that draws in software."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    given = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
             "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             "--window-size=1280,800"]  # fmt: skip
    if video is not None:
        given.append(f"--use-file-for-fake-video-capture={video}")
    for one in given:
        options.add_argument(one)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.set_script_timeout(120)
        yield driver


def wait(driver: Any, until: Callable[[], object]) -> None:  # noqa: ANN401 - a WebDriver
    """Wait until something holds."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 60, 0.05).until(lambda _: until())


def sign_in(driver: Any, url: str, key: str) -> None:  # noqa: ANN401 - a WebDriver
    """Sign in to the page."""
    driver.get(f"{url}/signin")
    driver.find_element("id", "key").send_keys(key + "\n")
    wait(driver, lambda: "/signin" not in driver.current_url)
