"""What a search returns.

Letters: Q queries, K neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.errors import NotUnit, WrongDtype, WrongShape

__all__ = ["NO_ID", "Hits", "Neighbors"]

NO_ID = -1
"""The id where a query has fewer than K neighbours; the similarity there is -inf."""


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The neighbours of one query, closest first, without padding.

    Attributes:
        ids: int64 (H,), H at most K.
        similarities: float32 (H,), descending.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Yields (id, similarity), closest first."""
        return iter(zip(self.ids.tolist(), self.similarities.tolist(), strict=True))

    def __getitem__(self, rank: int) -> tuple[int, float]:
        """Returns (id, similarity) of the neighbour at `rank`, 0 being the closest."""
        return int(self.ids[rank]), float(self.similarities[rank])


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The neighbours of Q queries; `neighbors[q]` are the hits of one of them.

    Attributes:
        ids: int64 (Q, K), closest first; `NO_ID` where a query has fewer than K neighbours.
        similarities: float32 (Q, K), descending, from -1 to 1; -inf where the id is `NO_ID`.

    Raises:
        WrongShape: the two arrays differ in shape or have not two axes.
        WrongDtype: other dtypes.
        NotUnit: similarities that are not descending numbers, or padding that does not agree.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Checks the arrays."""
        ids, similarities = self.ids, self.similarities
        if ids.ndim != 2 or ids.shape != similarities.shape:
            raise WrongShape(
                "ids and similarities must both have shape (Q, K), "
                f"got {ids.shape} and {similarities.shape}."
            )
        if ids.dtype != np.int64 or similarities.dtype != np.float32:
            raise WrongDtype(
                f"ids must be int64 and similarities float32, got {ids.dtype} "
                f"and {similarities.dtype}."
            )
        falling = (similarities[:, :-1] >= similarities[:, 1:]).all()  # not so with a NaN of two
        if not falling or np.isnan(similarities[:, :1]).any():
            raise NotUnit("similarities must be numbers that descend along each row.")
        if not ((ids == NO_ID) == (similarities == -np.inf)).all():
            raise NotUnit(f"similarities must be -inf where the id is {NO_ID} and nowhere else.")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, query: int) -> Hits:
        """Returns the hits of one query, without padding."""
        found = int(np.count_nonzero(self.ids[query] != NO_ID))
        return Hits(self.ids[query, :found], self.similarities[query, :found])

    def __iter__(self) -> Iterator[Hits]:
        """Yields the hits of each query in turn."""
        return (self[query] for query in range(len(self)))
