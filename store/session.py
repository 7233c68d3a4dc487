"""Opening the database and its transactions.

`Store.begin` is one transaction that writes, `Store.read` one that only reads; both see one state
of the database from start to end on SQLite. A commit returns after the data has reached the disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from store import sqlite
from store.errors import DatabaseUnusable, SchemaAhead, SchemaBehind
from store.places import default_url, make_engine, parse_url
from store.schema import REVISION


class Store:
    """A database of galleries' rows: an engine, and one kind of session to read and one to write.

    Args:
        engine: as `Store.open` makes it; use that.
    """

    __slots__ = ("_readers", "_writers", "engine")

    def __init__(self, engine: Engine) -> None:
        self.engine: Final = engine
        reading = engine.execution_options(**sqlite.READING)
        writing = engine.execution_options(**sqlite.WRITING)
        self._readers: Final = sessionmaker(reading, expire_on_commit=False)
        self._writers: Final = sessionmaker(writing, expire_on_commit=False)

    @classmethod
    def open(cls, url: str | Path | None = None) -> Self:
        """Open a database, creating an SQLite file (mode 0600) and its folder when missing.

        The tables are not created here: `migrations.ensure_schema` does that.

        Args:
            url: SQLAlchemy URL, or a bare path, which is an SQLite file; None is `default_url()`.

        Raises:
            DatabaseUnusable: it cannot be created, opened or read, or its driver is missing.
        """
        parsed = parse_url(default_url() if url is None else url)
        shown = parsed.render_as_string(hide_password=True)
        path = sqlite.file_of(parsed)
        try:
            if path is not None:
                sqlite.prepare_file(path)
            store = cls(make_engine(parsed))
        except OSError as error:
            raise DatabaseUnusable(shown, (error.strerror or str(error)).lower()) from error
        except (ImportError, NoSuchModuleError) as error:
            raise DatabaseUnusable(shown, f"its driver is not installed ({error})") from error
        try:
            store.revision()
        except DatabaseUnusable:
            store.close()
            raise
        return store

    @property
    def url(self) -> str:
        """The database's URL, without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for another database or one in memory."""
        return sqlite.file_of(self.engine.url)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction that writes: committed at the end, rolled back on an exception.

        Raises:
            DatabaseUnusable: locked for too long, read-only, full or damaged.
        """
        with self._translated(), self._writers.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that reads; what is written in it is rolled back.

        Raises:
            DatabaseUnusable: the database cannot be read.
        """
        with self._translated(), self._readers() as session:
            yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """One transaction that changes tables.

        Raises:
            DatabaseUnusable: as `begin`, or rows would refer to rows that are gone.
        """
        with self._translated():
            if self.engine.dialect.name == "sqlite":
                with sqlite.migrating(self.engine) as connection:
                    yield connection
            else:
                with self.engine.begin() as connection:
                    yield connection

    def revision(self) -> str | None:
        """The schema revision the database is at; None where no migration ever ran."""
        with self._translated(), self.engine.connect() as connection:
            return revision_of(connection)

    def require_current(self) -> None:
        """Make sure the database has the schema this program wants.

        Raises:
            SchemaBehind: it is older, or has no tables.
            SchemaAhead: it is newer.
        """
        found = self.revision()
        if found is None or found < REVISION:
            raise SchemaBehind(found, REVISION)
        if found > REVISION:
            raise SchemaAhead(found, REVISION)

    def scrub(self) -> None:
        """Make deleted bytes leave the files; call it after forgetting, outside a transaction.

        On SQLite the file is rewritten and its log emptied; a database server reclaims its pages
        itself, in its own time.

        Raises:
            DatabaseUnusable: somebody else is reading, so that old pages must stay for now.
        """
        if self.engine.dialect.name == "sqlite":
            with self._translated():
                sqlite.scrub(self.engine)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            if type(error) not in (DatabaseError, OperationalError):
                raise  # a broken constraint or a wrong statement: not the database's fault
            raise DatabaseUnusable(self.url, str(error.orig)) from error


def revision_of(connection: Connection) -> str | None:
    """The schema revision that this connection's database is at, None without one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)
