"""Open-set identification: who is enrolled, who searches, and how often the answer is wrong.

A search returns the person whose most similar photo is nearest, if that similarity is at or above
the threshold. A probe of an enrolled person is a miss unless it returns them at rank 1; where
another person is exactly as similar, it is a miss too. A photo without a vector has the
similarity −inf to everybody: as a probe it returns nobody, as an enrolled photo it is never found.
Terms of ISO/IEC 19795-1: FPIR, FNIR; CMC is the closed-set identification rate over ranks.

Letters: N photos, G gallery photos, K enrolled people, P mated probes, S strangers' probes, R
ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.errors import NothingToMeasure
from verify.evaluation import Curve, GallerySize, OpenSetPoint, Rate
from verify.photoset import Listing, PhotoSet
from verify.rates import error_curve, threshold_at
from verify.resampling import by_person, supports

FPIRS = (0.003, 0.01, 0.1)
RANKS = (1, 5, 10)
CMC_RANKS = 100
_BLOCK = 512
_SMALLEST = 10
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """Which photos are enrolled and which search.

    Attributes:
        gallery: int64 (G,), rows.
        mated: int64 (P,), rows of probes of enrolled people.
        strangers: int64 (S,), rows of probes of people who are not enrolled.
    """

    gallery: Ints
    mated: Ints
    strangers: Ints


def split_folder(
    listing: Listing, enrol: int, left_out: float | None, seed: int
) -> tuple[Roles, str]:
    """Enrol the first photos of each person; people with too few photos are strangers.

    Args:
        listing: the photos.
        enrol: photos a person to enrol; their others are mated probes.
        left_out: share of the people who could be enrolled that is not, drawn with the seed; None:
            none where as many people have too few photos, else 0.3.
        seed: of the draw.

    Returns:
        The roles, and how they were given in words.

    Raises:
        NothingToMeasure: nobody has more than `enrol` photos.
    """
    counts = np.bincount(listing.people, minlength=len(listing.names))
    able = np.flatnonzero(counts > enrol)
    if left_out is None:
        left_out = 0.0 if (counts <= enrol).sum() >= len(able) else 0.3
    away = round(left_out * len(able))
    if len(able) - away < 1:
        raise NothingToMeasure(
            f"{listing.root} holds {len(able)} people with more than {enrol} photos: nobody is "
            "left to enrol and to search for."
        )
    enrolled = np.sort(np.random.default_rng(seed).permutation(able)[away:])
    known = np.isin(listing.people, enrolled)
    order = np.argsort(listing.people, kind="stable")  # the order of the files within a person
    starts = np.cumsum(counts) - counts
    place = np.empty(len(listing), dtype=np.int64)
    place[order] = np.arange(len(listing)) - starts[listing.people[order]]
    first = place < enrol
    words = (
        f"first {enrol} photo{'s' * (enrol > 1)} of each enrolled person, their others as mated "
        f"probes; strangers: {away} people left out and all with {enrol} or fewer"
    )
    rows = np.flatnonzero
    return Roles(rows(known & first), rows(known & ~first), rows(~known)), words


def search(photos: PhotoSet, probes: Ints, gallery: Ints, people: Ints) -> NDArray[np.float32]:
    """The similarity of each probe to each enrolled person: that of their nearest photo.

    Args:
        photos: photos as vectors.
        probes: int64 (Q,), rows.
        gallery: int64 (G,), rows.
        people: int64 (K,), enrolled people, rising; each has a photo in the gallery.

    Returns:
        float32 (Q, K), −inf where nothing can be compared.
    """
    rows = gallery[np.argsort(photos.listing.people[gallery], kind="stable")]
    starts = np.searchsorted(photos.listing.people[rows], people)
    failed = photos.failed
    found = np.empty((len(probes), len(people)), dtype=np.float32)
    for start in range(0, len(probes), _BLOCK):
        some = probes[start : start + _BLOCK]
        block = photos.vectors[some] @ photos.vectors[rows].T
        block[:, failed[rows]] = -np.inf
        block[failed[some]] = -np.inf
        found[start : start + _BLOCK] = np.maximum.reduceat(block, starts, axis=1)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """What searches of a gallery of K people gave.

    Attributes:
        own: float32 (P,), each mated probe's similarity to its person.
        ranks: int64 (P,), the rank of its person, from 1; K + 1 where they cannot be found.
        own_people: int64 (P,), the person of each mated probe.
        best: float32 (S,), each stranger's similarity to the nearest enrolled person.
        best_people: int64 (S,), the person of each stranger's probe.
        size: K.
    """

    own: NDArray[np.float32]
    ranks: Ints
    own_people: Ints
    best: NDArray[np.float32]
    best_people: Ints
    size: int


def searches(
    mated: NDArray[np.float32],
    true: Ints,
    own_people: Ints,
    strangers: NDArray[np.float32],
    best_people: Ints,
) -> Searches:
    """Rank the enrolled people for each probe.

    Args:
        mated: float32 (P, K), similarities of mated probes to enrolled people.
        true: int64 (P,), the column of each probe's person.
        own_people: int64 (P,), the person of each mated probe.
        strangers: float32 (S, K), similarities of strangers to enrolled people.
        best_people: int64 (S,), the person of each stranger's probe.
    """
    size = mated.shape[1]
    own = mated[np.arange(len(mated)), true]
    ranks = (mated >= own[:, None]).sum(axis=1)  # their own counts one, ties count against it
    ranks = np.where(np.isneginf(own), size + 1, ranks)
    best = strangers.max(axis=1) if len(strangers) else np.empty(0, np.float32)
    return Searches(own, ranks.astype(np.int64), own_people, best, best_people, size)


def identification_rate(found: Searches, rank: int) -> Rate:
    """Share of mated searches whose person is among the first `rank` candidates."""
    return by_person(found.ranks <= min(rank, found.size), found.own_people)


def cmc(found: Searches) -> tuple[float, ...]:
    """Identification rates at ranks 1, 2, … R, R being the gallery's size or 100."""
    top = min(found.size, CMC_RANKS)
    counts = np.bincount(np.minimum(found.ranks, top + 1), minlength=top + 2)[1 : top + 1]
    return tuple((np.cumsum(counts) / len(found.ranks)).tolist())


def open_set_points(found: Searches, asked: Sequence[float] = FPIRS) -> tuple[OpenSetPoint, ...]:
    """FNIR at the lowest threshold whose FPIR is not above each asked one.

    Args:
        found: the searches.
        asked: false-positive identification rates, above 0.
    """
    return tuple(_point(found, rate) for rate in asked)


def _point(found: Searches, rate: float) -> OpenSetPoint:
    units = len(np.unique(found.best_people))
    if not supports(units, rate):
        none = Rate(None, None, None, 0, len(found.best), units)
        mated = Rate(None, None, None, 0, len(found.own), len(np.unique(found.own_people)))
        return OpenSetPoint(rate, None, none, mated)
    threshold = threshold_at(np.sort(found.best), rate)
    level = np.float64(threshold)
    missed = (found.ranks > 1) | (found.own < level)
    return OpenSetPoint(
        rate,
        threshold,
        by_person(found.best >= level, found.best_people),
        by_person(missed, found.own_people),
    )


def open_set_curve(found: Searches) -> Curve | None:
    """FPIR and FNIR over thresholds; None without strangers or mated probes."""
    if not len(found.best) or not len(found.own):
        return None
    returned = np.where(found.ranks == 1, found.own, np.float32(-np.inf))
    curve = error_curve(np.sort(returned), np.sort(found.best))
    real = curve.thresholds > -np.inf  # below all scores a wrong person is still a miss
    return Curve(curve.thresholds[real], curve.false_accepts[real], curve.false_rejects[real])


def default_sizes(people: int) -> tuple[int, ...]:
    """All people, half of them, a quarter, …, down to ten; rising."""
    sizes = [people]
    while sizes[-1] // 2 >= _SMALLEST:
        sizes.append(sizes[-1] // 2)
    return tuple(reversed(sizes))


def gallery_size(
    size: int,
    order: Ints,
    mated: NDArray[np.float32],
    true: Ints,
    own_people: Ints,
    strangers: NDArray[np.float32],
    best_people: Ints,
    photos: Ints,
) -> GallerySize:
    """Open-set rates where only some people are enrolled; the others' probes are not searched.

    Args:
        size: how many people to enrol, 1…K.
        order: int64 (K,), a drawn order of the columns; the first `size` are enrolled.
        mated: float32 (P, K), as for `searches`.
        true: int64 (P,), as for `searches`.
        own_people: int64 (P,), as for `searches`.
        strangers: float32 (S, K), as for `searches`.
        best_people: int64 (S,), as for `searches`.
        photos: int64 (K,), gallery photos of each person.
    """
    columns = np.sort(order[:size])
    chosen = np.isin(true, columns)
    found = searches(
        mated[np.ix_(chosen, columns)], np.searchsorted(columns, true[chosen]),
        own_people[chosen], strangers[:, columns], best_people,
    )  # fmt: skip
    return GallerySize(
        people=size, photos=int(photos[columns].sum()), rank1=identification_rate(found, 1),
        points=open_set_points(found),
    )  # fmt: skip
