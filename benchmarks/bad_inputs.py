"""Thousands of bad inputs: the documented reason, the right exit code, nothing lost, bounded.

    PYTHONPATH=. python benchmarks/bad_inputs.py [--cases 3000] [--state 100] [--seed 0]
        [--keep DIR]

1. Pictures: a folder of broken, hostile and strange files (bad_pictures.py) beside good photos is
   enrolled by the program in a process of its own. Every file must have one of the outcomes that
   are documented for it, every good photo must be enrolled, the exit code must be 3, and nothing
   like a traceback may be printed. Time and the peak of the process' memory stand in the table.
   A second run must find everything as it was.
2. Vectors: NaN, infinite, wrong length, wrong type, given to index and store types.
3. State: model files and databases that are truncated, turned over, exchanged, from the future,
   read-only, or on a full disk. The program must answer rightly or refuse with its code and a
   sentence, and never change its answer.

The exit code is 1 when any case is not as documented; the cases are listed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from bad_pictures import Case, corpus, drawing
from PIL import Image

from embedder.photo import printable

COMMAND = [sys.executable, "-c", "import vultus; vultus.main()"]
PERSON, GOOD = "Arden Wick", ("1.jpg", "2.jpg", "3.jpg")
_TRACEBACK = re.compile(r"Traceback \(most recent|\bFile \".*\", line \d+|Segmentation|core dumped")


@dataclass
class Run:
    """A finished process: its code, what it printed, seconds, and peak memory in MB."""

    code: int
    out: str
    err: str
    seconds: float
    peak: float


@dataclass
class Tally:
    """Cases and faults of one part."""

    name: str
    cases: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak: float = 0.0

    def expect(self, right: bool, fault: str) -> None:
        """Count a case, and remember what was wrong with it."""
        self.cases += 1
        if not right:
            self.faults.append(fault)

    def cost(self, run: Run) -> None:
        """Add what a process took."""
        self.seconds += run.seconds
        self.peak = max(self.peak, run.peak)


def vultus(place: Path, *words: object, **variables: str) -> Run:
    """Run the program with its state in a folder."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(  # noqa: S603 - this program
            [*COMMAND, *(str(word) for word in words)],
            stdout=out, stderr=err, stdin=subprocess.DEVNULL,
            env=os.environ | {
                "VULTUS_DATABASE": f"sqlite:///{place / 'faces.sqlite3'}",
                "VULTUS_CACHE": str(place / "cache"), "XDG_DATA_HOME": str(place / "data"),
            } | variables,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    code = os.waitstatus_to_exitcode(status)
    return Run(code, *texts, time.perf_counter() - begun, usage.ru_maxrss / 1024)


def people() -> Path:
    """The generated people that come with the package."""
    return Path(str(resources.files("enroll") / "people" / "people"))


def pictures(place: Path, cases: list[Case]) -> Tally:
    """Part 1."""
    tally = Tally("pictures")
    folder = place / "people" / PERSON
    folder.mkdir(parents=True)
    for name in GOOD:
        shutil.copy(people() / PERSON / name, folder / f"good-{name}")
    made = []
    for case in cases:
        try:
            case.make(os.fsencode(folder) + b"/" + case.name)
            made.append(case)
        except OSError as error:  # a file system that cannot hold such a name
            print(f"not made here: {case.name!r} ({error.strerror})", file=sys.stderr)
    first = vultus(place, "enroll", folder.parent, "--format", "json", "--quiet")
    tally.cost(first)
    tally.expect(first.code == 3, f"enroll ended with {first.code}: {first.err[-500:]}")
    tally.expect(not _TRACEBACK.search(first.err), f"a traceback: {first.err[-2000:]}")
    outcomes = {
        one["file"]: one["reason"] or one["status"] for one in json.loads(first.out)["files"]
    }
    for name in GOOD:
        outcome = outcomes.get(printable(folder / f"good-{name}"))
        tally.expect(outcome == "enrolled", f"good photo {name}: {outcome}")
    for case in made:
        file = printable(os.fsdecode(os.fsencode(folder) + b"/" + case.name))
        outcome = outcomes.get(file)
        right = outcome in case.allowed if case.allowed else outcome is None
        tally.expect(right, f"{file}: {outcome}, not {sorted(case.allowed) or 'left out'}")
    tally.expect(
        len(outcomes) == len(GOOD) + sum(bool(case.allowed) for case in made),
        f"{len(outcomes)} files are told of",
    )
    again = vultus(place, "enroll", folder.parent, "--format", "json", "--quiet")
    tally.cost(again)
    told = json.loads(again.out)
    tally.expect(told["enrolled"] == 0, f"a second run enrolled {told['enrolled']}")
    tally.expect(told["unchanged"] > len(GOOD), f"a second run knew {told['unchanged']}")
    _print_outcomes(outcomes)
    return tally


def _print_outcomes(outcomes: dict[str, str]) -> None:
    counted = Counter(outcomes.values())
    print("outcomes: " + ", ".join(f"{n} {name}" for name, n in counted.most_common()))


def vectors() -> Tally:
    """Part 2."""
    from embedder.encoder import Embeddings
    from embedder.errors import EmbedderError
    from index.errors import VectorIndexError
    from index.exact import ExactIndex
    from index.faiss import FaissIndex

    tally = Tally("vectors")
    row = np.eye(8, dtype=np.float32)[:1]
    bad: list[object] = [
        np.full((1, 8), np.nan, np.float32), np.full((1, 8), np.inf, np.float32),
        np.full((1, 8), -np.inf, np.float32), np.where(row > 0, np.nan, row).astype(np.float32),
        row[:, :7], row[0], row[None], row.astype(np.float64), row.astype(np.int64),
        np.zeros((1, 0), np.float32), row.astype(object), "vectors", None, [[1.0] * 8],
        np.zeros((1, 8), np.float32), row * 2,
    ]  # fmt: skip

    def refused(act: Callable[[], object]) -> bool:
        try:
            act()
        except (EmbedderError, VectorIndexError) as error:  # any other one ends the script
            return bool(str(error))
        return False

    for kind in (ExactIndex, FaissIndex):
        index = kind(8)
        index.add(np.array([1], np.int64), row)
        for number, some in enumerate(bad):
            for name, act in {
                "add": lambda index=index, some=some: index.add(np.array([2], np.int64), some),
                "search": lambda index=index, some=some: index.search(some, 1),
            }.items():
                tally.expect(refused(act), f"{kind.__name__}.{name} took bad vectors {number}")
        found = index.search(row, 3)
        tally.expect(found.ids.tolist() == [[1, -1, -1]], f"{kind.__name__} lost its row")
    for number, some in enumerate(bad):
        if number == 4:  # of length 1, and of as many dimensions as they are
            continue
        fault = f"Embeddings took bad vectors {number}"
        tally.expect(refused(lambda some=some: Embeddings(some, "space")), fault)
    return tally


@contextmanager
def gallery(prepared: Path, place: Path) -> Iterator[Path]:
    """A copy of a small gallery, taken away afterwards."""
    shutil.copytree(prepared, place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _verified(tally: Tally, place: Path, what: str, codes: set[int], **variables: str) -> None:
    """The person is verified, or the program refuses with one of these codes and says why."""
    probe = people() / PERSON / "4.jpg"
    run = vultus(place, "verify", PERSON, "--source", probe, "--format", "json", **variables)
    tally.cost(run)
    right = run.code in codes and not _TRACEBACK.search(run.err)
    if run.code == 0:
        right = right and json.loads(run.out)["answer"] == "yes"
    else:
        right = right and len(run.err.strip()) > 20
    tally.expect(right, f"{what}: code {run.code}, {run.err[-300:]!r}")


def databases(prepared: Path, place: Path, number: int, seed: int) -> Tally:
    """Part 3, databases."""
    tally = Tally("databases")
    draw = drawing(seed)
    whole = (prepared / "faces.sqlite3").read_bytes()
    for case in range(number):
        data = bytearray(whole)
        kind = ("cut", "flip", "zero", "noise")[case % 4]
        here = draw.randrange(len(data))
        size = draw.randrange(1, 8192)
        if kind == "cut":
            del data[here:]
        elif kind == "flip":
            for _ in range(draw.randrange(1, 200)):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        else:
            size = min(size, len(data) - here)
            data[here : here + size] = bytes(size) if kind == "zero" else draw.randbytes(size)
        with gallery(prepared, place) as copy:
            (copy / "faces.sqlite3").write_bytes(data)
            # 2: a damaged row may be the person's name; unsure or another photo is no lie.
            _verified(tally, copy, f"database {kind} {case}", {0, 2, 3})
    with gallery(prepared, place) as copy:
        with closing(sqlite3.connect(copy / "faces.sqlite3")) as database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
            database.commit()
        _verified(tally, copy, "database of the future", {3})
    for text in (b"", b"no database", b"SQLite format 3\0", os.urandom(5000)):
        with gallery(prepared, place) as copy:
            (copy / "faces.sqlite3").write_bytes(text)
            _verified(tally, copy, f"database of {len(text)} bytes", {2, 3})
    return tally


def models(prepared: Path, place: Path, number: int, seed: int) -> Tally:
    """Part 3, model files in the cache: truncated, turned over, exchanged."""
    tally = Tally("models")
    draw = drawing(seed)
    names = sorted(file.name for file in (prepared / "cache").rglob("*") if file.suffix == ".onnx")
    for case in range(number):
        with gallery(prepared, place) as copy:
            files = sorted(file for file in (copy / "cache").rglob("*") if file.is_file())
            file = files[case % len(files)]
            data = bytearray(file.read_bytes())
            match case % 3:
                case 0:
                    del data[draw.randrange(len(data) or 1) :]
                case 1 if data:
                    for _ in range(8):
                        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
                case _:
                    data = bytearray(draw.choice(files).read_bytes())
            file.write_bytes(data)
            what = f"{file.relative_to(copy)} spoiled, {case} (of {len(names)} models)"
            _verified(tally, copy, what, {0, 3})
    return tally


def places(prepared: Path, place: Path) -> Tally:
    """Part 3, a full disk and files that may not be written."""
    tally = Tally("disks")
    for megabytes in (1, 2, 3, 4, 6):
        place.mkdir()
        mounted = subprocess.run(  # noqa: S603
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place],  # noqa: S607
            capture_output=True, check=False,
        )  # fmt: skip
        if mounted.returncode:
            print("no full disk: a tmpfs cannot be mounted here", file=sys.stderr)
            place.rmdir()
            break
        try:
            run = vultus(place, "enroll", people(), "--format", "json", "--quiet",
                         VULTUS_CACHE=str(prepared / "cache"), VULTUS_INDEX="memory:")  # fmt: skip
            tally.cost(run)
            full = run.code != 0
            right = run.code in {0, 3} and not _TRACEBACK.search(run.err)
            tally.expect(right, f"{megabytes} MB: code {run.code}, {run.err[-300:]!r}")
            told = re.search(r"full|space", run.err)
            tally.expect(not full or bool(told), f"{megabytes} MB: {run.err[-300:]!r}")
            kept = _sound(place / "faces.sqlite3")
            tally.expect(kept in {"ok", "none"}, f"{megabytes} MB: the database is {kept}")
        finally:
            subprocess.run(["umount", place], check=True)  # noqa: S603, S607
            place.rmdir()
    return tally


def _sound(file: Path) -> str:
    if not file.exists() or not file.stat().st_size:
        return "none"
    with closing(sqlite3.connect(file)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Thousands of bad inputs.")
    parser.add_argument("--cases", type=int, default=3000, help="of pictures")
    parser.add_argument("--state", type=int, default=100, help="of databases, and of models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the corpus in this new folder")
    return parser.parse_args()


def main() -> int:
    """Run all parts and print the table."""
    given = choices()
    # No process may grow without end: what a bomb would take is refused by the system.
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        work = root / "pictures"
        work.mkdir(parents=True)
        with Image.open(people() / PERSON / "1.jpg") as image:
            image.load()
            cases = corpus(image, given.cases, given.seed, os.fsencode(people() / PERSON / "2.jpg"))
        tallies = [pictures(work, cases), vectors()]
        prepared, place = root / "prepared", root / "copy"
        prepared.mkdir()
        vultus(prepared, "enroll", people() / PERSON, "--name", PERSON, "--quiet")
        first = vultus(prepared, "verify", PERSON, "--source", people() / PERSON / "4.jpg")
        if first.code:
            raise SystemExit(f"the gallery to be spoiled is not sound: {first.err}")
        tallies += [
            databases(prepared, place, given.state, given.seed),
            models(prepared, place, given.state, given.seed),
            places(prepared, place),
        ]
    print("\npart        cases  faults  seconds  peak MB")
    for one in tallies:
        row = f"{one.cases:6} {len(one.faults):7} {one.seconds:8.1f} {one.peak:8.0f}"
        print(f"{one.name:10} {row}")
    print(
        f"in all     {sum(one.cases for one in tallies):6} {sum(len(t.faults) for t in tallies):7}"
    )
    for one in tallies:
        for fault in one.faults:
            print(f"fault, {one.name}: {fault}")
    return 1 if any(one.faults for one in tallies) else 0


if __name__ == "__main__":
    raise SystemExit(main())
