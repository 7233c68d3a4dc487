"""The pictures of invented people that travel with the package: `enroll/people/`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import enroll
from embedder.align import align
from embedder.detect import open_detector
from embedder.encoder import open_network_encoder
from embedder.errors import RuntimeMissing, WeightsMissing
from embedder.photo import read_photo

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(next(iter(enroll.__path__))) / "people"
PICTURES = sorted(ROOT.glob("*/*/*.jpg"))


def albums(kind: str) -> dict[str, list[Path]]:
    folders = sorted(folder for folder in (ROOT / kind).iterdir() if folder.is_dir())
    return {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}


def test_there_are_enough_people_and_pictures() -> None:
    people = albums("people")
    assert len(people) >= 12
    assert min(map(len, people.values())) >= 5
    assert len(albums("strangers")) >= 4


def test_no_stranger_is_also_a_person() -> None:
    assert not albums("people").keys() & albums("strangers").keys()


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in PICTURES) <= 3_000_000


def test_no_two_files_are_the_same() -> None:
    assert len({path.read_bytes() for path in PICTURES}) == len(PICTURES)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_is_a_plain_jpeg_without_exif(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert image.size == (320, 320)
        assert not image.getexif()
        assert not {"exif", "xmp", "icc_profile", "comment"} & image.info.keys()


def test_the_card_names_the_training_data_and_the_licence() -> None:
    card = (ROOT / "CARD.md").read_text(encoding="utf-8")
    for word in ("do not exist", "Labeled Faces in the Wild", "Apache-2.0", "0.5"):
        assert word in card


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """float32 (N, D): one row a picture, each of which must hold exactly one face."""
    try:
        detector, encoder = open_detector("yunet"), open_network_encoder("sface")
    except (WeightsMissing, RuntimeMissing) as error:
        pytest.skip(str(error))
    crops = []
    for path in PICTURES:
        photo = read_photo(path)
        faces = detector.detect(photo)
        assert len(faces) == 1, f"{path.parent.name}/{path.name}: {len(faces)} faces"
        crops.append(align(photo, faces[0]))
    return encoder.encode(crops).vectors


def test_the_encoder_tells_them_apart(vectors: NDArray[np.float32]) -> None:
    owner = np.array([path.parent.name for path in PICTURES])
    similarity = vectors @ vectors.T
    same = owner[:, None] == owner
    assert similarity[same].min() >= 0.5
    assert similarity[~same].max() <= 0.3
