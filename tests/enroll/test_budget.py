"""A limit of memory: who gets how much, whose turn it is, what is refused."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from embedder.embed import Embedder, FoundFace
from embedder.errors import PhotoTooLarge
from embedder.photo import Photo, Room
from enroll import budget as budgets
from enroll import intake
from enroll.batches import batches
from enroll.budget import MB, UNLIMITED, Budget, Purse, budget_of, resident
from enroll.errors import LimitUnusable
from enroll.folder import read_people
from enroll.intake import Looked, Ticket, look, look_ahead
from enroll.person import EnrolmentRules, enroll_people

Open = Callable[..., object]


class Watched:
    """An embedder that notes how many look at once and asks for the memory of a whole photo."""

    max_pixels = 10_000_000

    def __init__(self, again: int = 0) -> None:
        self.again = again
        self.now = self.most = 0
        self._lock = threading.Lock()

    @property
    def detector(self) -> "Watched":
        return self

    frame = None

    def faces(self, _photo: Photo, _rule: str, room: Room | None) -> list[FoundFace]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.02)
        with self._lock:
            self.now -= 1
        if self.again and room is not None:
            room(self.again, (1, 1))
        return []


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """A dozen pictures of 10,000 pixels."""
    paths = [tmp_path / f"{number:02}.bmp" for number in range(12)]
    for number, path in enumerate(paths):
        Image.new("RGB", (100, 100), (number, 0, 0)).save(path)
    return paths


def never(_digest: str) -> bool:
    return False


def seen(paths: list[Path], embedder: Watched, budget: Budget) -> list[Looked]:
    tickets = [Ticket(path, None) for path in paths]
    found = look_ahead(tickets, embedder, "all", never, jobs=4, budget=budget)  # type: ignore[arg-type]
    return [looked for looked, _ in found]


def test_a_purse_is_given_first_come_first_served():
    purse = Purse(10)
    purse.take(8)
    order: list[int] = []

    def take(amount: int) -> None:
        purse.take(amount)
        order.append(amount)

    threads = []
    for amount in (7, 1):  # there is room for the second, but it is not its turn
        threads.append(threading.Thread(target=take, args=(amount,)))
        threads[-1].start()
        while len(purse._queue) < len(threads):
            pass
    assert order == []
    purse.give(8)
    for thread in threads:
        thread.join(5)
    assert order == [7, 1]


def test_photos_that_fit_only_one_at_a_time_are_looked_at_one_at_a_time(photos: list[Path]):
    embedder = Watched()
    one = 11 * 10_000
    found = seen(photos, embedder, Budget(Purse(MB), Purse(2 * one - 1)))
    assert embedder.most == 1
    assert [looked.error for looked in found] == [None] * 12
    embedder = Watched()
    seen(photos, embedder, Budget(Purse(MB), Purse(4 * one)))
    assert embedder.most > 1


def test_what_is_wanted_for_a_second_decoding_waits_with_nothing_in_hand(photos: list[Path]):
    """Four threads with a part each that all want the whole: none may wait for another."""
    whole = 12 * 10_000
    found = seen(photos, Watched(again=whole), Budget(Purse(MB), Purse(whole)))
    assert [looked.error for looked in found] == [None] * 12


def test_a_photo_that_does_not_fit_alone_is_refused(photos: list[Path]):
    small = Budget(Purse(MB), Purse(11 * 10_000 - 1))
    looked = look(photos[0], Watched(), "all", never, budget=small)  # type: ignore[arg-type]
    assert isinstance(looked.error, PhotoTooLarge)
    assert looked.digest is not None
    assert str(looked.error) == (
        f"{photos[0]} takes 1 MB to decode and look at, and --max-memory leaves 1 MB for that: "
        "raise it and enrol with --retry."
    )
    again = look(
        photos[0], Watched(again=MB), "all", never, budget=Budget(Purse(MB), Purse(MB - 1))
    )  # type: ignore[arg-type]
    assert isinstance(again.error, PhotoTooLarge)


def test_a_file_that_does_not_fit_alone_is_not_even_read(photos: list[Path]):
    looked = look(photos[0], Watched(), "all", never, budget=Budget(Purse(999), Purse(MB)))  # type: ignore[arg-type]
    assert isinstance(looked.error, PhotoTooLarge)
    assert looked.digest is None
    assert looked.source == str(photos[0])


def test_all_is_given_back_whatever_happened(photos: list[Path], tmp_path: Path):
    budget = Budget(Purse(MB), Purse(MB))
    (tmp_path / "text.jpg").write_text("<html>")
    seen([*photos, tmp_path / "text.jpg", tmp_path / "gone.jpg"], Watched(again=2 * MB), budget)
    assert (budget.files._left, budget.pixels._left) == (MB, MB)


def test_no_photo_is_begun_while_many_crops_wait(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    begun: list[object] = []

    def crowd(source: object, *_rest: object) -> Looked:
        begun.append(source)
        return Looked(str(source), faces=(None,) * 50)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "look", crowd)
    tickets = [Ticket(path, None) for path in photos * 4]
    budget = Budget(Purse(MB), Purse(MB), crops=100)
    found = look_ahead(tickets, Watched(), "all", never, jobs=1, budget=budget)  # type: ignore[arg-type]
    most = 0
    for number, _ in enumerate(found, 1):
        most = max(most, len(begun) - number)
    assert len(begun) == 48
    assert most <= 8


def test_a_group_ends_with_the_item_that_makes_it_heavy():
    found = batches([3, 3, 1, 9, 2], longest=1e9, weigh=lambda item: item, heaviest=6)
    assert list(found) == [[3, 3], [1, 9], [2]]


def test_crowded_counts_what_is_done() -> None:
    done: Future[Looked] = Future()
    done.set_result(Looked("a", faces=(None, None)))  # type: ignore[arg-type]
    waiting = [(done, None), (Future[Looked](), None)]
    assert [intake._crowded(waiting, most) for most in (1, 2, 3, None)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_without_a_limit_nothing_is_asked(embedder: Embedder):
    assert budget_of(None, embedder, 10**9) is UNLIMITED


def test_the_parts_make_the_whole(embedder: Embedder, monkeypatch: pytest.MonkeyPatch):
    kept: list[int] = []
    monkeypatch.setattr(budgets, "_return_early", lambda: None)
    monkeypatch.setattr(type(embedder.detector), "keep", lambda _, room: kept.append(room))
    limit = resident() + 400 * MB
    found = budget_of(limit, embedder, 1000)
    parts = (found.files.size or 0, found.pixels.size or 0, found.graphs or 0)
    assert kept == [found.graphs]
    assert min(parts) > 0
    assert resident() + sum(parts) < limit
    assert (found.crops or 0) > 32


def test_a_limit_below_the_models_is_refused_and_says_what_would_do(embedder: Embedder):
    with pytest.raises(LimitUnusable, match="one after the other, take") as caught:
        budget_of(10 * MB, embedder, 1)
    assert int(str(caught.value).split(" MB")[0].split()[-1]) * MB > resident()


def test_a_limit_is_not_for_other_engines(shelf, album, people) -> None:
    class Elsewhere:
        def encoded(self, *_asked: object) -> Iterator[object]:
            return iter(())

    folder = read_people(album({"Ann": next(iter(people.values()))[:1]}))
    rules = EnrolmentRules(max_memory=10**10)
    with pytest.raises(LimitUnusable, match="cluster"):
        list(enroll_people(shelf.parts, folder, rules, Elsewhere()))  # type: ignore[arg-type]


def test_where_the_system_tells_nothing_a_guess_is_made(monkeypatch: pytest.MonkeyPatch):
    assert 20 * MB < resident() < 10**11
    assert budgets._peak() >= resident() // 2
    monkeypatch.setitem(budgets.sys.modules, "resource", None)
    assert budgets._peak() == budgets._TYPICAL
