"""The contact sheet in a real browser: every thumbnail loads, in light and dark."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from enroll.gallery import open_gallery

COUNT = """
<script>
addEventListener("load", () => {
  const frame = document.querySelector("iframe");
  const inside = frame.contentDocument;
  const images = [...inside.images];
  for (const image of images) image.loading = "eager";
  Promise.all(images.map((image) => image.decode().then(() => 1, () => 0))).then((ok) => {
    const style = frame.contentWindow.getComputedStyle(inside.body);
    document.title = JSON.stringify({
      images: images.length,
      loaded: ok.reduce((a, b) => a + b, 0),
      clusters: inside.querySelectorAll("header.cluster").length,
      wide: inside.documentElement.scrollWidth > frame.clientWidth,
      background: style.backgroundColor,
    });
    document.body.textContent = document.title;
  });
});
</script>
"""


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheet")
    people = Path(str(resources.files("enroll") / "people" / "people"))
    with open_gallery(folder / "gallery.sqlite3", model="sface") as gallery:
        gallery.cluster(people, folder / "out")
    return folder / "out"


def look(chromium: str, sheet: Path, profile: Path, width: int, *flags: str) -> dict[str, object]:
    page = f'<iframe src="index.html" style="border:0;width:{width}px;height:900px"></iframe>'
    (sheet / "look.html").write_text(f"<!doctype html><body>{page}{COUNT}", encoding="utf-8")
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-quic", "--allow-file-access-from-files", f"--user-data-dir={profile}",
            "--virtual-time-budget=20000", "--dump-dom", *flags,
            (sheet / "look.html").resolve().as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = done.stdout.split("<title>")[1].split("</title>")[0]
    return dict(json.loads(title))


@pytest.mark.parametrize("width", [1200, 380])
def test_every_thumbnail_loads_and_nothing_runs_over(chromium, sheet, tmp_path, width):
    seen = look(chromium, sheet, tmp_path, width)
    thumbnails = len(list((sheet / "faces").glob("*.jpg")))
    assert thumbnails >= 60
    assert seen["images"] == seen["loaded"] == thumbnails
    assert seen["clusters"] == 14
    assert seen["wide"] is False


def test_the_page_is_dark_where_the_reader_wants_it(chromium, sheet, tmp_path):
    light = look(chromium, sheet, tmp_path / "light", 1200)["background"]
    dark_flag = "--blink-settings=preferredColorScheme=0"
    dark = look(chromium, sheet, tmp_path / "dark", 1200, dark_flag)["background"]
    assert light == "rgb(251, 251, 250)"
    assert dark == "rgb(21, 24, 27)"
