"""Looking for what was erased in the files that held it, byte for byte.

Before an erasure, short pieces of everything that is about to go are kept (of vectors and crops as
the rows hold them, of wrapped data keys, of photos' digests); afterwards every file is read through
and compared at every position. A piece that a row of somebody else holds too is no trace.

Pieces are found by their first eight bytes: a table of all pairs of bytes leaves few positions, and
those are looked up in a sorted array.

Letters: P pieces, B bytes of a block.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from store.ledger import Seal
from store.photos import chunks
from store.schema import Face, Photo, Template

PIECE: Final = 24  # bytes of a piece: long enough to be nobody else's by chance
PIECES: Final = 8  # of one vector or crop: a page boundary cuts one of them at most
SECONDS: Final = 60.0  # how long a search may take
_BLOCK: Final = 1 << 22
_COPY: Final = (
    "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer, 1 << 20)"
)
_JPEG_HEAD: Final = 640  # tables at the beginning of a JPEG are those of every other
_VARIED: Final = 12  # a piece of fewer different bytes is found anywhere


@dataclass(frozen=True, slots=True)
class Proof:
    """What a search for traces found.

    Attributes:
        pieces: how many pieces were looked for.
        files: how many files were read.
        bytes: how many bytes that was.
        found: pieces that are still there, by the name of the file.
        complete: whether everything was read in the time given.
        rows: rows of the erased templates that the database still has.
        answers: erased templates that a search of the index still gives.
    """

    pieces: int
    files: int
    bytes: int
    found: dict[str, int]
    complete: bool
    rows: int
    answers: int | None

    @property
    def clean(self) -> bool:
        """Whether nothing was found, everything having been looked at."""
        return self.complete and not (self.found or self.rows or self.answers)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"clean": self.clean}


@dataclass(frozen=True, slots=True)
class Traces:
    """What will be looked for.

    Attributes:
        templates: ids of the templates that go.
        vectors: their vectors, as rows of an index: the raw bytes of rows that are not sealed.
        pieces: pieces of `PIECE` bytes.
    """

    templates: tuple[int, ...]
    vectors: tuple[bytes, ...]
    pieces: frozenset[bytes]


def traces_of(session: Session, template_ids: Sequence[int], person_ids: Sequence[int]) -> Traces:
    """Pieces of what templates, their crops and photos, and data keys of people are stored as.

    Args:
        session: a transaction, before the erasure.
        template_ids: what will go.
        person_ids: whose data keys will go.
    """
    pieces: set[bytes] = set()
    vectors = []
    columns = (Template.vector, Template.seal_id, Face.crop, Photo.digest)
    for some in chunks(template_ids):
        query = select(*columns).join(Face, Face.id == Template.face_id)
        query = query.join(Photo, Photo.id == Face.photo_id).where(Template.id.in_(some))
        for vector, seal_id, crop, digest in session.execute(query):
            pieces |= pieces_of(vector) | pieces_of(crop, 0 if seal_id else _JPEG_HEAD)
            pieces.add(digest.encode()[:PIECE])
            if seal_id is None:
                vectors.append(vector)
    for people in chunks(person_ids):
        keys = session.scalars(select(Seal.wrapped).where(Seal.person_id.in_(people)))
        pieces.update(piece for key in keys for piece in pieces_of(key))
    return Traces(tuple(template_ids), tuple(vectors), frozenset(pieces))


def pieces_of(data: bytes, start: int = 0) -> set[bytes]:
    """Pieces of bytes, evenly spread, without those that could be anybody's."""
    last = len(data) - PIECE
    if last < 0:
        return set()
    places = np.linspace(min(start, last), last, PIECES).astype(int).tolist()
    cut = (data[place : place + PIECE] for place in places)
    return {piece for piece in cut if len(set(piece)) >= _VARIED}


def find_pieces(
    files: Iterable[Path], pieces: Iterable[bytes], seconds: float = SECONDS
) -> tuple[dict[Path, set[bytes]], int, bool]:
    """Which pieces are in which files.

    Args:
        files: read through; one that is not there holds nothing.
        pieces: of `PIECE` bytes each.
        seconds: how long it may take.

    Returns:
        Each file that holds some with them, how many bytes were read, and whether that was all.
    """
    wanted = _Wanted(sorted(pieces))
    end, read = time.monotonic() + seconds, 0
    found: dict[Path, set[bytes]] = {}
    for file in files:
        if not file.is_file():
            continue
        with _read_elsewhere(file) as opened:
            tail = b""
            while block := opened.read(_BLOCK):
                if time.monotonic() > end:
                    return found, read, False
                there = wanted.within(tail + block)
                if there:
                    found.setdefault(file, set()).update(there)
                read += len(block)
                tail = (tail + block)[-(PIECE - 1) :]
    return found, read, True


@contextmanager
def _read_elsewhere(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, read by a process of its own.

    This process may have the database open. Were it to open the same file beside SQLite, closing
    it would drop SQLite's locks (POSIX drops all locks of a process on a file with the first
    descriptor that is closed), and another process could take the write-ahead log away.
    """
    command = [sys.executable, "-I", "-S", "-c", _COPY, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:  # noqa: S603 - our own words
        assert reader.stdout is not None  # noqa: S101 - for the type checker
        try:
            yield reader.stdout
        finally:
            reader.kill()


class _Wanted:
    """Pieces in the form in which they are found quickly."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = frozenset(pieces)
        heads = np.frombuffer(b"".join(piece[:8] for piece in pieces), "<u8")
        self.heads = np.unique(heads)
        self.pairs = np.zeros(1 << 16, bool)
        self.pairs[(self.heads & 0xFFFF).astype(np.int64)] = True

    def within(self, block: bytes) -> set[bytes]:
        """The pieces that occur in a block of B bytes."""
        places = np.arange(0)
        data = np.frombuffer(block, np.uint8)
        if len(data) >= PIECE and len(self.heads):
            pairs = data[:-7].astype(np.uint16) | (data[1:-6].astype(np.uint16) << 8)
            places = np.flatnonzero(self.pairs[pairs])
        if not len(places):
            return set()
        return self._confirmed(block, data, places)

    def _confirmed(
        self, block: bytes, data: NDArray[np.uint8], places: NDArray[np.int64]
    ) -> set[bytes]:
        windows = np.lib.stride_tricks.sliding_window_view(data, 8)[places]
        heads = np.ascontiguousarray(windows).view("<u8").ravel()
        at = np.minimum(np.searchsorted(self.heads, heads), len(self.heads) - 1)
        close = places[self.heads[at] == heads]
        cut = {block[place : place + PIECE] for place in close.tolist()}
        return cut & self.pieces


def still_others(session: Session, pieces: Iterable[bytes]) -> set[bytes]:
    """Those of the pieces that rows of the database hold, which are somebody else's then."""
    return {piece for piece in pieces if _held(session, piece)}


def _held(session: Session, piece: bytes) -> bool:
    """Whether a row holds a piece; of SQLite, whose `instr` looks into blobs."""
    inside = (func.instr(Template.vector, piece) > 0, func.instr(Face.crop, piece) > 0)
    rows = select(Template.id).join(Face, Face.id == Template.face_id).where(or_(*inside))
    if session.scalar(rows.limit(1)) is not None:
        return True
    alone = select(Face.id).where(inside[1]).limit(1)
    if session.scalar(alone) is not None:
        return True
    try:
        digest = piece.decode("ascii")
    except UnicodeDecodeError:
        return False
    named = select(Photo.id).where(Photo.digest.startswith(digest, autoescape=True))
    return session.scalar(named.limit(1)) is not None
