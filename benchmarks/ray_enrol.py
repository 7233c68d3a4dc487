"""Enrolment in this process beside enrolment by the workers of a Ray on this machine.

    PYTHONPATH=. python benchmarks/ray_enrol.py [--photos 600] [--jobs N] [--address URL]

The photos are the generated people, each moved and lightened a little so that no two files are
alike (seed 0), and enrolled into new SQLite galleries. "local" opens the encoder before the clock
starts; "ray" is timed once the cluster is joined, with the start of its workers. "store alone"
hands photos that were encoded before to the store: more than that one process cannot write,
whatever the number of machines. Every gallery must hold the same rows.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from enroll.encoding import Encoded, Engine, Work, admit_all
from enroll.folder import NamedPhoto, PeopleFolder, read_people
from enroll.intake import Ticket, look_ahead
from enroll.person import EnrolmentRules, enroll_people
from enroll.ray_cluster import connected
from enroll.ray_engine import RayEngine
from verify.opening import Parts, Places

ROWS = (
    "SELECT photos.digest, outcome, reason, x, y, w, h, points, confidence, quality, crop, vector, "
    "name FROM photos LEFT JOIN faces ON photo_id = photos.id "
    "LEFT JOIN templates ON face_id = faces.id LEFT JOIN people ON person_id = people.id "
    "ORDER BY photos.digest, x"
)


@dataclass
class Replay:
    """An engine that has encoded everything before."""

    ready: list[Encoded] = field(default_factory=list)

    def prepare(self, parts: Parts, folder: PeopleFolder, rules: EnrolmentRules) -> None:
        """Encode the photos of a folder and keep them."""
        embedder = parts.embedder
        tickets = (Ticket(photo.source, photo.name) for photo in folder.photos)
        for looked, name in look_ahead(tickets, embedder, rules.on_multiple, lambda _: False):
            (one,) = admit_all([looked], embedder, rules.on_multiple, rules.gate)
            self.ready.append(Encoded(looked, name, one))

    def encoded(self, photos: Sequence[NamedPhoto], work: Work) -> Iterator[Encoded]:
        """Hand over what was kept."""
        del photos, work
        yield from self.ready


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--address")
    options = parser.parse_args()
    rules = EnrolmentRules(jobs=options.jobs, allow_lookalikes=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folder = read_people(make(root / "photos", options.photos))
        replay = Replay()
        with Parts(Places(database=str(root / "unused.db"))) as parts:
            replay.prepare(parts, folder, rules)
        engines: list[tuple[str, Engine | None]] = [
            ("local", None), ("ray", RayEngine(options.address)), ("store alone", replay),
        ]  # fmt: skip
        print(f"{'engine':24} {'photos':>7} {'seconds':>8} {'photos/s':>9}  same rows")
        first = None
        with contextlib.ExitStack() as stack:
            for title, engine in engines:
                if isinstance(engine, RayEngine):
                    begun = time.perf_counter()
                    stack.enter_context(connected(options.address))
                    print(f"{'  joining the cluster':24} {time.perf_counter() - begun:16.1f}")
                database = root / f"{title}.db"
                with Parts(Places(database=str(database))) as parts:
                    _ = len(parts.index), parts.embedder if engine is None else None
                    begun = time.perf_counter()
                    ends = [
                        time.perf_counter() for _ in enroll_people(parts, folder, rules, engine)
                    ]
                found = rows(database)
                first = found if first is None else first
                same = found == first
                print(line(title, len(ends), ends[-1] - begun, same=same), flush=True)
                if isinstance(engine, RayEngine):
                    print(f"  {engine.describe()}")
                    stack.close()


def make(root: Path, count: int) -> Path:
    """Photos of the generated people, no two alike."""
    rng = np.random.default_rng(0)
    sources = sorted(Path(str(resources.files("enroll") / "people")).glob("people/*/*.jpg"))
    for number in range(count):
        source = sources[number % len(sources)]
        with Image.open(source) as image:
            pixels = np.asarray(image.convert("RGB")).astype(np.int16)
        moved = np.roll(pixels, rng.integers(-6, 7, size=2), axis=(0, 1)) + rng.integers(-12, 13)
        target = root / source.parent.name / f"{number:05}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(moved.clip(0, 255).astype(np.uint8)).save(target, quality=92)
    return root


def rows(database: Path) -> list[tuple[object, ...]]:
    """Everything a gallery holds of its photos."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(ROWS).fetchall()


def line(title: str, photos: int, seconds: float, *, same: bool) -> str:
    """One row of the table."""
    return f"{title:24} {photos:7,d} {seconds:8.1f} {photos / seconds:9.1f}  {same}"


if __name__ == "__main__":
    main()
