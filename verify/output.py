"""Results as people and programs read them: a table, JSON, JSON lines, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def as_json(value: object, *, indent: int | None = 1) -> str:
    """JSON text, non-ASCII kept."""
    return json.dumps(value, indent=indent, ensure_ascii=False)


def as_line(value: object) -> str:
    """One line of JSON."""
    return as_json(value, indent=None)


def as_table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """A plain table with aligned columns; numbers to the right.

    Args:
        rows: cells, as many as `head`.
        head: the columns' titles.
    """
    cells = [list(head), *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [
        all(isinstance(row[i], int | float) for row in rows) and bool(rows)
        for i in range(len(head))
    ]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """CSV lines without a head, as face_recognition prints them; no line end after the last."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


def error_values(error: Exception) -> Mapping[str, Any]:
    """A failure as JSON values: code, reason where there is one, message."""
    reason = getattr(error, "reason", None)
    told = {"code": getattr(error, "code", "error"), "message": str(error)}
    return {"answer": None, "error": told | ({} if reason is None else {"reason": reason})}
