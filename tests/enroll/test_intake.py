"""Looking at photos in threads: order, memory, errors and an early end."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embedder.detect import WholeDetector
from embedder.embed import Embedder, FoundFace
from embedder.errors import PhotoTooLarge
from embedder.photo import Photo, Room
from enroll import intake
from enroll.intake import Looked, Ticket, look, look_ahead


class SlowEmbedder:
    """Finds no face; the first photo takes longer than the others."""

    max_pixels = 10_000
    detector = WholeDetector()

    def __init__(self, each: float = 0.0) -> None:
        self.seen: list[str] = []
        self.each = each

    def read(self, source: NDArray[np.uint8]) -> Photo:
        return Photo(source, "digest", "array", source.nbytes)

    def faces(self, photo: Photo, _rule: str, _room: Room | None) -> list[FoundFace]:
        time.sleep(self.each or 0.02 * (self.seen == []))
        self.seen.append(photo.source)
        return []


def never(_digest: str) -> bool:
    return False


def running() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("vultus-look")]


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[int], list[Path]]:
    """Write small pictures, all different."""

    def write(count: int) -> list[Path]:
        paths = [tmp_path / f"{number:03}.png" for number in range(count)]
        for number, path in enumerate(paths):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        return paths

    return write


def test_the_order_is_kept(tiny: Callable[[int], list[Path]]):
    paths = tiny(40)
    tickets = [Ticket(path, number) for number, path in enumerate(paths)]
    found = list(look_ahead(tickets, SlowEmbedder(), "all", never, jobs=4))
    assert [looked.source for looked, _ in found] == [str(path) for path in paths]
    assert [about for _, about in found] == list(range(40))
    assert len({looked.digest for looked, _ in found}) == 40
    assert {(looked.width, looked.height) for looked, _ in found} == {(8, 8)}


@pytest.mark.parametrize("jobs", [1, 3])
def test_it_looks_only_a_little_ahead(tiny: Callable[[int], list[Path]], jobs: int):
    taken = 0

    def tickets() -> Iterator[Ticket[None]]:
        nonlocal taken
        for path in tiny(80):
            taken += 1
            yield Ticket(path, None)

    given = 0
    most = 0
    for _ in look_ahead(tickets(), SlowEmbedder(), "all", never, jobs=jobs):
        given += 1
        most = max(most, taken - given)
    assert given == taken == 80
    assert 0 < most <= jobs * 8


def test_known_photos_are_not_decoded(
    tiny: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
):
    first, second = tiny(2)
    digest = look(first, SlowEmbedder(), "all", never).digest
    decoded = []

    def decode(encoded: intake.Source, **_more: int) -> Photo:
        decoded.append(encoded.source)
        return Photo(np.zeros((4, 5, 3), np.uint8), encoded.digest, encoded.source)

    monkeypatch.setattr(intake, "decode", decode)
    tickets = [Ticket(first, None), Ticket(second, None)]
    found = [p for p, _ in look_ahead(tickets, SlowEmbedder(), "all", lambda d: d == digest)]
    assert decoded == [str(second)]
    assert [looked.known for looked in found] == [True, False]
    assert found[0] == Looked(str(first), digest, first.stat().st_size, known=True)


def test_what_cannot_be_used_is_told_with_the_photo(tmp_path: Path):
    (tmp_path / "text.jpg").write_text("<html>")
    Image.new("RGB", (200, 60)).save(tmp_path / "large.png")
    sources = [tmp_path / "gone.jpg", tmp_path / "text.jpg", tmp_path / "large.png", tmp_path]
    tickets = [Ticket(source, None) for source in sources]
    gone, text, large, folder = (
        p for p, _ in look_ahead(tickets, SlowEmbedder(), "all", never, jobs=2)
    )
    reasons = [p.error.reason if p.error else None for p in (gone, text, large, folder)]
    assert reasons == ["not_an_image", "not_an_image", "too_large", "not_an_image"]
    assert [p.source for p in (gone, text, large, folder)] == [str(source) for source in sources]
    assert gone.digest is None
    assert folder.digest is None
    assert text.digest is not None
    assert (text.size, text.faces) == (6, ())


def test_an_array_that_is_too_large_is_told_as_such(embedder: Embedder):
    small = replace(embedder, max_pixels=99)
    looked = look(np.zeros((10, 10, 3), np.uint8), small, "all", never)
    assert isinstance(looked.error, PhotoTooLarge)


def test_closing_early_stops_the_threads(tiny: Callable[[int], list[Path]]):
    embedder = SlowEmbedder(each=0.05)
    tickets = [Ticket(path, None) for path in tiny(60)]
    found = look_ahead(tickets, embedder, "all", never, jobs=2)
    next(found)
    found.close()
    after = len(embedder.seen)
    assert after < 10  # of sixteen that were waiting
    assert running() == []
    time.sleep(0.2)
    assert len(embedder.seen) == after


def test_a_defect_in_a_thread_is_raised_and_ends_the_threads(
    tiny: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
):
    embedder = SlowEmbedder()
    monkeypatch.setattr(embedder, "faces", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(look_ahead([Ticket(p, None) for p in tiny(20)], embedder, "all", never, jobs=2))
    assert running() == []


def test_nothing_gives_nothing():
    assert list(look_ahead([], SlowEmbedder(), "all", never)) == []


def test_a_real_portrait(embedder: Embedder, people: dict[str, list[Path]]):
    path = next(iter(people.values()))[0]
    looked = look(path, embedder, "largest", never)
    assert looked.error is None
    assert len(looked.faces) == 1
    assert looked.faces[0].crop.pixels.shape == (112, 112, 3)
