"""Thousands of bad inputs: the documented reason, the right exit code, nothing lost, bounded.

    PYTHONPATH=. python benchmarks/bad_inputs.py [--cases 3000] [--state 100] [--seed 0]
        [--keep DIR] [--only PART …] [--megabytes 2500] [--seconds 120]

- pictures: a folder of broken, hostile and strange files (bad_pictures.py) beside good photos is
  enrolled by the program in a process of its own. Every file must have one of the outcomes that
  are documented for it, every good photo must be enrolled, the exit code must be 3, and nothing
  like a traceback may be printed. A second run must find everything as it was.
- turned: the eight orientations of EXIF, in every format and kind of pixel, pixel by pixel.
- vectors: NaN, infinite, wrong length, wrong type, given to index and store types.
- databases, rows, indexes, models: files that are truncated, turned over, exchanged, from the
  future; rows whose vector is NaN, of another length, nothing. The program must answer rightly or
  refuse with its code and a sentence, and never change its answer.
- disks: full (a small tmpfs), mounted read-only, or files that may not be written; a read-only
  gallery is as before.
- clock: the system's clock years away, back or ahead, or going backwards at every look
  (preload.py): the answers stay, and the log of events stays whole.

Processes started here may not override permissions, even when root starts them. No process may
take more memory than `--megabytes`, nor one command about a single photo longer than `--seconds`.
The exit code is 1 when any case is not as documented; the cases are listed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
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
import preload
from bad_pictures import Case, corpus, drawing, encoded, stored_turned
from PIL import Image

from embedder.photo import printable

COMMAND = [sys.executable, "-c", "import vultus; vultus.main()"]
if os.geteuid() == 0 and shutil.which("setpriv"):  # root may read and write everything
    COMMAND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *COMMAND]
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
    slowest: float = 0.0
    peak: float = 0.0

    def expect(self, right: bool, fault: str) -> None:
        """Count a case, and remember what was wrong with it."""
        self.cases += 1
        if not right:
            self.faults.append(fault)

    def cost(self, run: Run) -> None:
        """Add what a process took."""
        self.seconds += run.seconds
        self.slowest = max(self.slowest, run.seconds)
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
    """A folder of files that are hardly pictures."""
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


def turned() -> Tally:
    """Photos stored in each of the eight ways are the same upright pixels."""
    from embedder.photo import read_photo

    tally = Tally("turned")
    upright = np.zeros((48, 64, 3), np.uint8)  # no two of its corners are alike
    upright[:24, :32], upright[:24, 32:], upright[24:, :32] = (250, 20, 20), (20, 240, 30), 90
    for mode in ("RGB", "L", "RGBA", "CMYK", "P", "I;16"):
        image = Image.fromarray(upright)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            image = image.quantize(8) if mode == "P" else image.convert(mode)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            if mode not in _MODES[kind]:
                continue
            straight = read_photo(encoded(image, kind)).pixels.astype(int)
            for orientation in range(1, 9):
                stored, exif = stored_turned(image, orientation)
                found = read_photo(encoded(stored, kind, exif=exif)).pixels
                right = found.shape == straight.shape and (
                    np.abs(found - straight).mean() <= (3 if kind == "JPEG" else 0)
                )
                tally.expect(bool(right), f"{kind} {mode}, orientation {orientation}")
    return tally


_MODES = {
    "JPEG": {"RGB", "L", "CMYK"}, "PNG": {"RGB", "L", "RGBA", "P", "I;16"},
    "WEBP": {"RGB", "RGBA"}, "TIFF": {"RGB", "L", "RGBA", "CMYK", "P", "I;16"},
}  # fmt: skip


def vectors() -> Tally:
    """What is no vector, given to index and store types."""
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


def _asked(tally: Tally, run: Run, what: str, codes: set[int]) -> None:
    """The answer is yes, or the program refuses with one of these codes and says why."""
    tally.cost(run)
    right = run.code in codes and not _TRACEBACK.search(run.err)
    if run.code == 0:
        told = json.loads(run.out)
        right = right and (told.get("answer") or told["photos"][0]["answer"]) == "yes"
    else:
        right = right and len(run.err.strip()) > 20
    tally.expect(right, f"{what}: code {run.code}, {run.err[-300:]!r}")


def _verified(tally: Tally, place: Path, what: str, codes: set[int], **variables: str) -> None:
    """The person is verified, or refused as `_asked` says."""
    probe = people() / PERSON / "4.jpg"
    run = vultus(place, "verify", PERSON, "--source", probe, "--format", "json", **variables)
    _asked(tally, run, what, codes)


def _identified(tally: Tally, place: Path, what: str, codes: set[int], **variables: str) -> None:
    """The person is identified, or refused as `_asked` says."""
    probe = people() / PERSON / "4.jpg"
    run = vultus(place, "identify", probe, "--format", "json", **variables)
    _asked(tally, run, f"{what}, identify", codes)


def damaged(whole: bytes, case: int, draw: random.Random) -> tuple[str, bytes]:
    """One of four kinds of damage to a file, and its name."""
    data = bytearray(whole)
    kind = ("cut", "flip", "zero", "noise")[case % 4]
    here = draw.randrange(len(data))
    size = min(draw.randrange(1, 8192), len(data) - here)
    if kind == "cut":
        del data[here:]
    elif kind == "flip":
        for _ in range(draw.randrange(1, 200)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    else:
        data[here : here + size] = bytes(size) if kind == "zero" else draw.randbytes(size)
    return kind, bytes(data)


def databases(prepared: Path, place: Path, number: int, seed: int) -> Tally:
    """Database files truncated, turned over, from the future."""
    tally = Tally("databases")
    draw = drawing(seed)
    whole = (prepared / "faces.sqlite3").read_bytes()
    for case in range(number):
        kind, data = damaged(whole, case, draw)
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


def rows(prepared: Path, place: Path) -> Tally:
    """Rows of the database whose vector is none: of one template, and of all."""
    tally = Tally("rows")
    unit = np.zeros(128, np.float32)
    unit[5] = 1
    bad = {
        "nan": np.full(128, np.nan, np.float32), "one nan": np.where(unit > 0, np.nan, unit),
        "infinite": np.where(unit > 0, np.inf, unit), "zeros": unit * 0, "long": unit * 1e30,
        "twice": unit * 2, "half": unit[:64], "more": np.tile(unit, 2), "empty": unit[:0],
        "doubles": unit.astype(np.float64),
    }  # fmt: skip
    words = {name: np.asarray(v, None if name == "doubles" else np.float32).tobytes()
             for name, v in bad.items()}  # fmt: skip
    for name, data in {**words, "text": "no vector", "number": 7}.items():
        for which, where in {"one": " WHERE id = 1", "all": ""}.items():
            with gallery(prepared, place) as copy:
                with closing(sqlite3.connect(copy / "faces.sqlite3")) as database:
                    database.execute(f"UPDATE templates SET vector = ?{where}", (data,))  # noqa: S608
                    database.commit()
                codes = {0, 3} if which == "one" else {3}
                _verified(tally, copy, f"vector {name} in {which}", codes)
                for file in copy.glob("*.vultus-index"):
                    file.unlink()
                _identified(tally, copy, f"vector {name} in {which}", codes)
    return tally


def indexes(prepared: Path, place: Path, number: int, seed: int) -> Tally:
    """Index files damaged, of nothing, of the future: made anew, the same answer."""
    tally = Tally("indexes")
    draw = drawing(seed)
    (name,) = (file.name for file in prepared.glob("*.vultus-index"))
    whole = (prepared / name).read_bytes()
    strange = {
        "empty": b"", "text": b"no index", "zeros": bytes(5000), "noise": draw.randbytes(5000),
        "future": whole.replace(b'"format":"', b'"format":"9', 1),
        "long header": b"\xff" * 8 + whole[8:],
    }  # fmt: skip
    made = [damaged(whole, case, draw) for case in range(number)]
    for kind, data in [*strange.items(), *made]:
        with gallery(prepared, place) as copy:
            (copy / name).write_bytes(data)
            _identified(tally, copy, f"index {kind}", {0})
    return tally


def models(prepared: Path, place: Path, number: int, seed: int) -> Tally:
    """Model files in the cache: truncated, turned over, exchanged."""
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
    """A full disk, and files that may not be written."""
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


def locked(prepared: Path, place: Path) -> Tally:
    """A gallery that may not be written: refused in a sentence, and as it was."""
    tally = Tally("read-only")
    new = people() / "Briar Tolland"
    for kind in ("file", "folder", "index", "cache", "mount"):
        with gallery(prepared, place) as copy:
            if kind == "mount":
                mounted = _mount(copy, "--bind") and _mount(copy, "-o", "remount,bind,ro")
                if not mounted:
                    print("no read-only mount can be made here", file=sys.stderr)
                    continue
            else:
                _forbid(copy, kind)
            before = _digests(copy)
            codes = {0} if kind in {"cache", "index"} else {3}
            _verified(tally, copy, f"read-only {kind}", codes)
            _identified(tally, copy, f"read-only {kind}", codes)
            run = vultus(copy, "enroll", new, "--name", "Briar Tolland", "--quiet",
                         "--format", "json")  # fmt: skip
            right = run.code in codes and not _TRACEBACK.search(run.err)
            right = right and (run.code == 0 or len(run.err.strip()) > 20)
            tally.expect(right, f"read-only {kind}, enroll: code {run.code}, {run.err[-300:]!r}")
            if codes == {3}:
                tally.expect(_digests(copy) == before, f"read-only {kind}: something was written")
            if kind == "mount":
                subprocess.run(["umount", copy], check=True)  # noqa: S603, S607
            else:
                for one in (copy, *copy.rglob("*")):
                    one.chmod(0o700)
    return tally


def _forbid(copy: Path, kind: str) -> None:
    """Take the permission to write from a part of a gallery."""
    if kind in {"file", "folder"}:
        (copy / "faces.sqlite3").chmod(0o444)
    if kind == "folder":
        copy.chmod(0o555)
    if kind == "index":
        next(copy.glob("*.vultus-index")).chmod(0o444)
    if kind == "cache":
        for one in (copy / "cache", *(copy / "cache").rglob("*")):
            one.chmod(0o555 if one.is_dir() else 0o444)


def _mount(place: Path, *options: str) -> bool:
    words = ["mount", *options, place, place] if options[0] == "--bind" else (
        ["mount", *options, place])  # fmt: skip
    return not subprocess.run(words, capture_output=True, check=False).returncode  # noqa: S603


def _digests(place: Path) -> dict[str, str]:
    """What lies in a gallery, but for what SQLite makes beside a database that it only reads."""
    return {
        str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(place.rglob("*"))
        if file.is_file() and not file.name.endswith(("-shm", "-wal"))
    }


def clock(prepared: Path, place: Path) -> Tally:
    """The system's clock is wrong, or goes backwards: the same answers, and a whole log."""
    tally = Tally("clock")
    with tempfile.TemporaryDirectory() as folder:
        made = preload.library(Path(folder))
        if made is None:
            print("no wrong clock: there is no cc", file=sys.stderr)
            return tally
        year, now = 365 * 86400, int(time.time())
        for shift, step in (
            (-3600, 0), (-86400, 0), (-10 * year, 0), (1 - now, 0), (year, 0), (40 * year, 0),
            (200 * year, 0), (0, -1), (0, -3600), (year, -86400), (0, 86400),
        ):  # fmt: skip
            wrong = preload.variables(made, shift=shift, step=step)
            with gallery(prepared, place) as copy:
                what = f"clock {shift} s, {step} s a look"
                _verified(tally, copy, what, {0}, **wrong)
                _identified(tally, copy, what, {0}, **wrong)
                new = people() / "Briar Tolland"
                for words in (
                    ("enroll", new, "--name", "Briar Tolland", "--quiet"),
                    ("people", "rename", "Briar Tolland", "Briar"), ("undo",),
                    ("purge", "--yes"), ("people", "list"),
                ):  # fmt: skip
                    run = vultus(copy, *words, **wrong)
                    tally.cost(run)
                    right = run.code == 0 and not _TRACEBACK.search(run.err)
                    tally.expect(right, f"{what}, {words[0]}: code {run.code}, {run.err[-300:]!r}")
                tally.expect("Briar Tolland" in run.out, f"{what}: {run.out!r}")
                _verified(tally, copy, f"{what}, later with the right time", {0})
                run = vultus(copy, "audit", "verify")
                tally.expect(run.code == 0, f"{what}, audit verify: {run.code}, {run.err[-300:]!r}")
    return tally


def _sound(file: Path) -> str:
    if not file.exists() or not file.stat().st_size:
        return "none"
    with closing(sqlite3.connect(file)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


PARTS = ("pictures", "turned", "vectors", "databases", "rows", "indexes", "models", "disks",
         "read-only", "clock")  # fmt: skip


def choices() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Thousands of bad inputs.")
    parser.add_argument("--cases", type=int, default=3000, help="of pictures")
    parser.add_argument("--state", type=int, default=100, help="of databases, indexes, models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the corpus in this new folder")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts")
    parser.add_argument("--megabytes", type=int, default=2500, help="no process may take more")
    parser.add_argument(
        "--seconds", type=int, default=120, help="no command but the enrolment may take longer"
    )
    return parser.parse_args()


def main() -> int:
    """Run all parts and print the table."""
    given = choices()
    # No process may grow without end: what a bomb would take is refused by the system.
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        work, prepared, place = root / "pictures", root / "prepared", root / "copy"
        work.mkdir(parents=True)
        prepared.mkdir()
        vultus(prepared, "enroll", people() / PERSON, "--name", PERSON, "--quiet")
        for words in (("verify", PERSON, "--source"), ("identify",)):
            first = vultus(prepared, *words, people() / PERSON / "4.jpg")
            if first.code:
                raise SystemExit(f"the gallery to be spoiled is not sound: {first.err}")
        state = (given.state, given.seed)
        parts: dict[str, Callable[[], Tally]] = {
            "pictures": lambda: pictures(work, _corpus(given.cases, given.seed)),
            "turned": turned, "vectors": vectors,
            "databases": lambda: databases(prepared, place, *state),
            "rows": lambda: rows(prepared, place),
            "indexes": lambda: indexes(prepared, place, *state),
            "models": lambda: models(prepared, place, *state),
            "disks": lambda: places(prepared, place),
            "read-only": lambda: locked(prepared, place),
            "clock": lambda: clock(prepared, place),
        }  # fmt: skip
        tallies = []
        print("part        cases  faults  seconds  slowest  peak MB")
        for name in PARTS:
            if name in given.only:
                one = parts[name]()
                tallies.append(one)
                _bounded(one, given)
                row = f"{one.cases:6} {len(one.faults):7} {one.seconds:8.1f} {one.slowest:8.1f}"
                print(f"{one.name:10} {row} {one.peak:8.0f}", flush=True)
    cases = sum(one.cases for one in tallies)
    print(f"in all     {cases:6} {sum(len(t.faults) for t in tallies):7}")
    for one in tallies:
        for fault in one.faults:
            print(f"{one.name}: {fault}")
    return int(any(one.faults for one in tallies))


def _bounded(tally: Tally, given: argparse.Namespace) -> None:
    """Time and memory are bounded too."""
    if tally.peak > given.megabytes:
        tally.faults.append(f"a process took {tally.peak:.0f} MB")
    if tally.name != "pictures" and tally.slowest > given.seconds:
        tally.faults.append(f"a command took {tally.slowest:.0f} seconds")


def _corpus(number: int, seed: int) -> list[Case]:
    with Image.open(people() / PERSON / "1.jpg") as image:
        image.load()
        return corpus(image, number, seed, os.fsencode(people() / PERSON / "2.jpg"))


if __name__ == "__main__":
    raise SystemExit(main())
