"""What every request passes first: an id, a key, limits; and what every answer gets.

Nothing is let through without a key but what `OPEN` lists, whether there is a route or not, and
before a byte of the body is read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store.errors import StoreError
from web import metrics
from web.auth import Principal, no_key
from web.errors import BodyTooLarge, Forbidden, NotAuthenticated, Refusal, TooMany, status_of
from web.logs import LOGGER
from web.refusals import Kind

if TYPE_CHECKING:
    from web.services import Services

# Routes that answer without a key. The page itself holds nothing; what it shows comes from /v1.
OPEN = frozenset({"/health/live", "/health/ready", "/signin", "/favicon.ico"})
OPEN_FOLDER = "/static/"
SIGN_IN = "/v1/session"
API = ("/v1/", "/metrics", "/openapi.json", "/health/")
COOKIE = "vultus_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
JSON_LIMIT = 1 << 20  # bytes of a body without pictures
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(LOGGER)


class Gateway:
    """The outermost layer; see the head of this file."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Passage(self._app, self._services, scope, receive, send).run()


class _Passage:
    """One request on its way through."""

    def __init__(
        self, app: ASGIApp, services: Services, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.app, self.services, self.scope, self.receive, self.out = (
            app, services, scope, receive, send,
        )  # fmt: skip
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        self.status = 0
        self.begun = time.perf_counter()
        self.code = ""
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.state.update(request_id=self.id, principal=None, session=None, refusal=None, code="")

    async def run(self) -> None:
        try:
            principal = await self._principal()
            self.state["principal"] = principal
            self.state["session"] = principal if principal and principal.cookie else None
            if not self._sent_to_sign_in(principal):
                self._require_allowed(principal)
                await self.app(self.scope, self.receive, self.send)
            else:
                await self._redirect()
        except Refusal as refusal:
            await self.refuse(refusal)
        except StoreError as error:  # the database is away
            status = status_of(error)
            await self.answer_error(status, error.code, "The database cannot be used now.")
        except asyncio.CancelledError:
            self.status = self.status or CLIENT_GONE
            raise
        except Exception as error:  # noqa: BLE001 - the one place where everything ends
            _log.error("request failed", exc_info=error, extra={"request_id": self.id})
            message = "Something unexpected went wrong here; it is in the server's log."
            await self.answer_error(500, "internal_error", message)
        finally:
            self._told()

    async def send(self, message: Message) -> None:
        """Send on, with the headers every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if not self.scope["path"].startswith(OPEN_FOLDER):
                headers.setdefault("Cache-Control", "no-store")
        await self.out(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal."""
        self.state["refusal"] = refusal
        await self.answer_error(
            refusal.status, refusal.code, str(refusal), refusal.details, refusal.headers
        )

    async def answer_error(
        self, status: int, code: str, message: str, details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """The error envelope, unless an answer has begun."""
        self.code = code
        if self.status:
            return
        body = json.dumps(envelope(code, message, details, self.id)).encode()
        head = {"content-type": "application/json", "content-length": str(len(body))}
        head |= {name.lower(): value for name, value in (headers or {}).items()}
        if status in (401, 413, 429):
            head["connection"] = "close"  # the body was not read
        raw = [(name.encode(), value.encode()) for name, value in head.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _principal(self) -> Principal | None:
        """Who asks; None where nobody needs to say."""
        path, method = self.scope["path"], self.scope["method"]
        if path in OPEN or path.startswith(OPEN_FOLDER):
            return None
        if path == SIGN_IN and method == "POST":
            self._require_own_page()
            return None
        authority = self.services.authority
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return authority.known(key) or await run_in_threadpool(
                authority.by_key, key, self.address
            )
        cookie = _cookie(self.headers)
        if cookie is None:
            if self._is_page():
                return None
            raise no_key()
        principal = authority.known(cookie)
        if principal is None:
            try:
                principal = await run_in_threadpool(authority.by_cookie, cookie, self.address)
            except (NotAuthenticated, TooMany):
                if self._is_page():
                    return None
                raise
        if method not in SAFE:
            self.state["principal"] = principal  # the log names the key of what is refused here
            self._require_own_page()
            principal.require_csrf(self.headers.get("x-csrf-token"))
        return principal

    def _require_own_page(self) -> None:
        """Refuse what another site's page makes a browser send."""
        if self.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Forbidden("This can only be asked from the server's own page.", "cross_site")

    def _require_allowed(self, principal: Principal | None) -> None:
        """The rate of the key, and the size of the body."""
        services = self.services
        if principal is not None and self.scope["path"].startswith(API):
            detect = self.scope["path"] == "/v1/detect"
            buckets = services.detect_rates if detect else services.rates
            if pause := buckets.wait(principal.key_uid):
                raise TooMany("This key sends too many requests; wait.", retry_after=pause)
        size = self.headers.get("content-length", "0")
        limit = services.settings.max_upload
        archive = self.scope["path"] == "/v1/jobs"
        limit = services.settings.max_archive if archive else limit
        if self.headers.get("content-type", "").startswith("application/json"):
            limit = services.settings.max_upload * 4 // 3 + 4096  # base64
        if size.isdecimal() and int(size[:18]) > limit:
            raise BodyTooLarge(f"The request has {size} bytes; at most {limit} are taken.")

    def _is_page(self) -> bool:
        return self.scope["method"] in SAFE and not self.scope["path"].startswith(API)

    def _sent_to_sign_in(self, principal: Principal | None) -> bool:
        path = self.scope["path"]
        free = path in OPEN or path.startswith(OPEN_FOLDER) or path == SIGN_IN
        return principal is None and not free

    async def _redirect(self) -> None:
        raw = [(b"location", b"/signin"), (b"content-length", b"0")]
        await self.send({"type": "http.response.start", "status": 303, "headers": raw})
        await self.send({"type": "http.response.body", "body": b""})

    @property
    def address(self) -> str:
        """Where the request comes from."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    def _told(self) -> None:
        """Count, log, and keep refusals for the log of events."""
        taken = time.perf_counter() - self.begun
        route = str(getattr(self.scope.get("route"), "path", ""))
        status, refusal = self.status, self.state["refusal"]
        principal = self.state["principal"]
        key = None if principal is None else principal.key_uid
        shown = route or ("static" if self.scope["path"].startswith(OPEN_FOLDER) else "unknown")
        method = self.scope["method"]
        method = method if method in _METHODS else "OTHER"
        metrics.REQUESTS.labels(shown, method, status).inc()
        metrics.LATENCY.labels(shown).observe(taken)
        extra: dict[str, Any] = {
            "method": method, "route": shown, "status": status, "ms": round(taken * 1e3, 2),
            "request_id": self.id,
        }  # fmt: skip
        if key is not None:
            extra["key"] = key
        code = self.code or self.state.get("code", "")
        if code:
            extra["code"] = code
            metrics.REFUSED.labels(code).inc()
        if 400 <= status < 500 and status != CLIENT_GONE and code not in HARMLESS:
            blamed = None if refusal is None else refusal.details.get("key")
            subject = self.state.get("subject") if code == "locked_out" else None
            kind = Kind(code, status, key or blamed, route, self.address, subject)
            self.services.refusals.count(kind)
        _log.info("request", extra=extra)


# What happens every day at a gate and is no attack.
HARMLESS = frozenset({
    "face_not_found", "multiple_faces", "face_too_small", "low_quality", "extreme_pose",
})  # fmt: skip
CLIENT_GONE = 499
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def envelope(
    code: str, message: str, details: dict[str, Any] | None, request_id: str
) -> dict[str, Any]:
    """The one form every error has."""
    error = {"code": code, "message": message, "details": details or {}}
    return {"error": error, "request_id": request_id}


def _cookie(headers: Headers) -> str | None:
    """The session's cookie, None without one."""
    given = headers.get("cookie")
    if given is None or COOKIE not in given:
        return None
    try:
        jar = SimpleCookie(given)
    except CookieError:
        return None
    found = jar.get(COOKIE)
    return None if found is None else found.value
