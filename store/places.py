"""Where the database is: the default place, a URL or path taken apart, and the engine for it."""

from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from store import postgresql, sqlite
from store.errors import DatabaseUnusable
from store.lean import default_file
from store.pragmas import BUSY_SECONDS


def default_url() -> str:
    """The SQLite file in the user's data folder, as an SQLAlchemy URL."""
    return URL.create("sqlite", database=str(default_file())).render_as_string()


def parse_url(url: str | Path) -> URL:
    """A database's URL; a bare path is an SQLite file.

    Raises:
        DatabaseUnusable: it is neither.
    """
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnusable(url, "that is no SQLAlchemy URL") from error
    # "postgres" is what many services write, and psycopg is the driver of the extra `postgres`
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def make_engine(url: URL) -> Engine:
    """The engine of a URL, tuned to its kind of database; no connection is made yet.

    Raises:
        ImportError: the driver is not installed.
        NoSuchModuleError: SQLAlchemy knows no such database.
    """
    kind = url.get_backend_name()
    if kind == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sqlite.tune(engine)
    elif kind == "postgresql":
        engine = create_engine(url, **postgresql.engine_options(url))
        postgresql.tune(engine)
    else:
        engine = create_engine(url, pool_pre_ping=True)
    return engine
