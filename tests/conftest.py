"""What tests need from outside: PostgreSQL, Chromium, the development pictures.

A test that needs one of them skips with the reason where it is missing; where the environment
variable VULTUS_REQUIRE names it (as CI does), it fails instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def need(what: str, found: object, reason: str) -> None:
    """Go on where something was found; else skip, or fail where it is required."""
    if found:
        return
    if what in os.environ.get("VULTUS_REQUIRE", "").split():
        pytest.fail(f"{what} is required here and missing: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The folder of the development pictures."""
    given = os.environ.get("VULTUS_DATA")
    found = given and (Path(given) / "lfw-dev").is_dir()
    need("pictures", found, "the development pictures are not here (VULTUS_DATA)")
    return Path(str(given))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), "")
    need("chromium", found, "no Chromium is installed")
    return found


@pytest.fixture(scope="session")
def chromedriver(chromium: str) -> str:
    """The path of the driver of that browser."""
    found = shutil.which("chromedriver") or ""
    need("chromium", found, f"no chromedriver is installed beside {chromium}")
    return found


def _programs() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    return places[-1].parent if places else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The SQLAlchemy URL of a PostgreSQL server of our own, stopped after the tests.

    As root the server runs as the user `nobody`: PostgreSQL refuses to run as root.
    """
    programs = _programs()
    need("postgresql", programs, "no PostgreSQL server is installed (initdb not found)")
    assert programs is not None
    user = "nobody" if os.getuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="vultus-postgresql-"))
    if user:
        shutil.chown(place, user)
    port = _free_port()
    data = str(place / "data")

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=place, capture_output=True, timeout=60)

    run(str(programs / "initdb"), "-D", data, "-U", "vultus", "-A", "trust", "--no-sync")
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    log = str(place / "log")
    run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql+psycopg://vultus@127.0.0.1:{port}/postgres"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        time.sleep(0.1)
        shutil.rmtree(place, ignore_errors=True)


class Databases:
    """Databases of the PostgreSQL server, made and dropped by name."""

    def __init__(self, server: str) -> None:
        from sqlalchemy import create_engine

        self.server = server
        self.engine = create_engine(server, isolation_level="AUTOCOMMIT")
        self.made: list[str] = []

    def make(self, template: str = "template0") -> str:
        """The URL of a fresh database, a copy of another one (by name); the server's empty one."""
        name = f"test{time.monotonic_ns()}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        self.made.append(name)
        return self.server.rpartition("/")[0] + f"/{name}"

    def drop_all(self) -> None:
        for name in self.made:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")
        self.made.clear()

    def _run(self, statement: str) -> None:
        with self.engine.connect() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture
def databases(postgresql: str) -> Iterator[Databases]:
    """Fresh databases on the PostgreSQL server, dropped after the test."""
    made = Databases(postgresql)
    yield made
    made.drop_all()
    made.engine.dispose()
