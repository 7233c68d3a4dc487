"""The keys of a sealed gallery: where the master key comes from, and what it opens.

The master key is the owner's and never in the database. It wraps data keys, which seal templates
and crops (`store.sealing`). Keys are given as text, one a line, 32 bytes each as 64 hexadecimal
digits or as base64; `#` begins a comment. The first key seals, the others still open:

- a file: `--key-file PATH`, or the environment variable VULTUS_KEY_FILE;
- the system's keyring: `keyring:NAME` in the place of a path (the package `keyring`);
- the environment variable VULTUS_KEY, the keys separated by blanks.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces, HKDF-SHA256 (RFC 5869). Nothing here
imports the cryptographic library before a key is used.
"""

import base64
import binascii
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from store.errors import KeyMissing, KeyUnusable, KeyWrong, SealBroken
from store.renewal import Transform, transform_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE_VARIABLE: Final = "VULTUS_KEY_FILE"
KEY_VARIABLE: Final = "VULTUS_KEY"
KEYRING: Final = "keyring:"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_SERVICE = "vultus"
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_DATA_KEY, _SEED = b"vultus data key 1", b"vultus transform 1"


@dataclass(frozen=True, slots=True)
class Master:
    """A master key.

    Attributes:
        fingerprint: 16 hexadecimal digits that name the key and do not give it away.
    """

    fingerprint: str
    _wrapping: "AESGCM" = field(repr=False)

    @classmethod
    def of(cls, key: bytes) -> "Master":
        """The master key of 32 secret bytes."""
        fingerprint = _derived(key, b"vultus fingerprint 1", 8).hex()
        return cls(fingerprint, cipher(_derived(key, b"vultus kek 1")))

    def wrap(self, secret: bytes, gallery: str, *, seed: bool = False) -> bytes:
        """Seal a data key, or the seed of a transform, for a gallery of that uid."""
        return encrypt(self._wrapping, secret, _wrapped_as(gallery, seed))

    def unwrap(self, wrapped: bytes, gallery: str, *, seed: bool = False) -> bytes:
        """What `wrap` sealed.

        Raises:
            SealBroken: it was changed, or comes from another gallery.
        """
        what = "a transform's seed" if seed else "a data key"
        return decrypt(self._wrapping, wrapped, _wrapped_as(gallery, seed), what)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key that seals rows, and the seed of its own transform, if it has one."""

    aead: "AESGCM" = field(repr=False)
    seed: bytes | None = field(repr=False)


class Vault:
    """Opens what a master key sealed; the key is looked for when it is first needed.

    Args:
        place: path of the key file, or `keyring:NAME`; None: VULTUS_KEY_FILE, and VULTUS_KEY.
    """

    __slots__ = ("_data_keys", "_masters", "_place", "_transforms")

    def __init__(self, place: str | Path | None = None) -> None:
        self._place: Final = place
        self._masters: list[Master] | None = None
        self._data_keys: dict[bytes, DataKey] = {}  # by their wrapped form: ids may come again
        self._transforms: dict[tuple[bytes, int], Transform] = {}

    def masters(self, *, again: bool = False) -> list[Master]:
        """The master keys given, the one that seals first; `again` looks at the places anew.

        Raises:
            KeyUnusable: a place cannot be read, or holds something that is no key.
        """
        if self._masters is None or again:
            keys = dict.fromkeys(_keys_given(self._place))
            self._masters = [Master.of(key) for key in keys]
        return self._masters

    def sealing_master(self, wanted: str | None = None) -> Master:
        """The master key that seals: the first one given.

        Args:
            wanted: fingerprint named in the error.

        Raises:
            KeyMissing: no key was given.
            KeyUnusable: as `masters`.
        """
        given = self.masters()
        if not given:
            raise KeyMissing(wanted)
        return given[0]

    def master(self, fingerprint: str) -> Master:
        """The master key of a fingerprint; a key file that changed meanwhile is read again.

        Raises:
            KeyMissing: no key was given.
            KeyWrong: the keys given are others.
            KeyUnusable: as `masters`.
        """
        for again in (False, True):
            for master in self.masters(again=again):
                if master.fingerprint == fingerprint:
                    return master
        self.sealing_master(fingerprint)
        raise KeyWrong(fingerprint, [master.fingerprint for master in self.masters()])

    def data_key(self, master: str, wrapped: bytes, seed: bytes | None, gallery: str) -> DataKey:
        """Unwrap a data key.

        Args:
            master: fingerprint of the master key.
            wrapped: the data key.
            seed: the sealed seed of its transform, or None.
            gallery: the gallery's uid.

        Raises:
            KeyMissing, KeyWrong, KeyUnusable: as `master`.
            SealBroken: it was changed, or comes from another gallery.
        """
        found = self._data_keys.get(wrapped)
        if found is None:
            key = self.master(master)
            plain = None if seed is None else key.unwrap(seed, gallery, seed=True)
            found = DataKey(cipher(key.unwrap(wrapped, gallery)), plain)
            self._data_keys[wrapped] = found
        return found

    def transform(self, seed: bytes, dim: int) -> Transform:
        """The transform of a seed for vectors of D numbers, made once."""
        found = self._transforms.get((seed, dim))
        if found is None:
            found = self._transforms[seed, dim] = transform_of(seed, dim)
        return found


def encrypt(aead: "AESGCM", plain: bytes, bound_to: bytes) -> bytes:
    """Seal bytes under a fresh random nonce, which comes first.

    Args:
        aead: the cipher under its key; at most 2³² messages a key.
        plain: what to seal.
        bound_to: what it belongs to; it opens with the same only.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + aead.encrypt(nonce, plain, bound_to)


def decrypt(aead: "AESGCM", sealed: bytes, bound_to: bytes, what: str) -> bytes:
    """Open what `encrypt` sealed.

    Args:
        aead: the cipher under its key.
        sealed: nonce and ciphertext.
        bound_to: as it was sealed.
        what: for the error.

    Raises:
        SealBroken: it was changed, or belongs elsewhere.
    """
    from cryptography.exceptions import InvalidTag

    try:
        return aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
        raise SealBroken(f"{what} was changed or moved from another row") from error


def new_key(place: str | Path) -> tuple[str, int]:
    """Make a random master key and put it first in a file, or in the keyring.

    A file is written whole or not at all, readable by its owner only; older keys stay in it.

    Args:
        place: path of the key file, or `keyring:NAME`.

    Returns:
        The key's fingerprint, and how many older keys the place holds.

    Raises:
        KeyUnusable: the place cannot be read or written, or holds something that is no key.
    """
    key = os.urandom(KEY_BYTES)
    older = _read_place(place, missing="")
    count = len(_keys_in(older, str(place)))
    fingerprint = Master.of(key).fingerprint
    text = f"{key.hex()}  # {fingerprint}\n{older}"
    if str(place).startswith(KEYRING):
        _keyring_write(str(place), text)
    else:
        _write(Path(place).expanduser(), text)
    return fingerprint, count


def _keys_given(place: str | Path | None) -> list[bytes]:
    place = os.environ.get(FILE_VARIABLE) if place is None else place
    keys = [] if not place else _keys_in(_read_place(place), str(place))
    return keys + _keys_in(os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE)


def _read_place(place: str | Path, missing: str | None = None) -> str:
    """The text of a key file or keyring entry; where there is none, `missing` or an error."""
    if str(place).startswith(KEYRING):
        found = _keyring_read(str(place))
        if found is None and missing is None:
            raise KeyUnusable(str(place), "the keyring has no such entry")
        return (missing or "") if found is None else found
    try:
        return Path(place).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise KeyUnusable(str(place), "it does not exist") from error
    except OSError as error:
        raise KeyUnusable(str(place), (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise KeyUnusable(str(place), "it is no text") from error


def _keys_in(text: str, place: str) -> list[bytes]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [_key_of(word, place) for line in lines for word in line.split()]


def _key_of(word: str, place: str) -> bytes:
    if _HEX.fullmatch(word):
        return bytes.fromhex(word)
    try:
        plain = word.replace("-", "+").replace("_", "/")
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnusable(place, "it holds something that is no key of 32 bytes in hex or base64")
    return key


def _write(path: Path, text: str) -> None:
    from embedder.weights import sync_folder

    name = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        name = ""
        sync_folder(path.parent)  # what the key seals may be on the disk before its name
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise KeyUnusable(str(path), (error.strerror or str(error)).lower()) from error


def _keyring_read(place: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise KeyUnusable(place, 'it needs: pip install "vultus[keyring]"') from error
    try:
        return keyring.get_password(_SERVICE, place.removeprefix(KEYRING))
    except KeyringError as error:
        raise KeyUnusable(place, f"the keyring says: {error}") from error


def _keyring_write(place: str, text: str) -> None:
    import keyring
    from keyring.errors import KeyringError

    try:
        keyring.set_password(_SERVICE, place.removeprefix(KEYRING), text)
    except KeyringError as error:
        raise KeyUnusable(place, f"the keyring says: {error}") from error


def _wrapped_as(gallery: str, seed: bool) -> bytes:
    return (_SEED if seed else _DATA_KEY) + b"\0" + gallery.encode()


def cipher(key: bytes) -> "AESGCM":
    """AES-256-GCM under a key of `KEY_BYTES`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _derived(key: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length=length, salt=None, info=info).derive(key)
