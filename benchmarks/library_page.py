"""How a library of many faces feels: time to the first picture, and the slowest frame of a scroll.

A gallery is filled with invented faces: random unit vectors in clusters whose sizes are drawn
(seeded), each face with the crop of a generated person. A headless Chromium without a graphics card
opens the page anew (empty cache) and scrolls through it for some seconds, slowly, fast and in
leaps; what is told are the times between two frames.

    python benchmarks/library_page.py --faces 10000
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
from browsing import add_admin, chromium, people, serving, sign_in
from PIL import Image

from store.clusters import save_run
from store.gallery import pin_space
from store.photos import record_face, record_photo
from store.templates import add_template
from verify.opening import Parts, Places

MOST = 8_000.0  # milliseconds of a scroll
FIRST = """
const done = arguments[arguments.length - 1];
const look = () => {
  const shown = [...document.querySelectorAll("#wall img")].find(i => i.complete && i.naturalWidth);
  if (!shown) return requestAnimationFrame(look);
  requestAnimationFrame(() => done(performance.now()));
};
look();
"""
ALL_THERE = """
const done = arguments[arguments.length - 1];
const look = () => document.getElementById("summary").textContent.includes(" in ")
  ? done(document.documentElement.scrollHeight) : setTimeout(look, 50);
look();
"""
SCROLL = """
const step = arguments[0], most = arguments[1], done = arguments[arguments.length - 1];
const deltas = [];
let last = performance.now(), from = last;
const next = now => {
  deltas.push(now - last);
  last = now;
  scrollBy(0, step);
  const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  const count = document.querySelectorAll("#wall *").length;
  if (end || now - from > most) done([deltas.slice(1), scrollY, count]);
  else requestAnimationFrame(next);
};
requestAnimationFrame(next);
"""


def fill(parts: Parts, count: int, seed: int) -> int:
    """A library of `count` faces, clustered; how many clusters."""
    rng = np.random.default_rng(seed)
    crops = [_crop(files[0]) for files in people().values()]
    sizes: list[int] = []
    while sum(sizes) < count:
        sizes.append(int(min(rng.zipf(1.6), 400, count - sum(sizes))))
    sizes.sort(reverse=True)
    card, clusters, place = parts.card, {}, 0
    for number, size in enumerate(sizes, 1):
        clusters[number] = []
        with parts.store.begin() as session:
            pin_space(session, card.space)
            for _ in range(size):
                place += 1
                digest = hashlib.sha256(str(place).encode()).hexdigest()
                photo = record_photo(
                    session, digest, f"{place}.jpg", 1, 320, 320, outcome="library"
                )
                face = record_face(
                    session, photo, box=np.float32([60, 60, 200, 200]), points=None,
                    confidence=0.9, quality=None, crop=crops[number % len(crops)],
                )  # fmt: skip
                vector = rng.standard_normal(card.dim).astype(np.float32)
                vector /= np.linalg.norm(vector)
                clusters[number].append(add_template(session, None, face, card.space, vector).id)
    with parts.store.begin() as session:
        save_run(
            session, space=card.space, method="invented", source="invented", parameters={},
            clusters=clusters,
        )  # fmt: skip
    return len(sizes)


def _crop(file: Path) -> bytes:
    picture = Image.open(file).convert("RGB").crop((50, 60, 270, 280)).resize((112, 112))
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=95)
    return written.getvalue()


def main() -> None:
    """Run it and print one table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--faces", type=int, default=10_000)
    options.add_argument("--runs", type=int, default=5, help="page loads")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "gallery.sqlite3"
        with Parts(Places(database=str(database))) as parts:
            clusters = fill(parts, given.faces, given.seed)
            key = add_admin(parts)
        with serving(database) as url, chromium() as driver:
            sign_in(driver, url, key)
            first = []
            for _ in range(given.runs):
                driver.execute_cdp_cmd("Network.clearBrowserCache", {})
                driver.get(f"{url}/library")
                first.append(driver.execute_async_script(FIRST) / 1e3)
            there = driver.execute_async_script(ALL_THERE)
            scrolls = {}
            for name, step in (("slowly", 60), ("fast", 600), ("in leaps", 8000)):
                driver.execute_script("scrollTo(0, 0)")
                scrolls[name] = driver.execute_async_script(SCROLL, step, MOST)
    print(
        f"{given.faces} faces in {clusters} clusters, {there} px high; load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Chromium, no GPU"
    )
    print("| | |")
    print("|---|---|")
    print(f"| first picture, median and slowest of {given.runs}, s |"
          f" {statistics.median(first):.2f}, {max(first):.2f} |")  # fmt: skip
    for name, (frames, far, nodes) in scrolls.items():
        ordered = sorted(frames)
        print(
            f"| scrolling {name}: {len(frames)} frames over {far:.0f} px, median, 99 %, slowest, ms"
            f" | {statistics.median(frames):.0f}, {ordered[int(len(ordered) * 0.99)]:.0f},"
            f" {ordered[-1]:.0f} |"
        )
        print(f"| elements of the wall then | {nodes} |")


if __name__ == "__main__":
    main()
