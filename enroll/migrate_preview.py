"""What another encoder would change, before anything is changed.

Every named template asks two questions in either space: whose template is the closest other one,
and what would be decided, at one false-match rate, about the closest other template of the same
person (a genuine comparison) and the closest of anybody else (the comparison most likely to go
wrong). The log of decisions keeps no picture of who was asked about, so it cannot be asked again.

N templates, D dimensions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedder.encoder import card_of
from enroll.migrate_encoding import Encoding, Progress, require_same_crops
from store.errors import NothingToMigrate
from store.gallery import active_calibration, pinned_space
from store.listing import person_rows
from store.templates import LibraryFaces, named_templates
from store.transitions import count_waiting, twins
from verify.calibration import calibration_for
from verify.decision import DEFAULT_FMR, Rule, rule_at

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from verify.opening import Parts

SHOWN = 50  # examples of each kind in a report
_PRODUCTS = 1 << 22  # similarities in memory at once
Kind = Literal["genuine", "impostor"]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A template whose closest other template is another person's in the new space.

    Attributes:
        template: its id.
        person: whose it is.
        before, after: whose its closest other template is, in either space.
        similarity_before, similarity_after: how similar that is.
    """

    template: int
    person: str
    before: str
    after: str
    similarity_before: float
    similarity_after: float


@dataclass(frozen=True, slots=True)
class Flip:
    """A comparison that would be decided otherwise.

    Attributes:
        kind: genuine or impostor.
        template: its id.
        person: whose it is.
        other: whose the closest other template is in the new space.
        before, after: the answers.
        similarity_before, similarity_after: what they rest on.
    """

    kind: Kind
    template: int
    person: str
    other: str
    before: str
    after: str
    similarity_before: float
    similarity_after: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What a migration would do.

    Attributes:
        source, target: vector spaces.
        faces: how many have a template.
        to_encode: how many have none in the new space yet.
        from_photos: how many would be encoded from their photo.
        unreadable: how many cannot be encoded.
        compared: named templates that were compared in both spaces.
        fmr: the rate of both rules.
        threshold_before, threshold_after: the similarity asked for "yes" at that rate.
        closest_template_changed: of how many templates the closest other one is another.
        closest_person_changed: of how many it is another person's.
        decisions: kind → "before→after" → how many comparisons.
        neighbours, flips: examples, at most `SHOWN` of each.
    """

    source: str
    target: str
    faces: int
    to_encode: int
    from_photos: int
    unreadable: int
    compared: int
    fmr: float
    threshold_before: float
    threshold_after: float
    closest_template_changed: int
    closest_person_changed: int
    decisions: dict[str, dict[str, int]]
    neighbours: tuple[Neighbour, ...]
    flips: tuple[Flip, ...]

    @property
    def flipped(self) -> int:
        """How many comparisons would be decided otherwise."""
        return sum(
            count
            for counts in self.decisions.values()
            for change, count in counts.items()
            if len(set(change.split("→"))) > 1
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"flipped": self.flipped}


@dataclass(frozen=True, slots=True)
class Closest:
    """The closest other templates of N templates in one space; −1 and −inf where there is none.

    Attributes:
        any_row: int64 (N,), row of the closest other template.
        own, other: float32 (N,), similarity of the closest of the same person and of anybody else.
        other_row: int64 (N,), row of the latter.
    """

    any_row: NDArray[np.int64]
    own: NDArray[np.float32]
    other: NDArray[np.float32]
    other_row: NDArray[np.int64]

    @property
    def similarity(self) -> NDArray[np.float32]:
        """float32 (N,), of the closest other template."""
        return np.maximum(self.own, self.other)


def preview(
    parts: Parts,
    model: str,
    *,
    fmr: float = DEFAULT_FMR,
    from_photos: bool = False,
    progress: Progress | None = None,
) -> Preview:
    """Encode every face in memory and tell what would change; nothing is written.

    Args:
        parts: the gallery.
        model: name of the encoder.
        fmr: the false-match rate of both rules.
        from_photos: encode from the photo where it is there and the same, else from the crop.
        progress: called with faces done and faces in all.

    Raises:
        UnknownModel, NothingToMigrate, CropsUnfit, NoCalibration: as `enroll.migrate.migrate`.
        UnsupportedRate: one of the calibrations cannot show the rate.
        OneToOneOnly: the gallery's people cannot be compared with each other.
    """
    card = card_of(model)
    with parts.store.read() as session:
        source = pinned_space(session)
        if source is None or source == card.space:
            raise NothingToMigrate(f"There is nothing to change to {card.space}.")
        require_same_crops(source, card)
        rules = _rule(session, source, fmr), _rule(session, card.space, fmr)
        before = named_templates(session, source)
        encoding = Encoding(parts, source, card, from_photos)
        total = count_waiting(session, source, card.space)
        made: dict[int, NDArray[np.float32]] = {}  # template in the old space → the new vector
        done = 0
        for waiting in encoding.batches(session):
            vectors = encoding.vectors(waiting)
            made |= {
                one.template_id: vectors[one.face_id] for one in waiting if one.face_id in vectors
            }
            done += len(waiting)
            if progress is not None:
                progress(done, total)
        made |= _encoded_before(session, source, card.space)
        faces = len(made) + len(encoding.unreadable)
        both, after = _both(before, made, card.dim)
        people = np.unique(both.person_ids).tolist()
        names = {row.id: row.name for row in person_rows(session, people)}
    old, new = closest(both.vectors, both.person_ids), closest(after, both.person_ids)
    decisions, flips = _decided(both, names, (old, new), rules)
    neighbours = _neighbours(both, names, old, new)
    return Preview(
        source=source,
        target=card.space,
        faces=faces,
        to_encode=total,
        from_photos=encoding.photos,
        unreadable=len(encoding.unreadable),
        compared=len(both),
        fmr=fmr,
        threshold_before=rules[0].threshold,
        threshold_after=rules[1].threshold,
        closest_template_changed=int(np.count_nonzero(old.any_row != new.any_row)),
        closest_person_changed=len(neighbours),
        decisions=decisions,
        neighbours=tuple(neighbours[:SHOWN]),
        flips=tuple(flips[:SHOWN]),
    )


def closest(vectors: NDArray[np.float32], people: NDArray[np.int64]) -> Closest:
    """The closest other templates of every template, by comparing all pairs.

    Args:
        vectors: float32 (N, D), unit rows.
        people: int64 (N,), whose each is.
    """
    count = len(vectors)
    own = np.full(count, -np.inf, np.float32)
    other, any_row = own.copy(), np.full(count, -1, np.int64)
    other_row = any_row.copy()
    step = max(1, _PRODUCTS // max(count, 1))
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        products = vectors[rows] @ vectors.T
        products[np.arange(len(rows)), rows] = -np.inf
        best = products.argmax(axis=1)
        found = np.isfinite(products.max(axis=1))
        any_row[rows] = np.where(found, best, -1)
        same = people[rows, None] == people
        own[rows] = np.where(same, products, -np.inf).max(axis=1)
        strangers = np.where(same, -np.inf, products)
        other[rows] = strangers.max(axis=1)
        other_row[rows] = np.where(np.isfinite(other[rows]), strangers.argmax(axis=1), -1)
    return Closest(any_row, own, other, other_row)


def _rule(session: Session, space: str, fmr: float) -> Rule:
    row = active_calibration(session, space)
    return rule_at(calibration_for(space, None if row is None else row.body), fmr)


def _encoded_before(session: Session, source: str, target: str) -> dict[int, NDArray[np.float32]]:
    """The vectors that an earlier run stored already, by the template in the old space."""
    stored = named_templates(session, target)
    row_of = {int(template): row for row, template in enumerate(stored.ids)}
    pairs = twins(session, source, target)
    return {old: stored.vectors[row_of[new]] for old, new in pairs.items() if new in row_of}


def _both(
    before: LibraryFaces, made: dict[int, NDArray[np.float32]], dim: int
) -> tuple[LibraryFaces, NDArray[np.float32]]:
    """The named templates that have a vector in either space, and the new ones, float32 (N, D)."""
    rows = [row for row, template in enumerate(before.ids.tolist()) if template in made]
    after = np.zeros((len(rows), dim), np.float32)
    for place, row in enumerate(rows):
        after[place] = made[int(before.ids[row])]
    kept = LibraryFaces(
        before.ids[rows], before.photo_ids[rows], before.person_ids[rows], before.vectors[rows]
    )
    return kept, after


def _neighbours(
    both: LibraryFaces, names: dict[int, str], old: Closest, new: Closest
) -> list[Neighbour]:
    if len(both) < 2:  # nobody has a neighbour
        return []
    people = both.person_ids
    changed = np.flatnonzero(people[old.any_row] != people[new.any_row])
    return [
        Neighbour(
            template=int(both.ids[row]),
            person=names[int(people[row])],
            before=names[int(people[old.any_row[row]])],
            after=names[int(people[new.any_row[row]])],
            similarity_before=round(float(old.similarity[row]), 6),
            similarity_after=round(float(new.similarity[row]), 6),
        )
        for row in changed
    ]


def _decided(
    both: LibraryFaces, names: dict[int, str], spaces: tuple[Closest, Closest],
    rules: tuple[Rule, Rule],
) -> tuple[dict[str, dict[str, int]], list[Flip]]:  # fmt: skip
    """How comparisons are decided in either space, and those that are decided otherwise."""
    old, new = spaces
    counts: dict[str, dict[str, int]] = {}
    flips = []
    kinds: tuple[tuple[Kind, NDArray[np.float32], NDArray[np.float32]], ...] = (
        ("genuine", old.own, new.own), ("impostor", old.other, new.other),
    )  # fmt: skip
    for kind, first, second in kinds:
        changes: Counter[str] = Counter()
        for row in np.flatnonzero(np.isfinite(first)):
            a, b = float(first[row]), float(second[row])
            said, says = rules[0].answer(a), rules[1].answer(b)
            changes[f"{said}→{says}"] += 1
            if said != says:
                whose = int(both.person_ids[row if kind == "genuine" else new.other_row[row]])
                person = names[int(both.person_ids[row])]
                flips.append(
                    Flip(
                        kind,
                        int(both.ids[row]),
                        person,
                        names[whose],
                        said,
                        says,
                        round(a, 6),
                        round(b, 6),
                    )
                )
        counts[kind] = dict(sorted(changes.items()))
    return counts, flips
