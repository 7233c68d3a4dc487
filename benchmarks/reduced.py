"""What decoding large JPEGs at a reduced size costs recognition: errors, in pairs, with intervals.

    VULTUS_DATA=... python benchmarks/reduced.py [--photos 600] [--size 4000x3000] [--draws 2000]

One photo of each person of `lfw-dev` with two photos or more is composed into a JPEG of that size
(quality 90): the photo, blown up to between a tenth and nine tenths of the short side, on a blurred
scene of another photo, with noise. Each JPEG is decoded whole and reduced, and its face goes
the way of an enrolment. The templates are clean: the other photos of the person as they are (mated,
at most five) and one photo of everybody else (non-mated). Per way, similarity of the mated
comparisons and FNMR at an FMR of 1e-2, 1e-3 and 1e-4, each way with the threshold of its own
non-mated comparisons; then reduced minus whole, the same photos and templates on either side, with
the 2.5th and 97.5th percentile of a bootstrap over the people composed, in which the thresholds are
found anew. A face that was not found is no match; some are not, either way, for they lie within the
blurred face of the scene. At last the cosine of the two vectors of a photo,
and the processor time of decoding, detecting and cutting.

Letters: N photos composed, T clean photos, D dimensions.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pictures import Vectors, data_folder, lfw
from tqdm import tqdm

from embedder.embed import Embedder, FoundFace, open_embedder
from embedder.photo import Encoded, decode, read_bytes

RATES = (1e-2, 1e-3, 1e-4)
WAYS = ("whole", "reduced")
_SEED = 0
_MATES = 5
_QUALITY = 90
_SPARE = 256


@dataclass(frozen=True)
class Composed:
    """A large JPEG of somebody.

    Attributes:
        person: who.
        number: of the photo that was composed.
        side: pixels of the side that photo has in the JPEG.
        vectors: way → float32 (D,), or None where the face was not found.
        seconds: way → processor time.
        by: how many pixels of the file went into one, to a side.
    """

    person: str
    number: int
    side: int
    vectors: dict[str, NDArray[np.float32] | None]
    seconds: dict[str, float]
    by: int


def main() -> None:
    """Compose, decode both ways, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--draws", type=int, default=2000)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    clean = _clean()
    people, counts = np.unique(clean.names, return_counts=True)
    several = np.random.default_rng(_SEED).permutation(people[counts > 1])[: options.photos]
    embedder = open_embedder()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = [
            pool.submit(_look, embedder, clean, str(person), i, (width, height))
            for i, person in enumerate(several)
        ]
        made = [one.result() for one in tqdm(work, desc="composing")]
    _tell(made, clean, options.draws, options.size)


def _clean() -> Vectors:
    """Both parts of LFW: no person is in both."""
    parts = [lfw(part, "sface") for part in ("train", "test")]
    return Vectors(
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("names", "numbers", "vectors")),
        parts[0].digest + parts[1].digest, parts[0].missed + parts[1].missed,
    )  # fmt: skip


def _look(
    embedder: Embedder, clean: Vectors, person: str, i: int, size: tuple[int, int]
) -> Composed:
    random = np.random.default_rng(i)
    rows = np.flatnonzero(clean.names == person)
    number = int(clean.numbers[rows].min())
    other = int(random.choice(np.flatnonzero(clean.names != person)))
    scene = _file(str(clean.names[other]), int(clean.numbers[other]))
    side = round(size[1] * float(np.exp(random.uniform(np.log(0.1), np.log(0.9)))))
    encoded, corner = compose(_file(person, number), scene, side, size, random)
    vectors, seconds, by = {}, {}, 1
    wanted = _wanted(embedder, _file(person, number), side, corner)
    for way in WAYS:
        least = None if way == "whole" else embedder.detector.frame
        began = time.thread_time()
        photo = decode(encoded, least=least)
        faces = embedder.faces(photo, "all")
        seconds[way] = time.thread_time() - began
        by = max(by, photo.reduced)
        face = _that(faces, wanted)
        vectors[way] = None if face is None else embedder.encode([face]).vectors[0]
    return Composed(person, number, side, vectors, seconds, by)


def _file(person: str, number: int) -> Path:
    names = (data_folder() / "lfw-dev" / part / person for part in ("train", "test"))
    return next(n / f"{person}_{number:04}.jpg" for n in names if n.is_dir())


def compose(
    file: Path, scene: Path, side: int, size: tuple[int, int], random: np.random.Generator
) -> tuple[Encoded, tuple[int, int]]:
    """A photo of that size with a development picture of that side in it, and where that is."""
    width, height = size
    blurred = cv2.GaussianBlur(cv2.imread(str(scene)), (0, 0), 6)
    canvas = cv2.resize(blurred, size, interpolation=cv2.INTER_CUBIC)
    face = cv2.resize(cv2.imread(str(file)), (side, side), interpolation=cv2.INTER_CUBIC)
    x, y = int(random.integers(0, width - side)), int(random.integers(0, height - side))
    canvas[y : y + side, x : x + side] = face
    left, top = (int(random.integers(0, _SPARE)) for _ in range(2))
    grain = _grain(size)[top : top + height, left : left + width]
    noisy = cv2.add(canvas, cv2.merge([grain] * 3), dtype=cv2.CV_8U)
    data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return read_bytes(data), (x, y)


@functools.cache
def _grain(size: tuple[int, int]) -> NDArray[np.int16]:
    """Noise, σ = 3, int16 (H + 256, W + 256): each photo takes another window of it."""
    shape = (size[1] + _SPARE, size[0] + _SPARE)
    noise = np.random.default_rng(_SEED).standard_normal(shape, np.float32)
    return np.rint(3 * noise).astype(np.int16)


def _wanted(
    embedder: Embedder, file: Path, side: int, corner: tuple[int, int]
) -> NDArray[np.float32]:
    """The box, float32 (4,), of the person's face in the large photo."""
    photo = decode(read_bytes(file))
    box = embedder.faces(photo, "centre")[0].crop.face.box * np.float32(side / photo.width)
    return box + np.array([*corner, 0, 0], np.float32)


def _that(faces: Sequence[FoundFace], wanted: NDArray[np.float32]) -> FoundFace | None:
    """The face whose middle lies nearest to that of a box, and within half its width."""

    def aside(face: FoundFace) -> float:
        away = face.crop.face.box[:2] + face.crop.face.box[2:] / 2 - wanted[:2] - wanted[2:] / 2
        return float(np.hypot(*away))

    near = [face for face in faces if aside(face) < wanted[2] / 2]
    return min(near, key=aside, default=None)


def _tell(made: list[Composed], clean: Vectors, draws: int, size: str) -> None:
    """The tables."""
    mated = {way: [_mates(one, way, clean) for one in made] for way in WAYS}
    strange = {way: np.stack([_strangers(one, way, clean) for one in made]) for way in WAYS}
    every = np.ones(len(made))
    whole, reduced = (_figures(mated[way], strange[way], every) for way in WAYS)
    random = np.random.default_rng(_SEED)
    differences = []
    for _ in tqdm(range(draws), desc="bootstrap"):
        weights = np.bincount(random.integers(0, len(made), len(made)), minlength=len(made))
        one, other = (_figures(mated[way], strange[way], weights) for way in WAYS)
        differences.append(other - one)
    low, high = np.percentile(differences, [2.5, 97.5], axis=0)
    count = sum(map(len, mated["whole"]))
    by = sorted({one.by for one in made})
    print(f"{len(made)} people, JPEGs of {size} reduced by {by}, {count} mated and "
          f"{strange['whole'].size} non-mated comparisons, {draws} draws")  # fmt: skip
    print("| what | whole | reduced | reduced − whole | 95 % |\n|---|---|---|---|---|")
    names = ["mean similarity of mated", *(f"FNMR at FMR {rate:g}" for rate in RATES)]
    for i, name in enumerate(names):
        print(f"| {name} | {whole[i]:.5f} | {reduced[i]:.5f} | {reduced[i] - whole[i]:+.5f} "
              f"| {low[i]:+.5f} to {high[i]:+.5f} |")  # fmt: skip
    missed = [sum(one.vectors[way] is None for one in made) for way in WAYS]
    print(f"| faces not found | {missed[0]} | {missed[1]} | {missed[1] - missed[0]:+d} | |")
    taken = [1e3 * float(np.mean([one.seconds[way] for one in made])) for way in WAYS]
    print(f"| processor ms: decode, detect, cut | {taken[0]:.0f} | {taken[1]:.0f} | | |")
    pairs = [one.vectors for one in made]
    cosines = np.array([v["whole"] @ v["reduced"] for v in pairs
                        if v["whole"] is not None and v["reduced"] is not None])  # fmt: skip
    print(f"cosine of the two vectors of a photo: least {cosines.min():.4f}, 5 % below "
          f"{np.percentile(cosines, 5):.4f}, median {np.median(cosines):.4f}")  # fmt: skip


def _mates(one: Composed, way: str, clean: Vectors) -> NDArray[np.float64]:
    """Similarities to the clean photos of the same person, float64 (M,)."""
    rows = np.flatnonzero((clean.names == one.person) & (clean.numbers != one.number))[:_MATES]
    return _similarities(one.vectors[way], clean.vectors[rows])


def _strangers(one: Composed, way: str, clean: Vectors) -> NDArray[np.float64]:
    """Similarities to one clean photo of everybody else, float64 (people − 1,)."""
    first = np.unique(clean.names, return_index=True)[1]
    return _similarities(one.vectors[way], clean.vectors[first[clean.names[first] != one.person]])


def _similarities(
    vector: NDArray[np.float32] | None, others: NDArray[np.float32]
) -> NDArray[np.float64]:
    if vector is None:
        return np.full(len(others), -1.0)
    return (others @ vector).astype(np.float64)


def _figures(
    mated: list[NDArray[np.float64]], strange: NDArray[np.float64], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Mean similarity and the FNMRs, float64 (1 + rates,); a person's weight is how often drawn."""
    scores = np.concatenate(mated)
    counted = np.repeat(weights, [len(some) for some in mated])
    most = int(2 * max(RATES) * strange.shape[1])  # of a person: what can lie above a threshold
    tops = -np.sort(-strange, axis=1)[:, :most]
    order = np.argsort(-tops, axis=None)
    ranked = tops.ravel()[order]
    above = np.cumsum(np.repeat(weights, most)[order]) / (weights.sum() * strange.shape[1])
    found = [float(np.average(scores, weights=counted))]
    for rate in RATES:
        threshold = ranked[min(int(np.searchsorted(above, rate)), len(ranked) - 1)]
        found.append(float(np.average(scores <= threshold, weights=counted)))
    return np.array(found)


if __name__ == "__main__":
    main()
