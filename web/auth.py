"""Who asks: API keys, and sessions of the page that were opened with one.

Checking a key takes some 40 ms of scrypt, so the SHA-256 of one that passed is remembered, and its
row is read again once a second: a key that is revoked, expired or changed stops within that second
in every worker.

Who guesses must wait, and nobody else: wrong keys are counted for an address, and for each key of
it whose public part was right. An address that guesses too much is told to wait where its key is
wrong; one that is right passes, from behind the same router too, unless somebody there guesses at
the secret of that very key.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from store.audit import append_event
from store.keys import KeyRecord, key_by_id, key_by_uid, mark_used
from store.session import Store
from store.websessions import close_session, drop_expired, open_session, signed_in
from web.errors import Forbidden, NotAuthenticated, TooMany
from web.limits import Buckets
from web.tokens import fingerprint, new_cookie, parse_key, same, secret_holds

SCOPES = ("verify", "identify", "enrol", "admin")
FRESH = 1.0  # seconds for which a checked key is believed without reading its row
_REMEMBERED = 4096
_WHY = {
    "no_key": "Send a key: Authorization: Bearer vk_…; `vultus keys add` makes one.",
    "wrong_key": "That is no key of this server; `vultus keys add` makes one.",
    "key_revoked": "This key was revoked; ask for another one.",
    "key_expired": "This key has expired; ask for another one.",
    "session_expired": "You are not signed in any more; sign in again.",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        key_id, key_uid, name: the key.
        scopes: what it may do.
        sites: the sites it is limited to; None: every site.
        cookie: sha256 of the page's cookie; None where the key itself was sent.
        csrf: what unsafe requests of the page must repeat.
    """

    key_id: int
    key_uid: str
    name: str
    scopes: frozenset[str]
    sites: frozenset[str] | None = None
    cookie: str | None = None
    csrf: str = ""

    @property
    def actor(self) -> str:
        """What the log calls it."""
        return f"key:{self.name}"

    def may(self, scope: str) -> bool:
        """Whether it may do what a scope stands for."""
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, site: str) -> bool:
        """Whether a site is one of its own."""
        return self.sites is None or site in self.sites

    def require(self, scope: str) -> None:
        """Go on where it may.

        Raises:
            Forbidden: it may not.
        """
        if not self.may(scope):
            raise Forbidden(
                f"This needs the scope {scope}, which the key {self.name!r} does not have.",
                details={"scope": scope},
            )

    def require_csrf(self, given: str | None) -> None:
        """Make sure that a request of the page was sent by the page.

        Raises:
            Forbidden: it was not, as far as can be told.
        """
        if self.cookie is not None and (given is None or not same(given, self.csrf)):
            raise Forbidden("Repeat the session's token in the header X-CSRF-Token.", "csrf")


@dataclass(slots=True)
class _Checked:
    principal: Principal
    hash: bytes
    until: datetime | None
    at: float


class Authority:
    """Checks keys and cookies, and remembers those that passed.

    Args:
        store: the gallery's database.
        hours: how long the page stays signed in.
        failures: counts keys that do not hold; None: they are not counted.
    """

    def __init__(self, store: Store, hours: float, failures: Buckets | None = None) -> None:
        self._store = store
        self._failures = Buckets(None) if failures is None else failures
        self._hours = hours
        self._known: OrderedDict[str, _Checked] = OrderedDict()
        self._used: dict[int, datetime] = {}
        self._lock = threading.Lock()
        self._slow = threading.Lock()  # one scrypt at a time: guesses cannot take all cores

    def known(self, token: str) -> Principal | None:
        """Who sent a key or cookie, if that was checked a moment ago; quick."""
        found = self._known.get(fingerprint(token))
        if found is None or time.monotonic() - found.at > FRESH:
            return None
        if found.until is not None and found.until <= datetime.now(UTC):
            return None
        return found.principal

    def by_key(self, key: str, address: str = "") -> Principal:
        """Who sent a key; slow the first time.

        Args:
            key: as it was sent.
            address: where it came from; its guesses are counted.

        Raises:
            NotAuthenticated: nobody.
            TooMany: nobody, and too many of such keys came from there.
        """
        with self._counted(address):
            return self._by_key(key, address)

    def _by_key(self, key: str, address: str) -> Principal:
        parts = parse_key(key)
        if parts is None:
            raise _refused("wrong_key")
        mark = fingerprint(key)
        seen = self._known.get(mark)
        with self._store.read() as session:
            uid = parts[0]
            row = key_by_uid(session, uid) if seen is None else key_by_id(
                session, seen.principal.key_id
            )  # fmt: skip
        if row is None or not self._holds(parts[1], row, seen, address):
            self._known.pop(mark, None)
            raise _refused("wrong_key")
        self._require_in_force(mark, row)
        principal = _principal(row)
        self._remember(mark, _Checked(principal, row.hash, row.expires, time.monotonic()))
        return principal

    def by_cookie(self, cookie: str, address: str = "") -> Principal:
        """Who is signed in with a cookie; arguments and errors as `by_key`."""
        with self._counted(address):
            return self._by_cookie(cookie)

    def _by_cookie(self, cookie: str) -> Principal:
        mark = fingerprint(cookie)
        with self._store.read() as session:
            found = signed_in(session, mark)
        if found is None or found.expires <= datetime.now(UTC):
            self._known.pop(mark, None)
            raise _refused("session_expired")
        self._require_in_force(mark, found.key)
        principal = _principal(found.key, mark, found.csrf)
        self._remember(mark, _Checked(principal, b"", found.expires, time.monotonic()))
        return principal

    def sign_in(self, key: str, address: str = "") -> tuple[str, Principal]:
        """Open a session of the page with a key; arguments and errors as `by_key`.

        Returns:
            The cookie, and who is signed in.
        """
        principal = self.by_key(key, address)
        cookie, csrf, now = new_cookie(), new_cookie(), datetime.now(UTC)
        with self._store.begin() as session:
            session.info["actor"] = principal.actor
            drop_expired(session, now)
            ends = now + timedelta(hours=self._hours)
            open_session(session, fingerprint(cookie), csrf, principal.key_id, ends)
            append_event(session, "signed_in", principal.key_uid)
        return cookie, self.by_cookie(cookie)

    def sign_out(self, principal: Principal) -> None:
        """End a session of the page."""
        if principal.cookie is None:
            return
        with self._store.begin() as session:
            session.info["actor"] = principal.actor
            close_session(session, principal.cookie)
            append_event(session, "signed_out", principal.key_uid)
        self._known.pop(principal.cookie, None)

    def write_used(self) -> None:
        """Keep when keys were last used."""
        with self._lock:
            used, self._used = self._used, {}
        if used:
            with self._store.begin() as session:
                mark_used(session, used)

    def _holds(self, secret: str, row: KeyRecord, seen: _Checked | None, address: str) -> bool:
        if seen is not None and seen.hash == row.hash:
            return True
        guessed = f"{address} {row.uid}"
        if pause := self._failures.wait(guessed, take=False):
            raise _guessing(pause)
        with self._slow:
            holds = secret_holds(secret, row.salt, row.hash)
        if not holds:
            self._failures.wait(guessed)
        return holds

    @contextmanager
    def _counted(self, address: str) -> Iterator[None]:
        """Count a key that does not hold; after too many the answer is to wait."""
        try:
            yield
        except NotAuthenticated:
            if pause := self._failures.wait(address):
                raise _guessing(pause) from None
            raise

    def _require_in_force(self, mark: str, row: KeyRecord) -> None:
        why = row.refusal(datetime.now(UTC))
        if why is not None:
            self._known.pop(mark, None)
            raise _refused(why, row.uid)
        with self._lock:
            self._used[row.id] = datetime.now(UTC)

    def _remember(self, mark: str, checked: _Checked) -> None:
        with self._lock:
            self._known[mark] = checked
            self._known.move_to_end(mark)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def no_key() -> NotAuthenticated:
    """The refusal of a request without a key."""
    return _refused("no_key")


def _guessing(pause: float) -> TooMany:
    return TooMany(
        "Too many requests with wrong keys come from this address; wait.",
        "too_many_failures",
        retry_after=pause,
    )


def _refused(code: str, key_uid: str | None = None) -> NotAuthenticated:
    return NotAuthenticated(_WHY[code], code, details={} if key_uid is None else {"key": key_uid})


def _principal(row: KeyRecord, cookie: str | None = None, csrf: str = "") -> Principal:
    return Principal(row.id, row.uid, row.name, row.scopes, row.sites, cookie, csrf)
