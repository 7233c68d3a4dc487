"""Train, validation, test: by person, never by photo; and batches of M pictures a class.

A person's part follows from a hash of the name and the seed, so that it does not change when
others come or go. What a batch holds follows from the seed and the step alone: a run that is
killed and goes on draws the same batches, with nothing to remember.

Letters: N pictures, B pictures a batch, M pictures a class.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.dataset import Pictures
from embedder.dataset_readers import TEST, TRAIN, VALIDATION
from embedder.errors import BadData

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the pictures of each part.

    Attributes:
        train: int64 (count,), ascending.
        validation: int64 (count,), ascending.
        test: int64 (count,), ascending.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def part_of(name: str, shares: tuple[float, float], seed: int) -> int:
    """0 train, 1 validation or 2 test for a person.

    Args:
        name: the person's (or an unlabelled picture's) name.
        shares: share of validation and of test, 0…1 together at most 1.
        seed: another seed, another split.
    """
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < shares[0]:
        return VALIDATION
    return TEST if place < shares[0] + shares[1] else TRAIN


def split(
    pictures: Pictures,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    by: str = "class",
) -> Split:
    """Part of each picture.

    Args:
        pictures: what to split.
        validation: share of people to validate on.
        test: share of people to keep for the end.
        seed: of the hash.
        by: `class`: all pictures of a class go to one part, unlabelled ones each by itself;
            `photo`: each picture by itself, for closed sets such as the ten digits, where new
            classes never come. An official part always counts: its test pictures stay test, and
            validation is drawn from the rest.

    Raises:
        BadData: no picture is left to train on.
    """
    shares = (validation, test)
    alone = by == "photo"
    official = bool((pictures.given == TEST).any())
    if official:  # the test part is there already
        shares = (validation, 0.0)
    parts = np.array([part_of(name, shares, seed) for name in pictures.names], np.int8)
    each = np.empty(len(pictures), np.int8)
    for i, label in enumerate(pictures.labels.tolist()):
        each[i] = part_of(f"#{i}", shares, seed) if alone or label < 0 else parts[label]
    told = pictures.given >= 0 if not official else pictures.given == TEST
    each = np.where(told, pictures.given, each)
    found = [np.flatnonzero(each == part).astype(np.int64) for part in (TRAIN, VALIDATION, TEST)]
    if not len(found[0]):
        raise BadData("No picture is left to train on: give more people or smaller shares.")
    return Split(*found)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws batches of M pictures of each of B / M classes; unlabelled pictures one by one.

    Stateless, unlike the sampler of the metric-learning library: a batch is a function of seed
    and step, which makes a continued run exact.

    Attributes:
        members: for each class with two pictures or more their indices, int64 (count,) each.
        loose: indices of unlabelled pictures, int64 (count,).
        per_class: M.
        batch: B.
        seed: of all draws.
    """

    members: tuple[NDArray[np.int64], ...]
    loose: NDArray[np.int64]
    per_class: int
    batch: int
    seed: int

    def draw(self, step: int) -> NDArray[np.int64]:
        """Picture indices int64 (B,) of a step."""
        rng = np.random.default_rng([self.seed, step])
        share = len(self.loose) / max(1, len(self.loose) + sum(map(len, self.members)))
        free = self.batch if not self.members else round(self.batch * share)
        classes = (self.batch - free) // self.per_class
        chosen = [self._of_class(int(c), rng) for c in self._classes(classes, rng)]
        if free:
            chosen.append(rng.choice(self.loose, free, replace=free > len(self.loose)))
        return np.concatenate(chosen)

    def _classes(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Classes without repeats; where the batch has room for more than there are, in rounds."""
        rounds = -(-count // max(1, len(self.members)))
        drawn = [rng.permutation(len(self.members)) for _ in range(rounds)]
        return np.concatenate([*drawn, np.empty(0, np.int64)])[:count].astype(np.int64)

    def _of_class(self, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        mine = self.members[number]
        return rng.choice(mine, self.per_class, replace=len(mine) < self.per_class)


def sampler(
    pictures: Pictures,
    part: NDArray[np.int64],
    *,
    per_class: int,
    batch: int,
    seed: int,
    labels: bool = True,
) -> Sampler:
    """A sampler over one part.

    Args:
        pictures: all of them.
        part: int64 (P,), the indices to draw from.
        per_class: M ≥ 1.
        batch: B ≥ M.
        seed: of all draws.
        labels: False: draw every picture by itself, as self-supervision does.

    Raises:
        BadData: the part is empty, or holds classes of which none has two pictures.
    """
    if not labels:
        return Sampler((), part, 1, batch, seed)
    own = pictures.labels[part]
    order = np.argsort(own, kind="stable")
    starts = np.flatnonzero(np.diff(own[order], prepend=-2))
    groups = [g for g in np.split(part[order], starts) if len(g)]
    loose = [g for g in groups if pictures.labels[g[0]] < 0]
    members = tuple(g for g in groups if pictures.labels[g[0]] >= 0 and len(g) >= 2)
    if not members and not loose:
        raise BadData("No class has two pictures to train on: give at least two a class.")
    return Sampler(members, loose[0] if loose else np.empty(0, np.int64), per_class, batch, seed)
