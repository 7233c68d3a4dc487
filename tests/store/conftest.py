"""Migrated databases, an SQLite file and one on a PostgreSQL server, and a way to fill them.

A test that takes `store` runs on both; one that takes `sqlite_store` is about files.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine, create_engine, insert, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from migrations import ensure_schema
from store.photos import record_face, record_photo
from store.revision import REVISION
from store.schema import (
    Base,
    Gallery,
    Person,
    Photo,
    Site,
    Template,
    new_uid,
)
from store.session import Store
from store.templates import add_template

SPACE = "toy-8-abc"
DIM = 8


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "gallery.sqlite3") as opened:
        ensure_schema(opened)
        yield opened


@pytest.fixture(scope="session")
def migrated(postgresql: str) -> Iterator[tuple[str, Engine]]:
    """The URL of a migrated database on the server, and a way to it; emptied for each test."""
    server = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE migrated TEMPLATE template0")
    server.dispose()
    url = postgresql.rpartition("/")[0] + "/migrated"
    with Store.open(url) as opened:
        ensure_schema(opened)
    engine = create_engine(url, poolclass=NullPool)  # tests may end its connections
    yield url, engine
    engine.dispose()


def _empty(engine: Engine) -> None:
    """Make a gallery new: deleting the few rows of a test is quicker than truncating, or copying.

    Foreign keys are off meanwhile, so that the order of the tables does not matter.
    """
    tables = [table.name for table in Base.metadata.sorted_tables]
    statements = ["SET LOCAL session_replication_role = replica"]
    statements += [f"DELETE FROM {name}" for name in tables]  # noqa: S608 - our own tables
    statements.append("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
    with engine.begin() as connection:
        connection.exec_driver_sql("; ".join(statements))
        set_back = text("UPDATE alembic_version SET version_num = :revision")
        connection.execute(set_back, {"revision": REVISION})
        connection.execute(insert(Gallery).values(id=1, uid=new_uid(), rev=0))
        connection.execute(insert(Site).values(id=0, name=""))


@pytest.fixture
def postgresql_store(migrated: tuple[str, Engine]) -> Iterator[Store]:
    url, engine = migrated
    _empty(engine)
    with Store.open(url) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def unit() -> Callable[[], NDArray[np.float32]]:
    rng = np.random.default_rng(7)

    def make() -> NDArray[np.float32]:
        vector = rng.standard_normal(DIM).astype(np.float32)
        return vector / np.linalg.norm(vector)

    return make


@pytest.fixture
def new_photo() -> Callable[..., Photo]:
    numbers = count()

    def make(session: Session, source: str | None = None, **more: object) -> Photo:
        number = next(numbers)
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        source = f"photo{number}.jpg" if source is None else source
        more = {"outcome": "enrolled"} | more
        return record_photo(session, digest, source, 1000, 640, 480, **more)

    return make


@pytest.fixture
def give(
    new_photo: Callable[..., Photo], unit: Callable[[], NDArray[np.float32]]
) -> Callable[..., Template]:
    """Give a person, or nobody, one template of a photo, a new one by default."""

    def make(
        session: Session,
        person: Person | None,
        photo: Photo | None = None,
        vector: NDArray[np.float32] | None = None,
        space: str = SPACE,
        crop: bytes = b"jpeg",
    ) -> Template:
        photo = new_photo(session) if photo is None else photo
        face = record_face(
            session,
            photo,
            box=np.array([1, 2, 30, 40], np.float32),
            points=np.arange(10, dtype=np.float32).reshape(5, 2),
            confidence=0.9,
            quality={"sharpness": 12.5},
            crop=crop,
        )
        return add_template(session, person, face, space, unit() if vector is None else vector)

    return make
