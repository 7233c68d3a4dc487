"""Whether `vultus enroll --max-memory` keeps its limit on hard files, and what it then rejects.

    VULTUS_DATA=... python benchmarks/limited_memory.py [--limits none 600M 500M]

The files are composed of development pictures: thirty JPEGs of 12 megapixels, two of 97 (a large
face, and a small one, for which it is decoded whole), of 24 megapixels a progressive JPEG and PNGs
(RGB, RGBA, 16 bit), sixty JPEGs of 200 to 1,500 pixels a side, all different, and six with 180
faces. Each limit is given to a process of its own, whose peak (VmHWM) is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from pictures import data_folder
from PIL import Image
from reduced import compose

CODE = """
import sys, vultus
try:
    vultus.main()
finally:
    told = open("/proc/self/status").read()  # ru_maxrss would be that of the parent, if larger
    print(int(told.partition("VmHWM:")[2].split()[0]) * 1024, file=sys.stderr)
"""


def main() -> None:
    """Compose, enrol under each limit, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limits", nargs="+", default=["none", "600M", "500M"])
    options = parser.parse_args()
    print("| --max-memory | peak MB | files | rejected | which |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "people"
        make(folder)
        for limit in options.limits:
            command = [
                sys.executable, "-c", CODE, "enroll", str(folder), "--on-multiple", "all",
                "--allow-lookalikes", "--quiet", "--format", "json",
                "--database", f"{place}/{limit}.sqlite3",
                *([] if limit == "none" else ["--max-memory", limit]),
            ]  # fmt: skip
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
            done = subprocess.run(  # noqa: S603 - this project's command
                command, env=environment, capture_output=True, text=True, check=False
            )
            files = json.loads(done.stdout)["files"]
            kinds = Counter(Path(one["file"]).stem.split("-")[0] + ": " + one["reason"]
                            for one in files if one["status"] == "rejected")  # fmt: skip
            which = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            peak = int(done.stderr.split()[-1]) / 1e6
            print(f"| {limit} | {peak:.0f} | {len(files)} | {kinds.total()} | {which} |")


def make(folder: Path) -> None:
    """Write the files, each in a folder of its own."""
    files = sorted((data_folder() / "lfw-dev" / "test").glob("*/*.jpg"))
    random = np.random.default_rng(1)

    def put(name: str, data: bytes) -> None:
        (folder / name).mkdir(parents=True)
        suffix = "jpg" if data[:2] == b"\xff\xd8" else "png"
        (folder / name / f"{name}.{suffix}").write_bytes(data)

    def photo(number: int, side: int, size: tuple[int, int]) -> bytes:
        return compose(files[7 * number], files[5 * number + 3], side, size, random)[0].data

    for i in range(30):
        size = (4000, 3000) if i % 2 else (3000, 4000)
        put(f"12MP-{i}", photo(i, int(random.integers(500, 2500)), size))
    put("97MP-large", photo(57, 3000, (11000, 8800)))
    put("97MP-small", photo(58, 400, (11000, 8800)))
    image = Image.open(io.BytesIO(photo(60, 2000, (6000, 4000)))).convert("RGB")
    grey = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    for kind, one in (("rgb", image), ("rgba", image.convert("RGBA")), ("deep", grey)):
        out = io.BytesIO()
        one.save(out, "PNG", compress_level=1)
        put(f"24MP-{kind}", out.getvalue())
    out = io.BytesIO()
    image.save(out, "JPEG", progressive=True, quality=90)
    put("24MP-progressive", out.getvalue())
    for i in range(60):
        width, height = (int(side) for side in random.integers(200, 1500, 2))
        put(f"small-{i}", photo(100 + i, min(width, height) * 9 // 10, (width, height)))
    tiles = [cv2.resize(cv2.imread(str(files[9 * i])), (200, 200)) for i in range(180)]
    for k in range(6):
        rows = [[tiles[(31 * k + 15 * i + j) % 180] for j in range(15)] for i in range(12)]
        crowd = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        put(f"crowd-{k}", cv2.imencode(".jpg", crowd)[1].tobytes())


if __name__ == "__main__":
    main()
