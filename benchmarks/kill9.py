"""Kill an enrolment at random moments, run it again, and compare with one that was left alone.

    [VULTUS_DATA=...] PYTHONPATH=. python benchmarks/kill9.py [--times 20] [--photos 600] [--seed 0]

Each trial starts with an empty folder for database, index and cache. The first SIGKILL of trial i
falls into the i-th part of the run, counted from the moment the database file appears; up to two
more follow at any moment of the runs after it. Then the enrolment may finish, and people, photos
with their outcomes, template vectors (every byte), the index file and its place in the log must be
those of the uninterrupted run, and SQLite must find its file sound.

Photos are those of VULTUS_DATA/lfw-dev/train, or, without it, the generated people.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from index.rowfile import read_rows

COMMAND = [sys.executable, "-c", "import vultus; vultus.main()"]
_PATIENCE = 600.0
_SETTINGS = ("DATABASE", "INDEX", "MODEL", "WEIGHTS", "KEY_FILE", "DEVICE", "DEBUG")


@dataclass(frozen=True)
class Kept:
    """What an enrolment left, without what is random (uids, times) or counted (row ids).

    Attributes:
        people: name and site.
        photos: digest, path, outcome, reason and the person a rejected photo was said to show.
        templates: photo's digest, person, vector space, box of the face and vector.
        index: photo's digest and vector of each row of the index file.
        faults: what does not fit together, in words.
    """

    people: list[tuple[object, ...]]
    photos: list[tuple[object, ...]]
    templates: list[tuple[object, ...]]
    index: list[tuple[object, ...]]
    faults: list[str] = field(default_factory=list)

    def differences(self, other: Kept) -> list[str]:
        """Which parts differ from another enrolment's, and the faults of this one."""
        names = [one.name for one in fields(self) if one.name != "faults"]
        return [name for name in names if getattr(self, name) != getattr(other, name)] + self.faults


class Enrolment:
    """The command in a folder of its own, started in a process group of its own."""

    def __init__(self, photos: Path, place: Path) -> None:
        self.photos = photos
        self.place = place
        self.database = place / "gallery.sqlite3"
        place.mkdir(parents=True)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the enrolment; its stderr is appended to the file `log`."""
        spec = find_spec("vultus")
        if spec is None or spec.origin is None:
            sys.exit("vultus cannot be imported: install it or set PYTHONPATH.")
        environment = {k: v for k, v in os.environ.items() if k[7:] not in _SETTINGS} | {
            "PYTHONPATH": str(Path(spec.origin).parent),
            "VULTUS_CACHE": str(self.place / "cache"),
        }
        arguments = ["enroll", str(self.photos), "--database", str(self.database), "--quiet"]
        with (self.place / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program
                [*COMMAND, *arguments, "--format", "jsonl"], env=environment, cwd=self.place,
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip

    def finish(self) -> tuple[float, float]:
        """Run to the end; seconds until the database appeared, and from there to the end."""
        begun = time.monotonic()
        process = self.start()
        try:
            self.wait_for_database(process)
            appeared = time.monotonic()
            code = process.wait(_PATIENCE)
        finally:
            kill(process)
        if code not in (0, 3):  # 3: some photos were rejected
            raise SystemExit(f"exit code {code}\n{(self.place / 'log').read_text()}")
        return appeared - begun, time.monotonic() - appeared

    def wait_for_database(self, process: subprocess.Popen[bytes]) -> None:
        """Return once the database file is there, or the program has ended."""
        while not self.database.exists() and process.poll() is None:
            time.sleep(0.002)

    def interrupt(self, after: float, *, from_database: bool) -> float | None:
        """Run for some seconds, then kill the whole process group.

        Returns:
            None; or, where it had ended before, how many seconds it took.
        """
        process = self.start()
        try:
            if from_database:
                self.wait_for_database(process)
            begun = time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            return None if process.poll() is None else time.monotonic() - begun
        finally:
            kill(process)

    def committed(self) -> int:
        """How many photos are in the database now."""
        with suppress(sqlite3.Error), closing(sqlite3.connect(self.database)) as database:
            return int(database.execute("SELECT count(*) FROM photos").fetchone()[0])
        return 0

    def look(self) -> Kept:
        """Read everything back, by other means than the program's own."""
        with closing(sqlite3.connect(self.database)) as database:
            by_id = dict(database.execute(_INDEXED).fetchall())
            (index_file,) = self.place.glob("*.vultus-index")
            rows, marks = read_rows(index_file)
            stored = dict(database.execute("SELECT id, vector FROM templates").fetchall())
            held = dict(
                zip(rows.ids.tolist(), (row.tobytes() for row in rows.vectors), strict=True)
            )
            return Kept(
                people=database.execute(_PEOPLE).fetchall(),
                photos=database.execute(_PHOTOS).fetchall(),
                templates=database.execute(_TEMPLATES).fetchall(),
                index=sorted((by_id.get(i, ""), vector) for i, vector in held.items()),
                faults=list(_faults(database, held, stored, set(by_id), marks, self.place)),
            )


_PEOPLE = "SELECT p.name, s.name FROM people p JOIN sites s ON s.id = p.site_id ORDER BY 1, 2"
_PHOTOS = """
    SELECT photos.digest, photos.source, photos.outcome, photos.reason, people.name
    FROM photos LEFT JOIN people ON people.id = photos.claimed_id ORDER BY 1"""
_TEMPLATES = """
    SELECT photos.digest, people.name, t.space, faces.x, faces.y, faces.w, faces.h, t.vector
    FROM templates t JOIN faces ON faces.id = t.face_id JOIN photos ON photos.id = faces.photo_id
    LEFT JOIN people ON people.id = t.person_id ORDER BY 1, 4, 5"""
_INDEXED = """
    SELECT t.id, photos.digest FROM templates t JOIN faces ON faces.id = t.face_id
    JOIN photos ON photos.id = faces.photo_id WHERE t.person_id IS NOT NULL"""


def _faults(
    database: sqlite3.Connection,
    held: dict[int, bytes],
    stored: dict[int, bytes],
    named: set[int],
    marks: dict[str, str],
    place: Path,
) -> Iterator[str]:
    """What does not fit: the file, the index against the tables, the log, files left over."""
    (sound,) = database.execute("PRAGMA integrity_check").fetchone()
    if sound != "ok":
        yield f"integrity_check: {sound}"
    if database.execute("PRAGMA foreign_key_check").fetchone():
        yield "foreign_key_check"
    if set(held) != named:
        yield f"the index holds {len(held)} ids, the database names {len(named)}"
    if any(stored.get(i) != vector for i, vector in held.items()):
        yield "a vector of the index is not the template's"
    (rev,) = database.execute("SELECT rev FROM gallery").fetchone()
    log = [row[0] for row in database.execute("SELECT rev FROM changes ORDER BY rev")]
    if log != list(range(1, rev + 1)):
        yield "the log of changes has gaps"
    if marks.get("rev") != str(rev):
        yield f"the index is at rev {marks.get('rev')}, the database at {rev}"
    left = {path.name for path in place.iterdir()} - {"cache", "log", "gallery.sqlite3"}
    left = {name for name in left if name.startswith(".") or not name.endswith(".vultus-index")}
    if left - {"gallery.sqlite3-wal", "gallery.sqlite3-shm"}:
        yield f"files are left over: {', '.join(sorted(left))}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process group, and wait until it is gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def choose_photos(place: Path, count: int, seed: int) -> Path:
    """Copy about `count` photos, whole people at a time, into a folder a person."""
    given = os.environ.get("VULTUS_DATA")
    generated = Path(str(resources.files("enroll"))) / "people" / "people"
    source = Path(given) / "lfw-dev" / "train" if given else generated
    people = sorted(folder for folder in source.iterdir() if folder.is_dir())
    random.Random(seed).shuffle(people)  # noqa: S311 - a seeded choice, not a secret
    taken = 0
    for person in people:
        files = sorted(person.glob("*.jpg"))[: count - taken]
        if files:
            (place / person.name).mkdir(parents=True)
        for file in files:
            shutil.copy(file, place / person.name)
        taken += len(files)
    return place


def trial(
    enrolment: Enrolment, moment: float, lasts: float, whole: float, chance: random.Random
) -> list[str]:
    """Kill once at `moment` and up to twice more, then finish; the kills, in words."""
    told = []
    share = moment / lasts
    while (took := enrolment.interrupt(moment, from_database=True)) is not None:
        shutil.rmtree(enrolment.place)  # it was quicker than the measured run: again, and earlier
        enrolment.place.mkdir()
        moment, share = share * took, share * 0.95
    told.append(f"{moment:.2f} s ({enrolment.committed()})")
    for _ in range(chance.randint(0, 2)):
        after = chance.uniform(0.0, whole - lasts * min(1.0, moment / lasts))
        if enrolment.interrupt(after, from_database=False) is None:
            told.append(f"{after:.2f} s ({enrolment.committed()})")
    enrolment.finish()
    return told


def run(place: Path, times: int, photos: int, seed: int) -> int:
    """Run the trials and print a line for each; how many went well."""
    folder = choose_photos(place / "photos", photos, seed)
    left_alone = Enrolment(folder, place / "alone")
    before, lasts = left_alone.finish()
    wanted = left_alone.look()
    rejected = sum(photo[2] == "rejected" for photo in wanted.photos)
    print(
        f"{len(wanted.photos)} photos of {len(wanted.people)} people, {rejected} rejected, "
        f"{len(wanted.templates)} templates; uninterrupted {before + lasts:.1f} s, the database "
        f"appears after {before:.1f} s"
    )
    for fault in wanted.faults:
        print(f"uninterrupted: {fault}")
    print(f"{'trial':>5}  {'equal':5}  killed after (photos committed by then)")
    chance = random.Random(seed)  # noqa: S311 - seeded moments, not secrets
    good = 0
    for number in range(times):
        enrolment = Enrolment(folder, place / f"trial-{number + 1}")
        moment = (number + chance.random()) / times * lasts
        told = trial(enrolment, moment, lasts, before + lasts, chance)
        wrong = enrolment.look().differences(wanted)
        good += not wrong
        said = f"  DIFFERENT: {'; '.join(wrong)}" if wrong else ""
        print(f"{number + 1:5}  {'no' if wrong else 'yes':5}  {', '.join(told)}{said}", flush=True)
        if not wrong:
            shutil.rmtree(enrolment.place)
    print(f"{good} of {times}")
    return good


def main() -> None:
    """Read the options, run, and exit with 1 unless every trial was equal."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--times", type=int, default=20, help="how many trials")
    parser.add_argument("--photos", type=int, default=600, help="how many photos to enrol")
    parser.add_argument("--seed", type=int, default=0, help="of people and moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vultus-kill9-") as place:
        good = run(Path(place), options.times, options.photos, options.seed)
    sys.exit(0 if good == options.times else 1)


if __name__ == "__main__":
    main()
