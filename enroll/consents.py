"""A list of consents: who agreed to be enrolled, on what basis, when, and where that is kept.

A CSV file in UTF-8 whose first line names its columns: `name`, and any of `basis`, `date`
(YYYY-MM-DD) and `reference`; other columns are passed over. Commas or semicolons separate them,
as spreadsheets write either.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from enroll.errors import ConsentsUnusable
from store.consent import Consent
from store.errors import InvalidName
from store.names import clean_name, composed

_DAY = "%Y-%m-%d"
_KNOWN = frozenset({"basis", "date", "reference"})


def read_consents(file: Path) -> dict[str, Consent]:
    """The consents of a list, by name as the gallery writes it.

    Raises:
        ConsentsUnusable: it cannot be read, lacks a column, or a line of it makes no sense.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConsentsUnusable(str(file), (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise ConsentsUnusable(str(file), "it is no text in UTF-8") from error
    head = text.partition("\n")[0]
    lines = text.splitlines(keepends=True)
    rows = csv.DictReader(lines, delimiter=";" if ";" in head else ",", strict=True)
    found: dict[str, Consent] = {}
    try:
        _require_columns(rows.fieldnames or ())
        for row in rows:
            name = clean_name(row["name"] or "")
            if name in found:
                raise ValueError(f"{name} comes twice")
            found[name] = _consent_of(row)
    except (ValueError, InvalidName, csv.Error) as error:
        raise ConsentsUnusable(f"{file}, line {rows.line_num}", str(error).rstrip(".")) from error
    return found


def names_without_photos(consents: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names of a list that none of some photos come with, sorted: forgotten, or mistyped."""
    return sorted(set(consents) - {composed(name) for name in names})


def _require_columns(names: Sequence[str]) -> None:
    if "name" not in names or not _KNOWN & set(names):
        raise ValueError("the first line must name the columns: name,basis,date,reference")


def _consent_of(row: dict[str, str | None]) -> Consent:
    said = {key: (row.get(key) or "").strip() or None for key in _KNOWN}
    day = said["date"]
    try:
        date = None if day is None else datetime.strptime(day, _DAY).replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{day!r} is no day like 2026-11-30") from error
    return Consent(said["basis"], date, said["reference"])
