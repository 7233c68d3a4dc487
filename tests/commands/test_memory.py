"""`vultus enroll --max-memory`: the process's own peak, and what is refused."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from enroll.cli import _memory, enroll
from tests.commands.conftest import Done, Gallery, Vultus, read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux tells it")
PEAK = """
import sys, vultus
try:
    vultus.main()
finally:
    told = open("/proc/self/status").read()  # ru_maxrss would be that of the parent, if larger
    print("peak", int(told.partition("VmHWM:")[2].split()[0]) * 1024, file=sys.stderr)
"""
LARGE = (4000, 3000)


def peak(done: Done) -> int:
    return int(re.findall(r"peak (\d+)", done.err)[-1])


def least(done: Done) -> int:
    return int(re.findall(r"take (\d+) MB", done.err)[-1])


@pytest.fixture(scope="module")
def large(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos of 12 megapixels whose faces want them whole, and a PNG of 30 in 16 bit."""
    place = tmp_path_factory.mktemp("large")
    people = sorted((album / "people").iterdir())[:6]
    for number, person in enumerate(people):
        scene = Image.new("RGB", LARGE, (90, 120, 90))
        with Image.open(min(person.glob("*.jpg"))) as opened:
            scene.paste(opened.convert("RGB").resize((600, 600)), (300 * number, 1000))
        (place / person.name).mkdir()
        scene.save(place / person.name / "photo.jpg", quality=90)
    (place / "Deep").mkdir()
    deep = Image.fromarray(np.zeros((6000, 5000), np.uint16))
    deep.save(place / "Deep" / "photo.png", compress_level=1)
    return place


def test_a_limit_is_kept_and_what_does_not_fit_alone_is_rejected(
    vultus: Vultus,
    large: Path,
    weights: None,  # noqa: ARG001 - skips where they are missing
    tmp_path: Path,
):
    common = ("enroll", large, "--format", "json")
    free = vultus.code(PEAK, *common, "--database", tmp_path / "free.sqlite3", "--jobs", 4)
    told = vultus.code(PEAK, *common, "--database", tmp_path / "a.sqlite3", "--max-memory", "50M")
    assert told.code == 64
    limit = least(told) + 180
    at = ("--database", tmp_path / "kept.sqlite3", "--jobs", 4)
    kept = vultus.code(PEAK, *common, *at, "--max-memory", f"{limit}M")
    assert peak(kept) <= limit * 1_000_000 < peak(free)
    files = {Path(one["file"]).parent.name: one for one in kept.json()["files"]}
    rejected = {name: one for name, one in files.items() if one["status"] == "rejected"}
    assert kept.code == 3
    assert set(rejected) == {"Deep"}
    assert rejected["Deep"]["reason"] == "too_large"
    assert "--max-memory leaves" in rejected["Deep"]["detail"]


def test_a_limit_that_just_suffices_gives_the_same_gallery(
    vultus: Vultus, pristine: Gallery, tmp_path: Path
):
    common = ("enroll", pristine.folder, "--format", "json")
    told = vultus("enroll", pristine.folder, "--database", tmp_path / "a.db", "--max-memory", "1M")
    assert told.code == 64
    limit = least(told) + 20  # resident memory is not the same twice
    database = tmp_path / "small.sqlite3"
    done = vultus.code(PEAK, *common, "--database", database, "--max-memory", f"{limit}M")
    assert done.code == 0
    assert peak(done) <= limit * 1_000_000
    faces = "FROM templates JOIN faces ON face_id = faces.id JOIN photos ON photo_id = photos.id"
    vectors = f"SELECT source, vector {faces} ORDER BY source"
    assert read(database, vectors) == read(pristine.database, vectors)


def test_what_is_no_size_is_wrong_usage(inside: Callable[..., Done], album: Path):
    for size in ("many", "-1G", "0x10M", "", "nan", "1e9M", "5 parsecs"):
        done = inside("enroll", album / "people", "--max-memory", size)
        assert done.code == 64
    assert "--max-memory" in done.err


@pytest.mark.parametrize(
    ("said", "count"),
    [("600M", 600_000_000), ("1.5G", 1_500_000_000), ("2 GiB", 2 << 30), ("512kib", 512 << 10),
     ("700MB", 700_000_000), ("1234567890", 1_234_567_890), ("8B", 8)],
)  # fmt: skip
def test_sizes_are_read_as_they_are_written(said: str, count: int):
    assert _memory(click.Context(enroll), enroll.params[0], said) == count


def test_it_is_not_for_clusters(inside: Callable[..., Done], album: Path):
    done = inside("enroll", album / "people", "--engine", "ray", "--max-memory", "2G")
    assert done.code == 64
    assert "--engine local" in done.err
