"""One embedder a session, galleries of generated people, and copies of them to change."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import enroll
from embedder.embed import Embedder, open_embedder
from embedder.encoder import DEFAULT_MODEL
from embedder.errors import RuntimeMissing, WeightsMissing
from embedder.photo import read_photo
from enroll.cluster import Clustering, cluster_library
from enroll.folder import PeopleFolder, read_people
from enroll.person import EnrolmentRules, Outcome, enroll_people
from verify.opening import Parts, Places

PEOPLE = Path(next(iter(enroll.__path__))) / "people"
VARIABLES = ("DATABASE", "INDEX", "MODEL", "DEVICE", "KEY_FILE")
DATABASE = "gallery.sqlite3"


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings of the user's, and not their data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        for name in VARIABLES:
            patch.delenv(f"VULTUS_{name}", raising=False)
        yield


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    try:
        return open_embedder(DEFAULT_MODEL)
    except (WeightsMissing, RuntimeMissing) as error:
        pytest.skip(str(error))


def _albums(kind: str) -> dict[str, list[Path]]:
    folders = sorted(folder for folder in (PEOPLE / kind).glob("*/"))
    if not folders:
        pytest.skip("the generated people are not installed")
    return {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}


@pytest.fixture(scope="session")
def people() -> dict[str, list[Path]]:
    """Name → pictures of people who do not exist."""
    return _albums("people")


@pytest.fixture(scope="session")
def strangers() -> dict[str, list[Path]]:
    """Name → pictures of people who do not exist and are never enrolled."""
    return _albums("strangers")


@pytest.fixture(scope="session")
def portraits(people: dict[str, list[Path]]) -> list[list[NDArray[np.uint8]]]:
    """Pixels of the pictures of four people, uint8 (320, 320, 3) RGB."""
    return [[read_photo(path).pixels for path in people[name]] for name in list(people)[:4]]


def copy_album(root: Path, album: Mapping[str, Sequence[Path]]) -> Path:
    """Copy pictures to `root/NAME/N.jpg`, numbered from 1."""
    for name, pictures in album.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures, 1):
            shutil.copy(picture, folder / f"{number}.jpg")
    return root


@pytest.fixture
def album(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of people from name → pictures."""

    def make(pictures: Mapping[str, Sequence[Path]], name: str = "photos") -> Path:
        return copy_album(tmp_path / name, pictures)

    return make


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Write pixels, uint8 (H, W, 3) RGB, as a file below the test's folder."""

    def write(pixels: NDArray[np.uint8], name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, quality=95)
        return path

    return write


def database_dump(database: Path) -> str:
    """Hex sha256 of every row of every table."""
    with closing(sqlite3.connect(database)) as connection:
        return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()


def ask(database: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    """Rows of a query, past all of the program's layers."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, values).fetchall()


@dataclass(frozen=True)
class Shelf:
    """A gallery's opened parts, and a look at its file past all layers."""

    parts: Parts
    database: Path

    def enroll(
        self,
        folder: Path | PeopleFolder,
        rules: EnrolmentRules | None = None,
        name: str | None = None,
    ) -> list[Outcome]:
        people = read_people(folder, name) if isinstance(folder, Path) else folder
        return list(enroll_people(self.parts, people, rules))

    def ask(self, query: str, *values: object) -> list[tuple[object, ...]]:
        return ask(self.database, query, *values)

    def count(self, table: str) -> int:
        return int(str(self.ask(f"SELECT count(*) FROM {table}")[0][0]))  # noqa: S608 - a test's own word

    def counts(self) -> dict[str, int]:
        tables = ("people", "photos", "faces", "templates", "changes")
        return {table: self.count(table) for table in tables}

    def dump(self) -> str:
        return database_dump(self.database)

    def contents(self) -> list[tuple[object, ...]]:
        """Who has which vectors from which file, in an order of their own."""
        return self.ask(
            "SELECT people.name, photos.source, photos.outcome, faces.x, faces.crop, vector "
            "FROM photos LEFT JOIN faces ON photo_id = photos.id "
            "LEFT JOIN templates ON face_id = faces.id LEFT JOIN people ON person_id = people.id "
            "ORDER BY photos.digest, faces.x"
        )


@pytest.fixture
def open_shelf(embedder: Embedder, tmp_path: Path) -> Iterator[Callable[..., Shelf]]:
    """Open a gallery, by default a new one in the test's folder; all are closed at the end."""
    opened: list[Parts] = []

    def make(database: Path | None = None, **places: object) -> Shelf:
        database = tmp_path / DATABASE if database is None else database
        parts = Parts(replace(Places(database=str(database)), **places))
        parts.embedder = replace(embedder, max_pixels=parts.places.max_pixels)
        opened.append(parts)
        return Shelf(parts, database)

    yield make
    for parts in opened:
        parts.close()


@pytest.fixture
def shelf(open_shelf: Callable[..., Shelf]) -> Shelf:
    """An empty gallery."""
    return open_shelf()


@pytest.fixture(scope="session")
def enrolled_folder(
    embedder: Embedder, people: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A closed gallery of four people with two photos each; copy it before changing it."""
    root = tmp_path_factory.mktemp("enrolled")
    photos = copy_album(root / "photos", {name: people[name][:2] for name in list(people)[:4]})
    with Parts(Places(database=str(root / DATABASE))) as parts:
        parts.embedder = embedder
        outcomes = list(enroll_people(parts, read_people(photos)))
    assert [outcome.status for outcome in outcomes] == ["enrolled"] * 8
    return root


@pytest.fixture
def enrolled(enrolled_folder: Path, tmp_path: Path, open_shelf: Callable[..., Shelf]) -> Shelf:
    """A copy of `enrolled_folder`, opened."""
    shutil.copytree(enrolled_folder, tmp_path / "enrolled", ignore=shutil.ignore_patterns("photos"))
    return open_shelf(tmp_path / "enrolled" / DATABASE)


@dataclass(frozen=True)
class Sorted:
    """A library that was clustered: where its gallery lies, and what was found."""

    root: Path
    library: Path
    clustering: Clustering


@pytest.fixture(scope="session")
def sorted_folder(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Sorted:
    """A closed gallery after clustering all generated people; copy it before changing it."""
    root = tmp_path_factory.mktemp("clustered")
    with Parts(Places(database=str(root / DATABASE))) as parts:
        parts.embedder = embedder
        found = cluster_library(parts, PEOPLE, out=root / "sheet")
    return Sorted(root, PEOPLE, found)


@pytest.fixture
def library(sorted_folder: Sorted, tmp_path: Path, open_shelf: Callable[..., Shelf]) -> Shelf:
    """A copy of `sorted_folder`, opened."""
    shutil.copytree(sorted_folder.root, tmp_path / "clustered")
    return open_shelf(tmp_path / "clustered" / DATABASE)
