"""Migrate a gallery to another encoder, killed three times, and compare with one left alone.

    PYTHONPATH=. python benchmarks/migration.py [--templates 10000] [--kills 3] [--seed 0]

The gallery is made of the generated people: their aligned crops, shifted, turned, lit and sharpened
otherwise by a seeded chance, 20 a person, every sixth face in a library that was clustered instead.
Copies of it are migrated from sface to sface-mirror by the program itself, one left alone and one
killed with SIGKILL at moments spread over the run and then started again. People, clusters,
corrections, vectors (every byte) and the answers of identifications must be the same. Then both
spaces change places again (--roll-back) and the old answers must come back.
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
from dataclasses import dataclass, fields
from hashlib import sha256
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from embedder.align import Crop
from embedder.embed import FoundFace, open_embedder
from enroll.gallery import open_gallery
from enroll.person import add_face
from migrations import ensure_schema
from store.clusters import name_cluster, save_run
from store.corrections import merge_people
from store.gallery import pin_space
from store.people import add_person
from store.photos import record_photo
from store.schema import Person, Photo
from store.session import Store

BEFORE, AFTER = "sface", "sface-mirror"
COMMAND = [sys.executable, "-c", "import vultus; vultus.main()"]
_A_PERSON, _LIBRARY, _AT_ONCE = 20, 6, 500
_PATIENCE = 3600.0
_SETTINGS = ("DATABASE", "INDEX", "MODEL", "KEY_FILE", "DEVICE", "DEBUG")


@dataclass(frozen=True)
class Kept:
    """What a migration left, without what is random (uids, times).

    Attributes:
        space: the gallery's.
        people: name and site.
        templates: face, person, space and vector.
        clusters: run, number, person and the face and space of each member.
        inverses: what undoing each operation takes, less people.
        answers: of identifications, in words.
    """

    space: list[tuple[object, ...]]
    people: list[tuple[object, ...]]
    templates: list[tuple[object, ...]]
    clusters: list[tuple[object, ...]]
    inverses: list[tuple[object, ...]]
    answers: list[tuple[object, ...]]

    def differences(self, other: Kept) -> list[str]:
        """Which parts differ."""
        names = [one.name for one in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


_SPACE = "SELECT space FROM gallery"
_PEOPLE = "SELECT p.name, s.name FROM people p JOIN sites s ON s.id = p.site_id ORDER BY 1, 2"
_TEMPLATES = """
    SELECT t.face_id, p.name, t.space, t.vector FROM templates t
    LEFT JOIN people p ON p.id = t.person_id ORDER BY 1, 3"""
_CLUSTERS = """
    SELECT c.run_id, c.number, p.name, t.face_id, t.space FROM clusters c
    LEFT JOIN people p ON p.id = c.person_id JOIN cluster_faces m ON m.cluster_id = c.id
    JOIN templates t ON t.id = m.template_id ORDER BY 1, 2, 4"""
_INVERSES = """
    SELECT o.id, json_extract(move.value, '$[0]'), t.face_id, t.space
    FROM operations o, json_each(o.inverse, '$.moves') AS move,
        json_each(move.value, '$[3]') AS member
    JOIN templates t ON t.id = member.value
    WHERE json_extract(move.value, '$[0]') = 'templates' ORDER BY 1, 3, 4"""


def look(database: Path, probes: list[Path]) -> Kept:
    """Read everything back by SQLite itself, and ask who is on some photos."""
    with closing(sqlite3.connect(database)) as opened:
        (sound,) = opened.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok" or opened.execute("PRAGMA foreign_key_check").fetchone():
            raise SystemExit(f"{database} is damaged: {sound}")
        rows = [
            opened.execute(query).fetchall()
            for query in (_SPACE, _PEOPLE, _TEMPLATES, _CLUSTERS, _INVERSES)
        ]
    return Kept(*rows, list(_answers(database, probes)))


def _answers(database: Path, probes: list[Path]) -> Iterator[tuple[object, ...]]:
    with open_gallery(database, index="memory:") as gallery:
        for photo in gallery.identify(list(probes), fpir=0.5, extrapolate=True):
            for face in photo.faces:
                found = [(c.person, round(c.similarity, 6)) for c in face.who.candidates]
                yield (photo.source, face.who.answer, round(face.who.threshold, 6), *found)


def pictures() -> Path:
    """The folder of the generated people."""
    return Path(str(resources.files("enroll"))) / "people"


def build(database: Path, templates: int, seed: int) -> None:
    """Make the gallery: `_A_PERSON` faces of each person, every `_LIBRARY`th of a library."""
    embedder = open_embedder(BEFORE)
    found = [
        face
        for path in sorted(pictures().glob("*/*/*.jpg"))[: -(-templates // _A_PERSON)]
        for face in embedder.faces(embedder.read(path), "largest")
    ]
    chance = np.random.default_rng(seed)
    with Store.open(database) as store:
        ensure_schema(store)
        library: list[int] = []
        for start in range(0, templates, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, templates))
            faces = [varied(found[n // _A_PERSON % len(found)], chance) for n in numbers]
            vectors = embedder.encode(faces).vectors
            with store.begin() as session:
                pin_space(session, embedder.space)
                for number, face, vector in zip(numbers, faces, vectors, strict=True):
                    named = number % _LIBRARY != 0
                    digest = sha256(str(number).encode()).hexdigest()
                    photo: Photo = record_photo(
                        session, digest, f"{number}.jpg", 1, 320, 320,
                        outcome="enrolled" if named else "library",
                    )  # fmt: skip
                    person = _person(session, number // _A_PERSON) if named else None
                    made = add_face(session, photo, face, embedder.space, vector, person)
                    library += [] if named else [made]
        _correct(store, embedder.space, library)


def _person(session: object, number: int) -> Person:
    from enroll.person import person_of

    return person_of(session, f"Person {number:05}")  # type: ignore[arg-type]  # a session


def _correct(store: Store, space: str, library: list[int]) -> None:
    """Cluster the library, name two of its clusters, and merge two people."""
    groups = {number + 1: library[number::10] for number in range(min(10, len(library)))}
    with store.begin() as session:
        run = save_run(
            session, space=space, method="by turns", source="library", parameters={},
            clusters=groups,
        )  # fmt: skip
        from store.clusters import find_cluster

        for number in (1, 2):
            who = add_person(session, f"Named {number}")
            name_cluster(session, find_cluster(session, number, run), who, created=True)
        first, second = _person(session, 0), _person(session, 1)
        merge_people(session, second, first)


def varied(face: FoundFace, chance: np.random.Generator) -> FoundFace:
    """The same face, as another picture of it might have been cut out."""
    angle, scale = chance.normal(0, 4), chance.normal(1, 0.04)
    warp = cv2.getRotationMatrix2D((55.5, 55.5), float(angle), float(scale))
    warp[:, 2] += chance.normal(0, 2, 2)
    pixels: NDArray[np.floating] = cv2.warpAffine(
        face.crop.pixels, warp, (112, 112), borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float64)
    pixels = (pixels - 127.5) * chance.normal(1, 0.12) + 127.5 + chance.normal(0, 12)
    pixels += chance.normal(0, 3, pixels.shape)
    crop = Crop(pixels.clip(0, 255).astype(np.uint8), face.crop.warp, face.crop.face)
    return FoundFace(crop, face.quality)


class Migration:
    """The command on a copy of the gallery, in a process group of its own."""

    def __init__(self, gallery: Path, place: Path) -> None:
        place.mkdir(parents=True)
        self.database = Path(shutil.copy(gallery, place / "gallery.sqlite3"))
        self.log = place / "log"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it; its output is appended to the file `log`."""
        spec = find_spec("vultus")
        if spec is None or spec.origin is None:
            sys.exit("vultus cannot be imported: install it or set PYTHONPATH.")
        environment = {k: v for k, v in os.environ.items() if k[7:] not in _SETTINGS}
        environment |= {"PYTHONPATH": str(Path(spec.origin).parent)}
        command = [*COMMAND, "models", "migrate", *arguments, "--database", str(self.database)]
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def finish(self, *arguments: str) -> float:
        """Run to the end; seconds."""
        begun = time.monotonic()
        process = self.start(*arguments)
        try:
            code = process.wait(_PATIENCE)
        finally:
            kill(process)
        if code != 0:
            raise SystemExit(f"exit code {code}\n{self.log.read_text()}")
        return time.monotonic() - begun

    def interrupt(self, after: float) -> bool:
        """Run for some seconds, then SIGKILL; whether it was still at work."""
        process = self.start(AFTER)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            return process.poll() is None
        finally:
            kill(process)

    def encoded(self) -> int:
        """How many templates of the new space are committed."""
        with closing(sqlite3.connect(self.database)) as opened:
            query = "SELECT count(*) FROM templates WHERE space LIKE ?"
            return int(opened.execute(query, (f"{AFTER}-%",)).fetchone()[0])


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process group, and wait until it is gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(place: Path, templates: int, kills: int, seed: int, asked: int = 20) -> bool:
    """Migrate both copies, ask about some photos, print the table; whether they are equal."""
    gallery = place / "gallery.sqlite3"
    begun = time.monotonic()
    build(gallery, templates, seed)
    print(f"{templates} templates made in {time.monotonic() - begun:.0f} s")
    photos = sorted(pictures().glob("*/*/*.jpg"))
    probes = photos[:: max(1, len(photos) // asked)]
    before = look(gallery, probes)

    alone = Migration(gallery, place / "alone")
    whole = alone.finish(AFTER)
    wanted = look(alone.database, probes)

    killed = Migration(gallery, place / "killed")
    chance = random.Random(seed)  # noqa: S311 - seeded moments, not secrets
    told, left = [], whole
    for number in range(kills):
        after = left * (chance.uniform(0.2, 0.8) if number else chance.uniform(0.2, 0.5))
        if killed.interrupt(after):
            told.append(f"{after:.1f} s ({killed.encoded()})")
        left = whole * (1.0 - killed.encoded() / templates)
    again = killed.finish(AFTER)
    wrong = look(killed.database, probes).differences(wanted)
    changed = len(set(wanted.answers) ^ set(before.answers)) > 0

    back = killed.finish("--roll-back")
    returned = look(killed.database, probes)
    same_answers = returned.answers == before.answers and returned.clusters == before.clusters
    killed.finish("--drop-old", "--yes")
    dropped = look(killed.database, probes).differences(before)

    rows = [
        ("uninterrupted", f"{whole:.1f} s, {templates / whole:.0f} templates a second"),
        ("killed after (templates encoded by then)", ", ".join(told)),
        ("the run that finished", f"{again:.1f} s"),
        ("equal to the uninterrupted", "no: " + ", ".join(wrong) if wrong else "yes"),
        ("similarities are those of the new encoder", "yes" if changed else "no"),
        ("rolled back", f"{back:.1f} s, answers and clusters as before: {_yes(same_answers)}"),
        ("new vectors dropped", f"all as before the migration: {_yes(not dropped)}"),
    ]
    for name, value in rows:
        print(f"{name:42}  {value}", flush=True)
    return not wrong and changed and same_answers and not dropped and len(told) == kills


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def main() -> None:
    """Read the options, run, and exit with 1 unless everything was equal."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--templates", type=int, default=10_000, help="how many to migrate")
    parser.add_argument("--kills", type=int, default=3, help="how often to kill the second one")
    parser.add_argument("--seed", type=int, default=0, help="of pictures and moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vultus-migration-") as place:
        good = run(Path(place), options.templates, options.kills, options.seed)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
