"""What is known of a library's faces before they are compared: who is one person, who is two.

- Two faces of one photo are two people.
- What people said (names, merges, splits, "not them") holds on every run; where they said that
  two faces of one photo are one person, that counts.
- A burst is a hint: photos of one folder within `BURST_SECONDS` of each other show mostly the same
  people, so that a face and the face it is most like in the next photo are one person from a lower
  similarity on, that of a false-match rate of `BURST_RATE`.

Letters: N faces, D dimensions, P pairs of rows 0 to N - 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from index.constraints import tied
from store.facts import constraints
from store.photos import chunks
from store.schema import Photo
from store.templates import LibraryFaces
from verify.calibration import Calibration

BURST_SECONDS = 3.0
BURST_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Shot:
    """A photo of a library.

    Attributes:
        digest: sha256 of its file.
        taken: when, or None.
        file: where it lies now.
    """

    digest: str
    taken: datetime | None
    file: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a clustering must respect.

    Attributes:
        together: int64 (P, 2), pairs of rows of one person.
        apart: int64 (P, 2), pairs of rows of two people.
    """

    together: NDArray[np.int64]
    apart: NDArray[np.int64]


def shots_of(session: Session, faces: LibraryFaces, files: Mapping[str, str]) -> dict[int, Shot]:
    """Photo id → the photo, of every photo that has a face.

    Args:
        session: a transaction.
        faces: N faces.
        files: digest → where that photo lies now.
    """
    found: dict[int, Shot] = {}
    for some in chunks(np.unique(faces.photo_ids).tolist()):
        query = select(Photo.id, Photo.digest, Photo.taken).where(Photo.id.in_(some))
        for key, digest, taken in session.execute(query):
            found[key] = Shot(digest, taken, files[digest])
    return found


def known_of(
    session: Session,
    faces: LibraryFaces,
    shots: Mapping[int, Shot],
    bursts: float | None,
) -> Known:
    """Everything that is known of a library's faces; nothing in it contradicts itself.

    Args:
        session: a transaction.
        faces: N faces.
        shots: photo id → photo.
        bursts: the similarity from which on a burst ties faces; None: bursts say nothing.
    """
    said = constraints(session, faces.ids.tolist())
    apart = np.concatenate([said.apart, two_people(faces)])
    of_row = tied(len(faces), said.together)
    apart = np.unique(apart[of_row[apart[:, 0]] != of_row[apart[:, 1]]], axis=0)
    if bursts is None:
        return Known(said.together, apart)
    hints = burst_pairs(faces, shots, bursts)
    return Known(_with_hints(len(faces), said.together, apart, hints), apart)


def two_people(faces: LibraryFaces) -> NDArray[np.int64]:
    """Pairs of rows that are faces of one photo, and so two people: int64 (P, 2)."""
    pairs = [pair for rows in _rows_of_photos(faces).values() for pair in combinations(rows, 2)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def burst_cut(calibration: Calibration) -> float:
    """The similarity from which on faces of a burst are one person."""
    return calibration.threshold(max(BURST_RATE, calibration.smallest_fmr * (1 + 1e-9)))


def burst_pairs(faces: LibraryFaces, shots: Mapping[int, Shot], cut: float) -> NDArray[np.int64]:
    """Pairs of faces in photos taken one right after the other that are each other's most alike.

    Args:
        faces: N faces.
        shots: photo id → photo.
        cut: the similarity that a pair must exceed.

    Returns:
        int64 (P, 2); each face is at most in one pair with each neighbouring photo.
    """
    rows = _rows_of_photos(faces)
    pairs: list[tuple[int, int]] = []
    for one, other in _neighbours(shots):
        pairs += _most_alike(faces.vectors, rows[one], rows[other], cut)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _neighbours(shots: Mapping[int, Shot]) -> list[tuple[int, int]]:
    """The pairs of photos of one folder that were taken one right after the other."""
    timed = sorted(
        (str(Path(shot.file).parent), shot.taken, shot.file, key)
        for key, shot in shots.items()
        if shot.taken is not None
    )
    return [
        (one[3], other[3])
        for one, other in pairwise(timed)
        if one[0] == other[0] and (other[1] - one[1]).total_seconds() <= BURST_SECONDS
    ]


def _most_alike(
    vectors: NDArray[np.float32], one: Sequence[int], other: Sequence[int], cut: float
) -> list[tuple[int, int]]:
    similarities = vectors[list(one)] @ vectors[list(other)].T
    best, back = similarities.argmax(axis=1), similarities.argmax(axis=0)
    return [
        (one[row], other[column])
        for row, column in enumerate(best.tolist())
        if back[column] == row and similarities[row, column] > cut
    ]


def _with_hints(
    rows: int,
    together: NDArray[np.int64],
    apart: NDArray[np.int64],
    hints: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The ties with the hints, but for the hints that would tie what must be apart."""
    of_row = tied(rows, np.concatenate([together, hints]))
    torn = of_row[apart[:, 0]] == of_row[apart[:, 1]]
    wrong = np.isin(of_row[hints[:, 0]], of_row[apart[torn, 0]])
    return np.unique(np.concatenate([together, hints[~wrong]]), axis=0)


def _rows_of_photos(faces: LibraryFaces) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, photo in enumerate(faces.photo_ids.tolist()):
        rows.setdefault(photo, []).append(row)
    return rows
