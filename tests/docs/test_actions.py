"""docs/audit.md explains every action that the program writes into its log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"append_event": 1, "_tell": 1, "Happening": 0}  # function → which argument the action is


def actions(file: Path) -> Iterator[str]:
    """The actions that a module writes out in words."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        name = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        if name in PLACES and len(node.args) > PLACES[name]:
            words = ast.walk(node.args[PLACES[name]])
            values = (word.value for word in words if isinstance(word, ast.Constant))
            yield from (value for value in values if isinstance(value, str))


def test_every_action_is_explained():
    files = [file for place in ("store", "enroll", "web") for file in (ROOT / place).rglob("*.py")]
    written = {action for file in files for action in actions(file)}
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([a-z_]+)`", page))
    assert {"enrolled", "exported", "renamed", "named", "name_taken_away"} <= written
    assert len(written) > 30
    assert written - explained == {"_forgotten"}  # of a person or a photo: `person_forgotten`
