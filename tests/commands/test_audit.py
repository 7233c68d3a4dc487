"""`vultus audit log`, `verify` and `anchor`: what was done, and whether the log is whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery

Inside = Callable[..., "Done"]


def change(gallery: Gallery, statement: str) -> None:
    with closing(sqlite3.connect(gallery.database)) as connection, connection:
        connection.execute(statement)


def rows(inside: Inside, gallery: Gallery, *asked: str) -> list[dict]:
    done = inside("audit", "log", *asked, *gallery.at, "--format", "jsonl")
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def test_the_log_tells_who_did_what(inside: Inside, own: Gallery):
    name, probe = own.genuine
    inside("verify", name, "--source", probe, *own.at)
    inside("verify", name, "--source", own.strangers[0], *own.at)
    enrolled = rows(inside, own, "--action", "enrolled")
    assert len(enrolled) == 24
    assert {row["person"] for row in enrolled} == set(own.names)
    yes, no = rows(inside, own, "--person", name, "--action", "decided")
    assert (yes["details"]["answer"], no["details"]["answer"]) == ("yes", "no")
    assert yes["details"]["similarity"] > yes["details"]["threshold"]
    assert yes["private"] == {"source": str(probe)}
    assert yes["actor"].startswith("user:")
    assert rows(inside, own, "--last", "1") == [no]
    assert rows(inside, own, "--since", "2999-01-01") == []
    whole = inside("audit", "log", *own.at, "--format", "json", "--all").json()
    assert [row["number"] for row in whole] == list(range(1, len(whole) + 1))
    table = inside("audit", "log", "--person", yes["subject"], *own.at).out
    assert table.splitlines()[0].split() == ["row", "time", "by", "action", "about", "details"]
    assert "answer=yes" in table
    assert inside("audit", "log", "--person", "Nobody Here", *own.at).code == 2


def test_a_whole_log(inside: Inside, own: Gallery):
    done = inside("audit", "verify", *own.at)
    assert done.code == 0
    assert "The log is whole" in done.out
    anchor = inside("audit", "anchor", *own.at).out.strip()
    inside("people", "rename", own.names[0], "Ann Lee", *own.at)
    said = inside("audit", "verify", "--anchor", anchor, *own.at, "--format", "json").json()
    assert said["whole"]
    assert said["length"] == int(anchor.partition(":")[0]) + 1
    values = inside("audit", "anchor", *own.at, "--format", "json").json()
    assert values["anchor"] == f"{said['length']}:{said['head']}"


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        ("UPDATE events SET actor = 'user:eve' WHERE id = 3", 3),
        ("DELETE FROM events WHERE id = 7", 7),
        ("DELETE FROM events WHERE id = (SELECT max(id) FROM events)", None),
        ("UPDATE events SET private = '{}' WHERE id = (SELECT max(id) FROM events)", None),
    ],
)
def test_what_was_changed_behind_the_program_is_found(
    inside: Inside, own: Gallery, statement: str, row: int | None
):
    length = len(rows(inside, own, "--all"))
    inside("people", "rename", own.names[0], "Ann Lee", *own.at)
    change(own, statement)
    done = inside("audit", "verify", *own.at)
    assert done.code == 1
    assert f"Row {length + 1 if row is None else row} of the log is bad" in done.out
    said = inside("audit", "verify", *own.at, "--format", "json")
    assert (said.code, said.json()["whole"]) == (1, False)


def test_a_log_cut_short_is_found_with_an_anchor(inside: Inside, own: Gallery):
    anchor = inside("audit", "anchor", *own.at).out.strip()
    change(own, "DELETE FROM events WHERE id > 3")
    change(
        own,
        "UPDATE gallery SET log_length = 3, log_head = (SELECT hash FROM events WHERE id = 3)",
    )
    assert inside("audit", "verify", *own.at).code == 0
    done = inside("audit", "verify", "--anchor", anchor, *own.at)
    assert done.code == 1
    assert "Row 4 of the log is bad: it is missing: the anchor saw" in done.out
    done = inside("audit", "verify", "--anchor", "rubbish", *own.at)
    assert (done.code, "no anchor" in done.err) == (2, True)


def test_forgetting_leaves_the_log_whole_and_nameless(inside: Inside, own: Gallery):
    name, _ = own.genuine
    inside("people", "rename", name, "Annabel Leigh", *own.at)
    assert inside("forget", "Annabel Leigh", "--yes", *own.at).code == 0
    assert inside("audit", "verify", *own.at).code == 0
    for file in own.database.parent.glob("gallery*"):
        data = file.read_bytes()
        assert name.encode() not in data, file.name
        assert b"Annabel" not in data, file.name
    (last,) = rows(inside, own, "--action", "person_forgotten")
    assert (last["person"], last["private"]) == (None, None)
    erased = rows(inside, own, "--person", last["subject"], "--action", "enrolled")
    assert [row["erased"] for row in erased] == [True] * 4
