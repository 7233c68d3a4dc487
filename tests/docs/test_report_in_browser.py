"""Reports in a real browser: pictures load, nothing overlaps or runs over, in light and dark."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from verify.report import write_report

webdriver = pytest.importorskip("selenium.webdriver")

KINDS = ("verification", "identification", "clustering")
LOADED = """
const done = arguments[arguments.length - 1];
Promise.all([...document.images].map((image) => image.decode().then(() => 1, () => 0)))
  .then((ok) => done(ok.reduce((a, b) => a + b, 0)));
"""
# Pairs of labels of one chart whose boxes share more than a pixel, and labels outside their chart.
OVERLAPS = """
const found = [];
for (const chart of document.querySelectorAll("svg.chart")) {
  const frame = chart.getBoundingClientRect();
  const labels = [...chart.querySelectorAll("text")].map((e) => [e, e.getBoundingClientRect()]);
  labels.forEach(([one, a], i) => {
    if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.bottom > frame.bottom + 1)
      found.push("outside: " + one.textContent);
    for (const [other, b] of labels.slice(i + 1)) {
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 1 && y > 1) found.push(one.textContent + " on " + other.textContent);
    }
  });
}
return found;
"""
# The least contrast (WCAG 2) of chart colours with the card behind them.
CONTRAST = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
const card = luminance(getComputedStyle(document.querySelector("figure")).backgroundColor);
const of = (query, what) => Math.min(...[...document.querySelectorAll(query)]
  .map((e) => ratio(luminance(getComputedStyle(e)[what]), card)));
return [of(".chart text", "fill"), of(".curve:not(.guide)", "stroke")];
"""


def _made_up_results() -> object:
    """The results of the report's own tests, which are no package that could be imported."""
    place = Path(__file__).parents[1] / "verify" / "test_report.py"
    spec = importlib.util.spec_from_file_location("made_up_results", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    made = _made_up_results()
    for kind in KINDS:
        result = made.RESULTS[kind]()
        write_report(result, folder / f"{kind}.html", reliability=made.reliability())
    return folder


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[object]:
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    quiet = "disable-background-networking disable-component-update disable-sync disable-quic"
    for flag in f"headless=new no-sandbox disable-gpu no-first-run {quiet}".split():
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as opened:
        opened.set_script_timeout(60)
        yield opened


def _open(browser, page: Path, width: int = 1200, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [1200, 500, 360])
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_fits_its_window(browser, reports, kind, width):
    _open(browser, reports / f"{kind}.html", width)
    images = len(browser.find_elements("css selector", "img"))
    assert images >= 8
    assert browser.execute_async_script(LOADED) == images
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert browser.execute_script(wide) is False
    assert browser.execute_script(OVERLAPS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_table_is_cut_on_a_phone(browser, reports, kind):
    _open(browser, reports / f"{kind}.html", 500)
    cut = """return [...document.querySelectorAll(".wide")]
      .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.getAttribute("aria-label"))"""
    assert browser.execute_script(cut) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_of_the_network_and_nothing_is_refused(browser, reports, kind):
    _open(browser, reports / f"{kind}.html")
    assert browser.execute_script(
        "return performance.getEntriesByType('resource')"
        ".map((e) => e.name).filter((name) => !name.startsWith('data:'))"
    ) == []  # fmt: skip
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(
    ("scheme", "background"), [("light", "rgb(251, 251, 250)"), ("dark", "rgb(21, 24, 27)")]
)
@pytest.mark.parametrize("kind", ["verification", "identification"])
def test_charts_are_legible_in_both_schemes(browser, reports, kind, scheme, background):
    _open(browser, reports / f"{kind}.html", scheme=scheme)
    script = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(script) == background
    text, lines = browser.execute_script(CONTRAST)
    assert text >= 4.5
    assert lines >= 3.0
