"""Several processes change one gallery at once; afterwards it is what their records say it must be.

    PYTHONPATH=. python benchmarks/concurrency.py [--processes 8] [--operations 500] [--seed 0]
        [--postgresql URL] [--commands]

Each process enrols synthetic templates, renames, merges, forgets, names clusters of a library,
searches its own index and verifies. People belong to processes by name, so each knows what must
become of its own: a model in plain dictionaries. The photos of one shared pool are enrolled by
whoever comes first. At the end all tables must equal the models put together: no row lost, none
too many, no error on the way, the log of changes and the log of events whole, and the index of
every process the same as one built anew. A search right after another process's change must find
who is new within a second, and never names who was forgotten before it began.

`--postgresql` names an empty database; without it one is started if the server is installed.
`--commands` also runs `vultus people`, `vultus export` and `vultus db check` beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from migrations import ensure_schema
from store.audit_check import verify_log
from store.changes import current_rev
from store.clusters import find_cluster, name_cluster, save_run
from store.corrections import merge_people, rename_person
from store.erasure import forget_person
from store.gallery import pin_space, record_decision
from store.people import add_person, find_person, list_people
from store.photos import photo_records, record_face, record_photo
from store.schema import Change, Face, Person, Photo, Template
from store.session import Store
from store.sync import open_synced, refresh, save
from store.synced import SyncedIndex
from store.templates import add_template, owners, vectors_of

SPACE, DIM = "toy-32-abc", 32
SHARED = 200  # photos that every process tries to enrol
PATIENCE = 3600.0


def vector_of(seed: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A unit vector that belongs to a text, float32 (32,)."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    vector = np.random.default_rng(number).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def enrol(session: Session, person: Person | None, photo_name: str) -> int:
    """Keep a photo with one face and its template; the template's id."""
    digest = hashlib.sha256(photo_name.encode()).hexdigest()
    outcome = "library" if person is None else "enrolled"
    photo = record_photo(session, digest, photo_name, 1000, 640, 480, outcome=outcome)
    face = record_face(
        session, photo, box=np.array([1, 2, 30, 40], np.float32), points=None, confidence=0.9,
        quality=None, crop=photo_name.encode() * 20,
    )  # fmt: skip
    return add_template(session, person, face, SPACE, vector_of(photo_name)).id


@dataclass
class Model:
    """What one process knows must be: name → its photos; and what it saw.

    Attributes:
        people: name → photos, in order.
        decisions: how many it recorded.
        slowest: seconds until a search found what another process had enrolled.
        forgotten: names that must never be found again.
        searches: how many.
    """

    people: dict[str, list[str]] = field(default_factory=dict)
    decisions: int = 0
    slowest: float = 0.0
    forgotten: list[str] = field(default_factory=list)
    searches: int = 0


class Worker:
    """One process's share of the work."""

    def __init__(self, store: Store, index: SyncedIndex, number: int, seed: int) -> None:
        self.store, self.index, self.number = store, index, number
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311 - seeded, not a secret
        self.model = Model()
        self.made = 0

    def run(self, operations: int) -> Model:
        """Do so many things, most of them enrolments."""
        common: list[Callable[[], None]] = [self.add, self.add, self.more, self.more, self.search]
        rare: list[Callable[[], None]] = [
            self.rename, self.merge, self.forget, self.library, self.shared, self.verify,
        ]  # fmt: skip
        for _ in range(operations):
            self.chance.choice([*common, *common, *rare])()
        refresh(self.index)
        save(self.index)
        return self.model

    def name(self) -> str:
        """A name that no other process uses."""
        self.made += 1
        return f"P{self.number}-{self.made}"

    def somebody(self) -> str | None:
        """One of our own people."""
        return self.chance.choice(sorted(self.model.people)) if self.model.people else None

    def add(self) -> None:
        """Somebody new with one to three photos."""
        name = self.name()
        photos = [f"{name}/{i}.jpg" for i in range(self.chance.randint(1, 3))]
        with self.store.begin() as session:
            person = add_person(session, name)
            for photo in photos:
                enrol(session, person, photo)
        self.model.people[name] = photos

    def more(self) -> None:
        """Another photo of somebody."""
        name = self.somebody()
        if name is None:
            return
        photo = f"{self.name()}.jpg"
        with self.store.begin() as session:
            enrol(session, find_person(session, name), photo)
        self.model.people[name].append(photo)

    def rename(self) -> None:
        """Somebody gets another name."""
        name = self.somebody()
        if name is not None:
            new = self.name()
            with self.store.begin() as session:
                rename_person(session, find_person(session, name), new)
            self.model.people[new] = self.model.people.pop(name)

    def merge(self) -> None:
        """Two people become one."""
        source, target = self.somebody(), self.somebody()
        if source is None or target is None or source == target:
            return
        with self.store.begin() as session:
            merge_people(session, find_person(session, source), find_person(session, target))
        self.model.people[target] += self.model.people.pop(source)

    def forget(self) -> None:
        """Somebody is forgotten."""
        name = self.somebody()
        if name is not None:
            with self.store.begin() as session:
                forget_person(session, find_person(session, name))
            self.model.forgotten += self.model.people.pop(name)

    def library(self) -> None:
        """A clustering, one cluster of which gets a name."""
        name = self.name()
        photos = [f"{name}/library{i}.jpg" for i in range(3)]
        with self.store.begin() as session:
            ids = [enrol(session, None, photo) for photo in photos]
            run = save_run(
                session, space=SPACE, method="graph", source=name, parameters={}, clusters={0: ids}
            )
        with self.store.begin() as session:
            name_cluster(session, find_cluster(session, 0, run), add_person(session, name))
        self.model.people[name] = photos

    def shared(self) -> None:
        """One photo of the common pool: whoever comes first enrols it, for all the same person."""
        photo = f"shared/{self.chance.randrange(SHARED)}.jpg"
        digest = hashlib.sha256(photo.encode()).hexdigest()
        with self.store.begin() as session:
            if digest not in photo_records(session, [digest]):
                known = session.scalar(select(Person).where(Person.name == "Everybody"))
                enrol(session, known or add_person(session, "Everybody"), photo)

    def search(self) -> None:
        """The newest template of all is found at once, and whoever was forgotten is not."""
        with self.store.read() as session:
            newest = session.execute(
                select(Template.id, Photo.source)
                .join(Face, Face.id == Template.face_id)
                .join(Photo, Photo.id == Face.photo_id)
                .where(Template.person_id.is_not(None))
                .order_by(Template.id.desc())
                .limit(1)
            ).first()
        if newest is not None:
            self._find(newest.id, newest.source)
        for photo in self.model.forgotten[-3:]:
            refresh(self.index)
            hit = self.index.search(vector_of(photo)[None], 1)[0]
            if hit.similarities.max(initial=-1.0) > 0.99:
                raise AssertionError(f"{photo} was forgotten and is found")
        self.model.searches += 1

    def _find(self, key: int, photo: str) -> None:
        begun = time.monotonic()
        while True:
            refresh(self.index)
            with self.store.read() as session:
                hits = self.index.search(vector_of(photo)[None], 3)[0].ids.tolist()
                if key in hits or key not in owners(session, [key]):  # or it is gone by now
                    break
            if time.monotonic() - begun > 1.0:
                raise AssertionError(f"{photo} is not found after a second")
        self.model.slowest = max(self.model.slowest, time.monotonic() - begun)

    def verify(self) -> None:
        """One of ours against a photo of theirs, recorded."""
        name = self.somebody()
        if name is None:
            return
        with self.store.begin() as session:
            person = find_person(session, name)
            _, vectors = vectors_of(session, person.id, SPACE)
            best = float((vectors @ vector_of(self.model.people[name][0])).max())
            if best < 0.99:
                raise AssertionError(f"{name} is not {name}")
            record_decision(
                session, kind="verify", answer="yes", space=SPACE, source=name,
                person_id=person.id, similarity=best, threshold=0.5, fmr=1e-4,
            )  # fmt: skip
        self.model.decisions += 1


def work(url: str, number: int, operations: int, seed: int, index: str) -> None:
    """The body of a worker process; prints its model."""
    with Store.open(url) as store:
        ensure_schema(store)  # all of them at once: a first run
        with store.begin() as session:
            pin_space(session, SPACE)
        worker = Worker(store, open_synced(store, index, SPACE, DIM), number, seed)
        model = worker.run(operations)
    print(json.dumps(vars(model)))


def check(store: Store, models: list[Model], place: Path) -> Iterator[str]:
    """What is not as the models say, in words."""
    wanted: dict[str, list[str]] = {}
    for model in models:
        wanted |= model.people
    with store.read() as session:
        rows = session.execute(
            select(Person.name, Photo.source)
            .join(Template, Template.person_id == Person.id)
            .join(Face, Face.id == Template.face_id)
            .join(Photo, Photo.id == Face.photo_id)
        ).all()
        found: dict[str, list[str]] = {person.name: [] for person in list_people(session)}
        for name, source in rows:
            found[name].append(source)
        shared = found.pop("Everybody", [])
        if len(set(shared)) != len(shared):
            yield "a shared photo was enrolled twice"
        if {k: sorted(v) for k, v in found.items()} != {k: sorted(v) for k, v in wanted.items()}:
            yield f"people differ: {len(found)} found, {len(wanted)} wanted"
        photos = session.scalar(select(func.count()).select_from(Photo))
        if photos != sum(map(len, wanted.values())) + len(shared):
            yield f"{photos} photos are left"
        revs = session.scalars(select(Change.rev).order_by(Change.rev)).all()
        if list(revs) != list(range(revs[0], current_rev(session) + 1)):
            yield "the log of changes has gaps"
        log = verify_log(session)
        if not log.whole:
            yield f"the log of events: {log.fault} in row {log.row}"
    anew = open_synced(store, "exact:", SPACE, DIM)
    for number in range(len(models)):
        index = open_synced(store, f"exact:{place / f'{number}.vultus-index'}", SPACE, DIM)
        if sorted(index.index.ids().tolist()) != sorted(anew.index.ids().tolist()):
            yield f"the index of process {number} differs"


def trial(url: str, place: Path, processes: int, operations: int, seed: int) -> dict[str, Any]:
    """Run the processes on an empty database; what came of it."""
    place.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    running = []
    for number in range(processes):
        index = f"exact:{place / f'{number}.vultus-index'}"
        arguments = ["work", url, number, operations, seed, index]
        running.append(
            subprocess.Popen(  # noqa: S603 - this script
                [sys.executable, __file__, *map(str, arguments)],
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        )
    faults, models = [], []
    for process in running:
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode:
            faults.append(err.strip().splitlines()[-1] if err.strip() else "killed")
        else:
            models.append(Model(**json.loads(out)))
    seconds = time.monotonic() - begun
    with Store.open(url) as store:
        if not faults:
            faults += check(store, models, place)
    return {
        "seconds": seconds,
        "people": sum(len(model.people) for model in models),
        "searches": sum(model.searches for model in models),
        "slowest": max((model.slowest for model in models), default=0.0),
        "faults": faults,
    }


@contextmanager
def server(place: Path) -> Iterator[str | None]:
    """A PostgreSQL server of our own, durable as by default; None where none is installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        yield None
        return
    folder = programs[-1].parent
    user = "nobody" if os.getuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="vultus-postgresql-"))
    if user:
        shutil.chown(place, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), "-D", str(place / "data"), *arguments]
        subprocess.run(command, check=True, user=user, cwd=place, capture_output=True)  # noqa: S603

    run("initdb", "-U", "vultus", "-A", "trust")
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "-o", options, "-l", str(place / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg://vultus@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def commands_beside(url: str, place: Path, wanted: bool) -> Iterator[list[str]]:
    """Real commands, again and again, while the block runs; the errors of those that failed."""
    failed: list[str] = []
    if not wanted:
        yield failed
        return
    loop = (
        "import subprocess, sys\n"
        "program = [sys.executable, '-c', 'import vultus; vultus.main()']\n"
        "while True:\n"
        "    export = ['export', sys.argv[2], '--force']\n"
        "    for arguments in (['people', 'list'], ['db', 'check'], export):\n"
        "        done = subprocess.run([*program, *arguments, '--database', sys.argv[1]],"
        " capture_output=True, text=True)\n"
        "        if done.returncode: print(done.stderr.strip(), flush=True)\n"
    )
    with Store.open(url) as store:
        ensure_schema(store)
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", loop, url, str(place / "export.vultus")], text=True,
        stdout=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        yield failed
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        failed += process.communicate()[0].splitlines()


def main() -> int:
    """Run on both databases and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--operations", type=int, default=500, help="of each process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--postgresql", help="URL of an empty database")
    parser.add_argument("--commands", action="store_true", help="run commands beside them")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="vultus-many-") as name, server(Path(name)) as ours:
        place = Path(name)
        urls = {"SQLite": f"sqlite:///{place / 'gallery.sqlite3'}"}
        urls |= {"PostgreSQL": options.postgresql or ours} if options.postgresql or ours else {}
        print(f"{options.processes} processes x {options.operations} operations")
        print(f"{'database':<12}{'seconds':>8}{'ops/s':>7}{'people':>8}{'searches':>9}"
              f"{'slowest s':>10}  as the model says")  # fmt: skip
        for kind, url in urls.items():
            folder = place / kind
            folder.mkdir()
            with commands_beside(url, folder, options.commands) as failed:
                told = trial(url, folder, options.processes, options.operations, options.seed)
            faults = [*told["faults"], *failed]
            rate = options.processes * options.operations / told["seconds"]
            print(f"{kind:<12}{told['seconds']:>8.1f}{rate:>7.0f}{told['people']:>8}"
                  f"{told['searches']:>9}{told['slowest']:>10.3f}  "
                  f"{'no: ' + '; '.join(faults) if faults else 'yes'}", flush=True)  # fmt: skip
            bad += bool(faults)
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        sys.exit(main())
