"""Error rates by the columns of a table of people: for whom does the system err more often?

The table is csv. Its first column names people (`person`) or photos (`file`); every other column
(age band, sex, camera, place, …) is a way to tell them apart. All values are judged at one
threshold, that of everybody's false-match rate, because a site has one threshold.

Letters: N photos, K people.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verify.errors import PairsUnusable
from verify.evaluation import Crossing, Demographic, Rate, Ratio, SubgroupRates
from verify.pairs import Scored
from verify.photoset import Listing
from verify.rates import at_or_above
from verify.resampling import by_person, nonmated_rate, supports

MOST_VALUES = 30
_PEOPLE, _PHOTOS = {"person", "name"}, {"file", "photo", "path"}
MEANING = (
    (
        "A higher false-match rate (FMR): strangers who share this value are taken for one another "
        "more often, so at a door others of their kind pass as them, and in a search they are "
        "accused in a stranger's place: it costs security, and it costs those people most."
    ),
    (
        "A higher false-non-match rate (FNMR): people with this value are turned away or not found "
        "more often although they are who they say, so they wait for the guard or the second "
        "way in: it costs convenience and fairness, not security."
    ),
)
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One way to tell photos apart.

    Attributes:
        title: the column's title.
        values: its values, sorted.
        places: int64 (N,), the value of each photo, a place in `values`; −1: none is given.
    """

    title: str
    values: tuple[str, ...]
    places: NDArray[np.int64]


def read_columns(path: Path, listing: Listing) -> tuple[Column, ...]:
    """Read a table of people or photos.

    Args:
        path: the csv file, with a head.
        listing: the photos that are evaluated.

    Raises:
        PairsUnusable: no head, no column, nobody of the folder, or too many values.
        OSError: the file cannot be read.
    """
    rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    head = [cell.strip() for cell in rows[0]] if rows else []
    if len(head) < 2 or head[0].lower() not in _PEOPLE | _PHOTOS:
        raise PairsUnusable(
            f"{path} must begin with a line of titles: person (or file), then one column or more."
        )
    photos = head[0].lower() in _PHOTOS
    keys = listing.files if photos else [listing.person(row) for row in range(len(listing))]
    table = {row[0].strip(): row for row in rows[1:]}
    if not table.keys() & set(keys):
        kind = "photo" if photos else "person"
        raise PairsUnusable(f"{path} names no {kind} that is in {listing.root}.")
    return tuple(_column(path, head[at], at, keys, table) for at in range(1, len(head)))


def _column(
    path: Path, title: str, at: int, keys: Sequence[str], table: dict[str, list[str]]
) -> Column:
    given = [table.get(key, []) for key in keys]
    cells = [row[at].strip() if at < len(row) else "" for row in given]
    values = tuple(sorted(set(cells) - {""}))
    if len(values) > MOST_VALUES:
        raise PairsUnusable(
            f"The column {title} of {path} has {len(values)} values: give bands, {MOST_VALUES} at "
            "most, so that each holds enough people to measure."
        )
    place = {value: number for number, value in enumerate(values)}
    return Column(title, values, np.array([place.get(cell, -1) for cell in cells]))


def by_column(
    scored: Scored, column: Column, threshold: float, asked: float, looked: Bools
) -> Demographic:
    """Both error rates for each value of a column, and across values.

    Args:
        scored: the comparisons; the threshold must lie in their tail.
        column: the values.
        threshold: the similarity of everybody's FMR.
        asked: that FMR.
        looked: bool (N,), the photos that were compared.
    """
    masks = [(column.places == place) & looked for place in range(len(column.values))]
    subgroups = tuple(
        SubgroupRates(
            value=value,
            people=len(np.unique(scored.people[mask])),
            fmr=false_matches(scored, mask, mask, threshold, asked),
            fnmr=false_non_matches(scored, mask, threshold),
        )
        for value, mask in zip(column.values, masks, strict=True)
    )
    crossings = tuple(
        Crossing(
            column.values[a], column.values[b],
            false_matches(scored, masks[a], masks[b], threshold, asked),
        )
        for a, b in combinations(range(len(masks)), 2)
    )  # fmt: skip
    return Demographic(
        column=column.title, asked=asked, threshold=threshold, subgroups=subgroups,
        crossings=crossings, ratios=_ratios(subgroups),
        unlabelled=len(np.unique(scored.people[(column.places < 0) & looked])), meaning=MEANING,
    )  # fmt: skip


def false_matches(
    scored: Scored, left: Bools, right: Bools, threshold: float, asked: float | None = None
) -> Rate:
    """FMR at a threshold of comparisons between two kinds of photos.

    Args:
        scored: the comparisons; the threshold must lie in their tail.
        left: bool (N,), one kind.
        right: bool (N,), the other; the same array for comparisons within one kind.
        threshold: the similarity.
        asked: unsupported where no error was seen and the pairs could not show this rate.
    """
    reached = int(at_or_above(scored.tail[::-1], threshold))
    one, other = scored.tail_first[:reached], scored.tail_second[:reached]
    chosen = (left[one] & right[other]) | (right[one] & left[other])
    exposure = scored.comparing.exposure(left, right)
    rate = nonmated_rate(scored.people[one[chosen]], scored.people[other[chosen]], exposure)
    if asked is not None and rate.errors == 0 and not supports(rate.units, asked):
        return Rate(None, None, None, 0, rate.trials, rate.units)
    return rate


def false_non_matches(scored: Scored, mask: Bools, threshold: float) -> Rate:
    """FNMR at a threshold of comparisons both of whose photos are of one kind.

    Args:
        scored: the comparisons.
        mask: bool (N,), the kind.
        threshold: the similarity.
    """
    chosen = mask[scored.mated_first] & mask[scored.mated_second]
    people = scored.people[scored.mated_first[chosen]]
    missed = scored.mated[chosen] < np.float64(threshold)
    return by_person(missed, people)


def _ratios(subgroups: Sequence[SubgroupRates]) -> tuple[Ratio, ...]:
    """The worst ratio of each error."""
    return (
        _ratio("fmr", [(one.value, one.fmr) for one in subgroups]),
        _ratio("fnmr", [(one.value, one.fnmr) for one in subgroups]),
    )


def _ratio(error: str, rates: Sequence[tuple[str, Rate]]) -> Ratio:
    known = [(rate.value, value, rate) for value, rate in rates if rate.value is not None]
    if len(known) < 2:
        return Ratio(error, None, None, None, None)
    least, most = min(known, key=lambda one: one[0]), max(known, key=lambda one: one[0])
    ratio = most[0] / least[0] if least[0] > 0 else None
    low, high = most[2].low, least[2].high
    sure = None if low is None or not high else low / high
    return Ratio(error, most[1], least[1], ratio, sure)
