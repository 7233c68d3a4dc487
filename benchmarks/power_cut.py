"""The power goes, the disk fills up, a call fails: nothing acknowledged is lost, nothing is torn.

    PYTHONPATH=. python benchmarks/power_cut.py [--operations 60] [--cuts 1000] [--faults 120]
        [--seed 0]

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
from sqlalchemy import select
from torn import Disk, calls, texts, trace
from tqdm import tqdm

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


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def power_cuts(root: Path, operations: int, cuts: int, seed: int) -> tuple[int, list[str]]:
    """Part 1: how many disks were rebuilt, and what was wrong."""
    place = root / "traced"
    (place / "state").mkdir(parents=True)
    code = trace(command(place, operations, seed), root / "log", env=_environment())
    if code:
        raise SystemExit(f"the traced process ended with {code}")
    told: list[People] = []
    disk = Disk(place / "state")
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
    counted = Counter(call.name for call in calls(root / "log"))
    told = [{}, *_acknowledged(whole / "acks"), {}]
    ends: Counter[str] = Counter()
    faults = []
    for case in tqdm(range(number), desc="faults", unit="fault", file=sys.stderr, disable=None):
        name, error = FAULTS[case % len(FAULTS)]
        # After what the interpreter itself opens: of `openat`, the last calls are the program's.
        first = counted[name] // 2 if name == "openat" else 1
        step = (case // len(FAULTS)) / max(1, number // len(FAULTS))
        when = first + int(step * max(1, counted[name] - first))
        what = "signal=KILL" if error == "KILL" else f"error={error}"
        place = root / "fault"
        (place / "state").mkdir(parents=True)
        done = subprocess.run(  # noqa: S603 - strace and this script
            ["strace", "-qq", "-o", str(root / "log"), "-e", "trace=none", "-e",  # noqa: S607
             f"inject={name}:{what}:when={when}", *command(place, operations, seed)],
            env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        last = (done.stderr.strip().splitlines() or [""])[-1]
        label = f"{name} {error} at {when}"
        if done.returncode in {0, 3} or (error == "KILL" and done.returncode < 0):
            ends[
                "killed" if done.returncode < 0 else ("went on", "refused")[done.returncode > 0]
            ] += 1
        else:
            faults.append(f"{label}: code {done.returncode}, {last}")
        count = len((place / "acks").read_bytes().splitlines()) if (place / "acks").exists() else 0
        allowed = told[max(0, count - 1) : count + 1] or [{}]
        faults += [f"{label}: {fault}" for fault in faults_of(place / "state", allowed)]
        shutil.rmtree(place)
    return ends, faults


def main() -> int:
    """Run both parts and print the table."""
    if sys.argv[1:2] == ["work"]:
        return work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description="Power cuts and failing calls.")
    parser.add_argument("--operations", type=int, default=60)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("This needs strace: install it.")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        begun = time.monotonic()
        done, wrong = power_cuts(root / "power", given.operations, given.cuts, given.seed)
        middle = time.monotonic()
        (root / "faults").mkdir()
        ends, bad = injected(root / "faults", given.operations, given.faults, given.seed)
        end = time.monotonic()
    print("part          cases  faults  seconds")
    print(f"power cuts   {done:6} {len(wrong):7} {middle - begun:8.0f}")
    print(f"failed calls {given.faults:6} {len(bad):7} {end - middle:8.0f}  {dict(ends)}")
    for fault in [*wrong, *bad]:
        print(f"fault: {fault}")
    return 1 if wrong or bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
