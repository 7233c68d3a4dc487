"""Opening the database and its transactions.

`Store.begin` is one transaction that writes, `Store.read` one that only reads; both see one state
of the database from start to end. Writers take turns, readers never wait. A commit returns after
the data has reached the disk.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session, sessionmaker

from store import postgresql, sqlite
from store.actors import system_actor
from store.errors import DatabaseUnusable, SchemaAhead, SchemaBehind
from store.places import default_url, make_engine, parse_url
from store.retrying import again, lost_connection, lost_race
from store.revision import REVISION
from store.schema import Base
from store.vault import Vault

T = TypeVar("T")
_NO_RIGHT: Final = "42501"  # SQLSTATE insufficient_privilege


class Store:
    """A database of galleries' rows: an engine, and one kind of session to read and one to write.

    Args:
        engine: as `Store.open` makes it; use that.
        actor: who acts, see `store.actors`; None: the system's user.
        vault: opens sealed rows; None: with the key that the environment names.
    """

    __slots__ = ("_readers", "_writers", "engine")

    def __init__(
        self, engine: Engine, actor: str | None = None, vault: Vault | None = None
    ) -> None:
        self.engine: Final = engine
        info = {
            "actor": system_actor() if actor is None else actor,
            "vault": Vault() if vault is None else vault,
        }
        kinds = {"sqlite": sqlite, "postgresql": postgresql}
        kind = kinds.get(engine.dialect.name)
        reading = engine if kind is None else engine.execution_options(**kind.READING)
        writing = engine if kind is None else engine.execution_options(**kind.WRITING)
        self._readers: Final = sessionmaker(reading, expire_on_commit=False, info=info)
        self._writers: Final = sessionmaker(writing, expire_on_commit=False, info=info)

    @classmethod
    def open(
        cls,
        url: str | Path | None = None,
        actor: str | None = None,
        vault: Vault | None = None,
    ) -> Self:
        """Open a database, creating an SQLite file (mode 0600) and its folder when missing.

        The tables are not created here: `migrations.ensure_schema` does that.

        Args:
            url: SQLAlchemy URL, or a bare path, which is an SQLite file; None is `default_url()`.
            actor: who acts, see `store.actors`; None: the system's user.
            vault: opens sealed rows; None: with the key that the environment names.

        Raises:
            DatabaseUnusable: it cannot be created, opened or read, or its driver is missing.
        """
        parsed = parse_url(default_url() if url is None else url)
        shown = parsed.render_as_string(hide_password=True)
        path = sqlite.file_of(parsed)
        try:
            if path is not None:
                sqlite.prepare_file(path)
            store = cls(make_engine(parsed), actor, vault)
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

    def acting_as(self, actor: str) -> Self:
        """The same database for somebody else: what is recorded is recorded under that actor."""
        return type(self)(self.engine, actor, self.vault)

    @property
    def vault(self) -> Vault:
        """What opens sealed rows."""
        found: Vault = self._readers.kw["info"]["vault"]
        return found

    @property
    def url(self) -> str:
        """The database's URL, without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for another database or one in memory."""
        return sqlite.file_of(self.engine.url)

    @contextmanager
    def begin(self, actor: str | None = None) -> Iterator[Session]:
        """One transaction that writes: committed at the end, rolled back on an exception.

        Args:
            actor: who acts in this transaction; None: whom the store was opened for.

        Raises:
            DatabaseUnusable: locked for too long, read-only, full or damaged.
        """
        with self._translated(), self._writers.begin() as session:
            if actor is not None:
                session.info["actor"] = actor
            again(session.connection, lost_connection)  # its turn comes before anything is done
            yield session

    def write(self, work: Callable[[Session], T]) -> T:
        """One transaction that writes, done again where the database undid it for another's sake.

        Args:
            work: reads and writes through the session and does nothing else, so that it can be
                repeated.

        Returns:
            What `work` returned.

        Raises:
            DatabaseUnusable: as `begin`; where the connection broke during the commit, the work
                may or may not be done.
        """
        with self._translated():
            return again(lambda: self._once(work), _undone)

    def _once(self, work: Callable[[Session], T]) -> T:
        with self._writers() as session:
            result = work(session)
            session.flush()
            try:
                session.commit()
            except DBAPIError as error:
                if lost_connection(error):
                    raise DatabaseUnusable(self.url, "the connection broke at the end") from error
                raise
        return result

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that reads; what is written in it is rolled back.

        Raises:
            DatabaseUnusable: the database cannot be read.
        """
        with self._translated(), self._readers() as session:
            again(session.connection, lost_connection)
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
            elif postgresql.is_postgresql(self.engine):
                with postgresql.migrating(self.engine) as connection:
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

    def scrub(self, *, fully: bool = False) -> None:
        """Make deleted bytes leave the files; call it after forgetting, outside a transaction.

        On SQLite the file is rewritten and its log emptied. On PostgreSQL the small table of data
        keys is rewritten, and the space of the other deleted rows may be used again; its old bytes
        stay until it is.

        Args:
            fully: also on PostgreSQL, whose tables are rewritten while everybody else waits.

        Raises:
            DatabaseUnusable: somebody else is reading, so that old pages must stay for now.
        """
        with self._translated():
            if self.engine.dialect.name == "sqlite":
                sqlite.scrub(self.engine)
            elif fully and postgresql.is_postgresql(self.engine):
                postgresql.scrub(self.engine, sorted(Base.metadata.tables))
            elif postgresql.is_postgresql(self.engine):
                tables = set(Base.metadata.tables)
                postgresql.scrub(self.engine, ["seals"])
                postgresql.reclaim(self.engine, sorted(tables - {"seals"}))

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
        except PoolExhausted as error:
            reason = "all its connections are in use, or it is locked"
            raise DatabaseUnusable(self.url, reason) from error
        except DBAPIError as error:
            if not _is_the_databases(error):
                raise  # a broken constraint or a wrong statement: not the database's fault
            raise DatabaseUnusable(self.url, _reason(error)) from error


def revision_of(connection: Connection) -> str | None:
    """The schema revision that this connection's database is at, None without one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _undone(error: DBAPIError) -> bool:
    return lost_race(error) or lost_connection(error)


def _is_the_databases(error: DBAPIError) -> bool:
    """Whether an error is of the database itself: not there, locked, read-only, full, damaged."""
    if type(error) in (DatabaseError, OperationalError, InternalError, InterfaceError):
        return True
    denied = getattr(error.orig, "sqlstate", None) == _NO_RIGHT
    return isinstance(error, ProgrammingError) and denied


def _reason(error: DBAPIError) -> str:
    """What the driver says, on one line."""
    lines = str(error.orig).strip().splitlines()
    return lines[0].strip().rstrip(".;") if lines else type(error.orig).__name__
