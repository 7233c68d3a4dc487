"""Moving a whole gallery from one database to another, whichever kind each is.

One transaction reads, one writes: the target becomes the gallery whole or stays empty, and the
source is not changed. Rows go over as they are, in the order of their ids, sealed ones sealed.
Nobody can write to the source meanwhile. Before the commit every table is read back from the target
and its digest compared with that of the rows that were read.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Integer, Row, Table, func, insert, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from migrations.upgrading import Status, check, upgrade_in
from store import ledger, records
from store.audit import append_event
from store.errors import MoveFailed, TargetNotEmpty
from store.postgresql import count_on
from store.schema import Base
from store.session import Store

PAGE: Final = 512  # rows in memory
_ALL: Final = (Base.metadata, records.Run.metadata, ledger.Event.metadata)[0]  # they share one
TABLES: Final = tuple(_ALL.sorted_tables)  # each after those it refers to
# what a new gallery has: its own row and the default site
_OF_A_NEW_ONE: Final = {"gallery": 1, "sites": 1}


@dataclass(frozen=True, slots=True)
class MovedTable:
    """One table that was moved: its rows, and the SHA-256 over all of them."""

    name: str
    rows: int
    digest: str


def move(
    source: str | Path | None,
    target: str | Path,
    progress: Callable[[str, int], None] = lambda _name, _rows: None,
) -> list[MovedTable]:
    """Copy a gallery into an empty database and prove that it is the same there.

    Args:
        source: SQLAlchemy URL, or path of an SQLite file; None is the default database.
        target: likewise; a missing SQLite file or a database without tables is fine, and so is a
            gallery that holds nothing yet.
        progress: told the table and how many of its rows were just copied.

    Returns:
        The tables, in the order in which they were copied.

    Raises:
        SchemaBehind, SchemaAhead: the source is not at this program's schema.
        TargetNotEmpty: the target holds a gallery, or another program's tables.
        MoveFailed: what arrived is not what was sent; the target was left empty.
        DatabaseUnusable: one of the two cannot be opened, read or written.
    """
    with Store.open(source) as old, Store.open(target) as new:
        old.require_current()
        if old.engine.url == new.engine.url:
            raise TargetNotEmpty(new.url, "it is the source")
        _require_empty(new)
        with old.begin() as session, new.migrating() as connection:
            _prepare(new, connection)
            reading = session.connection()
            moved = [_copy(table, reading, connection, progress) for table in TABLES]
            _set_counters(reading, connection)
            _verify(new, connection, moved)
            with Session(connection, info=session.info) as ended:
                append_event(ended, "moved", details={"rows": sum(one.rows for one in moved)})
                ended.commit()  # not of the transaction, which is the connection's
    return moved


def _require_empty(store: Store) -> None:
    status = check(store)
    if status is Status.EMPTY:
        return
    if status is not Status.CURRENT:
        raise TargetNotEmpty(store.url, "it holds a gallery of another schema")
    with store.read() as session:
        _require_nothing(store, session.connection())


def _require_nothing(store: Store, connection: Connection) -> None:
    for table in TABLES:
        rows = connection.scalar(select(func.count()).select_from(table)) or 0
        if rows > _OF_A_NEW_ONE.get(table.name, 0):
            raise TargetNotEmpty(store.url, f"its table {table.name} has {rows} rows")


def _prepare(store: Store, connection: Connection) -> None:
    """Make the tables, or empty the ones of a new gallery."""
    upgrade_in(store, connection)
    _require_nothing(store, connection)
    for table in reversed(TABLES):
        connection.execute(table.delete())


def _copy(
    table: Table, source: Connection, target: Connection, progress: Callable[[str, int], None]
) -> MovedTable:
    digest, rows = hashlib.sha256(), 0
    names = [column.name for column in table.columns]
    for page in _pages(table, source):
        _add(digest, page)
        target.execute(insert(table), [dict(zip(names, row, strict=True)) for row in page])
        rows += len(page)
        progress(table.name, len(page))
    return MovedTable(table.name, rows, digest.hexdigest())


def _pages(table: Table, connection: Connection) -> Iterator[Sequence[Row[Any]]]:
    """The rows of a table by its primary key, some at a time."""
    query = select(table).order_by(*table.primary_key.columns)
    found = connection.execute(query, execution_options={"stream_results": True})
    yield from found.partitions(PAGE)


def _add(digest: Any, page: Sequence[Row[Any]]) -> None:  # noqa: ANN401 - a hash of hashlib
    for row in page:
        digest.update(json.dumps([_canonical(value) for value in row]).encode() + b"\n")


def _canonical(value: object) -> object:
    """A value as both databases tell it: moments in UTC, bytes as digits, JSON with keys in order.

    Numbers are text, so that 1 and 1.0 and true differ.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, datetime):
        return ["moment", value.astimezone(UTC).isoformat(timespec="microseconds")]
    if isinstance(value, (dict, list)):
        return ["json", json.dumps(value, sort_keys=True)]
    return [type(value).__name__, value if isinstance(value, str) else repr(value)]


def _verify(store: Store, connection: Connection, moved: list[MovedTable]) -> None:
    for table, sent in zip(TABLES, moved, strict=True):
        digest, rows = hashlib.sha256(), 0
        for page in _pages(table, connection):
            _add(digest, page)
            rows += len(page)
        if (rows, digest.hexdigest()) != (sent.rows, sent.digest):
            raise MoveFailed(store.url, table.name)


def _set_counters(source: Connection, target: Connection) -> None:
    """Go on counting ids where the source is, also past rows that are gone: none comes again."""
    for table in TABLES:
        last = _last_id(table, source) if _counts(table) else 0
        if not last:
            continue
        if target.dialect.name == "postgresql":
            count_on(target, table.name, last)
        elif target.dialect.name == "sqlite" and _never_again(table):
            target.execute(text("DELETE FROM sqlite_sequence WHERE name = :n"), {"n": table.name})
            target.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"),
                {"name": table.name, "last": last},
            )


def _counts(table: Table) -> bool:
    """Whether the database numbers the rows."""
    column = table.autoincrement_column
    return column is not None and column.name == "id" and isinstance(column.type, Integer)


def _never_again(table: Table) -> bool:
    return bool(table.dialect_options["sqlite"]["autoincrement"])


def _last_id(table: Table, connection: Connection) -> int:
    """The highest id a table has given, 0 for none."""
    last = connection.scalar(select(func.max(table.c.id))) or 0
    if connection.dialect.name == "sqlite" and _never_again(table):
        counted = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        last = max(last, connection.scalar(counted, {"name": table.name}) or 0)
    if connection.dialect.name == "postgresql":
        name = connection.scalar(
            text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": table.name}
        )
        sequence = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}"  # noqa: S608 # nosec B608
        counted = text(sequence)  # the name is the server's own
        last = max(last, connection.scalar(counted) or 0)
    return int(last)
