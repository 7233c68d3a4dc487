"""Calibrations with known thresholds, opened networks, and galleries of generated people."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from embedder.embed import Embedder, FoundFace, open_embedder
from embedder.encoder import DEFAULT_MODEL
from embedder.errors import RuntimeMissing, WeightsMissing
from embedder.photo import read_photo
from migrations import ensure_schema
from store.gallery import pin_space
from store.people import add_person
from store.photos import record_face, record_photo
from store.records import Decision
from store.schema import Person, Template
from store.session import Store
from store.templates import add_template
from verify.calibration import BINS, Calibration
from verify.opening import Parts, Places

ENROLLED = 3  # how many photos of a person a gallery holds; the others are probes
VARIABLES = ("DATABASE", "INDEX", "MODEL", "DEVICE", "KEY_FILE")


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of this session and no settings: nothing of the user's is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VULTUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in VARIABLES:
            patch.delenv(f"VULTUS_{name}", raising=False)
        yield


def bins(weights: Mapping[int, float]) -> NDArray[np.float64]:
    dense = np.zeros(BINS)
    for place, weight in weights.items():
        dense[place] = weight
    return dense


@pytest.fixture(scope="session")
def curve() -> Callable[..., Calibration]:
    """A calibration from bin → weight of pairs of strangers, and of mated people."""

    def make(
        nonmated: Mapping[int, float], mated: Mapping[int, float] | None = None, space: str = "toy"
    ) -> Calibration:
        mated = {} if mated is None else mated
        return Calibration(
            space=space,
            source="toy people",
            people=100,
            person_pairs=round(sum(nonmated.values())),
            mated_people=round(sum(mated.values())),
            photos=200,
            nonmated=bins(nonmated),
            mated=bins(mated),
            intervals={0.01: (0.008, 0.012)},
            data_digest="0" * 64,
            created="2026-01-31",
        )

    return make


@pytest.fixture(scope="session")
def stairs(curve: Callable[..., Calibration]) -> Calibration:
    """FMR 0.1 from similarity 0.5 on, 0.01 from 0.75, 0 from 0.875; it supports 0.0003."""
    return curve({1499: 9000, 1749: 900, 1874: 100}, {1700: 50, 1900: 50})


@pytest.fixture(scope="session")
def embedder(own_places: None) -> Embedder:  # noqa: ARG001 - the cache must be set first
    try:
        return open_embedder(DEFAULT_MODEL)
    except (WeightsMissing, RuntimeMissing) as error:
        pytest.skip(str(error))


def _albums(kind: str) -> dict[str, list[Path]]:
    spec = find_spec("enroll")
    roots = [] if spec is None else [Path(root) for root in spec.submodule_search_locations or ()]
    found: dict[str, list[Path]] = {}
    for folder in sorted(path for root in roots for path in root.glob(f"people/{kind}/*/")):
        pictures = sorted(folder.glob("*.jpg"))
        if len(pictures) > ENROLLED:
            found[folder.name] = pictures
    if len(found) < 3:
        pytest.skip(f"enroll/people/{kind} has no pictures of three generated people")
    return found


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
    """Pixels of the pictures of three people, uint8 (H, W, 3) RGB, all of one size."""
    return [[read_photo(path).pixels for path in people[name]] for name in list(people)[:3]]


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., str]:
    """Write frames, uint8 (H, W, 3) RGB, as a Motion JPEG video of eight frames a second."""

    def write(frames: list[NDArray[np.uint8]], name: str = "clip.avi", rate: float = 8.0) -> str:
        path = str(tmp_path / name)
        height, width = frames[0].shape[:2]
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), rate, (width, height))
        if not writer.isOpened():
            pytest.skip("this build of OpenCV writes no Motion JPEG")
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        return path

    return write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "gallery.sqlite3") as opened:
        ensure_schema(opened)
        yield opened


@pytest.fixture
def give() -> Callable[..., Template]:
    """Give a person a template of a photo of its own."""
    numbers = count()

    def make(
        session: Session, person: Person, vector: NDArray[np.float32], space: str = "toy"
    ) -> Template:
        pin_space(session, space)
        number = next(numbers)
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        photo = record_photo(
            session, digest, f"photo{number}.jpg", 1000, 320, 320, outcome="enrolled"
        )
        face = record_face(
            session,
            photo,
            box=np.array([1, 2, 30, 40], np.float32),
            points=None,
            confidence=0.9,
            quality=None,
            crop=b"jpeg",
        )
        return add_template(session, person, face, space, vector)

    return make


@dataclass(frozen=True)
class Known:
    """A gallery, and the pictures that are not in it.

    Attributes:
        parts: the opened gallery.
        names: who is enrolled, with three photos each.
        probes: name → pictures of that person that were not enrolled.
    """

    parts: Parts
    names: list[str]
    probes: dict[str, list[str]]

    def decisions(self) -> list[Decision]:
        """What was recorded, the oldest first."""
        with self.parts.store.read() as session:
            return list(session.scalars(select(Decision).order_by(Decision.id)))


@pytest.fixture(scope="session")
def vectors(embedder: Embedder, people: dict[str, list[Path]]) -> dict[str, NDArray[np.float32]]:
    """Name → vectors of the photos a gallery holds, float32 (3, D)."""
    found: dict[str, NDArray[np.float32]] = {}
    for name in list(people)[:4]:
        faces: list[FoundFace] = []
        for path in people[name][:ENROLLED]:
            faces += embedder.faces(embedder.read(path), "largest")
        found[name] = embedder.encode(faces).vectors
    return found


@pytest.fixture
def known(
    tmp_path: Path,
    embedder: Embedder,
    people: dict[str, list[Path]],
    vectors: dict[str, NDArray[np.float32]],
    give: Callable[..., Template],
) -> Iterator[Known]:
    """A gallery of four generated people; the last is in the site `annex`."""
    names = list(vectors)
    with Parts(Places(database=str(tmp_path / "known.sqlite3"))) as parts:
        parts.embedder = embedder  # opened once a session
        with parts.store.begin() as session:
            for name in names:
                person = add_person(session, name, "annex" if name == names[-1] else "")
                for vector in vectors[name]:
                    give(session, person, vector, embedder.space)
        probes = {name: [str(path) for path in people[name][ENROLLED:]] for name in names}
        yield Known(parts, names, probes)
