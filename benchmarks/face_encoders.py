"""Face encoders side by side: pairs, open-set identification, hard captures, speed.

    VULTUS_DATA=... python benchmarks/face_encoders.py [--no-speed] [--precision bf16] [MODEL ...]

Models by their names, imported ones too. One face a photo of LFW's development pictures by the rule
`centre`, cut out once for all encoders.

Pairs: threshold chosen on the train list, applied to the test list. Identification: as in
accuracy.py. Hard captures: each aligned crop of the test people is changed in one way, drawn by
OpenCV from the seed and the photo's number (nothing of it is shared with the augmentation of the
training), and compared with the clean crops of all photos: all pairs of two photos, mated and
non-mated, threshold of each condition at FMR 1e-3 of its own non-mated pairs. Detection and
alignment are those of the clean photo.

    blur    Gaussian, σ 2 pixels of the 112 a crop has
    24 px   the crop shrunk to 24×24 by area and enlarged again, bilinear
    noise   Gaussian, σ 25 of 255, each channel by itself
    mask    a polygon of one colour from the tip of the nose over mouth and chin

Speed: ms a face, 64 crops at a time, best of five turns, the encoders taking turns.

Letters: N photos, D dimensions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from accuracy import identification_rates, read_pairs
from numpy.typing import NDArray
from pictures import Vectors, data_folder
from tqdm import tqdm

from embedder.align import Crop
from embedder.detect import Face
from embedder.embed import open_embedder
from embedder.encoder import NetworkEncoder, graph_of, open_network_encoder
from embedder.openvino_encoder import OpenVinoNetwork
from embedder.weights import cache_folder
from verify.scores import accuracy, best_threshold

SEED = 20
FMR = 1e-3
SPEED_CROPS, TURNS = 64, 5
_BATCH = 128
RUNTIMES = (("openvino", "bf16"), ("openvino", "fp32"), ("onnxruntime", "fp32"))
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """Aligned crops of a set of photos.

    Attributes:
        names: str (N,), the person of each.
        numbers: int64 (N,), the number of the photo in its file name.
        pixels: uint8 (N, 112, 112, 3), RGB.
        digest: of the files they were cut out of.
    """

    names: NDArray[np.str_]
    numbers: NDArray[np.int64]
    pixels: Pixels
    digest: str


def main() -> None:
    """Measure each encoder and print one table, an encoder a column."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["sface", "sface-mirror"])
    parser.add_argument("--no-speed", action="store_true", help="leave the times out")
    parser.add_argument("--precision", choices=["bf16", "fp32"], help="default: each one's own")
    given = parser.parse_args()
    train, test = faces_of("train"), faces_of("test")
    runtime = None if given.precision is None else "openvino"
    encoders = {name: opened(name, runtime, given.precision) for name in given.models}
    table = {name: measured(encoder, train, test) for name, encoder in encoders.items()}
    if not given.no_speed:
        for name, times in speeds(given.models, test.pixels[:SPEED_CROPS]).items():
            table[name] |= times
    rows = next(iter(table.values()))
    print(f"{'':34}" + "".join(f"{name:>22}" for name in table))
    for row in rows:
        print(f"{row:34}" + "".join(f"{column[row]:22.4f}" for column in table.values()))


def faces_of(part: str) -> Faces:
    """The aligned crops of `lfw-dev/<part>`, from the cache where they were cut out before."""
    files = sorted((data_folder() / "lfw-dev" / part).glob("*/*.jpg"))
    digest = hashlib.sha256(
        "\0".join(f"{f.parent.name}/{f.name} {f.stat().st_size}" for f in files).encode()
    ).hexdigest()
    kept = cache_folder() / f"benchmark-crops-{digest[:20]}.npz"
    if not kept.is_file():
        _cut(files, kept, part)
    with np.load(kept) as data:
        return Faces(data["names"], data["numbers"], data["pixels"], digest)


def _cut(files: list[Path], kept: Path, title: str) -> None:
    embedder = open_embedder("sface")
    names, numbers, pixels = [], [], []
    for file in tqdm(files, desc=f"crops of {title}"):
        found = embedder.faces(embedder.read(file), "centre")
        if found:
            names.append(file.parent.name)
            numbers.append(int(file.stem.rpartition("_")[2]))
            pixels.append(found[0].crop.pixels)
    np.savez(
        kept, names=np.array(names), numbers=np.array(numbers, np.int64), pixels=np.stack(pixels)
    )


# --- hard captures -----------------------------------------------------------------------------


def blurred(crop: Pixels, _rng: np.random.Generator) -> Pixels:
    """Gaussian blur of σ 2 pixels: uint8 (112, 112, 3) → the same."""
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), 2.0), np.uint8)


def small(crop: Pixels, _rng: np.random.Generator) -> Pixels:
    """A face of 24 pixels, enlarged again: uint8 (112, 112, 3) → the same."""
    little = cv2.resize(crop, (24, 24), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(little, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def noisy(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of σ 25: uint8 (112, 112, 3) → the same."""
    return np.clip(np.rint(crop + rng.normal(0, 25, crop.shape)), 0, 255).astype(np.uint8)


def masked(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """A mask over mouth and chin, pulled up to the tip of the nose: uint8 (112, 112, 3) → same."""
    colours = ((235, 238, 240), (150, 190, 215), (30, 30, 34), (90, 120, 110), (200, 160, 170))
    colour = np.array(colours[rng.integers(len(colours))]) + rng.integers(-12, 13, 3)
    top, left, right = rng.uniform(66, 74), rng.uniform(16, 24), rng.uniform(88, 96)
    outline = [
        (left, top + 2), (56, top - 5), (right, top + 2), (right - 4, 98), (74, 116), (38, 116),
        (left + 4, 98),
    ]  # fmt: skip
    cover = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillPoly(cover, [np.rint(np.array(outline)).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(cover, (0, 0), 0.7)[..., None] / 255
    folds = 1 - 0.08 * (np.arange(crop.shape[0]) % 13 < 2)[:, None, None]
    return np.clip(crop * (1 - soft) + colour * folds * soft, 0, 255).astype(np.uint8)


HARD: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "blur σ 2": blurred, "24 px": small, "noise σ 25": noisy, "mask": masked,
}  # fmt: skip


def harder(pixels: Pixels, way: str) -> Pixels:
    """Crops changed in one way, seeded by their number: uint8 (N, 112, 112, 3) → the same."""
    change = HARD[way]
    return np.stack([change(p, np.random.default_rng([SEED, i])) for i, p in enumerate(pixels)])


# --- figures -----------------------------------------------------------------------------------


def measured(encoder: NetworkEncoder, train: Faces, test: Faces) -> dict[str, float]:
    """All figures of accuracy of one encoder, by row of the table."""
    clean = encode(encoder, test)
    photos = Vectors(test.names, test.numbers, clean, "", ())
    rates = identification_rates(photos, 0.01)
    found = {
        "pairs, threshold of train pairs": _pairs(encoder, train, photos),
        "rank-1": rates.rank1,
        "FNIR at FPIR 0.01": rates.fnir,
        "FNMR at FMR 1e-3: clean": fnmr(clean, clean, test.names),
    }
    for way in HARD:
        changed = encode(encoder, test, way)
        found[f"FNMR at FMR 1e-3: {way}"] = fnmr(changed, clean, test.names)
    found["  mean of the four"] = float(np.mean([found[f"FNMR at FMR 1e-3: {w}"] for w in HARD]))
    return found


def _pairs(encoder: NetworkEncoder, train: Faces, test: Vectors) -> float:
    folder = data_folder() / "lfw-dev"
    learnt = Vectors(train.names, train.numbers, encode(encoder, train), "", ())
    lists = [
        (photos, *read_pairs(folder / f"pairs-{part}.txt", photos))
        for part, photos in (("train", learnt), ("test", test))
    ]
    scores = [
        (np.einsum("cd,cd->c", p.vectors[rows[:, 0]], p.vectors[rows[:, 1]]), same)
        for p, rows, same in lists
    ]
    return float(accuracy(*scores[1], best_threshold(*scores[0])))


def fnmr(
    probes: NDArray[np.float32], enrolled: NDArray[np.float32], names: NDArray[np.str_]
) -> float:
    """FNMR at the lowest threshold at which FMR is not above 1e-3, over all pairs of two photos.

    Args:
        probes: float32 (N, D), unit rows.
        enrolled: float32 (N, D), the same photos as they were enrolled.
        names: str (N,), the person of each.
    """
    people = np.unique(names, return_inverse=True)[1]
    similarities = probes @ enrolled.T  # (N, N)
    same = people[:, None] == people[None, :]
    others = similarities[~same]
    allowed = int(FMR * len(others))
    threshold = np.partition(others, len(others) - 1 - allowed)[len(others) - 1 - allowed]
    np.fill_diagonal(same, False)
    return float((similarities[same] <= threshold).mean())


def encode(encoder: NetworkEncoder, faces: Faces, way: str = "") -> NDArray[np.float32]:
    """Unit vectors float32 (N, D) of crops, changed in one way or not; kept in the cache."""
    facts = [faces.digest, encoder.card.space, encoder.network.precision, way, SEED]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]
    kept = cache_folder() / f"benchmark-hard-{key}.npy"
    if kept.is_file():
        return np.asarray(np.load(kept), np.float32)
    some = crops(harder(faces.pixels, way) if way else faces.pixels)
    bar = tqdm(range(0, len(some), _BATCH), desc=f"{encoder.card.name} {way}")
    found = np.concatenate([encoder.encode(some[i : i + _BATCH]).vectors for i in bar])
    np.save(kept, found)
    return found


def crops(pixels: Pixels) -> list[Crop]:
    """Pixels uint8 (N, 112, 112, 3) as the crops an encoder takes."""
    face = Face(np.array([0, 0, *pixels.shape[2:0:-1]], np.float32), None, 1.0)
    return [Crop(p, np.eye(2, 3), face) for p in pixels]


# --- encoders and their speed ------------------------------------------------------------------


def opened(name: str, runtime: str | None = None, precision: str | None = None) -> NetworkEncoder:
    """An encoder by its name; in a runtime and, in OpenVINO, a precision of one's own choice."""
    encoder = open_network_encoder(name, runtime=runtime)
    if runtime != "openvino":
        return encoder
    return replace(encoder, network=OpenVinoNetwork(str(graph_of(encoder.card)[0]), precision))


def speeds(models: list[str], pixels: Pixels) -> dict[str, dict[str, float]]:
    """Ms a face of each model in each runtime and precision, the models taking turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in models}
    some = crops(pixels)
    for runtime, precision in RUNTIMES:
        ready = {name: opened(name, runtime, precision) for name in models}
        best = dict.fromkeys(models, np.inf)
        for _ in range(TURNS):
            for name, encoder in ready.items():
                begun = time.perf_counter()
                encoder.encode(some)
                best[name] = min(best[name], (time.perf_counter() - begun) * 1000 / len(some))
        for name in models:
            found[name][f"ms a face: {runtime} {precision}"] = float(best[name])
    return found


if __name__ == "__main__":
    main()
