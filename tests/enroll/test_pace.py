"""Where the time of an enrolment went."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from enroll.folder import read_people
from enroll.pace import STAGES, Pace
from enroll.person import enroll_people

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Shelf


def work(pace: Pace, stage: str, seconds: float) -> None:
    with pace.stage(stage):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


def test_threads_add_up_and_the_largest_share_binds():
    pace = Pace()
    threads = [threading.Thread(target=work, args=(pace, "detect", 0.1)) for _ in range(3)]
    for thread in threads:
        thread.start()
    work(pace, "store", 0.05)
    for thread in threads:
        thread.join()
    pace.photos = 10
    told = pace.report()
    assert pace.seconds["detect"] >= 0.3
    assert told["bound_by"] == "detect"
    assert told["share"]["detect"] > told["share"]["store"] > 0
    assert sum(told["share"].values()) < 1.02
    assert told["rate"]["decode"] is None
    assert "bound by detect" in pace.line()


def test_an_enrolment_tells_all_its_stages(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    pace = Pace()
    folder = read_people(album({"Ann": next(iter(people.values()))[:3]}))
    list(enroll_people(shelf.parts, folder, pace=pace))
    told = pace.report()
    assert pace.photos == 3
    assert set(told["share"]) == set(STAGES)
    assert all(told["share"][stage] > 0 for stage in ("decode", "detect", "store"))
    assert all(told["rate"][stage] > 0 for stage in ("decode", "detect", "store"))
