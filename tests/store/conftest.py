"""A migrated SQLite file, and a way to fill it."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from migrations import ensure_schema
from store.photos import record_face, record_photo
from store.schema import Person, Photo, Template
from store.session import Store
from store.templates import add_template

SPACE = "toy-8-abc"
DIM = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "gallery.sqlite3") as opened:
        ensure_schema(opened)
        yield opened


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
