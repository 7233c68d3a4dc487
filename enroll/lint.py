"""Does a new face contradict the name it comes with?

Letters: N faces, R faces met since the index was last refreshed, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
        best = self._enrolled(vector)
        for other, similarity in self._recent(vector):
            best[other] = max(best.get(other, -1.0), similarity)
        own = best.pop(name, None)
        other, similarity = max(best.items(), key=lambda item: item[1], default=("", -1.0))
        if similarity >= self.limit and (own is None or own < similarity):
            return Conflict(other, similarity, own)
        return None

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

    def _enrolled(self, vector: NDArray[np.float32]) -> dict[str, float]:
        index = self.parts.index
        if len(index) == 0:
            return {}
        with self.parts.store.read() as session:
            here = np.array(site_ids(session, [self.site]), np.int64)
        if not len(here):  # nobody is there yet
            return {}
        hits = index.search(vector[None, :], min(_NEIGHBOURS, len(index)), here)[0]
        with self.parts.store.read() as session:
            whose = owners(session, hits.ids.tolist())
        best: dict[str, float] = {}
        for template, similarity in hits:
            if template in whose and whose[template].site_id in here:
                name = whose[template].name
                best[name] = max(best.get(name, -1.0), similarity)
        return best

    def _recent(self, vector: NDArray[np.float32]) -> list[tuple[str, float]]:
        if not self._vectors:
            return []
        similarities = np.stack(self._vectors) @ vector
        return list(zip(self._names, similarities.tolist(), strict=True))
