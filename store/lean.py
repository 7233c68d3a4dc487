"""A plain gallery in an SQLite file, read and written without SQLAlchemy.

Importing SQLAlchemy takes longer than decoding, detecting, encoding and deciding together. For the
one question that has to be answered in a blink, is this the person, nine statements do. They are
used where nothing is out of the ordinary; where anything is (another database, another schema, a
sealed gallery, several people of that name, a correction about that photo), `None` is the answer
here, and the usual way finds out and says what it is. What is written is what
`gallery.record_decision` writes; `tests/store/test_lean.py` compares the rows.

M templates, D dimensions.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import platformdirs
from numpy.typing import NDArray

from store.actors import system_actor
from store.chain import START, Happening, chained_row
from store.errors import InvalidName, InvalidVector
from store.names import clean_site, composed
from store.pragmas import BUSY_SECONDS, set_up
from store.revision import REVISION
from store.vectors import unpack

_PREFIX: Final = "sqlite:///"
_LOGGED: Final = (
    "kind", "answer", "similarity", "threshold", "fmr", "space", "unsure_above", "extrapolated",
)  # fmt: skip
_GALLERY: Final = "SELECT space FROM gallery WHERE id = 1 AND sealed IS NULL AND renewal IS NULL"
_PERSON: Final = (
    "SELECT people.id, people.uid, people.name, people.site_id FROM people "
    "JOIN sites ON sites.id = people.site_id "
    "WHERE (people.uid = :who OR people.name = :name) AND (:site IS NULL OR sites.name = :site)"
)
_TEMPLATES: Final = (
    "SELECT vector, seal_id FROM templates WHERE person_id = ? AND space = ? ORDER BY id"
)
_CALIBRATION: Final = (
    "SELECT id, body FROM calibrations WHERE space = ? AND active ORDER BY id DESC LIMIT 1"
)
_CORRECTED: Final = (
    "SELECT 1 FROM facts JOIN faces ON faces.id = facts.face_id "
    "JOIN photos ON photos.id = faces.photo_id "
    "WHERE photos.digest = ? AND facts.person_id IS NOT NULL LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody who is claimed to stand there, and what the answer rests on.

    Attributes:
        person_id: their row.
        uid: their stable id.
        name: what they are called.
        site_id: where they belong.
        space: the gallery's vector space.
        templates: float32 (M, D), M ≥ 1, rows of unit length.
        calibration: body of the one in force; None: the gallery has none of its own.
        calibration_id: its row.
    """

    person_id: int
    uid: str
    name: str
    site_id: int
    space: str
    templates: NDArray[np.float32]
    calibration: str | None
    calibration_id: int | None


class Lean:
    """One connection; use `open`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: Final = connection

    @classmethod
    def open(cls, url: str | None) -> Self | None:
        """Open a gallery that is there; None where it is no SQLite file of this schema.

        Args:
            url: SQLAlchemy URL or path, as `Store.open` takes it; None: the default file.
        """
        path = _file_of(url)
        if path is None or not os.path.isfile(path):  # noqa: PTH113 - a Path would raise where it may not look
            return None
        where = f"{path.absolute().as_uri()}?mode=rw"
        try:
            connection = sqlite3.connect(
                where, uri=True, isolation_level=None, timeout=BUSY_SECONDS
            )
        except sqlite3.Error:
            return None
        lean = cls(connection)
        try:
            current = lean._one("SELECT version_num FROM alembic_version") == (REVISION,)
            if current:  # another file is not written to
                set_up(connection)
        except sqlite3.Error:
            current = False
        if current:
            return lean
        lean.close()
        return None

    def claim(self, who: str, site: str | None) -> Claim | None:
        """The one person of that uid or exactly that name, with what is needed to verify them.

        Args:
            who: a uid or a name.
            site: look only there; None is everywhere.
        """
        try:
            with self._transaction("BEGIN"):
                return self._claim(who, None if site is None else clean_site(site))
        except (sqlite3.Error, InvalidName, InvalidVector):
            return None

    def _claim(self, who: str, site: str | None) -> Claim | None:
        gallery = self._one(_GALLERY)
        asked = {"who": who, "name": composed(who), "site": site}
        people = self._connection.execute(_PERSON, asked).fetchall()
        if gallery is None or gallery[0] is None or len(people) != 1:
            return None
        space, (person_id, uid, name, site_id) = gallery[0], people[0]
        rows = self._connection.execute(_TEMPLATES, (person_id, space)).fetchall()
        if not rows or any(seal_id is not None for _, seal_id in rows):
            return None
        calibration_id, calibration = self._one(_CALIBRATION, space) or (None, None)
        vectors = unpack([vector for vector, _ in rows])
        return Claim(person_id, uid, name, site_id, space, vectors, calibration, calibration_id)

    def is_corrected(self, digest: str) -> bool:
        """Whether anything was said of a photo's faces, so that the usual way must look."""
        return self._one(_CORRECTED, digest) is not None

    def record(self, uid: str, decision: dict[str, Any]) -> bool:
        """Keep an answer and log it, durably; False, and nothing is written, where that fails.

        Args:
            uid: of the person it is about.
            decision: arguments of `store.gallery.record_decision`, all of them.
        """
        try:
            with self._transaction("BEGIN IMMEDIATE"):
                self._record(uid, decision)
                self._connection.execute("COMMIT")
        except sqlite3.Error:
            return False
        return True

    def _record(self, uid: str, decision: dict[str, Any]) -> None:
        actor, moment = system_actor(), datetime.now(UTC)
        number = self._insert("decisions", {**decision, "actor": actor, "time": moment})
        details = {name: decision[name] for name in _LOGGED}
        details |= {"decision": number, "calibration": decision["calibration_id"]}
        told = Happening("decided", uid, details, {"source": decision["source"]})
        raised = (
            "UPDATE gallery SET log_length = coalesce(log_length, 0) + 1 WHERE id = 1 "
            "RETURNING log_length, log_head"
        )
        length, head = self._connection.execute(raised).fetchall()[0]
        row = chained_row(told, length, moment, actor, head or START)
        self._insert("events", row)
        self._connection.execute("UPDATE gallery SET log_head = ? WHERE id = 1", (row["hash"],))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return found

    def _insert(self, table: str, row: dict[str, Any]) -> int:
        """Insert a row of one of this module's tables; its id."""
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        query = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # names of ours # noqa: S608 # nosec B608
        return self._connection.execute(query, list(map(_stored, row.values()))).lastrowid or 0


def default_file() -> Path:
    """The SQLite file in the user's data folder."""
    return Path(platformdirs.user_data_dir("vultus", appauthor=False)) / "gallery.sqlite3"


def _file_of(url: str | None) -> Path | None:
    """The file of a place; None where it is no SQLite file, or a URL with more to it."""
    if url is None:
        return default_file()
    if "://" not in url:
        return Path(url).expanduser()
    path = url.removeprefix(_PREFIX)
    plain = path != url and path and not set("?%:") & set(path)
    return Path(path) if plain else None


def _stored(value: object) -> object:
    """A value as SQLAlchemy's SQLite dialect stores it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value
