"""The files that Vultus writes beside its database: whole, or as they were, whatever happens.

Used by power_cut.py. A writer writes version after version of its file in a place and says which
version lies there; 0: none yet. What lies there must be the last version that was acknowledged, or
the one that was being written.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.weights import write_atomically
from enroll.archive import export_gallery
from enroll.errors import EnrollError
from index.exact import ExactIndex
from index.opening import open_with_marks
from migrations import ensure_schema
from store.errors import StoreError
from store.people import add_person
from store.session import Store
from store.vault import Vault, new_key

BLOCK = 3000  # bytes a version: several sectors, none of them whole


@dataclass(frozen=True)
class Writer:
    """One way of writing.

    Attributes:
        write: the next version, of that number, into a folder; the last argument is a folder of
            its own, for what it writes from.
        read: the number of the version that lies there; an error, if it is none.
    """

    write: Callable[[Path, int, Path], None]
    read: Callable[[Path], int]


def _write_file(place: Path, version: int, _: Path) -> None:
    write_atomically(place / "receipt.json", json.dumps([version] * BLOCK).encode())


def _read_file(place: Path) -> int:
    file = place / "receipt.json"
    return int(_same(json.loads(file.read_bytes()))) if file.exists() else 0


def _same(numbers: list[int]) -> int:
    (one,) = set(numbers)
    return one


def _write_index(place: Path, version: int, _: Path) -> None:
    index = ExactIndex(8)
    rows = np.eye(8, dtype=np.float32)[np.arange(version * 50) % 8]
    index.add(np.arange(version * 50, dtype=np.int64), rows)
    index.save(place / "faces.vultus-index", {"version": str(version)})


def _read_index(place: Path) -> int:
    file = place / "faces.vultus-index"
    if not file.exists():
        return 0
    opened = open_with_marks(f"exact:{file}", 8)
    if len(opened.index) != 50 * int(opened.marks["version"]):
        raise ValueError(f"{len(opened.index)} rows, {opened.marks}")
    return int(opened.marks["version"])


def _write_key(place: Path, version: int, _: Path) -> None:  # noqa: ARG001 - one key more
    new_key(place / "key")


def _read_key(place: Path) -> int:
    return len(Vault(place / "key").masters()) if (place / "key").exists() else 0


def _write_archive(place: Path, version: int, own: Path) -> None:
    with Store.open(f"sqlite:///{own / 'faces.sqlite3'}") as store:
        ensure_schema(store)
        with store.begin() as session:
            for number in range(10):
                add_person(session, f"P{version}-{number}")
        export_gallery(store, place / "gallery.vultus", replace=True)


def _read_archive(place: Path) -> int:
    file = place / "gallery.vultus"
    if not file.exists():
        return 0
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"{broken} is broken")
        return len(archive.read("people.jsonl").splitlines()) // 10


WRITERS = {
    "file": Writer(_write_file, _read_file),
    "index": Writer(_write_index, _read_index),
    "key": Writer(_write_key, _read_key),
    "archive": Writer(_write_archive, _read_archive),
}


def work(name: str, root: Path, versions: int) -> int:
    """The process that is watched: `state` is written, `acks` gets a line a finished version."""
    acks = os.open(root / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for version in range(1, versions + 1):
        try:
            WRITERS[name].write(root / "state", version, root / "own")
            os.write(acks, b"%d\n" % version)
        except (EnrollError, StoreError, OSError) as error:
            print(f"refused: {error}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
