"""Writers in threads and in processes: no errors, and changes in the order of their numbers."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from sqlalchemy import func, select

from store.changes import append_changes, changes_after, current_rev
from store.people import add_person, list_people
from store.schema import Change
from store.session import Store

WRITER = """
import sys
from store.changes import append_changes, current_rev
from store.people import add_person, list_people
from store.session import Store
with Store.open(sys.argv[1]) as store:
    for number in range(25):
        with store.begin() as session:
            list_people(session)  # a read that a deferred transaction could not upgrade from
            before = current_rev(session)
            add_person(session, f"{sys.argv[2]} {number}")
            assert append_changes(session, [number, number], "add") == before + 2
"""


def assert_no_gaps(store: Store, writers: int, each: int) -> None:
    with store.read() as session:
        assert len(list_people(session)) == writers * each
        revs = session.scalars(select(Change.rev).order_by(Change.rev)).all()
        assert revs == list(range(1, 2 * writers * each + 1))
        assert current_rev(session) == revs[-1]
        per_tag = select(func.count()).select_from(Change).group_by(Change.tag)
        assert set(session.scalars(per_tag)) == {2}


def test_four_threads(store: Store):
    def write(writer: int) -> None:
        for number in range(20):
            with store.begin() as session:
                before = current_rev(session)
                add_person(session, f"{writer} {number}")
                assert append_changes(session, [number, number], "add") == before + 2

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert_no_gaps(store, 4, 20)


def test_a_reader_never_finds_a_smaller_number_later(store: Store):
    done = Event()

    def write(writer: int) -> None:
        for number in range(20):
            with store.begin() as session:
                append_changes(session, [writer, number], "add")

    def follow() -> list[int]:
        seen: list[int] = []
        while True:
            finished = done.is_set()
            with store.read() as session:
                found = changes_after(session, seen[-1] if seen else 0, 3)
                seen += [change.rev for change in found]
            if finished and not found:
                return seen

    with ThreadPoolExecutor(4) as pool:
        reader = pool.submit(follow)
        for writer in [pool.submit(write, number) for number in range(3)]:
            writer.result()
        done.set()
        assert reader.result() == list(range(1, 121))


def test_two_processes(store: Store, give: Callable):
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}  # what is tested here, installed or not
    program = [sys.executable, "-c", WRITER, store.engine.url.render_as_string(hide_password=False)]
    running = [subprocess.Popen([*program, name], env=os.environ | paths) for name in ("a", "b")]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert_no_gaps(store, 2, 25)
    with store.begin() as session:
        assert give(session, None).id == 1


def test_four_processes_do_everything_at_once(store: Store, tmp_path: Path):
    """The benchmark in small: enrol, rename, merge, forget, name, search and verify."""
    script = Path(__file__).parents[2] / "benchmarks" / "concurrency.py"
    spec = importlib.util.spec_from_file_location("concurrency", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules["concurrency"] = module
    try:
        spec.loader.exec_module(module)
        url = store.engine.url.render_as_string(hide_password=False)
        told = module.trial(url, tmp_path / "indexes", processes=4, operations=40, seed=1)
    finally:
        del sys.modules["concurrency"]
    assert told["faults"] == []
    assert told["people"] > 10
    assert told["searches"] > 5
