"""A sealed archive: the file of an archive, encrypted in pieces under a key of its own.

    mark                            24 bytes: "vultus sealed archive 1" and a line feed
    fingerprint                     8 bytes: of the master key that wraps the archive's own key
    wrapped key                     60 bytes: nonce, ciphertext and tag (`store.vault`)
    pieces                          65536 bytes each, the last one shorter, and 16 of its tag

Pieces are AES-256-GCM (NIST SP 800-38D). The nonce is the piece's number in 11 bytes, big-endian,
and one byte that is 1 for the last piece and 0 before, so that none can be left out, moved, cut off
or added (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, "Online authenticated-
encryption and its nonce-reuse misuse-resistance", CRYPTO 2015). What comes before the pieces is
bound to each of them. The archive's key is random, so that no nonce comes twice under one key.
"""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING, Final

from enroll.errors import ArchiveUnusable
from store.errors import SealBroken
from store.vault import KEY_BYTES, NONCE_BYTES, Master, Vault, cipher

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MAGIC: Final = b"vultus sealed archive 1\n"
_PIECE: Final = 1 << 16
_TAG: Final = 16
_FINGERPRINT: Final = 8
_WRAPPED: Final = NONCE_BYTES + KEY_BYTES + _TAG
_HEAD: Final = len(MAGIC) + _FINGERPRINT + _WRAPPED
_PURPOSE: Final = "sealed archive 1"  # in the place of a gallery's uid, which is 32 digits


class SealedWriter(io.RawIOBase):
    """Encrypts what is written to it; `close` writes the last piece and leaves the file open."""

    def __init__(self, file: IO[bytes], master: Master) -> None:
        """Begin an archive.

        Args:
            file: where to, at its start.
            master: the key that opens the archive again.
        """
        key = os.urandom(KEY_BYTES)
        self._head: Final = MAGIC + bytes.fromhex(master.fingerprint) + master.wrap(key, _PURPOSE)
        self._cipher: Final = cipher(key)
        self._file: Final = file
        self._waiting = bytearray()
        self._number = 0
        file.write(self._head)

    def writable(self) -> bool:
        """It is; and it cannot be sought in."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Take bytes; how many they were."""
        self._waiting += data
        while len(self._waiting) > _PIECE:  # a whole piece waits: it may be the last one
            self._put(bytes(self._waiting[:_PIECE]), last=False)
            del self._waiting[:_PIECE]
        return memoryview(data).nbytes

    def close(self) -> None:
        """Write the last piece."""
        try:
            if not self.closed:
                self._put(bytes(self._waiting), last=True)
        finally:
            super().close()

    def _put(self, piece: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last), piece, self._head))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Decrypts what is read from it, from any place in it."""

    def __init__(self, file: IO[bytes], where: str, vault: Vault) -> None:
        """Open an archive.

        Args:
            file: a sealed archive.
            where: its name, for errors.
            vault: one of its keys opens it.

        Raises:
            ArchiveUnusable: it was cut off, or its head was changed.
            KeyMissing, KeyWrong, KeyUnusable: the vault does not open it.
        """
        file.seek(0)
        self._head: Final = file.read(_HEAD)
        self._where: Final = where
        self._file: Final = file
        body = file.seek(0, os.SEEK_END) - _HEAD
        self._pieces: Final = max(1, -(-body // (_PIECE + _TAG)))
        self._size: Final = body - _TAG * self._pieces
        if self._size <= (self._pieces - 1) * _PIECE:
            raise ArchiveUnusable(where, "it was cut off")
        fingerprint = self._head[len(MAGIC) : len(MAGIC) + _FINGERPRINT].hex()
        try:
            key = vault.master(fingerprint).unwrap(self._head[-_WRAPPED:], _PURPOSE)
        except SealBroken as error:
            raise ArchiveUnusable(where, "it was changed") from error
        self._cipher: Final = cipher(key)
        self._place = 0
        self._opened = (-1, b"")  # the piece that was read last
        self._piece(self._pieces - 1)  # nothing is missing at the end

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of what was encrypted; where that is."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer from here, as far as the piece goes; how many bytes that were.

        Raises:
            ArchiveUnusable: the piece was changed, moved or cut off.
        """
        if self._place >= self._size:
            return 0
        number, within = divmod(self._place, _PIECE)
        view = memoryview(buffer).cast("B")
        data = self._piece(number)[within : within + len(view)]
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _piece(self, number: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        if self._opened[0] != number:
            self._file.seek(_HEAD + number * (_PIECE + _TAG))
            sealed = self._file.read(_PIECE + _TAG)
            nonce = _nonce(number, number == self._pieces - 1)
            try:
                self._opened = (number, self._cipher.decrypt(nonce, sealed, self._head))
            except InvalidTag as error:
                raise ArchiveUnusable(self._where, "it was changed or cut off") from error
        return self._opened[1]


def unsealed(file: IO[bytes], where: str, vault: Vault) -> IO[bytes]:
    """The archive of a file, decrypted while it is read where it is sealed.

    Args:
        file: an archive, sealed or not.
        where: its name, for errors.
        vault: opens it.

    Raises:
        ArchiveUnusable, KeyMissing, KeyWrong, KeyUnusable: as `SealedReader`.
    """
    file.seek(0)
    sealed = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    return io.BufferedReader(SealedReader(file, where, vault), _PIECE) if sealed else file


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1, "big") + bytes([last])
