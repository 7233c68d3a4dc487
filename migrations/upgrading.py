"""Upgrading a database, and telling whether it needs that."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from store.errors import DatabaseUnusable, SchemaAhead
from store.revision import REVISION
from store.session import Store, revision_of

if TYPE_CHECKING:
    from alembic.config import Config


class Status(StrEnum):
    """How a database's schema stands to the program's."""

    EMPTY = "empty"  # no tables yet
    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"


def script_config() -> "Config":
    """Alembic's configuration: this package is the script folder, wherever it is installed."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.set_main_option("path_separator", "os")
    return config


def check(where: Store | str | Path | None = None) -> Status:
    """How the schema of a database stands, changing nothing.

    Args:
        where: an open store, an SQLAlchemy URL, or the path of an SQLite file; None is the default
            database. A file that does not exist is created empty.

    Raises:
        DatabaseUnusable: the database cannot be opened or read.
    """
    with _opened(where) as store:
        return _status(store.revision())


def upgrade(where: Store | str | Path | None = None) -> Status:
    """Bring a database to the program's schema, creating all tables in an empty one.

    Several programs may do so at the same time; one of them upgrades.

    Args:
        where: as for `check`.

    Returns:
        How the schema stood before.

    Raises:
        SchemaAhead: the database is newer than the program; nothing has changed.
        DatabaseUnusable: it cannot be written, or holds tables of another program.
    """
    with _opened(where) as store, store.migrating() as connection:
        return upgrade_in(store, connection)


def upgrade_in(store: Store, connection: Connection) -> Status:
    """The same within a transaction of `Store.migrating`, which may go on to do more.

    Raises:
        SchemaAhead, DatabaseUnusable: as `upgrade`.
    """
    found = revision_of(connection)
    status = _status(found)
    if status is Status.AHEAD:
        raise SchemaAhead(str(found), REVISION)
    if status is Status.EMPTY:
        _require_no_tables(store, connection)
    if status is not Status.CURRENT:
        _run(connection)
    return status


def ensure_schema(store: Store) -> None:
    """Create the tables of a new database; an old one is left for `upgrade`, asked for by a person.

    Raises:
        SchemaBehind: the database is older than the program.
        SchemaAhead: the database is newer than the program.
        DatabaseUnusable: it cannot be written, or holds tables of another program.
    """
    if store.revision() is None:
        upgrade(store)
    store.require_current()


@contextmanager
def _opened(where: Store | str | Path | None) -> Iterator[Store]:
    if isinstance(where, Store):
        yield where
    else:
        with Store.open(where) as store:
            yield store


def _status(found: str | None) -> Status:
    if found is None:
        return Status.EMPTY
    if found == REVISION:
        return Status.CURRENT
    return Status.BEHIND if found < REVISION else Status.AHEAD


def _require_no_tables(store: Store, connection: Connection) -> None:
    tables = inspect(connection).get_table_names()
    if tables:
        raise DatabaseUnusable(
            store.url, f"it holds tables of another program ({', '.join(sorted(tables)[:3])})"
        )


def _run(connection: Connection) -> None:
    from alembic import command  # only an upgrade pays for Alembic, not every command

    config = script_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
