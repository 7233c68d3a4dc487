"""Opened networks, generated people and development pictures, each made once a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from embedder.align import Crop, align
from embedder.detect import Face, YuNetDetector
from embedder.embed import Embedder, open_embedder
from embedder.errors import WeightsMissing
from embedder.photo import Photo, read_photo

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = ROOT / "enroll" / "people"
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session: nothing is read from or written to the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VULTUS_CACHE", str(folder))
        for name in ("VULTUS_MODEL", "VULTUS_DEVICE"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="session")
def detector(own_cache: Path) -> YuNetDetector:  # noqa: ARG001 - the cache must be set first
    try:
        return YuNetDetector()
    except WeightsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def embedder(detector: YuNetDetector) -> Embedder:
    pytest.importorskip("openvino", reason="the extra cpu is not installed")
    return Embedder(detector, open_embedder("sface").encoder)


@pytest.fixture(scope="session")
def lfw() -> Path:
    """The folder lfw-dev of the development pictures."""
    given = os.environ.get("VULTUS_DATA")
    if not given:
        pytest.skip("VULTUS_DATA does not name the folder of the development pictures")
    folder = Path(given) / "lfw-dev"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session")
def people(request: pytest.FixtureRequest) -> dict[str, list[Path]]:
    """Pictures by person: the generated people, or development people where they are missing."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PEOPLE.rglob("*")):
        if path.suffix.lower() in PICTURES:
            found.setdefault(path.parent.name, []).append(path)
    if found:
        return found
    if not os.environ.get("VULTUS_DATA"):
        pytest.skip("enroll/people has no generated people, and VULTUS_DATA is not set")
    return alone_in_their_photos(
        request.getfixturevalue("lfw") / "train", request.getfixturevalue("detector")
    )


def alone_in_their_photos(folder: Path, detector: YuNetDetector) -> dict[str, list[Path]]:
    """Two photos each of six development people, with nobody else in them."""
    found: dict[str, list[Path]] = {}
    for person in sorted(folder.iterdir()):
        paths = sorted(person.glob("*.jpg"))
        if len(paths) < 2 or len(found) == 6:
            continue
        paths = [path for path in paths[:6] if len(detector.detect(read_photo(path))) == 1]
        if len(paths) >= 2:
            found[person.name] = paths[:2]
    return found


@pytest.fixture(scope="session")
def portraits(people: dict[str, list[Path]]) -> list[Photo]:
    """One photo of each of at most eight people."""
    return [read_photo(paths[0]) for paths in list(people.values())[:8]]


@pytest.fixture(scope="session")
def face_crops(portraits: list[Photo], detector: YuNetDetector) -> list[Crop]:
    """The aligned face of each portrait."""
    return [align(photo, detector.detect(photo)[0]) for photo in portraits]


@pytest.fixture(scope="session")
def crops() -> list[Crop]:
    """34 seeded textures as crops, equally strong at every scale as photos are; no face needed."""
    rng = np.random.default_rng(11)
    face = Face(np.array([0, 0, 112, 112], np.float32), None, 1.0)
    made = []
    for _ in range(34):
        layers = [
            cv2.resize(
                rng.normal(0, 22, (side, side, 3)), (112, 112), interpolation=cv2.INTER_CUBIC
            )
            for side in (4, 8, 16, 32, 64, 112)
        ]
        pixels = np.clip(128 + np.sum(layers, axis=0), 0, 255).astype(np.uint8)
        made.append(Crop(pixels, np.eye(2, 3), face))
    return made
