"""What is left of people who were forgotten, in every file of a gallery and in a server's tables.

    PYTHONPATH=. python benchmarks/erasure.py [--people 300] [--photos 4] [--forgotten 100]
        [--postgresql postgresql://…]

A gallery of random vectors and noise crops is written, some people are forgotten with the function
behind `vultus forget`, and then every file of the gallery's folder is searched, with `bytes.find`,
for 16-byte pieces of each vector and crop, one at every 128th byte, past all layers of the program.
That is an SQLite gallery, plain and sealed. With a server, which must give an empty database, a
sealed gallery there too. Of a sealed gallery the rows are saved before, and after the erasure every
saved row is tried with its own key and with twenty of those that are left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import func, select
from tqdm import tqdm

from enroll.forget import forget
from enroll.rekey import seal
from store.errors import SealBroken
from store.ledger import Seal
from store.people import add_person
from store.photos import record_face, record_photo
from store.schema import Face, Person, Template
from store.sealing import Stored, opened
from store.templates import add_template
from verify.opening import Parts, Places

PIECE, STEP = 16, 128  # bytes


def fill(parts: Parts, people: int, photos: int) -> None:
    """Write people with random vectors and crops of noise, and their index."""
    rng, space = np.random.default_rng(0), parts.card.space
    for number in tqdm(range(people), desc="writing", leave=False):
        with parts.store.begin() as session:
            person = add_person(session, f"Person {number}")
            for one in range(photos):
                digest = hashlib.sha256(f"{number} {one}".encode()).hexdigest()
                photo = record_photo(
                    session, digest, f"people/{number}/{one}.jpg", 1, 1, 1, outcome="enrolled"
                )
                face = record_face(
                    session, photo, box=np.array([0, 0, 9, 9], np.float32), points=None,
                    confidence=1.0, quality=None, crop=rng.bytes(4000), person=person,
                )  # fmt: skip
                vector = rng.standard_normal(parts.card.dim).astype(np.float32)
                add_template(session, person, face, space, vector / np.linalg.norm(vector))
    len(parts.index)  # opens, fills and saves it


def rows_of(parts: Parts, forgotten: int) -> list[tuple[str, str, bytes, int | None, bytes]]:
    """Uid, space, vector, seal and crop of the templates of those who will be forgotten."""
    columns = (Template.uid, Template.space, Template.vector, Template.seal_id, Face.crop)
    query = select(*columns).join(Face, Face.id == Template.face_id)
    with parts.store.read() as session:
        first = select(Person.id).order_by(Person.id).limit(forgotten)
        return [tuple(row) for row in session.execute(query.where(Template.person_id.in_(first)))]


def found_in(files: list[Path], rows: list[tuple[str, str, bytes, int | None, bytes]]) -> int:
    """How many pieces of vectors and crops the files hold."""
    texts = [file.read_bytes() for file in files]
    pieces = {
        data[start : start + PIECE]
        for row in rows
        for data in (row[2], row[4])
        for start in range(0, len(data) - PIECE + 1, STEP)
    }
    return sum(any(text.find(piece) >= 0 for text in texts) for piece in pieces)


def opened_rows(parts: Parts, rows: list[tuple[str, str, bytes, int | None, bytes]]) -> int:
    """How many saved rows open with any key that the gallery still has."""
    count = 0
    with parts.store.read() as session:
        keys = list(session.scalars(select(Seal.id)))
        for uid, space, vector, seal_id, _ in tqdm(rows, desc="opening", leave=False):
            for key in {seal_id, *keys[:: max(1, len(keys) // 20)]}:
                try:
                    opened(session, [Stored(uid, space, vector, key)])
                except SealBroken:
                    continue
                count += 1
                break
    return count


def one(database: str, key: Path | None, options: argparse.Namespace) -> None:
    """Fill, forget and search one gallery; print a row of the table."""
    places = Places(database, model="sface", key_file=None if key is None else str(key))
    with Parts(places) as parts:
        if key is not None:
            seal(parts)
        fill(parts, options.people, options.photos)
        rows = rows_of(parts, options.forgotten)
        path = parts.store.path
        files = [] if path is None else sorted(path.parent.glob(f"*{path.stem}*"))
        before = found_in(files, rows) if files else 0
        opens = opened_rows(parts, rows) if key is not None else None
        begun, whole = time.perf_counter(), 0
        for number in tqdm(range(options.forgotten), desc="forgetting", leave=False):
            whole += forget(parts, f"Person {number}").whole
        seconds = (time.perf_counter() - begun) / options.forgotten
        files = [] if path is None else sorted(path.parent.glob(f"*{path.stem}*"))
        after = found_in(files, rows) if files else 0
        left = opened_rows(parts, rows) if key is not None else None
        with parts.store.read() as session:
            people = session.scalar(select(func.count(Person.id)))
        kind = parts.store.engine.dialect.name + (" sealed" if key else "")
    print(
        f"{kind:18} {options.forgotten:9} {people:6} {before if path else '–':>8} "
        f"{after if path else '–':>7} {'–' if opens is None else opens:>8} "
        f"{'–' if left is None else left:>7} {whole:>7} {1000 * seconds:9.0f}"
    )


def main() -> None:
    """Print one table."""
    from store.vault import new_key

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--forgotten", type=int, default=100)
    parser.add_argument("--postgresql", help="URL of an empty database.")
    options = parser.parse_args()
    for name in ("DATABASE", "INDEX", "KEY", "KEY_FILE"):
        os.environ.pop(f"VULTUS_{name}", None)
    with tempfile.TemporaryDirectory(prefix="vultus-erasure-") as folder:
        place = Path(folder)
        new_key(place / "key")
        print(
            f"{'gallery':18} {'forgotten':>9} {'people':>6} {'pieces':>8} {'after':>7} "
            f"{'open':>8} {'after':>7} {'proved':>7} {'ms each':>9}"
        )
        one(str(place / "plain.sqlite3"), None, options)
        one(str(place / "sealed.sqlite3"), place / "key", options)
        if options.postgresql:
            one(options.postgresql, place / "key", options)


if __name__ == "__main__":
    main()
