"""Kill what changes a gallery at random moments, then recover: nothing lost, nothing half done.

    PYTHONPATH=. python benchmarks/kill9_store.py [--points 80] [--seed 0] [--only NAME,...]

For each point: a fresh copy of a small gallery, one operation started in a process of its own, and
SIGKILL to its process group at a random moment of its run. Then the gallery is opened as any
command would open it. It must be sound (the database's own check, foreign keys, the log of changes,
the log of events), hold what was there before, and for each unit of work (a photo, a person, a
whole move, a whole import, a whole sealing) all of it or nothing. Then the same operation is run
again to its end, and the result must be that of a run that was left alone.

`seal` seals a plain gallery, `rekey` renews a sealed one many times over, with a new master key in
between. Whatever is found opens with the key file and is, vector by vector, what was enrolled; all
rows are kept in one way. At the end no piece of a plain vector may be left in a file of the
database, and no index file.

An operation is a row of OPERATIONS; add one there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from enroll.archive import export_gallery
from enroll.archive_import import import_gallery
from enroll.rekey import renew, rotate, seal
from migrations import Status, check, ensure_schema
from migrations.moving import move
from store.audit_check import verify_log
from store.erasure import forget_person
from store.gallery import pin_space, pinned_space
from store.people import add_person, find_person
from store.photos import photo_records, record_face, record_photo
from store.resealing import seal_status
from store.schema import Face, Person, Photo, Template
from store.sealing import Stored, StoredCrop, opened, opened_crops
from store.session import Store
from store.sync import open_synced, refresh, save
from store.templates import add_template
from store.transitions import (
    CURRENT,
    add_twins,
    begin_transition,
    latest_transition,
    switch_space,
    waiting_faces,
)
from store.vault import Vault, new_key
from verify.opening import Parts, Places

SPACE, DIM = "toy-128-abc", 128
OTHER = "toy-128-def"  # the space that a migration leads to
PEOPLE, PHOTOS = 60, 4  # of the gallery before
MORE = 120  # people that are enrolled
GONE = 40  # people that are forgotten
PATIENCE = 300.0
RENEWALS = 12  # of a sealed gallery
GALLERY = "gallery.sqlite3"
INDEX = "index.vultus-index"
KEY = "key"
# what a gallery holds, without what is random (uids, times) or counted (ids)
CONTENT = """
    SELECT p.name, photos.digest, faces.crop, t.vector FROM templates t
    JOIN people p ON p.id = t.person_id JOIN faces ON faces.id = t.face_id
    JOIN photos ON photos.id = faces.photo_id ORDER BY 1, 2, t.id"""
Rows = list[tuple[object, ...]]


def vector_of(digest: str, more: int = 0) -> NDArray[np.float32]:
    """A unit vector, float32 (DIM,), that is always the same for a digest."""
    vector = np.random.default_rng((int(digest, 16) + more) % 2**32).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def enrol(store: Store, name: str, count: int) -> None:
    """One person with some photos, in one transaction, unless they are there already."""
    digests = [hashlib.sha256(f"{name} {i}".encode()).hexdigest() for i in range(count)]
    with store.begin() as session:
        if photo_records(session, digests[:1]):
            return
        person = add_person(session, name)
        for digest in digests:
            photo = record_photo(session, digest, name, 1, 10, 10, outcome="enrolled")
            face = record_face(
                session, photo, box=np.zeros(4, np.float32), points=None, confidence=1.0,
                quality=None, crop=digest.encode() * 60,
            )  # fmt: skip
            add_template(session, person, face, SPACE, vector_of(digest))


def do_enrol(place: Path) -> None:
    """Many people, one transaction each; the index is saved now and then."""
    with Store.open(place / GALLERY) as store:
        index = open_synced(store, f"exact:{place / INDEX}", SPACE, DIM)
        for number in range(MORE):
            enrol(store, f"new {number}", PHOTOS)
            if number % 10 == 0:
                refresh(index)
                save(index)
        refresh(index)
        save(index)


def do_forget(place: Path) -> None:
    """Many people, one transaction each, then their bytes."""
    with Store.open(place / GALLERY) as store:
        for number in range(GONE):
            with store.begin() as session:
                name = f"old {number}"
                if session.scalar(select(Person.id).where(Person.name == name)) is not None:
                    forget_person(session, find_person(session, name))
            if number % 10 == 0:
                store.scrub()
        index = open_synced(store, f"exact:{place / INDEX}", SPACE, DIM)
        refresh(index)
        save(index)
        store.scrub()


def do_move(place: Path) -> None:
    """The whole gallery into another file; done already when that holds one."""
    target = place / "moved.sqlite3"
    if not target.exists() or check(target) is Status.EMPTY:
        move(str(place / GALLERY), str(target))


def do_import(place: Path) -> None:
    """The whole gallery from an archive into a new one."""
    with Store.open(place / "imported.sqlite3") as store:
        ensure_schema(store)
        import_gallery(store, place / "archive.vultus")


def do_export(place: Path) -> None:
    """The whole gallery into an archive, and that into a new gallery."""
    with Store.open(place / GALLERY) as store:
        export_gallery(store, place / "out.vultus", replace=True)


def do_migrate(place: Path) -> None:
    """The whole gallery into another vector space, a transaction a few faces, and the switch."""
    with Store.open(place / GALLERY) as store:
        with store.begin() as session:
            if pinned_space(session) == OTHER:
                return
            begin_transition(session, OTHER)
        while True:
            with store.begin() as session:
                waiting = waiting_faces(session, SPACE, OTHER, 0, 8)
                made = {one.face_id: vector_of(one.digest, 1) for one in waiting}
                add_twins(session, SPACE, OTHER, made)
                transition = latest_transition(session)
                if not waiting and transition is not None:
                    switch_space(session, transition, OTHER, CURRENT)
                    return


def parts_of(place: Path) -> Parts:
    """The gallery as commands open it, with its key file and index."""
    places = Places(str(place / GALLERY), index=f"exact:{place / INDEX}", key_file=str(place / KEY))
    return Parts(places)


def do_seal(place: Path) -> None:
    """All rows of a plain gallery in one transaction, then the index file and the old bytes."""
    with parts_of(place) as parts:
        seal(parts)


def do_rekey(place: Path) -> None:
    """New transforms and data keys, a transaction each, and a new master key now and then."""
    for number in range(RENEWALS):
        if number % 4 == 0:
            new_key(place / KEY)
        with parts_of(place) as parts:
            rotate(parts)
            renew(parts)


def make_sealed(place: Path) -> None:
    """A gallery sealed and renewable, where `make` left a plain one."""
    with parts_of(place) as parts:
        seal(parts, "gallery")


def nothing(_place: Path) -> None:
    """Most operations begin with what `make` wrote."""


@dataclass(frozen=True)
class Operation:
    """Something to be killed.

    Attributes:
        do: run in the process; run again, it goes on or begins anew.
        target: the database that it changes.
        unit_ok: whether what is found after a kill, told before and after, is whole units.
        prepare: makes the gallery before out of the one that `make` wrote.
        read: what the target holds.
        remains: what must not be there after running it to its end, in words.
    """

    do: Callable[[Path], None]
    target: str
    unit_ok: Callable[[Rows, Rows, Rows], bool]
    prepare: Callable[[Path], None] = nothing
    read: Callable[[Path], Rows] = field(default_factory=lambda: content)
    remains: Callable[[Path], list[str]] = lambda _place: []


def _by_person(found: Rows, before: Rows, after: Rows) -> bool:
    """Everybody has all that is theirs before or after, or is not there."""
    whole = {name: [r for r in rows if r[0] == name] for rows in (before, after) for name in
             {row[0] for row in rows}}  # fmt: skip
    both = {row[0] for row in before} & {row[0] for row in after}
    names = {row[0] for row in found}
    return both <= names and all([r for r in found if r[0] == n] == whole[n] for n in names)


def _all_or_nothing(found: Rows, _before: Rows, after: Rows) -> bool:
    return found in ([], after)


def _same(found: Rows, before: Rows, _after: Rows) -> bool:
    """What a gallery holds does not change by the way in which it is kept."""
    return found == before


def _between(found: Rows, before: Rows, after: Rows) -> bool:
    """What was there is there, and more of what will be."""
    return set(before) <= set(found) <= set(after)


def content(file: Path) -> Rows:
    """What a gallery holds, read by SQLite itself."""
    if not file.exists():
        return []
    with closing(sqlite3.connect(file)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'templates'")
        return database.execute(CONTENT).fetchall() if tables.fetchone() else []


def opened_content(file: Path) -> Rows:
    """The same of a gallery that may be sealed; of each vector, whether it is the one enrolled."""
    columns = (Template.uid, Template.space, Template.vector, Template.seal_id)
    box = (Face.x, Face.y, Face.w, Face.h)
    query = select(Person.name, Photo.digest, *columns, *box, Face.crop, Face.seal_id)
    query = query.join(Template, Template.person_id == Person.id)
    query = query.join(Face, Face.id == Template.face_id).join(Photo, Photo.id == Face.photo_id)
    with Store.open(file, vault=Vault(file.parent / KEY)) as store, store.read() as session:
        rows = session.execute(query.order_by(Person.name, Photo.digest)).all()
        vectors = opened(session, [Stored(*row[2:6]) for row in rows])
        boxed = [StoredCrop(row[1], (row[6], row[7], row[8], row[9]), *row[10:]) for row in rows]
        crops = opened_crops(session, boxed)
    return [
        (name, digest, crop, bool(np.allclose(vector, vector_of(digest), atol=1e-5)))
        for (name, digest, *_), vector, crop in zip(rows, vectors, crops, strict=True)
    ]


def plain_remains(place: Path) -> list[str]:
    """Files of the gallery that hold pieces of plain vectors or crops, or are an index."""
    wrong = [f"{file.name} is still there" for file in sorted(place.glob(f"*{INDEX}*"))]
    digests = [row[1] for row in content(place / GALLERY)]
    pieces = [vector_of(str(digest)).tobytes()[:24] for digest in digests]
    pieces += [str(digest).encode() * 2 for digest in digests]
    for file in sorted(place.glob("gallery.sqlite3*")):
        held = file.read_bytes()
        count = sum(piece in held for piece in pieces)
        wrong += [f"{count} plain pieces in {file.name}"] if count else []
    return wrong


OPERATIONS = {
    "enrol": Operation(do_enrol, GALLERY, _by_person),
    "forget": Operation(do_forget, GALLERY, _by_person),
    "move": Operation(do_move, "moved.sqlite3", _all_or_nothing),
    "import": Operation(do_import, "imported.sqlite3", _all_or_nothing),
    "migrate": Operation(do_migrate, GALLERY, _between),
    "export": Operation(do_export, GALLERY, _same),
    "seal": Operation(do_seal, GALLERY, _same, read=opened_content, remains=plain_remains),
    "rekey": Operation(
        do_rekey, GALLERY, _same, prepare=make_sealed, read=opened_content, remains=plain_remains
    ),
}


def faults(file: Path) -> Iterator[str]:
    """What does not fit together in a database, in words."""
    if not file.exists() or check(file) is Status.EMPTY:
        return
    with closing(sqlite3.connect(file)) as database:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            yield "integrity_check"
        if database.execute("PRAGMA foreign_key_check").fetchone():
            yield "foreign_key_check"
        (rev,) = database.execute("SELECT rev FROM gallery").fetchone()
        revs = [row[0] for row in database.execute("SELECT rev FROM changes ORDER BY rev")]
        if revs and revs != list(range(revs[0], rev + 1)):
            yield "the log of changes has gaps"
    with Store.open(file) as store, store.read() as session:
        if not verify_log(session).whole:
            yield "the log of events is broken"
        status = seal_status(session)
        if status.plain != (0 if status.sealed else status.templates + status.crops):
            yield f"{status.plain} rows are kept in another way than the gallery says"


def index_faults(place: Path) -> Iterator[str]:
    """Whether the index that was left follows the gallery again."""
    with Store.open(place / GALLERY, vault=Vault(place / KEY)) as store:
        left = open_synced(store, f"exact:{place / INDEX}", SPACE, DIM)
        anew = open_synced(store, "exact:", SPACE, DIM)
        if sorted(left.index.ids().tolist()) != sorted(anew.index.ids().tolist()):
            yield "the index differs"


def start(name: str, place: Path) -> subprocess.Popen[bytes]:
    """Run an operation in a process of its own; a line on stdout says that it begins."""
    return subprocess.Popen(  # noqa: S603 - this script
        [sys.executable, __file__, "do", name, str(place)], start_new_session=True,
        stdout=subprocess.PIPE, stderr=(place / "log").open("ab"),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def finish(name: str, place: Path) -> float:
    """Run an operation to its end; seconds from its beginning."""
    process = start(name, place)
    assert process.stdout is not None  # noqa: S101 - for the type checker
    process.stdout.readline()
    begun = time.monotonic()
    code = process.wait(PATIENCE)
    process.stdout.close()
    if code:
        raise SystemExit(f"{name}: exit code {code}\n{(place / 'log').read_text()}")
    return time.monotonic() - begun


def interrupt(name: str, place: Path, after: float) -> bool:
    """Kill an operation some seconds after it began; whether it was still running."""
    process = start(name, place)
    assert process.stdout is not None  # noqa: S101 - for the type checker
    process.stdout.readline()
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    running = process.poll() is None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return running


def make(place: Path) -> None:
    """The gallery before, and its archive."""
    with Store.open(place / GALLERY) as store:
        ensure_schema(store)
        with store.begin() as session:
            pin_space(session, SPACE)
        for number in range(PEOPLE):
            enrol(store, f"old {number}", PHOTOS)
        save(open_synced(store, f"exact:{place / INDEX}", SPACE, DIM))
        export_gallery(store, place / "archive.vultus")
    new_key(place / KEY)


def point(name: str, place: Path, moment: float, before: Rows, after: Rows) -> list[str]:
    """One kill and what follows; what went wrong, in words."""
    operation = OPERATIONS[name]
    file = place / operation.target
    killed = interrupt(name, place, moment)
    wrong = list(faults(file)) + list(faults(place / GALLERY))
    found = operation.read(file)
    if not operation.unit_ok(found, before, after):
        wrong.append(f"half done: {len(found)} rows" + ("" if killed else ", though it ended"))
    if operation.target != GALLERY and content(place / GALLERY) != before:
        wrong.append("the source has changed")
    finish(name, place)
    if operation.read(file) != after:
        wrong.append("after running it again it is not what it should be")
    return wrong + operation.remains(place) + list(faults(file)) + list(index_faults(place))


def run(place: Path, points: int, seed: int, names: list[str]) -> int:
    """Run the points, shared among the operations; how many went well."""
    chance = random.Random(seed)  # noqa: S311 - seeded moments, not secrets
    model = place / "model"
    model.mkdir()
    subprocess.run(  # noqa: S603 - this script
        [sys.executable, __file__, "make", str(model)], check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    good = 0
    print(f"{'operation':<10}{'points':>7}{'good':>6}{'lasts s':>9}  faults")
    for place_in_list, name in enumerate(names):
        share = points // len(names) + (place_in_list < points % len(names))
        operation = OPERATIONS[name]
        ready = Path(shutil.copytree(model, place / f"{name} before"))
        operation.prepare(ready)
        before = operation.read(ready / GALLERY)
        alone = Path(shutil.copytree(ready, place / f"{name} alone"))
        lasts = finish(name, alone)
        after = operation.read(alone / operation.target)
        wrong: list[str] = []
        well = 0
        for number in range(share):
            there = Path(shutil.copytree(ready, place / f"{name} {number}"))
            moment = (number + chance.random()) / share * lasts
            found = point(name, there, moment, before, after)
            wrong += [f"{moment:.2f} s: {fault}" for fault in found]
            well += not found
            if not found:
                shutil.rmtree(there)
        print(f"{name:<10}{share:>7}{well:>6}{lasts:>9.2f}  {'; '.join(wrong) or '-'}", flush=True)
        good += well
    print(f"{good} of {points}")
    return good


def main() -> None:
    """Read the options, run, and exit with 1 unless every point went well."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--points", type=int, default=80, help="how many kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", help="names of operations, with commas")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(OPERATIONS)
    with tempfile.TemporaryDirectory(prefix="vultus-kill9-") as place:
        good = run(Path(place), options.points, options.seed, names)
    sys.exit(0 if good == options.points else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["do"]:
        print("begins", flush=True)
        OPERATIONS[sys.argv[2]].do(Path(sys.argv[3]))
    elif sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]))
    else:
        main()
