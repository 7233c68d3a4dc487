"""The power goes, the disk fills up, a call fails: nothing acknowledged is lost, nothing is torn.

    PYTHONPATH=. python benchmarks/power_cut.py [--operations 60] [--cuts 1000] [--faults 120]
        [--versions 6] [--writers NAME …] [--seed 0] [--only PART …] [--lying]

A process enrols, renames, merges, forgets and names people in an SQLite gallery and writes its
index file; after each operation that returned it acknowledges. Needs strace.

1. Power cuts: every system call is written down; then the disk is rebuilt as it may be after each
   of many moments (torn.py), keeping none, all or any of the sectors that were not synced. The
   gallery opened from it must be sound and be that after the last acknowledged operation or the
   one that was going on; the log of events must be whole; the index must agree with the database
   or be made anew.
2. Faults: the same process again and again, and one of its calls fails (no space, an input/output
   error, an interruption) or kills it. It must end with one of the program's own errors, and the
   gallery must be as above.
3. Short writes: the same process under a library (preload.py) that lets two of three writes to the
   gallery come up short or be interrupted. It must notice nothing.
4. Files: what is written beside the database (write_paths.py: index, key file, archive, receipts
   and other single files) after cuts, faults and short writes: the last version that was
   acknowledged, or the one that was being written, and whole.

`--lying` replays the disk as one that ignores every sync: then something must be lost. It shows
that the instrument sees what it looks for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from concurrency import DIM, SPACE, Worker
from preload import library, variables
from sqlalchemy import select
from torn import Disk, calls, texts, trace
from tqdm import tqdm
from write_paths import WRITERS

from migrations import ensure_schema
from store.audit_check import verify_log
from store.errors import StoreError
from store.gallery import pin_space
from store.people import list_people
from store.schema import Face, Person, Photo, Template
from store.session import Store
from store.sync import open_synced, save

INDEX = "faces.vultus-index"
FAULTS = (
    ("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("pwrite64", "EINTR"), ("write", "ENOSPC"),
    ("fsync", "EIO"), ("fdatasync", "EIO"), ("ftruncate", "EIO"), ("rename", "EACCES"),
    ("unlink", "EIO"), ("openat", "EMFILE"), ("pwrite64", "KILL"), ("fdatasync", "KILL"),
    ("fsync", "KILL"), ("rename", "KILL"),
)  # fmt: skip

People = dict[str, list[str]]


def work(place: Path, operations: int, seed: int) -> int:
    """The process that is watched; `acks` gets a line a finished operation, the state in it."""
    state = place / "state"
    acks = os.open(place / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with Store.open(f"sqlite:///{state / 'faces.sqlite3'}") as store:
            ensure_schema(store)
            with store.begin() as session:
                pin_space(session, SPACE)
            index = open_synced(store, f"exact:{state / INDEX}", SPACE, DIM)
            worker = Worker(store, index, 0, seed)
            for number in range(operations):
                os.write(acks, json.dumps(_told(worker.model.people)).encode() + b"\n")
                worker.run(1)
                if number % 7 == 6:
                    store.scrub()
            save(index)
            os.write(acks, json.dumps(_told(worker.model.people)).encode() + b"\n")
    except (StoreError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 3
    return 0


def _told(people: People) -> People:
    return {name: sorted(photos) for name, photos in sorted(people.items())}


def _found(store: Store) -> People:
    with store.read() as session:
        rows = session.execute(
            select(Person.name, Photo.source)
            .join(Template, Template.person_id == Person.id)
            .join(Face, Face.id == Template.face_id)
            .join(Photo, Photo.id == Face.photo_id)
        ).all()
        found: People = {person.name: [] for person in list_people(session)}
        for name, source in rows:
            found[name].append(source)
    found.pop("Everybody", None)
    return _told(found)


def faults_of(state: Path, allowed: list[People]) -> Iterator[str]:
    """What is wrong with a gallery after an accident, in words.

    Args:
        state: its folder.
        allowed: what it may hold; the first may be "nothing was made yet".
    """
    file = state / "faces.sqlite3"
    if not file.exists():
        if allowed[0]:
            yield "the database is gone"
        return
    try:
        with closing(sqlite3.connect(file)) as database:
            sound = database.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        sound = str(error)
    if sound != "ok":
        yield f"integrity: {sound}"
        return
    try:
        with Store.open(f"sqlite:///{file}") as store:
            ensure_schema(store)
            found = _found(store)
            if found not in allowed:
                yield f"{len(found)} people are not those of {[len(one) for one in allowed]}"
            with store.read() as session:
                log = verify_log(session)
            if not log.whole:
                yield f"the log of events: {log.fault} in row {log.row}"
            with store.begin() as session:
                pin_space(session, SPACE)
            kept = open_synced(store, f"exact:{state / INDEX}", SPACE, DIM)
            anew = open_synced(store, "exact:", SPACE, DIM)
            if sorted(kept.index.ids().tolist()) != sorted(anew.index.ids().tolist()):
                yield "the index does not agree with the database"
    except StoreError as error:
        yield f"not opened: {error}"


def command(place: Path, operations: int, seed: int) -> list[str]:
    """The words that run `work`."""
    return [sys.executable, __file__, "work", str(place), str(operations), str(seed)]


def _failing(log: Path, call: str, what: str, when: int) -> list[str]:
    """The start of a command one of whose calls fails. Only calls that are traced can."""
    return ["strace", "-qq", "-o", str(log), "-e", f"trace={call}", "-e",
            f"inject={call}:{what}:when={when}"]  # fmt: skip


def _end(code: int, log: Path) -> str:
    """How a process ended whose call was to fail."""
    if code < 0:
        return "killed"
    if "(INJECTED)" not in log.read_text(errors="replace"):
        return "never came so far"
    return "refused" if code else "went on"


def _writing(name: str, place: Path, versions: int) -> list[str]:
    script = str(Path(__file__).with_name("write_paths.py"))
    return [sys.executable, script, name, str(place), str(versions)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def power_cuts(
    root: Path, operations: int, cuts: int, seed: int, lying: bool
) -> tuple[int, list[str]]:
    """Part 1: how many disks were rebuilt, and what was wrong."""
    place = root / "traced"
    (place / "state").mkdir(parents=True)
    code = trace(command(place, operations, seed), root / "log", env=_environment())
    if code:
        raise SystemExit(f"the traced process ended with {code}")
    told: list[People] = []
    disk = Disk(place / "state", lying=lying)
    before: list[People] = [{}]
    faults: list[str] = []
    done = 0
    every = list(calls(root / "log"))
    replay = Disk(place / "state")
    moments = sum(replay.apply(call) for call in every)
    share = cuts / max(1, moments)
    following = iter(_acknowledged(place / "acks"))
    coming: list[People] = [{}]
    owed = 0.0
    bar = tqdm(total=cuts, desc="cuts", unit="cut", file=sys.stderr, disable=None)
    for number, call in enumerate(every):
        if call.place == str(place / "acks") and call.name == "write":
            told.append(json.loads(b"".join(texts(call.rest))))
            coming = [next(following, told[-1])]
        if not disk.apply(call):
            continue
        owed += share
        while owed >= 1:
            owed -= 1
            done += 1
            bar.update()
            allowed = [told[-1] if told else before[0], *coming]
            kept = (0.0, 1.0, 0.5, 0.9, 0.1)[done % 5]
            state = root / "cut"
            state.mkdir()
            for name, data in disk.after(seed + done, kept).items():
                (state / name).write_bytes(data)
            wrong = list(faults_of(state, allowed))
            faults += [f"call {number} ({call.name}), kept {kept}: {fault}" for fault in wrong]
            shutil.rmtree(state)
    bar.close()
    return done, faults


def _acknowledged(acks: Path) -> list[People]:
    return [json.loads(line) for line in acks.read_bytes().splitlines()][1:]


def injected(root: Path, operations: int, number: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Part 2: how the process ended, and what was wrong."""
    whole = root / "whole"
    (whole / "state").mkdir(parents=True)
    trace(command(whole, operations, seed), root / "log", env=_environment())
    lines = (root / "log").read_text(encoding="ascii").splitlines()  # failed calls count too
    counted = Counter(line.partition("(")[0] for line in lines)
    acks = "".join(f"\\x{byte:02x}" for byte in os.fsencode(whole / "acks"))
    opens = [line for line in lines if line.startswith("openat(")]
    opened = 2 + next(number for number, line in enumerate(opens) if acks in line)
    told = [{}, *_acknowledged(whole / "acks"), {}]
    ends: Counter[str] = Counter()
    faults = []
    for case in tqdm(range(number), desc="faults", unit="fault", file=sys.stderr, disable=None):
        name, error = FAULTS[case % len(FAULTS)]
        # After what the interpreter itself opens.
        first = opened if name == "openat" else 1
        step = (case // len(FAULTS)) / max(1, number // len(FAULTS))
        when = first + int(step * max(1, counted[name] - first))
        what = "signal=KILL" if error == "KILL" else f"error={error}"
        place = root / "fault"
        (place / "state").mkdir(parents=True)
        done = subprocess.run(  # noqa: S603 - strace and this script
            [*_failing(root / "log", name, what, when), *command(place, operations, seed)],
            env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        last = (done.stderr.strip().splitlines() or [""])[-1]
        label = f"{name} {error} at {when}"
        if done.returncode in {0, 3} or (error == "KILL" and done.returncode < 0):
            ends[_end(done.returncode, root / "log")] += 1
        else:
            faults.append(f"{label}: code {done.returncode}, {last}")
        count = len((place / "acks").read_bytes().splitlines()) if (place / "acks").exists() else 0
        allowed = told[max(0, count - 1) : count + 1] or [{}]
        faults += [f"{label}: {fault}" for fault in faults_of(place / "state", allowed)]
        shutil.rmtree(place)
    return ends, faults


def short_writes(root: Path, operations: int, number: int, seed: int) -> tuple[int, list[str]]:
    """Part 3: how many runs, and what was wrong."""
    made = library(root)
    if made is None:
        print("no short writes: there is no cc", file=sys.stderr)
        return 0, []
    faults = []
    for case in range(number):
        place = root / "short"
        (place / "state").mkdir(parents=True)
        done = subprocess.run(  # noqa: S603 - this script
            command(place, operations, seed), check=False, capture_output=True, text=True,
            env=_environment() | variables(made, root=place / "state", seed=case),
        )  # fmt: skip
        if done.returncode:
            faults.append(f"short writes {case}: code {done.returncode}, {done.stderr[-300:]}")
        told = [json.loads((place / "acks").read_bytes().splitlines()[-1])]
        faults += [f"short writes {case}: {fault}" for fault in faults_of(place / "state", told)]
        shutil.rmtree(place)
    return number, faults


def _version(name: str, state: Path, allowed: set[int]) -> Iterator[str]:
    """What is wrong with a writer's file."""
    try:
        found = WRITERS[name].read(state)
    except Exception as error:  # noqa: BLE001 - whatever a torn file makes of its reader
        yield f"{name}: torn ({type(error).__name__}: {error})"
        return
    if found not in allowed:
        yield f"{name}: version {found}, not one of {sorted(allowed)}"


def file_cuts(
    root: Path, writers: list[str], versions: int, seed: int, lying: bool
) -> tuple[int, list[str]]:
    """Part 4, power cuts: after every call, with five shares of what was not synced."""
    done, faults = 0, []
    for name in writers:
        place = root / name
        for folder in ("state", "own"):
            (place / folder).mkdir(parents=True)
        if trace(_writing(name, place, versions), root / "log", env=_environment()):
            raise SystemExit(f"writing {name} failed")
        disk, acked = Disk(place / "state", lying=lying), 0
        for number, call in enumerate(calls(root / "log")):
            if call.place == str(place / "acks") and call.name == "write":
                acked += 1
            synced = call.name == "fsync" and call.place.startswith(disk.root)
            if not (disk.apply(call) or synced or call.place == str(place / "acks")):
                continue
            for kept in (0.0, 1.0, 0.5, 0.9, 0.1):
                done += 1
                state = root / "cut"
                state.mkdir()
                for file, data in disk.after(seed + done, kept).items():
                    (state / file).write_bytes(data)
                wrong = _version(name, state, {acked, min(acked + 1, versions)})
                faults += [f"call {number} ({call.name}), kept {kept}: {one}" for one in wrong]
                shutil.rmtree(state)
    return done, faults


FILE_FAULTS = (
    ("write", "ENOSPC"), ("write", "EIO"), ("write", "EINTR"), ("fsync", "EIO"),
    ("fsync", "ENOSPC"), ("rename", "EACCES"), ("rename", "KILL"), ("fsync", "KILL"),
    ("write", "KILL"),
)  # fmt: skip


def file_faults(
    root: Path, writers: list[str], versions: int, number: int
) -> tuple[Counter[str], list[str]]:
    """Part 4, failing calls, and short writes: how the process ended, and what was wrong."""
    made = library(root)
    ends: Counter[str] = Counter()
    faults = []
    for case in tqdm(range(number), desc="files", unit="fault", file=sys.stderr, disable=None):
        name = writers[case % len(writers)]
        call, error = FILE_FAULTS[case // len(writers) % len(FILE_FAULTS)]
        when = 1 + case // (len(writers) * len(FILE_FAULTS))
        place = root / "fault"
        for folder in ("state", "own"):
            (place / folder).mkdir(parents=True)
        words, environment = _writing(name, place, versions), _environment()
        label = f"{name}, {call} {error} at {when}"
        if case % 5 == 4 and made is not None:
            label = f"{name}, short writes"
            environment |= variables(made, root=place / "state", seed=case)
        else:
            what = "signal=KILL" if error == "KILL" else f"error={error}"
            words = [*_failing(root / "log", call, what, when), *words]
        done = subprocess.run(  # noqa: S603 - strace and this project's own script
            words, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode not in {0, 3, -9}:
            faults.append(f"{label}: code {done.returncode}, {done.stderr[-300:]}")
        short = label.endswith("short writes")
        ends["short writes" if short else _end(done.returncode, root / "log")] += 1
        acked = len((place / "acks").read_bytes().splitlines()) if (place / "acks").exists() else 0
        allowed = {acked, min(acked + 1, versions)} if done.returncode else {versions}
        faults += [f"{label}: {one}" for one in _version(name, place / "state", allowed)]
        shutil.rmtree(place)
    return ends, faults


def main() -> int:
    """Run the parts and print the table."""
    if sys.argv[1:2] == ["work"]:
        return work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description="Power cuts and failing calls.")
    parser.add_argument("--operations", type=int, default=60)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=120)
    parser.add_argument("--versions", type=int, default=6, help="of each file")
    parser.add_argument("--writers", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts")
    parser.add_argument("--lying", action="store_true", help="a disk that ignores syncs")
    given = parser.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("This needs strace: install it.")
    print("part          cases  faults  seconds", flush=True)
    every: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        for part in given.only:
            root = Path(temporary) / part
            root.mkdir()
            begun = time.monotonic()
            count, faults, more = _part(part, root, given)
            spent = time.monotonic() - begun
            print(f"{part:12} {count:6} {len(faults):7} {spent:8.0f}  {more}", flush=True)
            every += faults
    for fault in every:
        print(f"fault: {fault}")
    if given.lying:
        return 0 if every else 1
    return 1 if every else 0


PARTS = ("cuts", "faults", "short", "file-cuts", "file-faults")


def _part(part: str, root: Path, given: argparse.Namespace) -> tuple[int, list[str], str]:
    match part:
        case "cuts":
            return *power_cuts(root, given.operations, given.cuts, given.seed, given.lying), ""
        case "faults":
            ends, bad = injected(root, given.operations, given.faults, given.seed)
            return given.faults, bad, str(dict(ends))
        case "short":
            number = max(1, given.faults // 20)
            return *short_writes(root, given.operations, number, given.seed), ""
        case "file-cuts":
            return *file_cuts(root, given.writers, given.versions, given.seed, given.lying), ""
    ends, bad = file_faults(root, given.writers, given.versions, given.faults)
    return given.faults, bad, str(dict(ends))


if __name__ == "__main__":
    raise SystemExit(main())
