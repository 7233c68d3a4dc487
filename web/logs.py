"""Structured logs: one JSON object a line, with codes, uids and durations.

Never with a picture, a vector, a name of a person, a key, a query string or a path with any of
them: a request is logged by the template of its route, an exception by its type and the lines of
code it passed.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

LOGGER = "vultus.web"
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_QUIET = ("uvicorn.access",)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        told |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info and record.exc_info[1] is not None:
            told["error"] = type(record.exc_info[1]).__name__
            told["at"] = where(record.exc_info[1])
        return json.dumps(told, ensure_ascii=False, default=str)


def where(error: BaseException) -> list[str]:
    """The lines of code an exception passed, without any value."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{'/'.join(f.filename.split('/')[-2:])}:{f.lineno} {f.name}" for f in frames[-12:]]


def configure(level: str) -> None:
    """Send everything this process logs to stderr as JSON lines.

    Args:
        level: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _QUIET:  # it would log query strings
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = False
    for name in ("httpx", "asyncio", "multipart", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)
