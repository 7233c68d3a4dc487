"""Half an hour of everything: enrol, verify, identify, forget, cluster; memory and files stay flat.

    [VULTUS_DATA=...] PYTHONPATH=. python benchmarks/soak.py [--minutes 30] [--seed 0]
        [--growth 0.05]

One process, one gallery, generated people (or those of VULTUS_DATA/lfw-dev/train). A model in a
plain dictionary knows who is enrolled with which photos; every answer is compared with it. Memory
(resident, after the collector ran) and open descriptors are read after each round. What the table
calls growth is the median of the last fifth of the rounds over that of the second fifth: the first
one warms up. Minutes in which the process was stopped do not count. The exit code is 1 when an
answer was wrong, descriptors grew, or memory grew by more than `--growth`.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from importlib import resources
from pathlib import Path

from tqdm import tqdm

from vultus import open_gallery


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Clock(threading.Thread):
    """Seconds in which this process was not stopped: it looks every second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0

    def run(self) -> None:
        """Count a look that comes late as one that does not."""
        before = time.monotonic()
        while True:
            time.sleep(1)
            now = time.monotonic()
            self.seconds += min(now - before, 5)
            before = now


def albums() -> dict[str, list[Path]]:
    """People with at least three photos."""
    given = os.environ.get("VULTUS_DATA")
    root = Path(str(resources.files("enroll") / "people" / "people"))
    if given:
        root = Path(given) / "lfw-dev" / "train"
    found = {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted(root.iterdir())}
    return {name: photos for name, photos in found.items() if len(photos) >= 3}


class Soak:
    """The gallery, and what must be in it."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place = place
        self.gallery = open_gallery(f"sqlite:///{place / 'faces.sqlite3'}")
        self.people = albums()
        self.enrolled: dict[str, list[Path]] = {}
        self.draw = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def round(self) -> None:
        """One of each, with whoever the dice say."""
        self.enrol()
        self.enrol()
        for _ in range(4):
            self.verify()
            self.identify()
        if len(self.enrolled) > min(40, len(self.people) * 2 // 3):
            self.forget()
        if self.done["enrol"] % 20 == 0:
            self.cluster()
        self.compare()

    def enrol(self) -> None:
        """Somebody who is not there yet, with all photos but one."""
        free = sorted(self.people.keys() - self.enrolled.keys())
        if not free:
            return
        name = self.draw.choice(free)
        photos = self.people[name][:-1][:4]
        folder = self.place / "in" / name
        folder.mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo, folder)
        told = self.gallery.enroll(folder.parent)
        shutil.rmtree(folder.parent)
        self.done["enrol"] += 1
        kept = {Path(one.file).name for one in told.outcomes if one.status == "enrolled"}
        if kept:
            self.enrolled[name] = [photo for photo in photos if photo.name in kept]

    def verify(self) -> None:
        """An enrolled photo is its person, and not another."""
        if len(self.enrolled) < 2:
            return
        name, other = self.draw.sample(sorted(self.enrolled), 2)
        photo = self.draw.choice(self.enrolled[name])
        mine, theirs = self.gallery.verify(name, photo), self.gallery.verify(other, photo)
        self.done["verify"] += 2
        if mine.match == "no":
            self.wrong.append(f"{photo.name} is not {name}: {mine.similarity:.3f}")
        if theirs.match == "yes":
            self.wrong.append(f"{photo.name} is {other}: {theirs.similarity:.3f}")

    def identify(self) -> None:
        """Whoever is there is found; whoever was forgotten is not."""
        name = self.draw.choice(sorted(self.people))
        photo = self.people[name][0]
        (told,) = self.gallery.identify(photo, fpir=0.1)  # a rate that a small gallery supports
        known = [face.who for face in told.faces if face.who.answer == "yes"]
        found = {who.candidates[0].person for who in known}
        self.done["identify"] += 1
        if photo in self.enrolled.get(name, []) and name not in found:
            self.wrong.append(f"{photo.name} is enrolled and {name} is not found")
        if name in found and name not in self.enrolled:
            self.wrong.append(f"{name} was forgotten and is found")

    def forget(self) -> None:
        """Somebody goes."""
        name = self.draw.choice(sorted(self.enrolled))
        self.gallery.forget(name)
        del self.enrolled[name]
        self.done["forget"] += 1

    def cluster(self) -> None:
        """A small library."""
        folder = self.place / "library"
        folder.mkdir()
        for name in self.draw.sample(sorted(self.people), 5):
            for photo in self.people[name][:3]:
                shutil.copy(photo, folder / f"{name}-{photo.name}")
        files = len(list(folder.iterdir()))
        told = self.gallery.cluster(folder)
        if told.photos != files:
            self.wrong.append(f"{told.photos} photos of {files} were looked at")
        shutil.rmtree(folder)
        self.done["cluster"] += 1

    def compare(self) -> None:
        """The gallery holds whom the model holds, with as many templates."""
        held = {one.name: one.photos for one in self.gallery.people()}
        if held != {name: len(photos) for name, photos in self.enrolled.items()}:
            self.wrong.append(f"the gallery holds {held}")


def main() -> int:
    """Run for so long and print the table."""
    parser = argparse.ArgumentParser(description="Half an hour of everything.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--growth", type=float, default=0.05, help="of memory that is flat")
    given = parser.parse_args()
    memory, files = [], []
    with tempfile.TemporaryDirectory() as place:
        soak = Soak(Path(place), given.seed)
        clock = Clock()
        clock.start()
        bar = tqdm(total=round(given.minutes * 60), unit="s", file=sys.stderr, disable=None)
        while (passed := clock.seconds) < given.minutes * 60:
            soak.round()
            gc.collect()
            memory.append(resident())
            files.append(len(list(Path("/proc/self/fd").iterdir())))
            bar.update(round(passed) - bar.n)
        bar.close()
    fifth = max(1, len(memory) // 5)
    early, late = statistics.median(memory[fifth : 2 * fifth]), statistics.median(memory[-fifth:])
    print(f"{given.minutes:g} minutes, {len(memory)} rounds: {dict(soak.done)}")
    print("what             early     late   growth")
    print(f"memory, MB    {early:8.1f} {late:8.1f} {late / early - 1:8.1%}")
    first, last = statistics.median(files[fifth : 2 * fifth]), statistics.median(files[-fifth:])
    print(f"descriptors   {first:8.0f} {last:8.0f} {last / first - 1:8.1%}")
    print(f"wrong answers {len(soak.wrong):8}")
    for line in soak.wrong[:20]:
        print(f"wrong: {line}")
    return int(bool(soak.wrong) or last > first or late / early - 1 > given.growth)


if __name__ == "__main__":
    raise SystemExit(main())
