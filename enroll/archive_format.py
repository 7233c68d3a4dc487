"""What an archive of a gallery is: a zip of JSON Lines and safetensors, with a checked manifest.

    manifest.json       format, version, schema, the gallery's row, and of every member its name,
                        rows, size in bytes and SHA-256
    manifest.sha256     the SHA-256 of manifest.json, hexadecimal
    people.jsonl …      one JSON object a line, one line a row, keys are the columns' names
    faces-0000.jsonl    with faces-0000.safetensors: `crops` uint8 (B,), `ends` int64 (N,)
    templates-0000.jsonl with templates-0000.safetensors: `vectors` float32 (N, D)

Moments are ISO 8601 in UTC, bytes are base64. Ids are those of the gallery that was exported and
only tie the rows of one archive together. Nothing is ever unpacked to disk by its name.

N rows of a part, D dimensions, B bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, Boolean, Column, Float, Integer, LargeBinary, Table

from enroll.errors import ArchiveUnusable
from store import ledger, records, schema
from store.columns import UtcDateTime
from store.revision import REVISION

FORMAT: Final = "vultus archive"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_SUM: Final = "manifest.sha256"
PART: Final = 2048  # rows with vectors or crops in one member
_NAME: Final = re.compile(r"[a-z_]+(-[0-9]{4,6})?\.(jsonl|safetensors)")
_MOST_MEMBERS: Final = 100_000
_MOST_MANIFEST: Final = 1 << 24
_MOST_LINE: Final = 1 << 26
_MOST_TENSORS: Final = 1 << 28
_SMALL: Final = 1 << 20
_DENSEST: Final = 200  # a member that unpacks to more times its size is no gallery
_CHUNK: Final = 1 << 20
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError)
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KINDS: Final = (
    schema.Site, schema.Person, schema.Photo, schema.Face, schema.Template,
    records.Calibration, records.Profile, records.Decision, records.Run, records.Cluster,
    records.ClusterFace, ledger.Operation, ledger.OperationPerson, ledger.Fact,
    ledger.ErasureReceipt, ledger.Transition, ledger.Event,
)  # fmt: skip
# in the order in which they are read again, each after those it refers to
TABLES: Final[dict[str, Table]] = {
    kind.__tablename__: schema.Base.metadata.tables[kind.__tablename__] for kind in _KINDS
}
PARTED: Final = ("faces", "templates")
# in the safetensors, or of the gallery that was exported only
_ELSEWHERE: Final = ("crop", "vector", "seal_id")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive, as the manifest lists it."""

    name: str
    rows: int
    size: int
    sha256: str

    @property
    def table(self) -> str:
        """The table whose rows it holds."""
        return re.split(r"[-.]", self.name)[0]


def columns_of(table: Table) -> list[Column[Any]]:
    """The columns that lines hold."""
    return [column for column in table.columns if column.name not in _ELSEWHERE]


def to_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line."""
    plain = {key: _plain(value) for key, value in row.items()}
    return json.dumps(plain, ensure_ascii=False).encode() + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def from_line(table: Table, line: bytes, where: str) -> dict[str, Any]:
    """The row of a line, every value of the type of its column; what else it holds is dropped.

    Raises:
        ArchiveUnusable: it is not that.
    """
    try:
        found = json.loads(line)
        return {column.name: _value(column, found[column.name]) for column in columns_of(table)}
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise ArchiveUnusable(where, f"it holds no row of {table.name} ({error})") from error


def _value(column: Column[Any], value: object) -> object:
    if value is None:
        if not column.nullable:
            raise TypeError(f"{column.name} is missing")
        return None
    kind = column.type
    if isinstance(kind, JSON):
        return _of(column, value, (dict, list))
    if isinstance(kind, UtcDateTime):
        return _moment(str(_of(column, value, (str,))))
    if isinstance(kind, LargeBinary):
        return base64.b64decode(str(_of(column, value, (str,))), validate=True)
    if isinstance(kind, Boolean):
        return _of(column, value, (bool,))
    if isinstance(kind, Integer):
        return _integer(column, value)
    if isinstance(kind, Float):
        return float(str(_of(column, value, (int, float))))
    return _text(str(_of(column, value, (str,))))


def _of(column: Column[Any], value: object, kinds: tuple[type, ...]) -> object:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{column.name} is {type(value).__name__}")
    return value


def _integer(column: Column[Any], value: object) -> int:
    number = _of(column, value, (int,))
    if not isinstance(number, int) or not -(2**31) <= number < 2**31:
        raise TypeError(f"{column.name} is out of range")
    return number


def _text(value: str) -> str:
    value.encode()  # ValueError for a lone surrogate
    if "\0" in value:
        raise ValueError("a text holds a null character")
    return value


def _moment(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("a moment has no time zone")
    return found


class Archive:
    """An archive that is being read: checked from end to end before anything is taken from it."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self.where: Final = where
        try:
            self._zip: Final = zipfile.ZipFile(file)
        except _BROKEN as error:
            raise ArchiveUnusable(where, f"it is no archive, or was cut off ({error})") from error
        self.manifest: Final = self._manifest()
        self.members: Final = {one.name: one for one in self._listed()}
        self._require_the_members_listed()

    @property
    def rows(self) -> int:
        """How many lines all members have."""
        return sum(m.rows for m in self.members.values() if m.name.endswith(".jsonl"))

    def verify(self) -> None:
        """Read every member and compare its size and checksum with the manifest's.

        Raises:
            ArchiveUnusable: one differs.
        """
        for member in self.members.values():
            digest, size = hashlib.sha256(), 0
            for chunk in self._chunks(member.name):
                digest.update(chunk)
                size += len(chunk)
                if size > member.size:
                    break
            if (size, digest.hexdigest()) != (member.size, member.sha256):
                raise ArchiveUnusable(self.where, f"{member.name} was changed or cut off")

    def parts(self, table: str) -> Iterator[Member]:
        """The members with lines of a table, in order."""
        found = [m for m in self.members.values() if m.table == table]
        yield from sorted((m for m in found if m.name.endswith(".jsonl")), key=lambda m: m.name)

    def lines(self, member: Member) -> Iterator[dict[str, Any]]:
        """The rows of a member, one at a time.

        Raises:
            ArchiveUnusable: a line is no row, or there are more or fewer than the manifest says.
        """
        table, count = TABLES[member.table], 0
        with self._zip.open(member.name) as file:
            while line := file.readline(_MOST_LINE):
                count += 1
                where = f"{self.where}, {member.name}, line {count}"
                yield from_line(table, line, where)
        if count != member.rows:
            raise ArchiveUnusable(self.where, f"{member.name} has {count} rows, not {member.rows}")

    def vectors(self, lines: Member) -> NDArray[np.float32]:
        """The vectors of a part of templates: float32 (N, D)."""
        found = self._tensors(lines, ("vectors",))["vectors"]
        if found.dtype != np.float32 or found.ndim != 2 or len(found) != lines.rows:
            raise ArchiveUnusable(self.where, f"the vectors of {lines.name} have another shape")
        return found

    def crops(self, lines: Member) -> list[bytes]:
        """The crops of a part of faces, JPEG; b"" where there was none any more."""
        found = self._tensors(lines, ("crops", "ends"))
        crops, ends = found["crops"], found["ends"]
        right = crops.dtype == np.uint8 and ends.dtype == np.int64 and crops.ndim == 1
        if not right or ends.shape != (lines.rows,):
            raise ArchiveUnusable(self.where, f"the crops of {lines.name} have another shape")
        bounds = np.concatenate([np.zeros(1, np.int64), ends])
        if (np.diff(bounds) < 0).any() or bounds[-1] != len(crops):
            raise ArchiveUnusable(self.where, f"the crops of {lines.name} overlap")
        data = crops.tobytes()
        return [data[a:b] for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]

    def _tensors(self, lines: Member, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        name = lines.name.replace(".jsonl", ".safetensors")
        if name not in self.members or self.members[name].size > _MOST_TENSORS:
            raise ArchiveUnusable(self.where, f"{name} is missing or too large")
        try:
            found = load(b"".join(self._chunks(name)))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ArchiveUnusable(self.where, f"{name} cannot be read ({error})") from error
        if set(names) - set(found):
            raise ArchiveUnusable(self.where, f"{name} lacks one of {', '.join(names)}")
        return found

    def _chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self._zip.open(name) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except _BROKEN as error:
            raise ArchiveUnusable(self.where, f"{name} cannot be read ({error})") from error

    def _manifest(self) -> dict[str, Any]:
        names = [info.filename for info in self._zip.infolist()]
        if len(names) > _MOST_MEMBERS or len(set(names)) != len(names):
            raise ArchiveUnusable(self.where, "it lists a file twice, or far too many")
        for name in (MANIFEST, MANIFEST_SUM):
            if name not in names:
                raise ArchiveUnusable(self.where, f"it has no {name}")
            if self._zip.getinfo(name).file_size > _MOST_MANIFEST:
                raise ArchiveUnusable(self.where, f"its {name} is far too large")
        text = b"".join(self._chunks(MANIFEST))
        told = b"".join(self._chunks(MANIFEST_SUM)).decode("ascii", "replace").strip()
        if hashlib.sha256(text).hexdigest() != told:
            raise ArchiveUnusable(self.where, f"its {MANIFEST} was changed")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArchiveUnusable(self.where, f"its {MANIFEST} is no JSON") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ArchiveUnusable(self.where, "it is no archive of vultus")
        if found.get("version") != VERSION or str(found.get("schema", "")) > REVISION:
            version = f"version {found.get('version')}, schema {found.get('schema')}"
            raise ArchiveUnusable(
                self.where, f"it is of {version}, which this program does not know: upgrade vultus"
            )
        return found

    def _listed(self) -> Iterator[Member]:
        try:
            for one in self.manifest["members"]:
                name, rows, size, sha256 = (one[key] for key in ("name", "rows", "size", "sha256"))
                whole = all(type(number) is int and number >= 0 for number in (rows, size))
                if not whole or not _NAME.fullmatch(name):
                    raise ValueError(f"{name!r}")
                member = Member(name, rows, size, str(sha256))
                if member.table not in TABLES:
                    raise ValueError(f"{name!r}")
                yield member
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveUnusable(
                self.where, f"its manifest lists no such file: {error}"
            ) from error

    def _require_the_members_listed(self) -> None:
        """Sizes are compared before anything is unpacked."""
        infos = {info.filename: info for info in self._zip.infolist()}
        unknown = set(infos) ^ {*self.members, MANIFEST, MANIFEST_SUM}
        if unknown:
            name = min(unknown)
            raise ArchiveUnusable(self.where, f"{name!r} is not both in it and in its manifest")
        for name, member in self.members.items():
            info = infos[name]
            dense = info.file_size > _SMALL and info.file_size > _DENSEST * info.compress_size
            if info.file_size != member.size or dense or info.compress_type not in _METHODS:
                raise ArchiveUnusable(self.where, f"{name} has not the size that it says")
