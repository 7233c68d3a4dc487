"""Faults planted into a gallery, and how many of them `vultus audit gallery` finds.

    VULTUS_DATA=… PYTHONPATH=. python benchmarks/planted_faults.py [--people 500] [--faults 20]
        [--seeds 3]

The gallery: 500 people of lfw-dev/test, those with several photos first. Planted into it, in people
drawn by chance: 20 people enrolled under two names, half of their photos under each (two or more);
20 names that hold another person's photos too (two or more); 20 names with one photo of somebody
else among three or more of their own. A mixed name also counts as found where its foreign photos
are told one by one, as outliers. A finding that names no planted fault is a false alarm; those of
the kind `unalike`, where a name has two photos only and nobody can say which is wrong, are not
serious and are counted apart, as are confusable pairs. The cuts were chosen on other people
(celebmini, whose labels are not clean); LFW's own wrong labels count as false alarms.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from pictures import Vectors, lfw

from embedder.encoder import card_of
from enroll.suspects import Cuts, Suspicion, confusable, duplicates, misfits
from verify.calibration import calibration_for
from verify.decision import DEFAULT_FMR

KINDS = ("duplicate", "mixed", "outlier")


@dataclass
class Planted:
    """A gallery with faults.

    Attributes:
        members: name → rows of the vectors.
        faults: kind → what a finding must be about: a pair of names, a name, a name and a row.
        foreign: names and rows of the photos that were put under a mixed name.
    """

    members: dict[str, list[int]]
    faults: dict[str, set[tuple[object, ...]]] = field(
        default_factory=lambda: {kind: set() for kind in KINDS}
    )
    foreign: set[tuple[str, int]] = field(default_factory=set)


def plant(data: Vectors, people: int, faults: int, seed: int) -> Planted:
    """A gallery of so many people with so many faults of each kind."""
    rng = np.random.default_rng(seed)
    rows = {
        str(name): np.flatnonzero(data.names == name).tolist() for name in np.unique(data.names)
    }
    several = _shuffled(rng, [name for name in rows if len(rows[name]) > 1])
    single = _shuffled(rng, [name for name in rows if len(rows[name]) == 1])
    donors = several[: 2 * faults]  # whose photos are put under other names
    chosen = (several[2 * faults :] + single)[:people]
    strangers = [name for name in single if name not in set(chosen)][:faults]
    gallery = Planted({name: list(rows[name]) for name in chosen})
    free = list(chosen)

    def take(least: int) -> str:
        found = next(name for name in free if len(rows[name]) >= least)
        free.remove(found)
        return found

    for _ in range(faults):
        name = take(4)
        own = [int(row) for row in rng.permutation(rows[name])]
        gallery.members[name], gallery.members[f"{name} again"] = own[::2], own[1::2]
        gallery.faults["duplicate"].add((name, f"{name} again"))
    for donor in donors[:faults]:
        name = take(2)
        foreign = rows[donor][: max(2, len(rows[name]))]
        gallery.members[name] += foreign
        gallery.foreign |= {(name, row) for row in foreign}
        gallery.faults["mixed"].add((name,))
    for stranger in strangers:
        name = take(3)
        gallery.members[name] += rows[stranger]
        gallery.faults["outlier"].add((name, rows[stranger][0]))
    return gallery


def _shuffled(rng: np.random.Generator, names: list[str]) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))]


def audited(data: Vectors, gallery: Planted, model: str) -> tuple[Counter[str], Counter[str]]:
    """How many planted faults of each kind were found, and how many findings there were beside."""
    calibration = calibration_for(card_of(model).space)
    names = list(gallery.members)
    rows = np.array([row for name in names for row in gallery.members[name]])
    owner = np.repeat(np.arange(len(names)), [len(gallery.members[name]) for name in names])
    arrays = rows, owner, data.vectors[rows]
    cuts = Cuts.of(calibration)
    found: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    seen = set()
    for one in duplicates(*arrays, cuts) + misfits(*arrays, cuts):
        kind, fault = _fault_of(gallery, one, tuple(names[person] for person in one.people))
        if fault is None:
            beside[one.kind] += 1
        elif fault not in seen:
            seen.add(fault)
            found[kind] += 1
    beside["confusable"] = len(confusable(*arrays, calibration.threshold(DEFAULT_FMR)))
    return found, beside


def _fault_of(
    gallery: Planted, finding: Suspicion, about: tuple[str, ...]
) -> tuple[str, tuple[object, ...] | None]:
    """The planted fault that a finding names, with its kind; None where it names none."""
    first = (about[0], finding.templates[0])
    if finding.kind == "outlier" and first in gallery.foreign:
        return "mixed", about
    keys = {about, about[::-1]} if finding.kind != "outlier" else {first}
    named = keys & gallery.faults.get(finding.kind, set())
    return finding.kind, next(iter(named), None)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'model':13} {'kind':10} {'planted':>8} {'found':>6} {'false':>6}")
    for model in ("sface", "sface-mirror"):
        data = lfw("test", model)
        found: Counter[str] = Counter()
        beside: Counter[str] = Counter()
        for seed in range(options.seeds):
            some, others = audited(data, plant(data, options.people, options.faults, seed), model)
            found += some
            beside += others
        each = options.faults * options.seeds
        for kind in KINDS:
            print(f"{model:13} {kind:10} {each:8} {found[kind]:6} {beside[kind]:6}")
        hits, false = sum(found[kind] for kind in KINDS), sum(beside[kind] for kind in KINDS)
        print(
            f"{model:13} {'all':10} {each * len(KINDS):8} {hits:6} {false:6}   "
            f"found {hits / (each * len(KINDS)):.1%}, false {false / (hits + false):.1%}"
            f"; apart: {beside['unalike']} unalike, {beside['confusable']} confusable pairs"
        )


if __name__ == "__main__":
    main()
