"""How long the gate takes in a browser: from camera start to answer.

A real server, a headless Chromium without a graphics card, a fake camera that shows one of the
generated people. Each run loads the page anew. Needs Chromium, chromedriver, selenium.

    python benchmarks/gate_page.py --runs 12
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from browsing import chromium, film, people, served, sign_in, wait

RUN = """
return performance.getEntriesByName("answer").at(-1)?.startTime
  - performance.getEntriesByName("camera-start").at(-1)?.startTime;
"""
CAMERA = """
const done = arguments[arguments.length - 1], from = performance.now();
navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1280}, height: {ideal: 960}}}).then(
  s => { done(performance.now() - from); s.getTracks().forEach(t => t.stop()); });
"""


def main() -> None:
    """Run it and print one table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=12)
    runs = options.parse_args().runs
    from selenium.webdriver.common.keys import Keys

    with tempfile.TemporaryDirectory() as folder:
        place, names = Path(folder), people()
        shown = names["Arden Wick"]
        video = film(shown[4], place / "camera.mjpeg")
        enrolled = {name: files[:3] for name, files in names.items()}
        with served(place, enrolled) as (url, key), chromium(video) as driver:
            sign_in(driver, url, key)
            times, answers = [], []
            for _ in range(runs):
                driver.get(f"{url}/gate")
                driver.find_element("id", "who").send_keys("Arden Wick", Keys.ENTER)
                box = driver.find_element("id", "answer")
                wait(driver, box.is_displayed)
                answers.append(box.get_attribute("data-answer"))
                times.append(driver.execute_script(RUN) / 1e3)
            camera = driver.execute_async_script(CAMERA) / 1e3
    times.sort()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {runs} runs, Chromium, no GPU")
    print("| from camera start to answer | s |")
    print("|---|---|")
    print(f"| median | {statistics.median(times):.2f} |")
    print(f"| fastest, slowest | {times[0]:.2f}, {times[-1]:.2f} |")
    print(f"| of it, opening the camera alone | {camera:.2f} |")
    print(f"| answers yes | {answers.count('yes')} of {runs} |")


if __name__ == "__main__":
    main()
