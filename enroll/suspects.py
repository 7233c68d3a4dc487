"""Which templates of a gallery contradict their names: arrays in, suspicions out.

- **duplicate**: two names, one person. The mean similarity between the two people's templates is
  above what strangers of those numbers reach.
- **mixed**: one name, two people or more. The templates of one name fall apart into clusters of two
  or more each, more unlike each other than one person's photos are.
- **outlier**: one template unlike all the others of its name; **unalike** where the name has only
  two templates, so that nobody can say which is wrong.
- **confusable**: two people with templates that would pass for each other at the rate in force.

Means over a × b pairs vary less than one similarity does, so every cut falls with the numbers of
templates as in `index.linkage.sized_link`.

Letters: N templates, D dimensions, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.graph import similar_pairs
from index.linkage import sized_link
from verify.calibration import Calibration
from verify.cuts import cuts_of

UNALIKE_RATE: Final = 1e-2  # a mean below the cut of this false-match rate is no one person's
PAIR_RATE: Final = 0.3  # the same where there are only two templates, either of which may be poor
_SHARED = 0.5  # the part of the variance that more templates do not average away
_PRODUCTS = 1 << 22  # similarities of people in memory at once: 16 MiB


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One contradiction between templates and names.

    Attributes:
        kind: duplicate, mixed, outlier, unalike or confusable.
        people: the ids of the people it is about, one or two.
        templates: the templates that show it; of a mixed name the smaller cluster.
        similarity: cosine, the mean over the pairs of templates that decide.
        cut: the similarity on whose wrong side that lies.
    """

    kind: str
    people: tuple[int, ...]
    templates: tuple[int, ...]
    similarity: float
    cut: float

    @property
    def margin(self) -> float:
        """How far beyond the cut it lies; the larger the surer."""
        return abs(self.similarity - self.cut)


@dataclass(frozen=True, slots=True)
class Cuts:
    """The similarities that part one person from two.

    Attributes:
        strangers: that of the median pair of strangers.
        link: the cut of the default clustering.
        duplicate: what no two strangers of the calibration reached.
        unalike: at `UNALIKE_RATE`.
        pair: at `PAIR_RATE`.
    """

    strangers: float
    link: float
    duplicate: float
    unalike: float
    pair: float

    @classmethod
    def of(cls, calibration: Calibration) -> Cuts:
        """The cuts of a calibration; UnsupportedRate where it shows too few people."""
        link, strangers = cuts_of(calibration)
        return cls(
            strangers=strangers,
            link=link,
            duplicate=max(link, calibration.beyond_strangers),
            unalike=calibration.threshold(max(UNALIKE_RATE, calibration.smallest_fmr)),
            pair=calibration.threshold(max(PAIR_RATE, calibration.smallest_fmr)),
        )

    def sized(
        self, cut: float, a: NDArray[np.float64] | float, b: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """A cut for the mean over a × b pairs of templates.

        Args:
            cut: the cut for a single pair, a cosine.
            a: how many templates the one side has; a number, or float64 (N,).
            b: those of the other side, likewise.

        Returns:
            float64 (N,), or of no dimension for two numbers: cosines.
        """
        spread = np.sqrt(_SHARED + (1 - _SHARED) * (1 / a + 1 / b) / 2)
        return np.asarray(self.strangers + (cut - self.strangers) * spread)


def duplicates(
    ids: NDArray[np.int64],
    people: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cuts: Cuts,
    apart: NDArray[np.int64] | None = None,
) -> list[Suspicion]:
    """Pairs of people who seem to be one, the surest first.

    Args:
        ids: int64 (N,), the templates.
        people: int64 (N,), whose they are.
        vectors: float32 (N, D), unit rows.
        cuts: of the calibration in force.
        apart: int64 (P, 2), pairs of rows that somebody said are of two people.
    """
    if not len(ids):
        return []
    whose, row = np.unique(people, return_inverse=True)
    counts = np.bincount(row, minlength=len(whose)).astype(np.float64)
    sums = np.zeros((len(whose), vectors.shape[1]), np.float64)
    np.add.at(sums, row, vectors)
    means = (sums / counts[:, None]).astype(np.float32)
    denied = set() if apart is None else {_ordered(row[i], row[j]) for i, j in apart.tolist()}
    found = []
    step = max(1, _PRODUCTS // max(1, len(whose)))
    for start in range(0, len(whose), step):
        some = slice(start, start + step)
        similar = means[some] @ means.T
        limits = cuts.sized(cuts.duplicate, counts[some, None], counts[None, :])
        for first, second in np.argwhere(similar >= limits).tolist():
            pair = (start + first, second)
            if pair[0] < pair[1] and pair not in denied:
                members = ids[(row == pair[0]) | (row == pair[1])]
                found.append(
                    Suspicion(
                        "duplicate",
                        (int(whose[pair[0]]), int(whose[pair[1]])),
                        tuple(members.tolist()),
                        float(similar[first, second]),
                        float(limits[first, second]),
                    )
                )
    return sorted(found, key=lambda suspicion: -suspicion.margin)


def misfits(
    ids: NDArray[np.int64],
    people: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cuts: Cuts,
    together: NDArray[np.int64] | None = None,
) -> list[Suspicion]:
    """Templates that do not go with their name: mixed, outlier, unalike; the surest first.

    Args:
        ids: int64 (N,), the templates.
        people: int64 (N,), whose they are.
        vectors: float32 (N, D), unit rows.
        cuts: of the calibration in force.
        together: int64 (P, 2), pairs of rows that somebody said are of one person.
    """
    if not len(ids):
        return []
    tied = np.empty((0, 2), np.int64) if together is None else together
    order = np.argsort(people, kind="stable")
    starts = np.flatnonzero(np.diff(people[order], prepend=-2))
    found: list[Suspicion] = []
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            found += _misfits_of(int(people[rows[0]]), rows, ids, vectors, cuts, tied)
    return sorted(found, key=lambda suspicion: -suspicion.margin)


def _misfits_of(
    person: int,
    rows: NDArray[np.int64],
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cuts: Cuts,
    tied: NDArray[np.int64],
) -> Iterator[Suspicion]:
    own = vectors[rows]
    place = {int(row): number for number, row in enumerate(rows)}
    inside = [(place[i], place[j]) for i, j in tied.tolist() if i in place and j in place]
    together = np.array(inside, np.int64).reshape(-1, 2)
    labels = sized_link(own, cuts.link, cuts.strangers, together=together)
    sizes = np.bincount(labels)
    main = labels == int(sizes.argmax())
    for label in np.flatnonzero(np.arange(len(sizes)) != int(sizes.argmax())):
        other = labels == label
        a, b = int(other.sum()), int(main.sum())
        similarity = float(own[other].mean(axis=0) @ own[main].mean(axis=0))
        kind = "mixed" if a > 1 else "outlier" if b > 1 else "unalike"
        cut = float(cuts.sized(cuts.pair if kind == "unalike" else cuts.unalike, a, b))
        if similarity < cut:
            shown = rows if kind == "unalike" else rows[other]
            yield Suspicion(kind, (person,), tuple(ids[shown].tolist()), similarity, cut)


def confusable(
    ids: NDArray[np.int64],
    people: NDArray[np.int64],
    vectors: NDArray[np.float32],
    threshold: float,
) -> list[Suspicion]:
    """Pairs of people with templates at or above a threshold, the most alike first.

    Args:
        ids: int64 (N,), the templates.
        people: int64 (N,), whose they are.
        vectors: float32 (N, D), unit rows.
        threshold: cosine, at the false-match rate in force.
    """
    if len(ids) < 2:
        return []
    pairs, similarities = similar_pairs(vectors, threshold)
    best: dict[tuple[int, int], Suspicion] = {}
    for (i, j), similarity in zip(pairs.tolist(), similarities.tolist(), strict=True):
        if people[i] == people[j]:
            continue
        key = _ordered(int(people[i]), int(people[j]))
        if key not in best or best[key].similarity < similarity:
            shown = (int(ids[i]), int(ids[j]))
            best[key] = Suspicion("confusable", key, shown, similarity, threshold)
    return sorted(best.values(), key=lambda suspicion: -suspicion.similarity)


def _ordered(first: int, second: int) -> tuple[int, int]:
    return (int(first), int(second)) if first < second else (int(second), int(first))
