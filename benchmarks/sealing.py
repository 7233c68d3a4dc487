"""What sealing costs: reading a gallery, and enrolling into one.

    PYTHONPATH=. python benchmarks/sealing.py [--templates 100000] [--people 20000] [--photos 84]
        [--rounds 5]

Reading: a gallery of random unit vectors is written three times, plain, sealed, and sealed and
renewable, with a data key a person; every template is read as an index is filled, in turns, and the
table shows the median over the rounds and what sealing adds. Enrolling: the generated people are
enrolled into a new gallery, plain and sealed in turns, by the library, with one embedder for all.
D dimensions.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from importlib import resources
from pathlib import Path

import numpy as np
from sqlalchemy import insert
from tqdm import tqdm

from enroll.folder import read_people
from enroll.person import enroll_people
from enroll.rekey import seal
from migrations import ensure_schema
from store.following import stream_templates
from store.resealing import reseal
from store.schema import Face, Person, Photo, Template, new_uid
from store.session import Store
from store.vault import Vault, new_key
from store.vectors import STORED
from verify.opening import Parts, Places

SPACE, DIM, PIECE = "random-128", 128, 10_000


def fill(store: Store, templates: int, people: int) -> None:
    """Write a plain gallery of random unit vectors."""
    rng = np.random.default_rng(0)
    with store.begin() as session:
        rows = [{"uid": new_uid(), "name": f"P{i}", "site_id": 0} for i in range(people)]
        session.execute(insert(Person), rows)
    for start in tqdm(range(0, templates, PIECE), desc="writing", leave=False):
        ids = range(start + 1, min(start + PIECE, templates) + 1)
        vectors = rng.standard_normal((len(ids), DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        photos, faces, kept = [], [], []
        for i, vector in zip(ids, vectors.astype(STORED), strict=True):
            digest = hashlib.sha256(str(i).encode()).hexdigest()
            photos.append(
                {"id": i, "digest": digest, "source": f"{i}.jpg", "size": 1, "width": 1,
                 "height": 1, "outcome": "enrolled"}
            )  # fmt: skip
            faces.append(
                {"id": i, "photo_id": i, "x": 0.0, "y": 0.0, "w": 1.0, "h": 1.0,
                 "confidence": 1.0, "crop": b""}
            )  # fmt: skip
            kept.append(
                {"id": i, "uid": new_uid(), "person_id": i % people + 1, "face_id": i,
                 "space": SPACE, "vector": vector.tobytes()}
            )  # fmt: skip
        with store.begin() as session:
            session.execute(insert(Photo), photos)
            session.execute(insert(Face), faces)
            session.execute(insert(Template), kept)


def read_all(path: Path, key: Path) -> tuple[float, float]:
    """Seconds, and those of the processor, to read all with a vault that has opened nothing yet."""
    with Store.open(path, vault=Vault(key)) as store:
        gc.collect()
        begun, busy = time.perf_counter(), time.process_time()
        with store.read() as session:
            sum(len(batch.ids) for batch in stream_templates(session, SPACE))
        return time.perf_counter() - begun, time.process_time() - busy


def reading(place: Path, key: Path, templates: int, people: int, rounds: int) -> None:
    """Print what reading costs."""
    paths = {name: place / f"{name}.sqlite3" for name in ("plain", "sealed", "renewable")}
    with Store.open(paths["plain"]) as store:
        ensure_schema(store)
        fill(store, templates, people)
        store.scrub()
    for name, renewal in (("sealed", None), ("renewable", "gallery")):
        shutil.copy(paths["plain"], paths[name])
        with Store.open(paths[name], vault=Vault(key)) as store:
            begun = time.perf_counter()
            with store.begin() as session:
                reseal(session, Vault(key).sealing_master(), renewal)  # type: ignore[arg-type]
            print(f"{name}: sealing all rows took {time.perf_counter() - begun:.1f} s")
            store.scrub()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            seconds[name].append(read_all(path, key))
    middles = {name: np.median(kept, axis=0) for name, kept in seconds.items()}
    print(f"\nreading {templates} templates of {people} people, D = {DIM}, {rounds} rounds")
    print(
        f"{'gallery':10} {'median s':>9} {'added s':>8} {'CPU s':>8} {'added s':>8} {'file MB':>8}"
    )
    for name, path in paths.items():
        (wall, busy), (more, more_busy) = middles[name], middles[name] - middles["plain"]
        size = path.stat().st_size / 1e6
        print(f"{name:10} {wall:9.2f} {more:+8.2f} {busy:8.2f} {more_busy:+8.2f} {size:8.0f}")


def enrolling(place: Path, key: Path, photos: int, rounds: int) -> None:
    """Print what enrolling costs."""
    source = Path(str(resources.files("enroll"))) / "people" / "people"
    for file in sorted(source.glob("*/*.jpg"))[:photos]:
        (place / "people" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place / "people" / file.parent.name)
    folder = read_people(place / "people")
    seconds: dict[str, list[float]] = {"plain": [], "sealed": []}
    with Parts(Places(str(place / "first.sqlite3"))) as first:
        embedder = first.embedder
        for number in range(rounds + 1):  # the first round warms up
            for name, kept in seconds.items():
                database = place / f"{name}-{number}.sqlite3"
                places = Places(str(database), index="memory:", key_file=str(key))
                with Parts(places) as parts:
                    parts.__dict__["embedder"] = embedder  # opened once for all
                    if name == "sealed":
                        seal(parts)
                    begun = time.perf_counter()
                    done = list(enroll_people(parts, folder))
                    kept.append(time.perf_counter() - begun)
                if {outcome.status for outcome in done} != {"enrolled"}:
                    raise SystemExit("a photo was not enrolled")
    print(f"\nenrolling {len(folder.photos)} photos, {rounds} rounds in turns")
    print(f"{'gallery':10} {'median s':>9} {'least s':>8} {'ms a photo':>11}")
    for name, kept in seconds.items():
        middle = statistics.median(kept[1:])
        each = 1000 * middle / len(folder.photos)
        print(f"{name:10} {middle:9.2f} {min(kept[1:]):8.2f} {each:11.2f}")
    ratios = [s / p for p, s in zip(seconds["plain"][1:], seconds["sealed"][1:], strict=True)]
    print(f"sealed / plain: median of the rounds {statistics.median(ratios):.3f}")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--templates", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--photos", type=int, default=84)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.pop("VULTUS_KEY", None)
    with tempfile.TemporaryDirectory(prefix="vultus-sealing-") as folder:
        place = Path(folder)
        new_key(place / "key")
        reading(place, place / "key", options.templates, options.people, options.rounds)
        enrolling(place, place / "key", options.photos, options.rounds)


if __name__ == "__main__":
    main()
