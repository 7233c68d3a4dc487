"""`vultus forget` and `vultus receipts`: questions, receipts, exit codes, what can be repeated."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Done, Gallery

Inside = Callable[..., "Done"]


def test_a_receipt_is_written_and_checked(inside: Inside, own: Gallery, tmp_path: Path):
    name, other = own.names[:2]
    file = tmp_path / "receipt.json"
    done = inside("forget", name, "--yes", "--receipt", file, *own.at)
    assert done.code == 0
    assert "found none" in done.out
    receipt = json.loads(file.read_text())
    assert receipt["proof"]["clean"] is True
    assert receipt["key"] not in done.out
    assert file.stat().st_mode & 0o077 == 0
    assert name not in file.read_text()
    assert inside("receipts", "check", file, *own.at).code == 0
    assert inside("receipts", "check", file, "--person", name, *own.at).code == 0
    assert inside("receipts", "check", file, "--person", other, *own.at).code == 1
    file.write_text(json.dumps(receipt | {"time": "2020-01-01"}))
    assert inside("receipts", "check", file, *own.at).code == 1
    assert inside("receipts", "check", own.database, *own.at).code == 2
    said = inside("receipts", "list", *own.at, "--format", "json").json()["receipts"]
    assert [(one["receipt"], one["pending"]) for one in said] == [(receipt["receipt"], False)]
    assert inside("audit", "verify", *own.at).code == 0


def test_without_a_file_the_key_is_shown_once(inside: Inside, own: Gallery):
    done = inside("forget", own.names[0], "--yes", "--no-proof", *own.at)
    assert done.code == 0
    assert "kept nowhere else" in done.out
    assert "Looked for" not in done.out


def test_a_place_that_cannot_take_the_receipt_is_refused_before(
    inside: Inside, own: Gallery, tmp_path: Path
):
    before = own.content()
    for place in (own.database, tmp_path / "none" / "r.json"):
        assert inside("forget", own.names[0], "--yes", "--receipt", place, *own.at).code == 64
    assert own.content() == before


def test_a_no_changes_nothing(inside: Inside, own: Gallery):
    before = own.content()
    assert inside("forget", own.names[0], *own.at, stdin="n\n").code == 130
    assert own.content() == before


def test_the_same_command_finishes_a_refused_scrub(inside: Inside, own: Gallery):
    name = own.names[0]
    with closing(sqlite3.connect(own.database, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM people").fetchall()
        done = inside("forget", name, "--yes", "--no-proof", *own.at)
        assert done.code == 3
        assert "Run this again" in done.err
        assert "Receipt" in done.out
    said = inside("receipts", "list", *own.at, "--format", "json").json()["receipts"]
    assert said[0]["pending"] is True
    done = inside("forget", name, "--yes", *own.at)
    assert done.code == 0
    assert "has left the database's files now" in done.out
    assert inside("forget", name, "--yes", *own.at).code == 2


def test_audit_of_a_gallery(inside: Inside, own: Gallery, tmp_path: Path):
    assert inside("audit", "gallery", *own.at).code == 0
    name, probe = own.genuine
    inside("enroll", probe, "--name", "Second Name", "--allow-lookalikes", *own.at)
    done = inside("audit", "gallery", "--out", tmp_path / "audit", *own.at, "--format", "json")
    assert done.code == 1
    said = done.json()
    assert sorted(said["findings"][0]["people"]) == sorted([name, "Second Name"])
    assert Path(said["page"]).is_file()
    table = inside("audit", "gallery", "--profile", "gate", *own.at)
    assert table.code == 1
    assert "To mend: vultus people merge" in table.out
