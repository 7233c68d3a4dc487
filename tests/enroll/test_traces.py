"""Looking for traces, beside the obvious way; and whose bytes are no trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll import traces
from enroll.traces import PIECE, find_pieces, pieces_of, still_others, traces_of

if TYPE_CHECKING:
    from .conftest import Shelf


@pytest.mark.parametrize("block", [32, 100, 1 << 22])
def test_pieces_are_found_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
):
    monkeypatch.setattr(traces, "_BLOCK", block)
    rng = np.random.default_rng(0)
    wanted = [rng.bytes(PIECE) for _ in range(40)]
    texts = {}
    for number in range(6):
        text = bytearray(rng.bytes(1500))
        for piece in wanted[number::7]:
            start = int(rng.integers(0, len(text) - PIECE))
            text[start : start + PIECE] = piece
        text[:PIECE] = wanted[number]
        text[-PIECE:] = wanted[-number - 1]
        texts[tmp_path / str(number)] = bytes(text)
    for path, text in texts.items():
        path.write_bytes(text)
    found, read, complete = find_pieces([*texts, tmp_path / "none"], wanted)
    assert found == {p: {w for w in wanted if w in text} for p, text in texts.items()}
    assert (read, complete) == (9000, True)


def test_nothing_wanted_short_files_and_no_time(tmp_path: Path):
    (tmp_path / "short").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    files = [tmp_path / "short", tmp_path / "empty"]
    assert find_pieces(files, []) == ({}, 3, True)
    assert find_pieces(files, [bytes(range(PIECE))]) == ({}, 3, True)
    assert find_pieces(files, [bytes(range(PIECE))], seconds=-1.0) == ({}, 0, False)


def test_pieces_are_spread_and_never_anybodys():
    data = np.random.default_rng(1).bytes(500)
    pieces = pieces_of(data)
    assert len(pieces) == traces.PIECES
    assert {data[:PIECE], data[-PIECE:]} <= pieces
    assert all(piece in data for piece in pieces)
    assert all(data.index(piece) >= 100 for piece in pieces_of(data, 100))
    assert pieces_of(b"\0" * 500) == pieces_of(data[: PIECE - 1]) == set()


def test_what_another_row_holds_too_is_no_trace(enrolled: Shelf):
    ids = [int(str(row[0])) for row in enrolled.ask("SELECT id FROM templates ORDER BY id")]
    with enrolled.parts.store.read() as session:
        mine = traces_of(session, ids[:1], [])
        assert still_others(session, mine.pieces) == mine.pieces
    enrolled.parts.store.close()
    with enrolled.parts.store.begin() as session:
        session.connection().exec_driver_sql("DELETE FROM templates WHERE id = 1")
        crops = [piece for piece in mine.pieces if piece not in mine.vectors[0]]
        assert still_others(session, mine.pieces) == set(crops)
        session.rollback()
