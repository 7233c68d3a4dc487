"""What the passive heuristic against recaptures catches and what it misses, on simulations.

    VULTUS_DATA=... python benchmarks/pad.py [--people 300] [--seed 0] [--write]

One picture a person of `lfw-dev`. The regression is fitted on the people of `train` (each as it is,
through another camera, and as four simulated recaptures; see `verify.pad_recapture`), and both
thresholds are the scores that 1 % and 5 % of their bona fide pictures reach, each picture scored by
a fit on the other half of the people. The table is of `test`: other people. `--write` keeps the
fit as `verify/data/pad_recapture.json`, from which the gate works.

Letters: P pictures, M measures.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pictures import data_folder
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from embedder.detect import Detector, choose, open_detector
from embedder.photo import Photo, read_photo
from verify.evaluation import Rate
from verify.output import as_table
from verify.pad import Shot
from verify.pad_passive import MEASURES, Weights, measure
from verify.pad_recapture import SPECIES, retaken
from verify.resampling import by_person

Rows = NDArray[np.float64]
FITTED = 200  # people
ATTACK, UNDECIDED = 0.01, 0.05  # shares of bona fide pictures that reach the thresholds
BONA_FIDE = ("untouched", "other camera")
KINDS: dict[str, Callable[..., NDArray[np.uint8]]] = {
    "untouched": lambda pixels, _rng: pixels,
    "other camera": retaken,
    **SPECIES,
}
KEPT = Path(__file__).resolve().parents[1] / "verify" / "data" / "pad_recapture.json"


def main() -> None:
    """Fit, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=300, help="of the test part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the fit")
    asked = parser.parse_args()
    weights = fit(measured("train", FITTED, asked.seed), f"lfw-dev/train, seed {asked.seed}")
    if asked.write:
        KEPT.write_text(json.dumps(weights.to_dict(), indent=1) + "\n", encoding="utf-8")
    rows = []
    for kind, found in measured("test", asked.people, asked.seed).items():
        rows.append((kind, *figures(found, weights)))
    head = ("presentation", "pictures", "no response", "attack", "undecided", "bona fide")
    print(as_table(rows, head))
    print(
        f"BPCER is the column attack of the first two rows, APCER the column bona fide of the "
        f"others; thresholds at {ATTACK:.0%} and {UNDECIDED:.0%} of the bona fide pictures of "
        f"{FITTED} other people: {weights.attack:.2f} and {weights.undecided:.2f}."
    )


def measured(part: str, people: int, seed: int) -> dict[str, Rows]:
    """Measures, float64 (P, M), of each kind of presentation; a row of NaN where no face is found.

    Args:
        part: `train` or `test`.
        people: how many, drawn at random.
        seed: of the draw and of the simulations.
    """
    folders = sorted((data_folder() / "lfw-dev" / part).iterdir())
    drawn = np.random.default_rng(seed).permutation(len(folders))[:people]
    jobs = [(min(folders[i].glob("*.jpg")), [seed, int(i)]) for i in sorted(drawn)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(tqdm(pool.map(look, jobs, chunksize=4), part, len(jobs)))
    return {kind: np.stack([one[kind] for one in found]) for kind in KINDS}


def look(job: tuple[Path, list[int]]) -> dict[str, Rows]:
    """One picture in all kinds: measures, float64 (M,), of each."""
    file, seed = job
    cv2.setNumThreads(1)
    pixels = read_photo(file).pixels
    found = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        shown = make(pixels, np.random.default_rng([*seed, number]))
        photo = Photo(np.ascontiguousarray(shown), "", kind)
        faces = detector().detect(photo)
        row = measure(Shot(photo, choose(faces, photo, "centre"))) if faces else None
        found[kind] = np.full(len(MEASURES), np.nan) if row is None else row.astype(np.float64)
    return found


@cache
def detector() -> Detector:
    """The detector, opened once a process."""
    return open_detector()


def fit(found: dict[str, Rows], source: str) -> Weights:
    """Weights and thresholds from the measures of each kind."""
    rows = np.concatenate(list(found.values()))
    attack = np.concatenate([[kind not in BONA_FIDE] * len(some) for kind, some in found.items()])
    half = np.concatenate([np.arange(len(some)) % 2 for some in found.values()])
    seen = np.isfinite(rows).all(axis=1)
    rows, attack, half = rows[seen], attack[seen], half[seen]
    scores = np.zeros(len(rows))
    for held in (0, 1):
        other = _regression(rows[half != held], attack[half != held], source)
        scores[half == held] = other.score(rows[half == held])
    bona_fide = scores[~attack]
    whole = _regression(rows, attack, source)
    ends = [float(np.quantile(bona_fide, 1 - share)) for share in (ATTACK, UNDECIDED)]
    return Weights(whole.centre, whole.scale, whole.weight, whole.bias, *ends, source)


def _regression(rows: Rows, attack: NDArray[np.bool_], source: str) -> Weights:
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    model = LogisticRegression(class_weight="balanced").fit((rows - centre) / scale, attack)
    return Weights(centre, scale, model.coef_[0], float(model.intercept_[0]), 0.0, 0.0, source)


def figures(found: Rows, weights: Weights) -> tuple[int, int, Rate, Rate, Rate]:
    """Pictures, those without a response, and the shares of the three outcomes of the others."""
    seen = np.isfinite(found).all(axis=1)
    scores = weights.score(found[seen])
    attack, bona_fide = scores >= weights.attack, scores < weights.undecided
    people = np.arange(len(scores))
    rates = [by_person(some, people) for some in (attack, ~attack & ~bona_fide, bona_fide)]
    return len(found), int((~seen).sum()), rates[0], rates[1], rates[2]


if __name__ == "__main__":
    main()
