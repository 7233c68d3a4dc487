"""A hundred new photos in a library of 10,000: time against the full run, and what else changed.

    PYTHONPATH=. python benchmarks/incremental.py [--faces 10000] [--new 100] [--photos 500]
        [--only photos]

Three lines. `step`: only the clustering of vectors in memory, a seeded mixture around 1,200
directions. `vectors`: the same stored directly as one face a photo, so that decoding plays no part:
from the files, which are read and hashed, and the rows in the database to the saved run. `photos`:
the whole command; the generated people through decoder, detector and encoder, copied with bytes of
their own, then one in a hundred more.

The aim: the new ones take at most 5 % of the full run, and clusters elsewhere are unchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

import enroll
from enroll.cluster import Clustering, ClusterRules, cluster_library
from enroll.clustering_known import Known
from enroll.clustering_methods import Way, clustered, grown
from store.gallery import pin_space
from store.schema import Face, Photo, Template, new_uid
from verify.opening import Parts, Places

CENTRES, DIM, SPREAD, SHARE = 1_200, 128, 0.075, 0.05
CUTS = (0.450, 0.086)  # of the encoder sface


def mixture(count: int, seed: int) -> NDArray[np.float32]:
    """Unit rows around `CENTRES` directions: float32 (count, DIM)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CENTRES, DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = centres[rng.integers(0, CENTRES, count)] + SPREAD * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def store_vectors(parts: Parts, vectors: NDArray[np.float32], folder: Path, start: int) -> None:
    """Keep vectors as faces of photos that were looked at; the files are their digests' texts."""
    space = parts.card.space
    photos, faces, templates = [], [], []
    for number, vector in enumerate(vectors, start + 1):
        file = folder / f"{number:06}.jpg"
        file.write_text(str(number))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        photos.append({
            "id": number, "digest": digest, "source": str(file), "size": 1, "width": 320,
            "height": 320, "outcome": "library",
        })  # fmt: skip
        faces.append({
            "id": number, "photo_id": number, "x": 0, "y": 0, "w": 100, "h": 100,
            "points": None, "confidence": 1.0, "quality": None, "crop": b"",
        })  # fmt: skip
        templates.append({
            "uid": new_uid(), "face_id": number, "space": space,
            "vector": vector.astype("<f4").tobytes(),
        })  # fmt: skip
    with parts.store.begin() as session:
        pin_space(session, space)
        session.execute(insert(Photo), photos)
        session.execute(insert(Face), faces)
        session.execute(insert(Template), templates)


def timed(parts: Parts, folder: Path, *, again: bool = False) -> tuple[float, Clustering]:
    """Seconds of a clustering, and what it found."""
    begun = time.perf_counter()
    found = cluster_library(parts, folder, ClusterRules(again=again))
    return time.perf_counter() - begun, found


def elsewhere(before: Clustering, after: Clustering) -> tuple[int, int]:
    """How many clusters took no new face, and how many of those are other than before."""
    old: Mapping[int, frozenset[int]] = {
        one.number: frozenset(one.templates) for one in before.clusters
    }
    known = frozenset().union(*old.values())
    now = {one.number: frozenset(one.templates) for one in after.clusters}
    untouched = [number for number, faces in now.items() if faces <= known]
    wrong = sum(now[number] != old.get(number) for number in untouched)
    return len(untouched), wrong + sum(
        number not in now or not faces <= now[number] for number, faces in old.items()
    )


def told(name: str, first: float, then: float, before: Clustering, after: Clustering) -> None:
    """One line of the table."""
    kept, wrong = elsewhere(before, after)
    share = then / first
    print(
        f"{name:<8} {before.faces:>7} {after.faces - before.faces:>5} {first:>8.2f} {then:>8.2f} "
        f"{share:>7.1%} {'yes' if share <= SHARE else 'no':>6} {kept:>10} {wrong:>8}"
    )


def with_step(_place: Path, faces: int, new: int) -> None:
    """The table's first line."""
    vectors = mixture(faces + new, seed=0)
    none = np.empty((0, 2), dtype=np.int64)
    begun = time.perf_counter()
    labels, _ = clustered(vectors[:faces], Known(none, none), Way("link", None, 0, CUTS))
    first = time.perf_counter() - begun
    before = np.concatenate([labels, np.full(new, -1)])
    begun = time.perf_counter()
    after = grown(vectors, before, Known(none, none), CUTS)
    then = time.perf_counter() - begun
    wrong = int((after[:faces] != labels).sum())
    share = then / first
    print(
        f"{'step':<8} {faces:>7} {new:>5} {first:>8.2f} {then:>8.2f} {share:>7.1%} "
        f"{'yes' if share <= SHARE else 'no':>6} {'':>10} {wrong:>8}"
    )


def with_vectors(place: Path, faces: int, new: int) -> None:
    """The table's second line."""
    vectors = mixture(faces + new, seed=0)
    folder = place / "photos"
    folder.mkdir()
    with Parts(Places(database=str(place / "g.sqlite3"), model="sface")) as parts:
        store_vectors(parts, vectors[:faces], folder, 0)
        first, before = timed(parts, folder)
        store_vectors(parts, vectors[faces:], folder, faces)
        then, after = timed(parts, folder)
    told("vectors", first, then, before, after)


def with_photos(place: Path, photos: int, new: int) -> None:
    """The table's third line."""
    source = sorted((Path(next(iter(enroll.__path__))) / "people" / "people").glob("*/*.jpg"))
    folder = place / "photos"
    folder.mkdir()
    files = list(islice(cycle(source), photos + new))
    for number, file in enumerate(files[:photos]):
        copy(file, folder, number)
    with Parts(Places(database=str(place / "g.sqlite3"), model="sface")) as parts:
        parts.embedder.encode([])  # opened before the clock runs
        first, before = timed(parts, folder)
        for number, file in enumerate(files[photos:], photos):
            copy(file, folder, number)
        then, after = timed(parts, folder)
    told("photos", first, then, before, after)


def copy(file: Path, folder: Path, number: int) -> None:
    """A picture with bytes of its own: a number after its end."""
    target = folder / f"{number:06}.jpg"
    shutil.copy(file, target)
    with target.open("ab") as opened:
        opened.write(number.to_bytes(4, "little"))


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--faces", type=int, default=10_000)
    asked.add_argument("--new", type=int, default=100)
    asked.add_argument("--photos", type=int, default=500)
    asked.add_argument("--only", choices=["step", "vectors", "photos"], help="one line")
    given = asked.parse_args()
    print("library    faces   new   full s  joined s  share  ≤ 5 %  untouched  changed")
    for name, work, size, new in (
        ("step", with_step, given.faces, given.new),
        ("vectors", with_vectors, given.faces, given.new),
        ("photos", with_photos, given.photos, max(1, given.photos // 100)),
    ):
        if given.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as place:
            work(Path(place), size, new)


if __name__ == "__main__":
    main()
