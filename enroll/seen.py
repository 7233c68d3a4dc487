"""Whether a photo may be on record, without asking the database for each.

Of a folder that is enrolled for the first time no photo is. After the first few the digests on
record are read once, eight bytes of each; only a photo whose digest is among them is worth a
question. What is added later is found when its group is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from store.schema import Photo
from store.session import Store

_WORTH = 64  # photos asked for before it is worth reading all digests
_AT_ONCE = 10_000


class OnRecord:
    """What is asked of any thread."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet.

        Args:
            store: the gallery's database.
        """
        self._store = store
        self._asked = 0
        self._lock = threading.Lock()
        self._keys: NDArray[np.uint64] | None = None

    def may_be(self, digest: str) -> bool:
        """Whether a photo of that sha256, hexadecimal, may be on record; False is certain."""
        with self._lock:
            self._asked += 1
            if self._keys is None:
                if self._asked <= _WORTH:
                    return True
                self._keys = self._read()
        key = np.uint64(int(digest[:16], 16))
        place = int(np.searchsorted(self._keys, key))
        return place < len(self._keys) and self._keys[place] == key

    def _read(self) -> NDArray[np.uint64]:
        """The first eight bytes of every digest on record, uint64 (N,), rising."""
        return np.sort(np.fromiter(self._digests(), np.uint64))

    def _digests(self) -> Iterator[int]:
        with self._store.read() as session:
            for digest in session.scalars(select(Photo.digest)).yield_per(_AT_ONCE):
                yield int(digest[:16], 16)
