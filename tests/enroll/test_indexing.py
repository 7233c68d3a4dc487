"""The index beside the database: looked at, compared, made anew, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll.errors import NothingToMeasure
from enroll.indexing import benchmark_engines, build_index, index_status, verify_index
from index.errors import IndexFileBroken, WrongNumber
from index.exact import ExactIndex

if TYPE_CHECKING:
    from conftest import Shelf


def file_of(shelf: Shelf) -> tuple[ExactIndex, dict[str, str], object]:
    """The index file: its rows, marks and path."""
    path = shelf.parts.index.path
    assert path is not None
    index, marks = ExactIndex.load(path)
    return index, marks, path


def test_an_index_in_step(enrolled: Shelf):
    build_index(enrolled.parts)
    status = index_status(enrolled.parts, 3)
    assert (status.state, status.vectors, status.templates) == ("in step", 8, 8)
    assert (status.missing, status.extra, status.different, status.mend) == (0, 0, None, None)
    assert status.recall == 1.0
    assert status.queries_per_second is not None
    assert verify_index(enrolled.parts).different == 0


def test_every_kind_of_damage_is_found_and_mended(enrolled: Shelf):
    build_index(enrolled.parts)
    index, marks, path = file_of(enrolled)
    ids = index.ids()
    index.remove(ids[:2])
    index.add(np.array([900]), index.vectors(ids[2:3]))
    index.add(ids[3:4], index.vectors(ids[4:5]))  # another vector
    index.add(ids[5:6], index.vectors(ids[5:6]), np.array([77]))  # another site
    index.save(path, marks)
    status = verify_index(enrolled.parts)
    assert (status.missing, status.extra, status.different) == (2, 1, 2)
    assert (status.state, status.mend) == ("out of step", "vultus index build")
    assert status.to_dict()["mend"] == "vultus index build"
    seen: list[int] = []
    assert build_index(enrolled.parts, told=seen.append).state == "in step"
    assert sum(seen) == 8
    assert verify_index(enrolled.parts).state == "in step"


def test_a_file_of_another_gallery_is_out_of_step(enrolled: Shelf):
    build_index(enrolled.parts)
    index, marks, path = file_of(enrolled)
    index.save(path, marks | {"gallery": "other"})
    assert index_status(enrolled.parts).state == "out of step"


def test_a_file_that_is_behind_follows_when_it_is_used(enrolled: Shelf):
    index, marks, path = file_of(enrolled)
    empty = ExactIndex(index.dim)
    empty.save(path, marks | {"rev": "0", "tag": ""})
    status = verify_index(enrolled.parts)
    assert (status.state, status.rev, status.missing) == ("behind", 0, 0)
    assert len(ExactIndex.load(path)[0]) == 0  # it was looked at, not mended


def test_no_file_yet_and_a_broken_one(enrolled: Shelf):
    path = enrolled.parts.index.path
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IndexFileBroken, match="delete it"):
        index_status(enrolled.parts)
    path.unlink()
    assert index_status(enrolled.parts).state == "none yet"
    assert build_index(enrolled.parts).state == "in step"
    assert path.exists()


def test_a_kind_is_of_faiss_only(open_shelf, enrolled: Shelf):
    shelf = open_shelf(enrolled.database, index="exact:")
    with pytest.raises(WrongNumber, match="Only the engine faiss"):
        build_index(shelf.parts, kind="ivf-flat")


def test_engines_are_measured_on_the_gallerys_vectors(enrolled: Shelf):
    found = {result.engine: result for result in benchmark_engines(enrolled.parts, 3)}
    assert set(found) >= {"exact", "flat", "ivf-flat", "ivf-sq8", "ivf-fp16", "ivf-pq"}
    assert found["exact"].measured.recall == found["flat"].measured.recall == 1.0
    assert found["ivf-pq"].to_dict() == {"engine": "ivf-pq", "note": "too few vectors for lists."}


def test_nothing_can_be_measured_in_an_empty_gallery(shelf: Shelf):
    with pytest.raises(NothingToMeasure, match="vultus enroll"):
        benchmark_engines(shelf.parts)
