"""One row of the log and its place in the chain: arithmetic only, no database.

See `audit` for what the log is and why.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

START: Final = "0" * 64  # what the first row has for the hash of the row before it
_SALT: Final = 16  # bytes


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to append to the log.

    Attributes:
        action: what was done, one word or words_with_underscores.
        subject: uid of the person, operation or other thing it is about.
        details: numbers, codes and uids, as JSON can hold them: hashed as they stand, never
            erased, so no name, path or vector.
        private: what names somebody, such as a name or a path; erased with the person.
    """

    action: str
    subject: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, Any] | None = None


def canonical(value: object) -> str:
    """JSON in one form only: keys in order, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def chained_row(
    happening: Happening, number: int, time: datetime, actor: str, previous: str
) -> dict[str, Any]:
    """The columns of a row."""
    private, salt = None, None
    if happening.private is not None:
        private, salt = canonical(dict(happening.private)), secrets.token_bytes(_SALT)
    row = {
        "id": number,
        "time": time,
        "actor": actor,
        "action": happening.action,
        "subject": happening.subject,
        "details": canonical(dict(happening.details)),
        "private": private,
        "salt": salt,
        "commitment": None if private is None or salt is None else commitment_of(salt, private),
        "previous": previous,
    }
    return row | {"hash": row_hash(row)}


def row_hash(row: Mapping[str, Any]) -> str:
    """The hash of a row, from its columns without `private` and `salt`."""
    moment = row["time"].astimezone(UTC).isoformat(timespec="microseconds")
    hashed = ("actor", "action", "subject", "details", "commitment", "previous")
    text = canonical([row["id"], moment, *(row[name] for name in hashed)])
    return hashlib.sha256(text.encode()).hexdigest()


def commitment_of(salt: bytes, private: str) -> str:
    """What is hashed in the place of a private text: nobody can guess the text from it."""
    return hashlib.sha256(salt + private.encode()).hexdigest()
