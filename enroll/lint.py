"""Does a new face contradict the name it comes with?

Letters: N faces, R faces met since the index was last refreshed, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index.neighbors import Hits
from store.people import site_ids
from store.templates import owners
from verify.errors import NoCalibration
from verify.opening import Parts

_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True)
class Conflict:
    """A face more like somebody else than any two strangers of the calibration are.

    Attributes:
        other: whom it resembles.
        similarity: how much.
        own: the similarity to the name it came with; None for a new person.
    """

    other: str
    similarity: float
    own: float | None

    def __str__(self) -> str:
        own = "" if self.own is None else f", and {self.own:.2f} like its own name"
        return f"the face is {self.similarity:.2f} like {self.other}{own}"


@dataclass
class Lint:
    """Compares new faces with everybody of their site enrolled before them.

    People of other sites are neither compared nor told of: sites may be tenants who must not learn
    of each other's people.

    Attributes:
        parts: the gallery.
        limit: the similarity no two strangers of the calibration reached; None: nothing is
            checked, for there is no calibration.
        site: where the new faces belong.
    """

    parts: Parts
    limit: float | None = None
    site: str = ""
    _names: list[str] = field(default_factory=list)
    _vectors: list[NDArray[np.float32]] = field(default_factory=list)
    _foreseen: dict[bytes, dict[str, float] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Parts, site: str = "") -> Lint:
        """The lint of a site of a gallery; without a calibration it finds nothing."""
        try:
            return cls(parts, parts.calibration.beyond_strangers, site)
        except NoCalibration:
            return cls(parts, None, site)

    def check(self, vector: NDArray[np.float32], name: str) -> Conflict | None:
        """Look for somebody else whom a face resembles too much.

        Args:
            vector: float32 (D,), unit length.
            name: the person the face comes with.
        """
        if self.limit is None:
            return None
        recent = self._recent(vector)
        if self._is_far(vector) and all(similarity < self.limit for _, similarity in recent):
            return None
        best = self._enrolled(vector)
        for other, similarity in recent:
            best[other] = max(best.get(other, -1.0), similarity)
        own = best.pop(name, None)
        other, similarity = max(best.items(), key=lambda item: item[1], default=("", -1.0))
        if similarity >= self.limit and (own is None or own < similarity):
            return Conflict(other, similarity, own)
        return None

    def foresee(self, vectors: Sequence[NDArray[np.float32]]) -> None:
        """Search for the faces of a group at once, before they are checked one by one.

        Args:
            vectors: each float32 (D,), unit length.
        """
        self._foreseen = {}
        if self.limit is None or not vectors or len(self.parts.index) == 0:
            return
        here = self._site_ids()
        if not len(here):
            return
        index, limit = self.parts.index, self.limit
        found = index.search(np.stack(vectors), min(_NEIGHBOURS, len(index)), here)
        near = found.similarities.max(axis=1, initial=-1.0) >= limit
        owned = self._owners(found.ids[near].ravel().tolist())
        for row, vector in enumerate(vectors):
            known = _best(found[row], owned) if near[row] else None
            self._foreseen[vector.tobytes()] = known

    def remember(self, vector: NDArray[np.float32], name: str) -> None:
        """Keep a face that is being enrolled, which the index does not hold yet.

        Args:
            vector: float32 (D,), unit length.
            name: whose it is.
        """
        if self.limit is not None:
            self._names.append(name)
            self._vectors.append(vector)

    def committed(self) -> None:
        """Forget the faces remembered: the index holds them now."""
        self._names.clear()
        self._vectors.clear()

    def _is_far(self, vector: NDArray[np.float32]) -> bool:
        """Whether a search for the group found nobody enrolled whom a face resembles too much."""
        return self._foreseen.get(vector.tobytes(), {}) is None

    def _enrolled(self, vector: NDArray[np.float32]) -> dict[str, float]:
        """Name → how much a face resembles that person, of the nearest templates."""
        foreseen = self._foreseen.get(vector.tobytes())
        if foreseen is not None:
            return dict(foreseen)
        index = self.parts.index
        if len(index) == 0:
            return {}
        here = self._site_ids()
        if not len(here):  # nobody is there yet
            return {}
        hits = index.search(vector[None, :], min(_NEIGHBOURS, len(index)), here)[0]
        return _best(hits, self._owners(hits.ids.tolist()))

    def _site_ids(self) -> NDArray[np.int64]:
        with self.parts.store.read() as session:
            return np.array(site_ids(session, [self.site]), np.int64)

    def _owners(self, templates: list[int]) -> dict[int, str]:
        """Template → name of its owner, of those that somebody of the site has."""
        here = set(self._site_ids().tolist())
        with self.parts.store.read() as session:
            whose = owners(session, sorted(set(templates)))
        return {template: one.name for template, one in whose.items() if one.site_id in here}

    def _recent(self, vector: NDArray[np.float32]) -> list[tuple[str, float]]:
        if not self._vectors:
            return []
        similarities = np.stack(self._vectors) @ vector
        return list(zip(self._names, similarities.tolist(), strict=True))


def _best(hits: Hits, names: dict[int, str]) -> dict[str, float]:
    """Name → the highest similarity of their templates among some hits."""
    best: dict[str, float] = {}
    for template, similarity in hits:
        if template in names:
            name = names[template]
            best[name] = max(best.get(name, -1.0), similarity)
    return best
