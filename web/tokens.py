"""Keys and cookies: how they are made, and how they are checked without being kept.

A key is `vk_` + 12 hexadecimal digits + `_` + 43 characters of 256 random bits. The first part
finds its row, the second is checked against scrypt (RFC 7914, N = 2^14, r = 8, p = 1: 16 MiB and
some 40 ms a check), so that a copy of the database gives no key away even if a future key were
weaker. Because a check is that slow, the server keeps the SHA-256 of keys that passed in memory;
see `auth.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

_PARTS = re.compile(r"vk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_COST, _BLOCKS = 1 << 14, 8
_MEMORY = 64 << 20


def new_key() -> tuple[str, str]:
    """A fresh key: its public part, and the whole of it, to be shown once."""
    uid, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return uid, f"vk_{uid}_{secret}"


def parse_key(text: str) -> tuple[str, str] | None:
    """Public and secret part of a key; None where the text is none."""
    found = _PARTS.fullmatch(text)
    return None if found is None else (found[1], found[2])


def seal_secret(secret: str) -> tuple[bytes, bytes]:
    """A fresh salt, and the hash of a key's secret part under it."""
    salt = secrets.token_bytes(16)
    return salt, _scrypt(secret, salt)


def secret_holds(secret: str, salt: bytes, kept: bytes) -> bool:
    """Whether a secret is the one whose hash was kept; as slow for a wrong one as for the right."""
    return hmac.compare_digest(_scrypt(secret, salt), kept)


def new_cookie() -> str:
    """A fresh random cookie, or CSRF token."""
    return secrets.token_urlsafe(32)


def fingerprint(token: str) -> str:
    """SHA-256 of a random token, hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two tokens are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        secret.encode(), salt=salt, n=_COST, r=_BLOCKS, p=1, maxmem=_MEMORY, dklen=32
    )
