"""The page of a plot in a real browser: pointing at a mark shows its picture and its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from verify.plot import Cloud, Plot, Projection
from verify.plot_page import plot_page
from verify.plot_sources import thumbnail

webdriver = pytest.importorskip("selenium.webdriver")
Keys = webdriver.Keys

INK = ((200, 30, 30), (30, 120, 200), (40, 160, 60))
NASTY = '<img src=x onerror="document.title=1">&'
# The colour in the middle of the tooltip's picture, once it is decoded.
SEEN = """
const done = arguments[arguments.length - 1], image = document.querySelector("#tip img");
image.decode().then(() => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  pen.drawImage(image, 0, 0);
  done([...pen.getImageData(image.naturalWidth / 2, image.naturalHeight / 2, 1, 1).data]);
}, () => done(null));
"""
TIP = """
const tip = document.getElementById("tip");
return tip.hidden ? null : ["b", "span"].map((name) => tip.querySelector(name).textContent);
"""


def page(dims: int, labels: tuple[str, ...]) -> str:
    pictures = [np.full((64, 64, 3), INK[i % 3], np.uint8) for i in range(len(labels))]
    places = np.eye(len(labels))[:, :dims] * 10 + np.arange(len(labels))[:, None] * 0.7
    files = tuple(f"{i}.jpg" for i in range(len(labels)))
    cloud = Cloud(
        np.eye(len(labels), dtype=np.float32), labels, files, tuple(map(thumbnail, pictures)), "toy"
    )
    return plot_page(Plot(cloud, Projection(places, "pca", "PCA"), 0))


@pytest.fixture(scope="module")
def browser(chromium: str, chromedriver: str) -> Iterator[object]:
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    quiet = "disable-background-networking disable-component-update disable-sync disable-quic"
    for flag in f"headless=new no-sandbox disable-gpu no-first-run {quiet}".split():
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=chromedriver)
    with webdriver.Chrome(options=options, service=service) as opened:
        opened.set_script_timeout(60)
        opened.set_window_size(1000, 900)
        yield opened


def point_at(browser, canvas, x: float, y: float) -> None:
    """Move the mouse to a place of the canvas, in pixels from its upper left corner."""
    box = canvas.rect
    actions = webdriver.ActionChains(browser, duration=0)
    actions.move_to_element_with_offset(canvas, x - box["width"] / 2, y - box["height"] / 2)
    actions.perform()


def shown_at(browser) -> tuple[float, float]:
    """Where the point lies whose tooltip is shown: the tooltip is 14 pixels off."""
    style = browser.execute_script(
        "const s = document.getElementById('tip').style; return [s.left, s.top]"
    )
    return tuple(float(v.removesuffix("px")) - 14 for v in style)


@pytest.mark.parametrize("dims", [2, 3])
def test_pointing_shows_picture_and_name(browser, tmp_path: Path, dims: int):
    path = tmp_path / "plot.html"
    labels = ("red", NASTY, "green", "red", NASTY, "green")
    path.write_text(page(dims, labels), encoding="utf-8")
    browser.get(path.as_uri())
    canvas = browser.find_element("id", "plot")
    assert browser.execute_script(TIP) is None
    canvas.send_keys("n", "n")  # the keyboard goes from point to point
    assert browser.execute_script(TIP) == [NASTY, "1.jpg"]
    assert np.abs(np.subtract(browser.execute_async_script(SEEN)[:3], INK[1])).max() < 12
    place = shown_at(browser)
    point_at(browser, canvas, 3, 3)
    assert browser.execute_script(TIP) is None, "there is nothing"
    point_at(browser, canvas, *place)
    assert browser.execute_script(TIP) == [NASTY, "1.jpg"]
    actions = webdriver.ActionChains(browser, duration=0)
    actions.move_to_element_with_offset(canvas, -200, 100).click_and_hold()
    actions.move_by_offset(60, 0).release().perform()
    canvas.send_keys(Keys.ESCAPE, "n", "n")
    after = shown_at(browser)
    moved = np.subtract(after, place)
    if dims == 2:
        assert moved == pytest.approx([60, 0], abs=1)
    else:
        assert abs(moved[0]) > 3, "a drag turns it"
    legend = browser.find_elements("css selector", "#legend button")
    assert [one.text.split()[0] for one in legend][1:] == ["green", "red"]
    legend[1].click()
    point_at(browser, canvas, *after)
    assert browser.execute_script(TIP) is None, "only green ones can be pointed at now"
    assert browser.execute_script("return document.images.length") == 1
    assert browser.get_log("browser") == [], "nothing was refused or failed"


def test_many_labels_are_found_by_name(browser, tmp_path: Path):
    path = tmp_path / "many.html"
    path.write_text(page(2, tuple(f"label {i}" for i in range(14))), encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.find_elements("css selector", "#legend button") == []
    browser.find_element("id", "search").send_keys("label 1")
    assert browser.find_element("id", "found").text == "5 labels"
    names = "return performance.getEntriesByType('resource').map((e) => e.name.slice(0, 5))"
    assert set(browser.execute_script(names)) <= {"data:"}
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    browser.set_window_size(420, 800)
    assert browser.execute_script(wide) is False
    assert browser.get_log("browser") == []
