"""The same photos give the same vectors, clusters and decisions, whatever the number of threads.

    [VULTUS_DATA=...] PYTHONPATH=. python benchmarks/determinism.py [--photos 200]

Photos of VULTUS_DATA/lfw-dev/train (or the generated people) are enrolled several times into new
galleries: again, with one core and with two, with the variables that math libraries read for their
threads, and in the other runtime. Then a few are verified and all are clustered. Within a runtime
everything must be equal bit for bit; between runtimes the table tells the least cosine.
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
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMAND = [sys.executable, "-c", "import vultus; vultus.main()"]
WAYS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "first": ((), {}),
    "again": ((), {}),
    "one job": (("--jobs", "1"), {}),
    "two jobs": (("--jobs", "2"), {}),
    "one thread": ((), {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}),
    "onnxruntime": (("--runtime", "onnxruntime"), {}),
    "onnxruntime, one job": (("--runtime", "onnxruntime", "--jobs", "1"), {}),
}


@dataclass(frozen=True)
class Made:
    """What one way gave.

    Attributes:
        vectors: float32 (N, D), by digest of the photo and place of the face.
        clusters: for each photo, sorted, the files it shares a cluster with.
        decisions: the answers of `verify`, without times.
    """

    vectors: NDArray[np.float32]
    clusters: list[list[str]]
    decisions: list[dict[str, Any]]


def run(*words: object, **variables: str) -> str:
    """What the program prints; it must not fail, but may say no."""
    done = subprocess.run(  # noqa: S603 - this program
        [*COMMAND, *map(str, words)], env=os.environ | variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode not in {0, 1, 2, 3} or not done.stdout:
        raise SystemExit(f"{words[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def make(folder: Path, library: Path, place: Path, way: str) -> Made:
    """Enrol, verify and cluster in one way."""
    options, variables = WAYS[way]
    runtime = options[:2] if "--runtime" in options else ()
    place.mkdir()
    at = ("--database", place / "faces.sqlite3")
    run("enroll", folder, "--format", "json", "--quiet", *at, *options, **variables)
    with closing(sqlite3.connect(place / "faces.sqlite3")) as database:
        rows = database.execute(
            "SELECT t.vector FROM templates t JOIN faces f ON f.id = t.face_id "
            "JOIN photos p ON p.id = f.photo_id ORDER BY p.digest, f.x, f.y"
        ).fetchall()
    vectors = np.stack([np.frombuffer(row[0], np.float32) for row in rows])
    people = sorted(one for one in folder.iterdir() if one.is_dir())
    decisions = []
    for person in people[:5]:
        other = people[(people.index(person) + 1) % len(people)]
        for photo in (next(person.iterdir()), next(other.iterdir())):
            told = json.loads(
                run("verify", person.name, "--source", photo, "--format", "json", *at, *runtime,
                    **variables)
            )  # fmt: skip
            decisions.append({k: v for k, v in told.items() if "time" not in k})
    told = json.loads(
        run("cluster", library, "--format", "json", "--quiet", *at, *runtime, **variables)
    )
    clusters = sorted(
        sorted(Path(face["file"]).name for face in one["faces"]) for one in told["clusters"]
    )
    return Made(vectors, clusters, decisions)


def main() -> int:
    """Run every way and print the table."""
    parser = argparse.ArgumentParser(description="The same photos, the same result.")
    parser.add_argument("--photos", type=int, default=200)
    given = parser.parse_args()
    data = os.environ.get("VULTUS_DATA")
    root = Path(str(resources.files("enroll") / "people" / "people"))
    if data:
        root = Path(data) / "lfw-dev" / "train"
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        folder, library, count = base / "people", base / "library", 0
        library.mkdir()
        for person in sorted(root.iterdir()):
            if person.is_dir() and count < given.photos:
                shutil.copytree(person, folder / person.name)
                for photo in sorted(person.glob("*.jpg")):
                    shutil.copy(photo, library / f"{person.name}-{photo.name}")
                    count += 1
        made = {way: make(folder, library, base / f"way-{n}", way) for n, way in enumerate(WAYS)}
    failed = False
    print(f"{count} photos, {len(made['first'].vectors)} templates")
    print("way                    vectors        least cosine  clusters  decisions")
    for way, result in made.items():
        other = way.startswith("onnx")
        base_of = made["onnxruntime" if other else "first"]
        same = np.array_equal(result.vectors, base_of.vectors)
        cosine = float((result.vectors * made["first"].vectors).sum(axis=1).min())
        clusters = result.clusters == base_of.clusters
        decisions = result.decisions == base_of.decisions
        failed |= not (same and clusters and decisions)
        words = [("different", "bit for bit")[same], ("different", "equal")[clusters],
                 ("different", "equal")[decisions]]  # fmt: skip
        print(f"{way:22} {words[0]:14} {cosine:12.7f}  {words[1]:9} {words[2]}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
