"""The program as a user starts it: a process of its own, its own cache, no settings of the user's.

One gallery of generated people is enrolled once a session; tests that change it take a copy.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CODE = "import vultus; vultus.main()"
ENROLLED, TEMPLATES = 6, 4  # people of the shared gallery, and photos of each; the rest are probes
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Vultus:
    """Starts the program.

    Attributes:
        python: the interpreter with its options.
        environment: the variables it sees.
        place: the folder it runs in.
    """

    python: tuple[str, ...]
    environment: dict[str, str]
    place: Path

    def __call__(self, *arguments: object, stdin: str = "", **variables: str) -> Done:
        return self.code(CODE, *arguments, stdin=stdin, **variables)

    def code(self, code: str, *arguments: object, stdin: str = "", **variables: str) -> Done:
        """Run other code than the program's own in the same surroundings."""
        done = subprocess.run(
            [*self.python, "-c", code, *map(str, arguments)], env=self.environment | variables,
            cwd=self.place, input=stdin, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        """Start it and do not wait."""
        return subprocess.Popen(
            [*self.python, "-c", CODE, *map(str, arguments)], env=self.environment, cwd=self.place,
            text=True, **more,
        )  # fmt: skip


@pytest.fixture(scope="session")
def vultus(tmp_path_factory: pytest.TempPathFactory) -> Vultus:
    """The installed program under `python -I`; from a source tree, that tree's."""
    home = tmp_path_factory.mktemp("home")
    kept = {k: v for k, v in os.environ.items() if k[:7] != "VULTUS_" or k == "VULTUS_WEIGHTS"}
    for name in ("PYTHONPATH", "NO_COLOR", "FORCE_COLOR"):
        kept.pop(name, None)
    kept |= {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "VULTUS_CACHE": str(home / "cache" / "vultus"),
        "PYTHONIOENCODING": "utf-8",
    }
    isolated = (sys.executable, "-I")
    found = subprocess.run(
        [*isolated, "-c", "import vultus"], cwd=home, capture_output=True, check=False
    )
    if found.returncode == 0:
        return Vultus(isolated, kept, home)
    return Vultus((sys.executable,), kept | {"PYTHONPATH": str(ROOT)}, home)


@pytest.fixture
def inside(
    vultus: Vultus, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """The same program in this process: quicker, where signals, pipes and terminals are not asked.

    Warnings are errors here.
    """
    import vultus as module

    for name in set(os.environ) - vultus.environment.keys():
        monkeypatch.delenv(name)
    for name, value in vultus.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(vultus.place)

    def call(*arguments: object, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            module.main([str(argument) for argument in arguments])
        return Done(ended.value.code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the generated people: `people/NAME/N.jpg` and `strangers/NAME/N.jpg`."""
    source = Path(str(resources.files("enroll"))) / "people"
    if not (source / "people").is_dir():
        pytest.skip("the generated people are not installed")
    return Path(shutil.copytree(source, tmp_path_factory.mktemp("album") / "all"))


@dataclass(frozen=True)
class Gallery:
    """A gallery on disk, and the pictures that are not in it.

    Attributes:
        database: the SQLite file.
        names: who is enrolled.
        probes: name → pictures of that person that were not enrolled.
        strangers: pictures of people who were not.
        folder: what was enrolled.
    """

    database: Path
    names: list[str]
    probes: dict[str, list[Path]]
    strangers: list[Path]
    folder: Path
    at: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", ("--database", str(self.database)))

    @property
    def genuine(self) -> tuple[str, Path]:
        """A name and a picture of that person."""
        return self.names[0], self.probes[self.names[0]][0]

    @property
    def impostor(self) -> tuple[str, Path]:
        """A name and a picture of somebody else."""
        return self.names[1], self.probes[self.names[0]][0]

    def content(self) -> list[list[tuple[Any, ...]]]:
        """The rows that say who is enrolled with what."""
        return [read(self.database, query) for query in TABLES]

    def copy_to(self, place: Path) -> Gallery:
        """The same gallery elsewhere, to be changed."""
        place.mkdir(parents=True, exist_ok=True)
        for file in self.database.parent.glob("gallery.*"):
            shutil.copy(file, place)
        moved = place / self.database.name
        return Gallery(moved, self.names, self.probes, self.strangers, self.folder)


TABLES = (
    "SELECT * FROM people ORDER BY id",
    "SELECT * FROM photos ORDER BY id",
    "SELECT * FROM faces ORDER BY id",
    "SELECT * FROM templates ORDER BY id",
    "SELECT * FROM clusters ORDER BY id",
    "SELECT * FROM changes ORDER BY rev",
    "SELECT id, uid, space, rev, sealed, renewal, epoch FROM gallery",  # not where the log ends
)


def read(database: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows, read by SQLite itself."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        return opened.execute(query).fetchall()


@pytest.fixture(scope="session")
def weights(vultus: Vultus) -> None:
    """Skip where the networks or what runs them are not installed."""
    if not any(find_spec(name) for name in ("openvino", "onnxruntime")):
        pytest.skip("the extra cpu is not installed")
    done = vultus("models", "verify")
    if done.code != 0:
        pytest.skip(done.err.strip())


@pytest.fixture(scope="session")
def pristine(
    vultus: Vultus,
    album: Path,
    weights: None,  # noqa: ARG001 - skips where they are missing
    tmp_path_factory: pytest.TempPathFactory,
) -> Gallery:
    """Six generated people with four photos each, as they were enrolled: only to be copied."""
    place = tmp_path_factory.mktemp("pristine")
    probes = {}
    for person in sorted((album / "people").iterdir())[:ENROLLED]:
        files = sorted(person.glob("*.jpg"))
        (place / "people" / person.name).mkdir(parents=True)
        for file in files[:TEMPLATES]:
            shutil.copy(file, place / "people" / person.name)
        probes[person.name] = files[TEMPLATES:]
    database = place / "gallery.sqlite3"
    done = vultus("enroll", place / "people", "--database", database, "--format", "json")
    assert done.code == 0, done
    assert done.json()["enrolled"] == ENROLLED * TEMPLATES
    strangers = sorted((album / "strangers").glob("*/*.jpg"))
    return Gallery(database, sorted(probes), probes, strangers, place / "people")


@pytest.fixture(scope="session")
def shared(pristine: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """The gallery that tests ask: decisions come to it, its people stay."""
    return pristine.copy_to(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def unchanged(shared: Gallery) -> Iterator[Gallery]:
    """The shared gallery, proved to hold the same rows after the test."""
    before = shared.content()
    yield shared
    assert shared.content() == before


@pytest.fixture
def own(pristine: Gallery, tmp_path: Path) -> Gallery:
    """A gallery of the test's own, with nothing decided yet."""
    return pristine.copy_to(tmp_path / "own")


@pytest.fixture(scope="session")
def many(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """252 photos: the generated people three times, each file with bytes of its own."""
    place = tmp_path_factory.mktemp("many") / "people"
    for file in sorted((album / "people").glob("*/*.jpg")):
        (place / file.parent.name).mkdir(parents=True, exist_ok=True)
        for turn in range(3):
            copy = place / file.parent.name / f"{file.stem}-{turn}.jpg"
            copy.write_bytes(file.read_bytes() + b"\0" * turn)  # after the end of the picture
    return place


@pytest.fixture(scope="session")
def spoiled(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Pictures that cannot be used, by what is wrong with them."""
    place = tmp_path_factory.mktemp("spoiled")
    first = min((album / "people").glob("*/*.jpg")).read_bytes()
    (place / "text.jpg").write_text("this is no picture\n")
    (place / "truncated.jpg").write_bytes(first[: len(first) // 3])
    (place / "empty.jpg").write_bytes(b"")
    (place / "folder.jpg").mkdir()
    noise = np.random.default_rng(5).integers(100, 140, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(place / "faceless.png")
    return place.joinpath
