import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from migrations.cli import db
from store.session import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.sqlite3"


def run(*arguments: str, **more: object) -> tuple[int, str]:
    result = CliRunner().invoke(db, arguments, catch_exceptions=False, **more)
    return result.exit_code, result.stdout


def test_from_empty_to_current(path: Path):
    where = ("--database", str(path))
    assert run("check", *where)[0] == 3
    assert run("upgrade", *where) == (0, "The tables of schema 0003 were created.\n")
    assert run("check", *where) == (0, "current: the database is at schema 0003.\n")
    assert run("upgrade", *where) == (0, "The database is at schema 0003 already.\n")


@pytest.mark.parametrize(("found", "word"), [("0000", "behind"), ("9999", "ahead")])
def test_check_says_how_it_stands(path: Path, found: str, word: str):
    run("upgrade", "--database", str(path))
    with Store.open(path) as store, store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": found})
    code, said = run("check", "--database", str(path))
    assert code == 3
    assert said.startswith(word)


def test_the_place_comes_from_the_environment(path: Path):
    code, _ = run("upgrade", env={"VULTUS_DATABASE": f"sqlite:///{path}"})
    assert code == 0
    assert path.exists()


@pytest.mark.parametrize("command", [(), ("upgrade",), ("check",)])
def test_help_has_an_example(command: tuple[str, ...]):
    code, said = run(*command, "--help")
    assert code == 0
    assert "vultus db " in said


def test_alembics_own_command_takes_a_url(path: Path, tmp_path: Path):
    config = tmp_path / "alembic.ini"
    config.write_text("[alembic]\nscript_location = migrations:\npath_separator = os\n")
    code = f"import sys; sys.path[:0] = {sys.path!r}; from alembic.config import main; main()"
    arguments = ["-c", str(config), "-x", f"url=sqlite:///{path}", "upgrade", "head"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert run("check", "--database", str(path))[0] == 0
