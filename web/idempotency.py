"""A request that is sent again under the same `Idempotency-Key` is done once.

The key belongs to the API key that sent it and holds for a day. The same key with another request
is refused; one whose request is still in work is told to wait; one whose request was cut off by a
crash is taken over after a while, and what was done before the crash is done again harmlessly.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from fastapi import Request
from starlette.responses import Response

from store.answered import Kept, begin_answer, drop_answer, finish_answer, renew_answer
from store.columns import now
from store.session import Store
from web.auth import Principal
from web.errors import BodyUnusable, Conflict
from web.uploads import Form

HEADER = "Idempotency-Key"
_NAME = re.compile(r"[\x21-\x7e]{1,128}")
_CUT_OFF = timedelta(seconds=60)


def key_of(request: Request) -> str | None:
    """The idempotency key of a request; None without one.

    Raises:
        BodyUnusable: it is no such key.
    """
    given = request.headers.get(HEADER)
    if given is not None and not _NAME.fullmatch(given):
        raise BodyUnusable(f"{HEADER} is 1 to 128 printable ASCII characters without spaces.")
    return given


def fingerprint(request: Request, form: Form) -> str:
    """SHA-256 over what a request asks for."""
    whole = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    whole.update(json.dumps(form.fields, sort_keys=True).encode())
    for name in sorted(form.pictures):
        for picture in form.pictures[name]:
            whole.update(f"\n{name}:{hashlib.sha256(picture).hexdigest()}".encode())
    return whole.hexdigest()


def once(
    store: Store, who: Principal, name: str | None, mark: str,
    work: Callable[[bool], tuple[int, dict[str, Any]]],
) -> Response:  # fmt: skip
    """Do something, or give the answer it was given before.

    Args:
        store: the gallery's database.
        who: who asks.
        name: the idempotency key; None: do it.
        mark: fingerprint of the request.
        work: gives status and JSON; is told whether it may have been done in part before.

    Raises:
        Conflict: another request has the key, or the same is still in work.
    """
    if name is None:
        return _answer(*work(False))
    with store.begin() as session:
        kept, new = begin_answer(session, who.key_id, name, mark)
        if not new and kept.request == mark and _cut_off(kept):
            renew_answer(session, kept)
    if kept.request != mark:
        raise Conflict(
            f"This {HEADER} was used for another request; take a new one.", "idempotency_mismatch"
        )
    if kept.status is not None:
        answer = Response(kept.body, kept.status, media_type="application/json")
        answer.headers["Idempotent-Replayed"] = "true"
        return answer
    if not new and not _cut_off(kept):
        raise Conflict(
            "The same request is in work; ask again in a second.", "in_progress", retry_after=1.0
        )
    return _done(store, kept, work, again=not new)


def _done(
    store: Store, kept: Kept, work: Callable[[bool], tuple[int, dict[str, Any]]], *, again: bool
) -> Response:
    try:
        status, values = work(again)
    except BaseException:
        with store.begin() as session:
            drop_answer(session, kept)
        raise
    answer = _answer(status, values)
    with store.begin() as session:
        finish_answer(session, kept, status, bytes(answer.body).decode())
    return answer


def _cut_off(kept: Kept) -> bool:
    return kept.status is None and now() - kept.created > _CUT_OFF


def _answer(status: int, values: dict[str, Any]) -> Response:
    return Response(json.dumps(values, ensure_ascii=False), status, media_type="application/json")
