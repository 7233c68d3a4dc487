"""`vultus models migrate`, as a user meets it."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.errors import SpaceMismatch

if TYPE_CHECKING:
    from types import ModuleType

    from conftest import Done, Gallery, Vultus

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "migration.py"


@pytest.fixture
def own(own: Gallery) -> Gallery:
    """The copy of the shared gallery, which knows nothing of the shared one's index file."""
    with closing(sqlite3.connect(own.database)) as opened:
        opened.execute("DELETE FROM engines")
        opened.commit()
    return own


def test_the_whole_life_of_a_migration(inside: Callable[..., Done], own: Gallery):
    def migrate(*arguments: object) -> Done:
        return inside("models", "migrate", *arguments, *own.at)

    who, photo = own.genuine

    def asked() -> tuple[int, float]:
        done = inside("verify", who, "--source", photo, *own.at, "--format", "json")
        return done.code, done.json()["similarity"]

    before, content = asked(), own.content()
    assert "no migration" in migrate("--status").out
    dry = migrate("sface-mirror", "--dry-run")
    assert (dry.code, "24 faces, 24 to encode" in dry.out) == (0, True), dry
    told = migrate("sface-mirror", "--dry-run", "--format", "json", "--fmr", "0.0001").json()
    assert told["fmr"] == 0.0001
    assert sum(told["decisions"]["genuine"].values()) == told["compared"] == 24
    assert own.content() == content
    assert asked() == before

    done = migrate("sface-mirror", "--prepare", "--quiet")
    assert (done.code, "without --prepare cuts over" in done.out) == (0, True), done
    assert asked() == before
    people = inside("people", "list", *own.at, "--format", "json").json()
    assert {person["templates"] for person in people["people"]} == {4}
    done = migrate("sface-mirror", "--format", "json")
    assert done.json()["status"]["state"] == "current"
    after = asked()
    assert (after[0], after[1] != before[1]) == (0, True)
    wrong = inside("verify", who, "--source", photo, *own.at, "--model", "sface")
    assert (wrong.code, "cannot be compared" in wrong.err) == (3, True)

    assert migrate("--roll-back").code == 0
    assert asked() == before
    assert migrate("sface-mirror").code == 0
    assert asked() == after
    kept = inside("models", "migrate", "--drop-old", *own.at, stdin="n\n")
    assert (kept.code, "Nothing was changed" in kept.err) == (130, True), kept
    status = migrate("--status", "--format", "json").json()
    assert (status["state"], status["templates"], status["twins"]) == ("current", 24, 24)
    gone = migrate("--drop-old", "--yes", "--format", "json").json()
    assert gone["dropped"]["templates"] == 24
    assert "state      finished" in migrate("--status").out
    assert asked() == after
    refused = migrate("--roll-back", "--format", "json")
    assert (refused.code, refused.json()["error"]["code"]) == (2, "nothing_to_migrate")
    assert inside("audit", "verify", *own.at).code == 0


def test_a_program_that_has_the_gallery_open_is_told(vultus: Vultus, own: Gallery):
    import vultus as module

    with module.open_gallery(own.database) as gallery:
        (before,) = gallery.identify(own.genuine[1])
        assert before.answer == "yes"
        assert vultus("models", "migrate", "sface-mirror", *own.at).code == 0
        for ask in (
            lambda: gallery.identify(own.genuine[1]),
            lambda: gallery.verify(*own.genuine),
            lambda: gallery.enroll(own.genuine[1], own.genuine[0]),
            lambda: gallery.cluster(own.folder),
        ):
            with pytest.raises(SpaceMismatch, match="started again"):
                ask()
    with module.open_gallery(own.database) as gallery:
        (after,) = gallery.identify(own.genuine[1])
        assert after.answer == "yes"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Name the encoder"),
        (("--dry-run",), "Name the encoder"),
        (("sface", "--status"), "takes no encoder"),
        (("sface", "--dry-run", "--prepare"), "do not go together"),
        (("sface", "--model", "sface"), "without --model"),
    ],
)
def test_wrong_usage(
    inside: Callable[..., Done], unchanged: Gallery, arguments: tuple[str, ...], says: str
):
    done = inside("models", "migrate", *arguments, *unchanged.at)
    assert (done.code, says in done.err) == (64, True), done


def test_an_encoder_that_nobody_knows(inside: Callable[..., Done], unchanged: Gallery):
    done = inside("models", "migrate", "facenet", *unchanged.at, "--format", "json")
    assert (done.code, "known are sface" in json.loads(done.out)["error"]["message"]) == (64, True)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("benchmarks/migration.py is not here")
    spec = spec_from_file_location("migration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "migration", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("weights")
def test_killed_and_continued_is_as_if_never_killed(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good = benchmark.run(tmp_path, templates=130, kills=1, seed=1, asked=4)
    said = capsys.readouterr().out
    assert (good, "equal to the uninterrupted" in said) == (True, True), said
