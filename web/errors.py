"""Everything the HTTP interface refuses, and what other packages' errors mean over HTTP.

WebError
├── SettingsWrong        the server cannot start as it was told to
└── AnswerError          an answer with a status and a code
    ├── ClientError          what `vultus.Client` raises: the server's answer was an error
    │   └── ServerUnreachable
    └── Refusal              what the server refuses
        ├── NotAuthenticated     401 no_key, wrong_key, key_revoked, key_expired, session_expired
        ├── Forbidden            403 scope, site, csrf, cross_site, replayed, other_person
        ├── NotFound             404
        ├── Conflict             409
        ├── BodyTooLarge         413 too_large
        ├── BodyUnusable         400, 415, 422
        ├── LockedOut            423 locked_out
        └── TooMany              429 rate_limited, overloaded, too_many_failures
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AnswerError",
    "BodyTooLarge",
    "BodyUnusable",
    "ClientError",
    "Conflict",
    "Forbidden",
    "LockedOut",
    "NotAuthenticated",
    "NotFound",
    "Refusal",
    "ServerUnreachable",
    "SettingsWrong",
    "TooMany",
    "WebError",
    "status_of",
]


class WebError(Exception):
    """Base of the package."""

    code: str = "web_error"
    exit_code: ClassVar[int] = 3


class SettingsWrong(WebError):
    """The server cannot start as it was told to."""

    code = "settings_wrong"
    exit_code = 64


class AnswerError(WebError):
    """An answer that is an error.

    Args:
        message: one sentence that says what to do next.
        code: for scripts; None: the class's own.
        status: of HTTP; None: the class's own.
        details: more, as JSON can hold it.
        retry_after: seconds after which it may be tried again.
    """

    status: int = 0

    def __init__(
        self, message: str, code: str | None = None, *, status: int | None = None,
        details: Mapping[str, Any] | None = None, retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code = self.code if code is None else code
        self.status = self.status if status is None else status
        self.details = dict(details or {})
        self.retry_after = retry_after


class ClientError(AnswerError):
    """The server's answer was an error; its `status` is 0 where there was no answer."""

    code = "unreachable"


class ServerUnreachable(ClientError):
    """No answer came."""


class Refusal(AnswerError):
    """What the server refuses."""

    status = 400
    code = "refused"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        found = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            found["WWW-Authenticate"] = 'Bearer realm="vultus"'
        return found


class NotAuthenticated(Refusal):
    """No key, or one that does not hold."""

    status = 401
    code = "no_key"


class Forbidden(Refusal):
    """The key may not do this."""

    status = 403
    code = "scope"


class NotFound(Refusal):
    """There is no such thing."""

    status = 404
    code = "not_found"


class Conflict(Refusal):
    """It does not fit what is there."""

    status = 409
    code = "conflict"


class BodyTooLarge(Refusal):
    """More bytes than allowed."""

    status = 413
    code = "too_large"


class BodyUnusable(Refusal):
    """The body, or something in it, is not what the route takes."""

    status = 422
    code = "invalid_request"


class LockedOut(Refusal):
    """Too many attempts on one person."""

    status = 423
    code = "locked_out"


class TooMany(Refusal):
    """Too many requests, of one key or of all."""

    status = 429
    code = "rate_limited"


_STATUS = {
    "unknown_person": 404, "unknown_photo": 404, "unknown_template": 404, "unknown_cluster": 404,
    "unknown_profile": 422, "unknown_calibration": 404, "unknown_job": 404, "unknown_key": 404,
    "unknown_operation": 404, "unknown_site": 404, "unknown_suggestion": 404,
    "unknown_receipt": 404,
    "person_exists": 409, "key_exists": 409, "ambiguous_person": 409, "space_mismatch": 409,
    "already_undone": 409, "cannot_undo": 409,
    "invalid_name": 422, "invalid_vector": 422,
    "database_unusable": 503, "schema_behind": 503, "schema_ahead": 503,
    "no_calibration": 422, "unsupported_rate": 422, "no_templates": 409,
    "consent_missing": 422, "consent_required": 422,
}  # fmt: skip
_USER_SIDE = (2, 64)


def status_of(error: Exception) -> int:
    """The HTTP status of an error of another package.

    A code that is not in the table is 422 where a command would say "unusable input", else 500.
    """
    code = getattr(error, "code", "")
    given = 422 if getattr(error, "exit_code", 3) in _USER_SIDE else 500
    return _STATUS.get(code, given)
