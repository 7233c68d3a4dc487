"""A challenge: whose it is, how long it lasts, and that every worker can go on with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from verify.pad_challenge import Sight
from web.auth import Principal
from web.challenges import Challenges
from web.errors import Conflict, Forbidden, NotFound, Refusal
from web.relay import Relay

ADA, BEA = "a" * 32, "b" * 32
GATE, OTHER = (
    Principal(number, f"{number:012}", "gate", frozenset({"verify"})) for number in (1, 2)
)
HEAD = np.array([[-32, -34, -32], [32, -34, -32], [0, 4, 0], [-25, 34, -28], [25, 34, -28]])
ANN = np.array([1, 0], np.float32)


def sight(angle: float) -> Sight:
    """A head turned to image right by some degrees."""
    a = np.radians(angle)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    x, y, z = (HEAD @ turn.T).T
    points = np.column_stack([x, y]) * (600 / (600 - z))[:, None] + 200
    return Sight(np.array([140, 120, 120, 160], np.float32), points.astype(np.float32), ANN)


@pytest.fixture
def workers() -> Iterator[tuple[Challenges, Challenges]]:
    with tempfile.TemporaryDirectory(prefix="v") as folder:  # a socket's path must be short
        pair = Challenges(Path(folder)), Challenges(Path(folder))
        for one in pair:
            one.start()
        yield pair
        for one in pair:
            one.close()
        assert not list(Path(folder).iterdir())


def follow(token: str, asked: str | None, *by: Challenges) -> dict[str, object]:
    """Do what is asked, each frame by the next of several workers; the last status."""
    angle, status, turn = 0.0, {"instruction": asked, "result": None}, 0
    while status["result"] is None and turn < 200:
        wanted = {"straight": 0.0, "left": 35.0, "right": -35.0}[str(status["instruction"])]
        angle += float(np.clip(wanted - angle, -8, 8))
        status = by[turn % len(by)].feed(token, GATE, [sight(angle)])
        turn += 1
    return status


def test_frames_may_go_to_any_worker(workers: tuple[Challenges, Challenges]):
    one, other = workers
    token, status = one.begin(GATE, ADA, 0.5, mirrored=False)
    last = follow(token, status.instruction, one, other)
    assert last["result"]["outcome"] == "bona_fide"
    passed = other.take(token, ADA, GATE)
    assert passed is not None
    assert (passed.result.outcome, passed.result.reasons) == ("bona_fide", ("followed",))
    np.testing.assert_array_equal(passed.vector, ANN)
    for worker in workers:  # once is once, wherever
        with pytest.raises(Refusal) as again:
            worker.take(token, ADA, GATE)
        assert (again.value.status, again.value.code) == (403, "replayed")
        with pytest.raises(Refusal) as over:
            worker.feed(token, GATE, [sight(0)])
        assert (over.value.status, over.value.code) == (409, "challenge_over")


def test_it_is_of_one_key_and_one_person(workers: tuple[Challenges, Challenges]):
    token, _ = workers[0].begin(GATE, ADA, None, mirrored=False)
    for worker in workers:
        with pytest.raises(Refusal) as strange:
            worker.feed(token, OTHER, [sight(0)])
        assert (strange.value.status, strange.value.code) == (404, "unknown_challenge")
        with pytest.raises(Refusal) as stolen:
            worker.take(token, ADA, OTHER)
        assert stolen.value.code == "unknown_challenge"
    with pytest.raises(Refusal) as wrong:
        workers[1].take(token, BEA, GATE)
    assert (wrong.value.status, wrong.value.code) == (403, "other_person")
    with pytest.raises(Forbidden, match="used before"):  # a wrong use is a use
        workers[0].take(token, ADA, GATE)


def test_it_is_over_in_time():
    challenges = Challenges(seconds=0.0)
    token, _ = challenges.begin(GATE, None, None, mirrored=False)
    with pytest.raises(NotFound) as fed:
        challenges.feed(token, GATE, [sight(0)])
    with pytest.raises(NotFound) as taken:
        challenges.take(token, ADA, GATE)
    assert {one.value.code for one in (fed, taken)} == {"unknown_challenge"}


def test_what_is_not_finished_passes_nobody():
    challenges = Challenges()
    token, _ = challenges.begin(GATE, None, None, mirrored=False)
    challenges.feed(token, GATE, [sight(0)])
    passed = challenges.take(token, ADA, GATE)
    assert passed is not None
    assert passed.result.outcome == "undecided"
    with pytest.raises(Conflict):
        challenges.feed(token, GATE, [sight(0)])
    assert challenges.take(None, ADA, GATE) is None


@pytest.mark.parametrize("worker", ["00000000", "../../etc", "", "a" * 500])
def test_a_worker_that_is_not_there_has_nothing(worker: str, tmp_path: Path):
    assert Relay(tmp_path, dict).ask(worker, {}) is None
    assert Relay(None, dict).ask(worker, {}) is None
    with pytest.raises(NotFound):
        Challenges(tmp_path).take(f"{worker}.secret", ADA, GATE)
