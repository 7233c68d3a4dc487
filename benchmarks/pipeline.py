"""The enrolment's stages: their own best rates, the share of the ideal, and 12-megapixel JPEGs.

    VULTUS_DATA=... python benchmarks/pipeline.py [--photos 600]
    VULTUS_DATA=... python benchmarks/pipeline.py --large 24 --peers-python PEERS/bin/python

Without --large: each stage alone on LFW photos, as fast as it goes: decode, detect (with alignment
and measuring) in as many threads as cores, encode in groups of 64, store; then all of them
together. The ideal is the sum of the stages' shortest times a photo: with every core busy in every
stage, nothing can be quicker. Stages and whole take turns; the best of the turns counts.

With --large N: N photos of 4000 × 3000 pixels, made of development pictures (a face of 500 to
2,000 pixels in a scene, noise added, quality 90), beside face_recognition and OpenCV by hand, in
turns. What decoding them smaller costs recognition is asked by reduced.py.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from contest import start, take_turns
from pictures import data_folder

from embedder.embed import open_embedder
from embedder.photo import Photo, decode, read_bytes
from enroll.folder import NamedPhoto, PeopleFolder
from enroll.gallery import open_gallery
from enroll.pace import Pace
from enroll.person import EnrolmentRules, enroll_people

RULES = EnrolmentRules(on_multiple="centre", allow_lookalikes=True)
WIDTH, HEIGHT = 4000, 3000


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--peers-python", help="a Python that has the peers; see contest.py")
    options = parser.parse_args()
    files = sorted((data_folder() / "lfw-dev" / "test").glob("*/*.jpg"))
    order = np.random.default_rng(0).permutation(len(files))
    files = [files[i] for i in order]
    if options.large:
        if options.peers_python is None:
            parser.error("--large needs --peers-python")
        large(files, options.large, options.peers_python)
    else:
        stages(files[: options.photos], options.turns)


def stages(files: list[Path], turns: int) -> None:
    """Each stage alone, and all together."""
    embedder = open_embedder()
    cores = os.cpu_count() or 1
    encoded = [read_bytes(file) for file in files]
    photos = [decode(one) for one in encoded]
    faces = [embedder.faces(photo, "centre")[:1] for photo in photos]
    flat = [face for some in faces for face in some]
    best: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = perf_counter()
        work()
        took = (perf_counter() - began) / len(files)
        best[name] = min(best.get(name, took), took)

    with ThreadPoolExecutor(cores) as pool, tempfile.TemporaryDirectory() as place:
        for turn in range(turns):
            timed("read and decode", lambda: list(pool.map(_decoded, files)))
            timed("detect, align, measure", lambda: list(pool.map(embedder.faces, photos)))
            groups = [flat[i : i + 64] for i in range(0, len(flat), 64)]
            timed("encode", lambda groups=groups: list(map(embedder.encode, groups)))
            pace = enrol(files, Path(place) / f"{turn}.sqlite3", timed)
            store = pace.seconds["store"] / len(files) / cores  # as if every core did it
            best["store"] = min(best.get("store", store), store)
    whole = best.pop("whole")
    print(f"{len(files)} photos, {cores} cores, best of {turns} turns")
    print("| stage | ms a photo | photos/s |\n|---|---|---|")
    for name, took in best.items():
        print(f"| {name} | {1e3 * took:.2f} | {1 / took:.0f} |")
    ideal = sum(best.values())
    print(f"| ideal: their sum | {1e3 * ideal:.2f} | {1 / ideal:.0f} |")
    print(f"| enrolment | {1e3 * whole:.2f} | {1 / whole:.0f} |")
    print(f"share of the ideal: {ideal / whole:.1%} (target: 90 % or more); {pace.line()}")


def _decoded(file: Path) -> Photo:
    return decode(read_bytes(file))


def enrol(files: list[Path], database: Path, timed: Callable[..., None]) -> Pace:
    """Enrol into a fresh gallery, timed as `whole`; what the pace says."""
    gallery = open_gallery(database)
    with gallery:
        gallery.parts.embedder  # noqa: B018 - opens it
        len(gallery.parts.index)
        named = tuple(NamedPhoto(file, file.parent.name) for file in files)
        folder, pace = PeopleFolder(database.parent, named, "", 0), Pace()
        timed("whole", lambda: list(enroll_people(gallery.parts, folder, RULES, pace=pace)))
    return pace


def large(files: list[Path], count: int, peers_python: str) -> None:
    """Photos of 12 megapixels, beside peers."""
    with tempfile.TemporaryDirectory() as place:
        people = [file for file in files if len(list(file.parent.glob("*.jpg"))) > 1][:count]
        made = [compose(file, files[i], i, Path(place)) for i, file in enumerate(people)]
        names = ("vultus", "face_recognition", "opencv")
        contestants = [start(name, peers_python, Path(place)) for name in names]
        photos = [(file.parent.name, str(path)) for file, path in zip(people, made, strict=True)]
        for contestant in contestants:
            contestant.turn([("warm", str(files[-1]))], timed=False)
        take_turns(contestants, [photos[i : i + 6] for i in range(0, len(photos), 6)])
        print("| contestant | ms a photo | CPU ms | beside vultus | CPU | target | faces |")
        print("|---|---|---|---|---|---|---|")
        targets = {"face_recognition": "≥ 15 ×", "opencv": "≥ 3 ×"}
        ours = contestants[0]
        for one in contestants:
            one.end(Path(place))
            print(f"| {one.name} | {1e3 * sum(one.walls) / count:.0f} "
                  f"| {1e3 * sum(one.cpus) / count:.0f} "
                  f"| {sum(one.walls) / sum(ours.walls):.2f} × "
                  f"| {sum(one.cpus) / sum(ours.cpus):.2f} × "
                  f"| {targets.get(one.name, '')} | {one.faces} |")  # fmt: skip


def compose(file: Path, scene: Path, number: int, place: Path) -> Path:
    """A photo of 4000 × 3000 pixels with a development face in a development scene."""
    random = np.random.default_rng(number)
    side = int(random.integers(1000, 2800))
    blurred = cv2.GaussianBlur(cv2.imread(str(scene)), (0, 0), 6)
    canvas = cv2.resize(blurred, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    face = cv2.resize(cv2.imread(str(file)), (side, side), interpolation=cv2.INTER_CUBIC)
    x, y = int(random.integers(0, WIDTH - side)), int(random.integers(0, HEIGHT - side))
    canvas[y : y + side, x : x + side] = face
    noise = random.normal(0, 3, (HEIGHT, WIDTH, 1))
    noisy = np.clip(canvas + noise, 0, 255).astype(np.uint8)
    path = place / f"{number}.jpg"
    cv2.imwrite(str(path), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


if __name__ == "__main__":
    main()
