"""All pairs of 13,000 vectors: how long, and how much memory?

    python benchmarks/all_pairs.py [PHOTOS]

Vectors of as many people and photos a person as LFW has (5,749 people for 13,233 photos, most
with one photo), from the seed 0: 128 dimensions, mated similarity about 0.6. The time is that of
scoring and of every figure of `vultus evaluate verification --all-pairs`; memory is the peak of
the whole process, Python and libraries included.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np

from verify.evaluate import PairSource, Rules, verification, verify_all
from verify.evaluation import Setup
from verify.evaluation_text import text
from verify.photoset import Listing, PhotoSet

PHOTOS, DIM, TARGET_SECONDS, TARGET_GB = 13_000, 128, 60, 2


def main() -> None:
    """Score all pairs and print one table."""
    photos = synthetic(int(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
    everybody = np.ones(len(photos.listing), dtype=bool)
    rows = np.arange(len(photos.listing))
    begun = time.perf_counter()
    scored, folds, words = verify_all(photos, everybody, Rules())
    setup = Setup("verification", "synthetic", "–", "–", "–", "–", words, False, 0, "–")
    result = verification(photos, scored, folds, PairSource(), setup, (rows, rows))
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(text(result))
    print(f"\n{'what':28} {'measured':>12}  target")
    print(f"{'comparisons':28} {result.mated + result.nonmated:12,}")
    print(f"{'seconds':28} {seconds:12.1f}  < {TARGET_SECONDS}")
    print(f"{'peak memory, GB':28} {peak:12.2f}  < {TARGET_GB}")


def synthetic(count: int) -> PhotoSet:
    """Vectors of people who do not exist: `count` rows."""
    generator = np.random.default_rng(0)
    sizes = np.minimum(generator.zipf(2.2, count), 200)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), count)) + 1]
    people = np.repeat(np.arange(len(sizes)), sizes)[:count]
    centres = generator.standard_normal((len(sizes), DIM), dtype=np.float32)
    vectors = centres[people] + 0.8 * generator.standard_normal((count, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    files = tuple(f"{person}/{row}.jpg" for row, person in enumerate(people.tolist()))
    names = tuple(str(number) for number in range(len(sizes)))
    listing = Listing(Path(), files, people.astype(np.int64), names)
    return PhotoSet(listing, vectors, np.ones(count, dtype=bool), {})


if __name__ == "__main__":
    main()
