"""Fit the calibrations that ship with the encoders, and show what other people say of them.

    VULTUS_DATA=... python benchmarks/calibrate.py [--write]

In force is the curve of the people of LFW's development train list. The labelled sets `celeba`
and `pins` are reported apart, at the same thresholds: what the curve promises is measured on
people it has not seen. Their labels are noisy: non-mated pairs above similarity 0.6 are listed.
Encoders that were trained here have learnt from these people: nothing is reported apart for them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from pictures import Vectors, aligned, lfw

from embedder.card import ALIGNMENT
from embedder.encoder import known_models
from embedder.model_folder import shipped_names
from verify.calibration import Calibration
from verify.fitting import comparisons, fit

TARGET = Path(__file__).parent.parent / "verify" / "data" / "calibration.json"
OTHERS = ("celeba", "pins")
SUSPICIOUS = 0.6
RATES = (1e-1, 1e-2, 1e-3, 1e-4)


def main() -> None:
    """Fit, print one table, and write the file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    arguments = parser.parse_args()
    spaces = {}
    for card in (card for card in known_models() if card.alignment == ALIGNMENT):
        found = {"lfw-dev train": lfw("train", card.name)}
        others = () if card.name in shipped_names() else OTHERS
        found |= {name: aligned(name, card.name) for name in others}
        curves = {name: _fit(vectors, name, card.space) for name, vectors in found.items()}
        in_force, *apart = curves.values()
        _print(card.name, in_force, list(curves.values()))
        for name in others:
            _list_suspects(found[name], name)
        spaces[card.space] = {
            "model": card.name,
            "in_force": in_force.to_dict(),
            "reported_apart": [_summary(curve, in_force) for curve in apart],
        }
    if arguments.write:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(json.dumps({"spaces": spaces}, indent=1) + "\n", encoding="utf-8")
        print(f"written: {TARGET.name}, {TARGET.stat().st_size} bytes")


def _fit(vectors: Vectors, source: str, space: str) -> Calibration:
    names = [str(name) for name in vectors.names]
    return fit(vectors.vectors, names, space=space, source=source, data_digest=vectors.digest)


def _print(model: str, in_force: Calibration, curves: list[Calibration]) -> None:
    print(f"\n{model}: rates at the thresholds of {in_force.source}")
    print(
        f"{'data':14} {'people':>6} {'photos':>6} {'pairs of people':>15}  {'smallest FMR':>12}",
        end="",
    )
    print("".join(f"  {'FMR, FNMR at ' + format(rate, '.0e'):>22}" for rate in RATES))
    for curve in curves:
        print(
            f"{curve.source:14} {curve.people:6} {curve.photos:6} {curve.person_pairs:15}"
            f"  {curve.smallest_fmr:12.1e}",
            end="",
        )
        for rate in RATES:
            threshold = in_force.threshold(rate)
            print(f"  {curve.fmr_at(threshold):10.2e}, {curve.fnmr_at(threshold):10.4f}", end="")
        print()
    thresholds = ", ".join(f"{rate:.0e} → {in_force.threshold(rate):.3f}" for rate in RATES)
    print(f"thresholds: {thresholds}")


def _summary(curve: Calibration, in_force: Calibration) -> dict[str, object]:
    """What another set of people says at the thresholds in force."""
    return {
        "source": curve.source,
        "people": curve.people,
        "person_pairs": curve.person_pairs,
        "mated_people": curve.mated_people,
        "photos": curve.photos,
        "data_digest": curve.data_digest,
        "at_thresholds_in_force": {
            repr(rate): {
                "threshold": in_force.threshold(rate),
                "fmr": curve.fmr_at(in_force.threshold(rate)),
                "fnmr": curve.fnmr_at(in_force.threshold(rate)),
            }
            for rate in RATES
        },
    }


def _list_suspects(vectors: Vectors, name: str) -> None:
    """Name the pairs of people whose photos look too alike to be two people."""
    label, people = np.unique(vectors.names, return_inverse=True)
    count: dict[tuple[int, int], tuple[int, float]] = {}
    for similarities, first, second in comparisons(vectors.vectors, people):
        for i in np.flatnonzero((similarities > SUSPICIOUS) & (first != second)):
            pair = (int(first[i]), int(second[i]))
            n, best = count.get(pair, (0, 0.0))
            count[pair] = (n + 1, max(best, float(similarities[i])))
    total = sum(n for n, _ in count.values())
    print(
        f"{name}: {total} non-mated photo pairs above {SUSPICIOUS}, of {len(count)} pairs of people"
    )
    for (a, b), (n, best) in sorted(count.items(), key=lambda item: -item[1][0])[:12]:
        print(f"    {label[a]} ~ {label[b]}: {n} pairs, up to {best:.2f}")


if __name__ == "__main__":
    main()
