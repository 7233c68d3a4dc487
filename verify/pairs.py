"""Which photos are compared, and their scores: pair files and all pairs of a folder.

Pair files have LFW's form (`Name 1 4` for one person, `Name 1 Other 3` for two; a first line
`10 300` announces 10 folds of 300 + 300 pairs, one number or none: no folds) or are csv with the
columns `a,b,same`, paths relative to the folder or to the csv file.

All pairs of a folder are compared in blocks: twice, once for the scores alone and once for who
is behind the highest ones, so that 13,000 photos need well below 2 GB.

Letters: N photos, D dimensions, K people, C comparisons, M mated and S non-mated ones, T of these
in the tail.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from verify.errors import PairsUnusable
from verify.photoset import Listing, PhotoSet
from verify.resampling import Exposure

FOLDS = 10
TAIL = 0.1  # the share of non-mated comparisons whose photos are remembered
MOST_SCORES = 400_000_000  # non-mated comparisons: 1.6 GB
_BLOCK = 512
_FEW = 1_000_000  # so few non-mated comparisons are all remembered
_DIGITS = 10  # a number of so many is none of photos
_DRAWN = 20_000  # mated comparisons a fold of the balanced draw
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_YES, _NO = {"1", "true", "yes", "same"}, {"0", "false", "no", "different"}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Comparisons that somebody listed.

    Attributes:
        first: int64 (C,), rows of the listing.
        second: int64 (C,), rows of the listing.
        same: bool (C,), whether both photos are of one person.
        folds: int64 (C,), from 0; None where the file has none.
        people: int64 (N,), the person of each photo of the listing, from 0.
    """

    first: Ints
    second: Ints
    same: Bools
    folds: Ints | None
    people: Ints

    def where(self, chosen: Bools) -> Pairs:
        """Some of the comparisons.

        Args:
            chosen: bool (C,).
        """
        folds = None if self.folds is None else self.folds[chosen]
        return Pairs(self.first[chosen], self.second[chosen], self.same[chosen], folds, self.people)


def read_pairs(path: Path, listing: Listing) -> Pairs:
    """Read a pair file.

    Args:
        path: a file in LFW's form, or csv.
        listing: the photos it speaks of.

    Raises:
        PairsUnusable: a line that is no pair, a photo that is not there, or a contradiction.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairsUnusable(f"{path} is no UTF-8 text ({error}).") from error
    if path.suffix.lower() == ".csv":
        return _read_csv(text, path, listing)
    return _read_lfw(text, path, listing)


def _read_lfw(text: str, path: Path, listing: Listing) -> Pairs:
    lines = [_cells(line) for line in text.splitlines() if line.strip()]
    head = lines[0] if lines and len(lines[0]) <= 2 and all(map(_is_number, lines[0])) else []
    rows = _numbered(listing)
    found = [_lfw_pair(cells, path, rows) for cells in lines[bool(head) :]]
    if not found:
        raise PairsUnusable(f"{path} holds no pairs.")
    table = np.array(found, dtype=np.int64)
    announced = [int(cell) for cell in head]
    folds = None
    if announced and len(found) != announced[-1] * 2 * (announced[0] if head[1:] else 1):
        raise PairsUnusable(
            f"{path} announces {' × '.join(head)} pairs of each kind and holds {len(found)} pairs: "
            "it is not complete."
        )
    if len(announced) == 2:
        folds = np.arange(len(found)) // (2 * announced[1])
    same = listing.people[table[:, 0]] == listing.people[table[:, 1]]
    wrong = np.flatnonzero(same != table[:, 2].astype(bool))
    if len(wrong):
        raise PairsUnusable(f"{path}: {' '.join(lines[bool(head) + wrong[0]])} names one person.")
    return Pairs(table[:, 0], table[:, 1], same, folds, listing.people)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < _DIGITS


def _cells(line: str) -> list[str]:
    """The cells of a line: between tabs where there are any, since names may hold spaces."""
    return [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]


def _lfw_pair(
    cells: list[str], path: Path, rows: dict[tuple[str, int], int]
) -> tuple[int, int, bool]:
    """Both rows of a pair, and whether its line is of the form for one person."""
    if len(cells) not in {3, 4} or not (_is_number(cells[1]) and _is_number(cells[-1])):
        raise PairsUnusable(f"{path}: “{' '.join(cells)}” is no pair of LFW's form.")
    found = []
    for name, number in ((cells[0], cells[1]), (cells[-2 if len(cells) == 4 else 0], cells[-1])):
        row = rows.get((name, int(number)))
        if row is None:
            raise PairsUnusable(f"{path} names photo {number} of {name}, which is not there.")
        found.append(row)
    return found[0], found[1], len(cells) == 3


def _numbered(listing: Listing) -> dict[tuple[str, int], int]:
    """(Person, the last number in the file's name) → row."""
    rows: dict[tuple[str, int], int] = {}
    for row, file in enumerate(listing.files):
        numbers = re.findall(r"\d+", Path(file).stem)
        if numbers:
            rows.setdefault((listing.person(row), int(numbers[-1])), row)
    return rows


def _read_csv(text: str, path: Path, listing: Listing) -> Pairs:
    rows = {(listing.root / file).resolve(): row for row, file in enumerate(listing.files)}
    first, second, same = [], [], []
    for number, cells in enumerate(_rows(text, path), start=1):
        values = [cell.strip() for cell in cells]
        if not any(values) or (number == 1 and values[:3] == ["a", "b", "same"]):
            continue
        if len(values) < 3 or values[2].lower() not in _YES | _NO:
            raise PairsUnusable(f"{path}, line {number}: a,b,same is needed, same being 1 or 0.")
        first.append(_csv_row(values[0], path, listing.root, rows))
        second.append(_csv_row(values[1], path, listing.root, rows))
        same.append(values[2].lower() in _YES)
    if not first:
        raise PairsUnusable(f"{path} holds no pairs.")
    a, b, truth = np.array(first), np.array(second), np.array(same)
    return Pairs(a, b, truth, None, _identities(a, b, truth, listing, path))


def _rows(text: str, path: Path) -> Iterator[list[str]]:
    try:
        yield from csv.reader(text.splitlines())
    except csv.Error as error:
        raise PairsUnusable(f"{path} is no csv ({error}).") from error


def _csv_row(cell: str, path: Path, root: Path, rows: dict[Path, int]) -> int:
    for folder in (root, path.parent):
        try:
            row = rows.get((folder / cell).resolve())
        except (OSError, ValueError, RuntimeError):  # no name of a file; links in a circle
            row = None
        if row is not None:
            return row
    raise PairsUnusable(f"{path} names {cell}, which is no photo in {root}.")


def _identities(first: Ints, second: Ints, same: Bools, listing: Listing, path: Path) -> Ints:
    """Who is who: folders are people unless the file says otherwise; same pairs join them.

    Returns:
        int64 (N,), the person of each photo.
    """
    for base in (listing.people, np.arange(len(listing))):
        people = _joined(base, first[same], second[same])
        wrong = np.flatnonzero((people[first] == people[second]) & ~same)
        if not len(wrong):
            return people
    a, b = listing.files[first[wrong[0]]], listing.files[second[wrong[0]]]
    raise PairsUnusable(
        f"{path} contradicts itself: {a} and {b} are two people in one line and, by way of others, "
        "one person."
    )


def _joined(labels: Ints, first: Ints, second: Ints) -> Ints:
    """Labels, int64 (N,), after pairs of rows were declared to share theirs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(labels.max()) + 1
    ends = (labels[first], labels[second])
    graph = coo_array((np.ones(len(first)), ends), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][labels], dtype=np.int64)


class Comparing(Protocol):
    """How many non-mated comparisons there are between photos of two kinds."""

    def exposure(self, left: Bools, right: Bools) -> Exposure:
        """Count comparisons of a photo in `left` with one in `right`, of different people.

        Args:
            left: bool (N,).
            right: bool (N,), equal to `left` or disjoint from it.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """Non-mated comparisons of a list.

    Attributes:
        first: int64 (S,), rows.
        second: int64 (S,), rows.
        people: int64 (N,), the person of each photo.
    """

    first: Ints
    second: Ints
    people: Ints

    def exposure(self, left: Bools, right: Bools) -> Exposure:
        """Count comparisons; see `Comparing`."""
        chosen = _between(self.first, self.second, left, right)
        a, b = self.people[self.first[chosen]], self.people[self.second[chosen]]
        k = int(self.people.max()) + 1
        trials = np.bincount(a, minlength=k) + np.bincount(b, minlength=k)
        pairs = len(np.unique(np.minimum(a, b) * k + np.maximum(a, b)))
        return Exposure(trials.astype(np.float64), len(a), pairs, int((trials > 0).sum()))


@dataclass(frozen=True, slots=True, eq=False)
class Everybody:
    """All non-mated comparisons of some photos.

    Attributes:
        used: bool (N,), which photos are compared.
        people: int64 (N,), the person of each photo.
    """

    used: Bools
    people: Ints

    def exposure(self, left: Bools, right: Bools) -> Exposure:
        """Count comparisons; see `Comparing`."""
        k = int(self.people.max()) + 1
        a = np.bincount(self.people[self.used & left], minlength=k).astype(np.float64)
        if np.array_equal(left, right):
            trials = a * (a.sum() - a)
            people = int((a > 0).sum())
            pairs = people * (people - 1) // 2
        else:
            b = np.bincount(self.people[self.used & right], minlength=k).astype(np.float64)
            trials = a * (b.sum() - b) + b * (a.sum() - a)
            of_a, of_b, both = ((m > 0).sum() for m in (a, b, a * b))
            pairs = int(of_a * of_b - both - both * (both - 1) // 2)
        return Exposure(trials, round(trials.sum() / 2), pairs, int((trials > 0).sum()))


def _between(first: Ints, second: Ints, left: Bools, right: Bools) -> Bools:
    """Bool (C,): one photo in `left`, the other in `right`."""
    return (left[first] & right[second]) | (right[first] & left[second])


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of comparisons, and the photos behind those that matter.

    Attributes:
        mated: float32 (M,), rising; −inf: a photo gave no vector.
        mated_first: int64 (M,), rows behind `mated`.
        mated_second: int64 (M,), rows behind `mated`.
        nonmated: float32 (S,), rising; −inf likewise.
        tail: float32 (T,), the highest non-mated scores, falling: a tenth at least, or all.
        tail_first: int32 or int64 (T,), rows behind `tail`.
        tail_second: int32 or int64 (T,), rows behind `tail`.
        comparing: how many non-mated comparisons there are between photos.
        people: int64 (N,), the person of each photo.
    """

    mated: NDArray[np.float32]
    mated_first: Ints
    mated_second: Ints
    nonmated: NDArray[np.float32]
    tail: NDArray[np.float32]
    tail_first: NDArray[np.integer]
    tail_second: NDArray[np.integer]
    comparing: Comparing
    people: Ints


def score_pairs(photos: PhotoSet, pairs: Pairs) -> Scored:
    """Score listed comparisons.

    Args:
        photos: the listing's photos as vectors.
        pairs: what to compare.
    """
    scores = photos.similarities(pairs.first, pairs.second)
    order = np.argsort(scores, kind="stable")
    mated, other = order[pairs.same[order]], order[~pairs.same[order]]
    falling = other[::-1]
    return Scored(
        mated=scores[mated], mated_first=pairs.first[mated], mated_second=pairs.second[mated],
        nonmated=scores[other], tail=scores[falling], tail_first=pairs.first[falling],
        tail_second=pairs.second[falling], people=pairs.people,
        comparing=Listed(pairs.first[other], pairs.second[other], pairs.people),
    )  # fmt: skip


def score_all(photos: PhotoSet, used: Bools) -> Scored:
    """Score all pairs of photos, in blocks.

    Args:
        photos: photos as vectors.
        used: bool (N,), which of them are compared.

    Raises:
        PairsUnusable: so many pairs that their scores do not fit in memory.
    """
    people = photos.listing.people
    rows = np.flatnonzero(used)
    rows = rows[np.argsort(people[rows], kind="stable")]  # photos of a person lie together
    mated, nonmated, first, second = _all_scores(photos, rows)
    nonmated.sort()
    floor = _floor(nonmated)
    tail, tail_first, tail_second = _tail(photos, rows, floor)
    order, falling = np.argsort(mated, kind="stable"), np.argsort(-tail, kind="stable")
    return Scored(
        mated=mated[order], mated_first=first[order], mated_second=second[order],
        nonmated=nonmated, tail=tail[falling], tail_first=tail_first[falling],
        tail_second=tail_second[falling], comparing=Everybody(used, people),
        people=people,
    )  # fmt: skip


def _floor(nonmated: NDArray[np.float32]) -> float | None:
    """The score above which comparisons are remembered, of float32 (S,), rising; None: all are."""
    if len(nonmated) <= _FEW:
        return None
    return float(nonmated[len(nonmated) - int(np.ceil(TAIL * len(nonmated))) - 1])


def _blocks(photos: PhotoSet, rows: Ints) -> Iterator[tuple[int, NDArray[np.float32], Ints]]:
    """Similarities of rows start… with rows start…, block by block.

    Yields:
        Start, similarities float32 (≤ 512, R − start), and for each row of the block the first
        column, counted from the first of all rows, that is of another person.
    """
    people = photos.listing.people[rows]
    vectors, failed = photos.vectors[rows], photos.failed[rows]
    ends = np.searchsorted(people, people, "right")
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        found = vectors[block] @ vectors[start:].T
        found[:, failed[start:]] = -np.inf
        found[failed[block]] = -np.inf
        yield start, found, ends[block]


def _all_scores(
    photos: PhotoSet, rows: Ints
) -> tuple[NDArray[np.float32], NDArray[np.float32], Ints, Ints]:
    """Mated and non-mated scores, float32 (M,) and (S,), and the rows behind the mated ones."""
    counts = np.bincount(photos.listing.people[rows]).astype(np.int64)
    same = int((counts * (counts - 1) // 2).sum())
    size = len(rows) * (len(rows) - 1) // 2 - same
    if size > MOST_SCORES:
        raise PairsUnusable(
            f"{size:,} pairs of people's photos do not fit in memory: draw fewer people with "
            "--people N, or give a pair file."
        )
    mated, nonmated = np.empty(same, np.float32), np.empty(size, np.float32)
    first, second = np.empty(same, np.int64), np.empty(same, np.int64)
    m = s = 0
    for start, found, ends in _blocks(photos, rows):
        for place, end in enumerate(ends.tolist()):
            row = start + place
            own, others = found[place, place + 1 : end - start], found[place, end - start :]
            mated[m : m + len(own)] = own
            first[m : m + len(own)], second[m : m + len(own)] = rows[row], rows[row + 1 : end]
            nonmated[s : s + len(others)] = others
            m, s = m + len(own), s + len(others)
    return mated, nonmated, first, second


def _tail(
    photos: PhotoSet, rows: Ints, floor: float | None
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Non-mated scores above a floor (None: all) and the rows behind them."""
    none = np.empty(0, dtype=np.int64)
    parts: list[tuple[NDArray[np.float32], Ints, Ints]] = [(np.empty(0, np.float32), none, none)]
    for start, found, ends in _blocks(photos, rows):
        high = np.ones(found.shape, bool) if floor is None else found > np.float32(floor)
        high &= np.arange(start, start + found.shape[1]) >= ends[:, None]
        one, other = np.nonzero(high)
        parts.append((found[one, other], rows[start + one], rows[start + other]))
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1].astype(np.int32) for part in parts]),
        np.concatenate([part[2].astype(np.int32) for part in parts]),
    )


def fold_of_people(people: int, seed: int) -> Ints:
    """A fold for each person, drawn with a seed, sizes equal to one person: int64 (K,)."""
    folds = np.arange(people) % FOLDS
    return np.random.default_rng(seed).permutation(folds)


def file_splits(folds: Ints) -> Iterator[tuple[Bools, Bools]]:
    """Each fold against the others, as LFW's ten folds are meant.

    Args:
        folds: int64 (C,).

    Yields:
        Which comparisons are measured, and which choose thresholds for them: bool (C,) each.
    """
    for fold in np.unique(folds):
        yield folds == fold, folds != fold


def person_splits(first: Ints, second: Ints) -> Iterator[tuple[Bools, Bools]]:
    """Comparisons against those that share no person's fold with them.

    Thresholds for a comparison between people of the folds f and g are chosen on comparisons
    among the people of the other folds: person-disjoint, and every comparison is measured once.

    Args:
        first: int64 (C,), the fold of one side's person.
        second: int64 (C,), the fold of the other side's person.
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    for code in np.unique(low * FOLDS + high).tolist():
        f, g = divmod(code, FOLDS)
        tested = (low == f) & (high == g)
        yield tested, ~np.isin(first, (f, g)) & ~np.isin(second, (f, g))


def balanced_draw(listing: Listing, used: Bools, seed: int) -> Pairs:
    """Ten person-disjoint folds of as many mated as non-mated pairs, from all of a folder.

    A fold holds the mated pairs of its people (20,000 drawn where there are more) and as many
    pairs of two of its people, drawn with the seed.

    Args:
        listing: the photos.
        used: bool (N,), which of them may be drawn.
        seed: of folds and pairs.
    """
    generator = np.random.default_rng(seed)
    fold = fold_of_people(len(listing.names), seed)[listing.people]
    parts: list[Ints] = []
    for number in range(FOLDS):
        rows = np.flatnonzero(used & (fold == number))
        drawn = _balanced(rows, listing.people, generator)
        parts.append(np.column_stack([drawn, np.full(len(drawn), number)]))
    table = np.concatenate(parts)
    same = listing.people[table[:, 0]] == listing.people[table[:, 1]]
    return Pairs(table[:, 0], table[:, 1], same, table[:, 2], listing.people)


def _balanced(rows: Ints, people: Ints, generator: np.random.Generator) -> Ints:
    """Mated pairs of some rows and as many non-mated ones: int64 (C, 2)."""
    rows = rows[np.argsort(people[rows], kind="stable")]
    ends = np.searchsorted(people[rows], people[rows], "right")
    own = [(r, other) for r, end in enumerate(ends.tolist()) for other in range(r + 1, end)]
    mated = np.array(own, dtype=np.int64).reshape(-1, 2)
    mated = generator.permutation(mated)[:_DRAWN]
    wanted = len(mated)
    drawn = np.sort(generator.integers(max(len(rows), 1), size=(4 * wanted, 2)), axis=1)
    drawn = drawn[people[rows[drawn[:, 0]]] != people[rows[drawn[:, 1]]]] if wanted else drawn
    drawn = generator.permutation(np.unique(drawn, axis=0))[:wanted]
    return np.asarray(rows[np.concatenate([mated, drawn])], dtype=np.int64)
