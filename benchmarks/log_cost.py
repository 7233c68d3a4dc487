"""What the log of events costs an enrolment.

    VULTUS_DATA=... PYTHONPATH=.:benchmarks python benchmarks/log_cost.py [--photos 1000]

Photos of VULTUS_DATA/lfw-dev (one face by the rule `centre`) are enrolled into a new SQLite
gallery; the time spent in `append_events` is measured inside that run, so that a busy machine
slows both alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pictures import data_folder
from sqlalchemy.orm import Session

from enroll import person
from enroll.folder import read_people
from store.audit import append_events
from store.chain import Happening
from verify.opening import Parts, Places


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=1000)
    wanted = parser.parse_args().photos
    spent, rows = 0.0, 0

    def timed(session: Session, happenings: Sequence[Happening]) -> int:
        nonlocal spent, rows
        begun = time.perf_counter()
        length = append_events(session, happenings)
        spent += time.perf_counter() - begun
        rows += len(happenings)
        return length

    person.append_events = timed
    root = data_folder() / "lfw-dev"
    folders = [read_people(part) for part in sorted(root.glob("*/")) if any(part.glob("*/*.jpg"))]
    photos = tuple(photo for folder in folders for photo in folder.photos)[:wanted]
    rules = person.EnrolmentRules(on_multiple="centre", allow_lookalikes=True)
    with (
        tempfile.TemporaryDirectory() as place,
        Parts(Places(database=str(Path(place) / "gallery.sqlite3"))) as parts,
    ):
        parts.embedder.encode([])  # open it before the clock runs
        begun = time.perf_counter()
        done = list(person.enroll_people(parts, replace(folders[0], photos=photos), rules))
        took = time.perf_counter() - begun
    print(f"{'photos':>8} {'rows':>8} {'enrolment s':>12} {'log s':>8} {'share':>8}")
    print(f"{len(done):8} {rows:8} {took:12.1f} {spent:8.3f} {spent / took:8.2%}")


if __name__ == "__main__":
    main()
