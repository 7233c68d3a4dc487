"""Memory of an enrolment: the command's resident memory while it takes in many photos.

    VULTUS_DATA=... python benchmarks/memory.py [--photos 20000]

The LFW photos are enrolled again and again under other names, each file with some bytes after its
end, so that every digest differs. `vultus enroll` runs as a process of its own; its resident memory
(VmRSS) is read ten times a second. Flat means: the largest of the last quarter of the run is not
more than a twentieth above the largest of the second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pictures import data_folder

TARGET = 600  # megabytes


def main() -> None:
    """Enrol, watch, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    options = parser.parse_args()
    files = sorted((data_folder() / "lfw-dev" / "test").glob("*/*.jpg"))
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.photos):
            turn, file = divmod(number, len(files))[0], files[number % len(files)]
            folder = Path(place) / "people" / f"{file.parent.name} {turn}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file.name).write_bytes(file.read_bytes() + b"\0" * turn)
        command = [
            sys.executable, "-c", "import vultus; vultus.main()", "enroll", f"{place}/people",
            "--on-multiple", "centre", "--allow-lookalikes", "--format", "jsonl", "--quiet",
            "--database", f"{place}/gallery.sqlite3",
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        process = subprocess.Popen(  # noqa: S603 - this project's command
            command, env=environment, stdout=subprocess.PIPE
        )
        seen: list[tuple[int, float]] = []  # photos done, megabytes
        done = [0]
        watcher = threading.Thread(target=_watch, args=(process, done, seen))
        began = time.perf_counter()
        watcher.start()
        assert process.stdout is not None  # noqa: S101 - for the type checker
        for line in process.stdout:
            done[0] += line.startswith(b'{"file"')
        code = process.wait()
        watcher.join()
        took = time.perf_counter() - began
    print(f"{done[0]} photos in {took:.0f} s, exit {code}")
    print("| photos done | resident MB, largest |\n|---|---|")
    parts = [[mb for n, mb in seen if q * done[0] / 4 <= n <= (q + 1) * done[0] / 4]
             for q in range(4)]  # fmt: skip
    tops = [max(part, default=0.0) for part in parts]
    for quarter, top in enumerate(tops):
        print(f"| {quarter * done[0] // 4} to {(quarter + 1) * done[0] // 4} | {top:.0f} |")
    flat = "flat" if tops[3] <= 1.05 * tops[1] else "not flat"
    print(f"largest {max(tops):.0f} MB (target: ≤ {TARGET}), {flat}")


def _watch(
    process: subprocess.Popen[bytes], done: list[int], seen: list[tuple[int, float]]
) -> None:
    """Read the resident memory until the process ends."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            text = status.read_text()
        except OSError:
            return
        if "VmRSS:" in text:
            seen.append((done[0], int(text.partition("VmRSS:")[2].split()[0]) / 1e3))
        time.sleep(0.1)


if __name__ == "__main__":
    main()
