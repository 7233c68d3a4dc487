"""Exporting a gallery into one file, with everything that is needed to have it elsewhere.

The archive holds vectors and crops as they are before sealing, so a sealed gallery needs its key,
and whoever has the file has the people: keep it like the gallery, or let the whole file be sealed.
What belongs to one installation only stays behind: data keys, keys and sessions of the HTTP
interface, jobs, the log for indexes.

See `archive_format` and `archive_sealed` for the file and `archive_import` for the way back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from sqlalchemy import Column, Row, Select, func, select
from sqlalchemy.orm import Session

from embedder.weights import sync_folder
from enroll.archive_format import (
    FORMAT,
    MANIFEST,
    MANIFEST_SUM,
    PART,
    PARTED,
    TABLES,
    VERSION,
    Member,
    columns_of,
    to_line,
)
from enroll.archive_sealed import SealedWriter
from enroll.errors import ArchiveExists, OutputUnusable
from store.audit import append_event
from store.revision import REVISION
from store.schema import Face, Gallery, Photo, Template
from store.sealing import Stored, StoredCrop, opened, opened_crops
from store.session import Store

Progress = Callable[[str, int], None]
_PAGE = 512
_KEPT = ("uid", "space", "created", "log_length", "log_head", "rev")  # of the gallery's row


@dataclass(frozen=True, slots=True)
class Exported:
    """What an archive holds.

    Attributes:
        file: where it is.
        size: bytes.
        sha256: of the file.
        rows: table → how many.
    """

    file: str
    size: int
    sha256: str
    rows: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"file": self.file, "bytes": self.size, "sha256": self.sha256, "rows": self.rows}


def export_gallery(
    store: Store,
    file: Path,
    *,
    replace: bool = False,
    sealed: bool = False,
    progress: Progress = lambda _table, _rows: None,
) -> Exported:
    """Write a gallery into one file, whole or not at all, readable by its owner only.

    Args:
        store: the gallery's database.
        file: where to.
        replace: a file that is there is replaced.
        sealed: the whole file is encrypted under the first of the store's keys.
        progress: told the table and how many of its rows were just written.

    Raises:
        ArchiveExists: the file is there.
        OutputUnusable: it cannot be written.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed, or the archive is to be, and there
            is no key for it.
        DatabaseUnusable: the database cannot be read.
    """
    if file.exists() and not replace:
        raise ArchiveExists(f"{file} exists: give another name, or --force to replace it.")
    if file.exists() and not file.is_file():  # a device would be replaced by a file of its name
        raise OutputUnusable(f"{file} cannot be written (it is no file): choose another place.")
    part = file.with_name(f".{file.name}.part")  # the next export takes the place of a broken one
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w+b") as opened_file:
            fcntl.flock(opened_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            opened_file.truncate()
            if sealed:
                with SealedWriter(opened_file, store.vault.sealing_master()) as writer:
                    rows = _write(store, writer, progress)
            else:
                rows = _write(store, opened_file, progress)
            opened_file.flush()
            os.fsync(opened_file.fileno())
            opened_file.seek(0)
            digest = hashlib.file_digest(opened_file, "sha256").hexdigest()
            size = opened_file.seek(0, os.SEEK_END)
            part.replace(file)
    except BlockingIOError as error:
        raise OutputUnusable(f"{file} is being written by another export: wait for it.") from error
    except OSError as error:
        part.unlink(missing_ok=True)
        why = (error.strerror or str(error)).lower()
        raise OutputUnusable(f"{file} cannot be written ({why}): choose another place.") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)
    with store.begin() as session:
        details = {"sha256": digest, "rows": sum(rows.values()), "sealed": sealed}
        append_event(session, "exported", details=details)
    return Exported(str(file), size, digest, rows)


def _write(store: Store, file: IO[bytes] | SealedWriter, progress: Progress) -> dict[str, int]:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        writer = _Writer(archive, progress)
        with store.read() as session:
            gallery = session.execute(select(*(getattr(Gallery, key) for key in _KEPT))).one()
            for name in TABLES:
                if name not in PARTED:
                    writer.table(session, name)
            _faces(session, writer)
            _templates(session, writer)
        writer.manifest(dict(zip(_KEPT, gallery, strict=True)))
    rows = dict.fromkeys(TABLES, 0)
    for member in writer.members:
        if member.name.endswith(".jsonl"):
            rows[member.table] += member.rows
    return rows


class _Writer:
    """Writes members one after the other and remembers what they hold."""

    def __init__(self, archive: zipfile.ZipFile, progress: Progress) -> None:
        self.archive = archive
        self.progress = progress
        self.members: list[Member] = []

    def table(self, session: Session, name: str) -> None:
        """All rows of a table."""
        table = TABLES[name]
        query = select(*columns_of(table)).order_by(*table.primary_key.columns)
        found = session.execute(query, execution_options={"stream_results": True})
        self.lines(name, _named(columns_of(table), found.yield_per(_PAGE)))

    def lines(self, stem: str, rows: Iterator[Mapping[str, Any]]) -> None:
        """A member of lines."""
        digest, size, count = hashlib.sha256(), 0, 0
        name = f"{stem}.jsonl"
        with self.archive.open(name, "w", force_zip64=True) as file:
            for row in rows:
                line = to_line(row)
                digest.update(line)
                size, count = size + file.write(line), count + 1
                if count % _PAGE == 0:
                    self.progress(stem.partition("-")[0], _PAGE)
        self.progress(stem.partition("-")[0], count % _PAGE)
        self.members.append(Member(name, count, size, digest.hexdigest()))

    def tensors(self, stem: str, tensors: dict[str, Any], rows: int) -> None:
        """A member of arrays."""
        from safetensors.numpy import save

        data, name = save(tensors), f"{stem}.safetensors"
        self.archive.writestr(name, data)
        digest = hashlib.sha256(data).hexdigest()
        self.members.append(Member(name, rows, len(data), digest))

    def manifest(self, gallery: Mapping[str, Any]) -> None:
        """What the archive holds, written last."""
        listed = [
            {"name": one.name, "rows": one.rows, "size": one.size, "sha256": one.sha256}
            for one in self.members
        ]
        facts = {
            "format": FORMAT,
            "version": VERSION,
            "schema": REVISION,
            "created": datetime.now(UTC),
        }
        head = json.loads(to_line(facts))
        head |= {"gallery": json.loads(to_line(gallery)), "members": listed}
        text = json.dumps(head, indent=1).encode()
        self.archive.writestr(MANIFEST, text)
        self.archive.writestr(MANIFEST_SUM, hashlib.sha256(text).hexdigest())


def _named(columns: list[Column[Any]], rows: Iterable[Row[Any]]) -> Iterator[dict[str, Any]]:
    """Rows that begin with these columns, by the columns' names."""
    names = [column.name for column in columns]
    return (dict(zip(names, row[: len(names)], strict=True)) for row in rows)


def _parts(session: Session, query: Select[Any], key: Any) -> Iterator[Sequence[Row[Any]]]:  # noqa: ANN401 - a column
    """The rows of a query in rising order of a column, `PART` at a time."""
    last = -1
    while rows := session.execute(query.where(key > last).order_by(key).limit(PART)).all():
        yield rows
        last = rows[-1][0]


def _faces(session: Session, writer: _Writer) -> None:
    columns = columns_of(TABLES["faces"])
    # `id` comes first, see `_parts`
    query = select(*columns, Face.crop, Face.seal_id, Photo.digest).join(
        Photo, Photo.id == Face.photo_id
    )
    for number, rows in enumerate(_parts(session, query, Face.id)):
        stem = f"faces-{number:04}"
        writer.lines(stem, _named(columns, rows))
        stored = [
            StoredCrop(row.digest, (row.x, row.y, row.w, row.h), row.crop, row.seal_id)
            for row in rows
        ]
        crops = [crop or b"" for crop in opened_crops(session, stored)]
        tensors = {
            "crops": np.frombuffer(b"".join(crops), np.uint8),
            "ends": np.cumsum([len(crop) for crop in crops], dtype=np.int64),
        }
        writer.tensors(stem, tensors, len(rows))


def _templates(session: Session, writer: _Writer) -> None:
    columns = columns_of(TABLES["templates"])
    spaces = session.scalars(select(Template.space).distinct()).all()
    number = 0
    for space in sorted(spaces):
        query = select(*columns, Template.vector, Template.seal_id).where(Template.space == space)
        for rows in _parts(session, query, Template.id):
            stem = f"templates-{number:04}"
            writer.lines(stem, _named(columns, rows))
            stored = [Stored(row.uid, row.space, row.vector, row.seal_id) for row in rows]
            writer.tensors(stem, {"vectors": opened(session, stored)}, len(rows))
            number += 1


def count_rows(store: Store) -> int:
    """How many rows an export of the gallery writes."""
    with store.read() as session:
        counts = (session.scalar(select(func.count()).select_from(t)) for t in TABLES.values())
        return sum(count or 0 for count in counts)
