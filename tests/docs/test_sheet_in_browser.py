"""The contact sheet in a real browser: every thumbnail loads, on a phone too, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from selenium import webdriver

from enroll.gallery import open_gallery

LOADED = """
const done = arguments[arguments.length - 1];
const images = [...document.images];
for (const image of images) image.loading = "eager";
Promise.all(images.map((image) => image.decode().then(() => 1, () => 0)))
  .then((ok) => done(ok.reduce((a, b) => a + b, 0)));
"""


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheet")
    people = Path(str(resources.files("enroll") / "people" / "people"))
    with open_gallery(folder / "gallery.sqlite3", model="sface") as gallery:
        gallery.cluster(people, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def browser(chromium: str, chromedriver: str) -> Iterator[object]:
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = "disable-background-networking disable-component-update disable-sync disable-quic"
    for flag in f"headless=new no-sandbox disable-gpu no-first-run {quiet}".split():
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=chromedriver)
    with webdriver.Chrome(options=options, service=service) as opened:
        opened.set_script_timeout(60)
        yield opened


@pytest.mark.parametrize("width", [1200, 500])
def test_every_thumbnail_loads_and_nothing_runs_over(browser, sheet, width):
    browser.set_window_size(width, 900)
    browser.get((sheet / "index.html").as_uri())
    thumbnails = len(list((sheet / "faces").glob("*.jpg")))
    assert thumbnails == 84
    assert browser.execute_async_script(LOADED) == thumbnails
    assert len(browser.find_elements("css selector", "header.cluster")) == 14
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert browser.execute_script(wide) is False


@pytest.mark.parametrize(
    ("scheme", "background"), [("light", "rgb(251, 251, 250)"), ("dark", "rgb(21, 24, 27)")]
)
def test_the_page_follows_the_readers_scheme(browser, sheet, scheme, background):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get((sheet / "index.html").as_uri())
    script = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(script) == background
    for face in browser.find_elements("tag name", "img")[:3]:
        assert face.get_attribute("alt")
