"""Accuracy on the development pictures: pairs, open-set identification, clustering, misses.

    VULTUS_DATA=... python benchmarks/accuracy.py

Protocol (one face a photo by the rule `centre`): the threshold of the pairs is chosen on the
train list and applied to the test list; the gallery is the first photo of each person with two
photos or more, probes are their other photos, strangers the photos of everybody else; the cut of
the clustering follows from the calibration, which was fitted on the people of the train list.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pictures import Vectors, data_folder, lfw

from embedder.encoder import known_models
from enroll.cluster import partition
from index.partition import agreement
from verify.calibration import calibration_for
from verify.cuts import cuts_of
from verify.scores import OpenSetRates, accuracy, best_threshold, open_set_rates

TARGETS = {
    "pair accuracy": {"vultus-face-1": "≥ 0.987", "sface": "≥ 0.987", "sface-mirror": "≥ 0.987"},
    "rank-1": {"vultus-face-1": "≥ 0.985", "sface": "≥ 0.985", "sface-mirror": "≥ 0.988"},
    "FNIR at FPIR 0.01": {
        "vultus-face-1": "≤ 0.036", "sface": "≤ 0.040", "sface-mirror": "≤ 0.032",
    },
    "BCubed F": {"vultus-face-1": "≥ 0.980", "sface": "≥ 0.980", "sface-mirror": "≥ 0.980"},
    "photos without a face": {"vultus-face-1": "0", "sface": "0", "sface-mirror": "0"},
}  # fmt: skip


def main() -> None:
    """Measure each model and print one table."""
    rows = []
    for card in known_models():
        if card.name not in TARGETS["BCubed F"]:
            continue  # an encoder of things
        train, test = lfw("train", card.name), lfw("test", card.name)
        found = _pairs(train, test) | _identification(test) | _clustering(test, card.space)
        found["photos without a face"] = f"{len(train.missed) + len(test.missed)}"
        rows += [(card.name, what, figure) for what, figure in found.items()]
    print(f"{'model':13} {'what':24} {'measured':>34}  target")
    for model, what, figure in rows:
        print(f"{model:13} {what:24} {figure:>34}  {TARGETS.get(what, {}).get(model, '')}")


def read_pairs(path: Path, photos: Vectors) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A pair list in LFW's form as rows of a set of photos: int64 (C, 2), bool (C,)."""
    keys = zip(photos.names.tolist(), photos.numbers.tolist(), strict=True)
    row = {key: r for r, key in enumerate(keys)}
    pairs, same = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = re.split(r"\s+", line.strip())
        if len(parts) == 3:
            pairs.append((row[parts[0], int(parts[1])], row[parts[0], int(parts[2])]))
            same.append(True)
        elif len(parts) == 4:
            pairs.append((row[parts[0], int(parts[1])], row[parts[2], int(parts[3])]))
            same.append(False)
    return np.array(pairs), np.array(same)


def _pairs(train: Vectors, test: Vectors) -> dict[str, str]:
    folder = data_folder() / "lfw-dev"
    (a, same), (b, truth) = (
        read_pairs(folder / "pairs-train.txt", train), read_pairs(folder / "pairs-test.txt", test)
    )  # fmt: skip
    threshold = best_threshold(_similarities(train, a), same)
    reached = accuracy(_similarities(test, b), truth, threshold)
    return {"pair accuracy": f"{reached:.4f} (threshold {threshold:.3f})"}


def _similarities(photos: Vectors, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    left, right = photos.vectors[pairs[:, 0]], photos.vectors[pairs[:, 1]]
    return np.einsum("cd,cd->c", left, right)


def _identification(photos: Vectors) -> dict[str, str]:
    rates = identification_rates(photos, 0.01)
    return {
        "rank-1": f"{rates.rank1:.4f}",
        "FNIR at FPIR 0.01": f"{rates.fnir:.4f} (threshold {rates.threshold:.3f})",
    }


def identification_rates(photos: Vectors, fpir: float) -> OpenSetRates:
    """Open-set rates: first photos enrolled, the others and all strangers as probes."""
    people, counts = np.unique(photos.names, return_counts=True)
    several = set(people[counts >= 2].tolist())
    order = np.lexsort((photos.numbers, photos.names))
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(str(photos.names[row]), int(row))
    gallery = np.array([first[name] for name in sorted(several)])
    enrolled = set(gallery.tolist())
    rows = np.arange(len(photos.names))
    known = np.array([r for r in rows if photos.names[r] in several and r not in enrolled])
    strangers = np.array([r for r in rows if photos.names[r] not in several])
    scores = photos.vectors[known] @ photos.vectors[gallery].T
    right = photos.names[gallery][scores.argmax(1)] == photos.names[known]
    met = (photos.vectors[strangers] @ photos.vectors[gallery].T).max(1)
    return open_set_rates(scores.max(1), right, met, fpir)


def _clustering(photos: Vectors, space: str) -> dict[str, str]:
    truth = np.unique(photos.names, return_inverse=True)[1]
    labels = partition(photos.vectors, cuts_of(calibration_for(space)))
    found = agreement(labels, truth)
    b = found.bcubed
    return {
        "BCubed F": f"{b.f:.4f} (P {b.precision:.4f}, R {b.recall:.4f})",
        "clusters": f"{len(np.unique(labels))} for {len(np.unique(truth))} people",
    }


if __name__ == "__main__":
    main()
