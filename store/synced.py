"""An index together with the gallery it follows, and where its file lies.

Q queries, D dimensions, K neighbours, M sites.
"""

import re
from math import inf
from pathlib import Path
from threading import RLock
from typing import Final

import numpy as np
import platformdirs
from numpy.typing import NDArray

from index.neighbors import Neighbors
from index.opening import OpenedIndex
from index.protocol import ServerIndex
from store.changes import Position
from store.gallery import gallery_uid
from store.renewal import Transform
from store.session import Store
from store.sqlite import is_database

START: Final = Position(0, "")
INDEX_SUFFIX: Final = ".vultus-index"


class SyncedIndex:
    """An index that knows which gallery it follows and how far it has come.

    Searching and following take turns, so threads may share it.

    Args:
        store: the gallery's database.
        space: the vector space whose templates it holds.
        url: the engine's URL.
        opened: the engine, its path and its marks.
        gallery: the gallery's uid.
    """

    def __init__(
        self, store: Store, space: str, url: str, opened: OpenedIndex, gallery: str
    ) -> None:
        self.store: Final = store
        self.space: Final = space
        self.url: Final = url
        self.path: Final = opened.path
        self.gallery: Final = gallery
        self.index = opened.index
        self.position = START
        self.saved: Position | None = None
        self.epoch = 0  # which transform the vectors are turned by; 0: by none
        self.transform: Transform | None = None
        self.pause = 0.0  # seconds that a lazy save leaves between two writes of the file
        self.written = -inf  # when that was, on the monotonic clock
        self.lock: Final = RLock()

    @property
    def dim(self) -> int:
        """D, the length of every vector."""
        return self.index.dim

    @property
    def exact(self) -> bool:
        """Whether a search returns the true neighbours, or most of them."""
        return self.index.exact

    def __len__(self) -> int:
        return len(self.index)

    def search(
        self, queries: NDArray[np.float32], k: int, within: NDArray[np.int64] | None = None
    ) -> Neighbors:
        """Finds the k closest templates of each query; ask `templates.owners` whose they are.

        Args:
            queries: float32 (Q, D), unit rows.
            k: K, at least 1.
            within: int64 (M,), ids of the sites to search; None searches all.
        """
        with self.lock:
            if self.transform is not None:
                queries = self.transform.turn(queries)
            return self.index.search(queries, k, within)

    def close(self) -> None:
        """Close the connection to a server; an index of a file or in memory needs none of that."""
        if isinstance(self.index, ServerIndex):
            self.index.close()

    def marks(self) -> dict[str, str]:
        """What the file is saved with: whose index it is, and how far it has come."""
        return {
            "gallery": self.gallery,
            "space": self.space,
            "rev": str(self.position.rev),
            "tag": self.position.tag,
        }

    def position_in(self, marks: dict[str, str]) -> Position | None:
        """How far a file with these marks had come; None when it is not this gallery's index."""
        if marks.get("gallery") != self.gallery or marks.get("space") != self.space:
            return None
        rev = marks.get("rev", "")
        return Position(int(rev), marks.get("tag", "")) if rev.isdecimal() else None


def default_index_url(store: Store, space: str) -> str:
    """The URL of the index file beside an SQLite database, or in the user's cache folder."""
    slug = re.sub(r"[^\w.-]+", "_", space)
    if store.path is not None:
        return f"auto:{store.path.with_suffix('')}.{slug}{INDEX_SUFFIX}"
    with store.read() as session:
        uid = gallery_uid(session)
    folder = platformdirs.user_cache_path("vultus", appauthor=False)
    return f"auto:{folder / uid}.{slug}{INDEX_SUFFIX}"


def is_anothers(store: Store, file: Path) -> bool:
    """Whether an index file lies where another SQLite database, which is there, keeps its own.

    A copied database still names the index file of the one that it was copied from.
    """
    database = store.path
    if database is None or not file.name.endswith(INDEX_SUFFIX):
        return False
    here = file.parent.resolve()
    if here == database.parent.resolve() and file.name.startswith(f"{database.stem}."):
        return False
    beside = here.iterdir() if here.is_dir() else ()
    return any(file.name.startswith(f"{one.stem}.") and is_database(one) for one in beside)
