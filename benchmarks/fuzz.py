"""Coverage-guided fuzzing of what reads strangers' bytes (needs `pip install atheris`).

    PYTHONPATH=. python benchmarks/fuzz.py photo [--seconds 600] [--corpus DIR] [--seed 1]
    PYTHONPATH=. python benchmarks/fuzz.py all --seconds 600
    PYTHONPATH=. python benchmarks/fuzz.py photo --replay

Targets: `photo` (decoding), `pairs` (LFW pair files and csv), `archive` (import), `calibration`
(JSON), `body` (HTTP bodies), `index` (its file), `consents` (lists), `sidecar` (XMP). Only the
program's own errors may come out; anything else ends the run with the input that did it. `--replay`
runs every file of the target's folder in tests/corpus, which keeps what once failed; the tests do
the same.
"""

from __future__ import annotations

import argparse
import io
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

TARGETS = ("photo", "pairs", "archive", "calibration", "body", "index", "consents", "sidecar")
KEPT = Path(__file__).resolve().parent.parent / "tests" / "corpus"
PACKAGES = ["embedder", "index", "verify", "enroll", "store", "web", "PIL", "python_multipart"]
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")
_LONG = 10.0  # seconds of processor time that an input may take


def photo() -> Callable[[bytes], None]:
    """Decode the bytes as a picture file of at most a megapixel."""
    from embedder.errors import UnusablePhoto
    from embedder.photo import decode, read_bytes

    def one(data: bytes) -> None:
        try:
            found = decode(read_bytes(data), max_pixels=1_000_000)
        except UnusablePhoto:
            return
        if found.pixels.ndim != 3 or found.pixels.size > 3_000_000:
            raise AssertionError(f"a photo of shape {found.pixels.shape}")

    return one


def pairs() -> Callable[[bytes], None]:
    """Read the bytes as a file of pairs."""
    import numpy as np

    from verify.errors import PairsUnusable
    from verify.pairs import read_pairs
    from verify.photoset import Listing

    folder = Path(tempfile.mkdtemp())
    files = tuple(f"{name}/{name}_{n:04}.jpg" for name in ("Ann", "Bob") for n in (1, 2, 3))
    listing = Listing(folder, files, np.repeat(np.arange(2), 3), ("Ann", "Bob"))

    def one(data: bytes) -> None:
        file = folder / ("pairs.csv" if data[:1] in {b"a", b"#"} else "pairs.txt")
        file.write_bytes(data)
        try:
            found = read_pairs(file, listing)
        except PairsUnusable:
            return
        if not len(found.first) == len(found.second) == len(found.same):
            raise AssertionError("pairs of unequal length")

    return one


def archive() -> Callable[[bytes], None]:
    """Import the bytes into a new gallery."""
    from enroll.archive_import import import_gallery
    from enroll.errors import EnrollError
    from migrations import ensure_schema
    from store.errors import StoreError
    from store.session import Store

    folder = Path(tempfile.mkdtemp())
    store = Store.open(f"sqlite:///{folder / 'faces.sqlite3'}")
    ensure_schema(store)

    def one(data: bytes) -> None:
        file = folder / "gallery.vultus"
        file.write_bytes(data)
        try:
            import_gallery(store, file)
        except (EnrollError, StoreError):
            return

    return one


def calibration() -> Callable[[bytes], None]:
    """Read the bytes as a stored calibration, and ask it for a threshold."""
    from verify.calibration import parse
    from verify.errors import CalibrationError

    def one(data: bytes) -> None:
        try:
            found = parse(data.decode("utf-8", "surrogateescape"))
            found.threshold(1e-3)
        except CalibrationError:
            return

    return one


def body() -> Callable[[bytes], None]:
    """Read the bytes as the body of a request; the first one says of which kind."""
    from web.errors import AnswerError
    from web.uploads import _from_json, _from_multipart

    def one(data: bytes) -> None:
        kind, content = data[:1], data[1:]
        try:
            form = _from_json(content) if kind < b"\x80" else _from_multipart(content, b"x")
            form.several("image", 8)
            form.text("name")
            form.number("fmr")
            form.flag("dry_run")
        except AnswerError:
            return

    return one


def index() -> Callable[[bytes], None]:
    """Open the bytes as an index file, and search it."""
    import numpy as np

    from index.errors import VectorIndexError
    from index.opening import open_with_marks

    file = Path(tempfile.mkdtemp()) / "faces.vultus-index"
    query = np.eye(8, dtype=np.float32)[:1]

    def one(data: bytes) -> None:
        file.unlink(missing_ok=True)  # what is mapped is not written to
        file.write_bytes(data)
        try:
            found = open_with_marks(f"exact:{file}", 8).index
        except VectorIndexError:
            return
        if len(found.search(query, 3).ids[0]) != 3:
            raise AssertionError("a row of neighbours of another length")

    return one


def consents() -> Callable[[bytes], None]:
    """Read the bytes as a list of consents."""
    from enroll.consents import read_consents
    from enroll.errors import ConsentsUnusable

    file = Path(tempfile.mkdtemp()) / "consents.csv"

    def one(data: bytes) -> None:
        file.write_bytes(data)
        try:
            read_consents(file)
        except ConsentsUnusable:
            return

    return one


def sidecar() -> Callable[[bytes], None]:
    """Read the bytes as a sidecar, and write a name into it."""
    from enroll.clustering_xmp import Frame, Region, SidecarUnusable, merged, parsed

    frame, region = Frame(640, 480, 6), Region("Ann", (0.1, 0.2, 0.3, 0.4))

    def one(data: bytes) -> None:
        try:
            parsed(data)
        except SidecarUnusable:
            return
        try:
            written = merged(data, frame, [region])
        except SidecarUnusable:
            return
        if "Ann" not in {found.name for found in parsed(written)}:
            raise AssertionError("the name is not in it")

    return one


MAKERS = {
    "photo": photo,
    "pairs": pairs,
    "archive": archive,
    "calibration": calibration,
    "body": body,
    "index": index,
    "consents": consents,
    "sidecar": sidecar,
}


def seeds(target: str) -> list[bytes]:
    """Good inputs to begin with."""
    people = Path(str(resources.files("enroll") / "people" / "people"))
    if target == "photo":
        from PIL import Image

        with Image.open(next(people.rglob("*.jpg"))) as image:
            small = image.resize((48, 48))
        made = []
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"):
            out = io.BytesIO()
            small.save(out, kind)
            made.append(out.getvalue())
        return made
    if target == "pairs":
        return [
            b"2\t1\nAnn\t1\t2\nAnn\t1\tBob\t2\nBob\t1\t2\nBob\t3\tAnn\t2\n",
            b"1\nAnn\t1\t2\nAnn\t1\tBob\t2\n",
            b"a,b,same\nAnn/Ann_0001.jpg,Bob/Bob_0001.jpg,0\n",
        ]  # fmt: skip
    if target == "archive":
        from enroll.archive import export_gallery
        from migrations import ensure_schema
        from store.people import add_person
        from store.session import Store

        folder = Path(tempfile.mkdtemp())
        with Store.open(f"sqlite:///{folder / 'faces.sqlite3'}") as store:
            ensure_schema(store)
            with store.begin() as session:
                add_person(session, "Ann")
            export_gallery(store, folder / "gallery.vultus")
        return [(folder / "gallery.vultus").read_bytes()]
    if target == "calibration":
        import json

        text = (resources.files("verify") / "data" / "calibration.json").read_text("utf-8")
        return [json.dumps(one).encode() for one in json.loads(text)["spaces"].values()]
    if target == "index":
        import numpy as np

        from index.exact import ExactIndex

        file = Path(tempfile.mkdtemp()) / "faces.vultus-index"
        some = ExactIndex(8)
        some.add(np.arange(5, dtype=np.int64), np.eye(8, dtype=np.float32)[:5])
        some.save(file, {"space": "toy-8"})
        return [file.read_bytes()]
    if target == "consents":
        return [
            b"name,basis,date,reference\nAnn,consent,2026-01-02,file 7\n",
            '\ufeffname;date;other\nZo\u00eb;2026-01-02;"a\nb"\n'.encode(),
        ]
    if target == "sidecar":
        from enroll.clustering_xmp import Frame, Region, merged

        whole = merged(None, Frame(640, 480, 1), [Region("Bob", (0.1, 0.1, 0.2, 0.2))])
        return [whole, merged(whole, Frame(640, 480, 8), [Region("Eve", (0.5, 0.5, 0.1, 0.1))])]
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\nabc\r\n'
    field = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnn\r\n--x--\r\n'
    return [
        b'\x00{"image": "YWJj", "fmr": 1e-4, "images": ["YWJj"], "dry_run": true}',
        b"\xff" + part + field,
    ]


def kept(target: str) -> list[Path]:
    """Inputs that once failed, or are strange enough to be kept."""
    return sorted((KEPT / target).glob("*"))


def run(target: str, seconds: int, corpus: Path, seed: int) -> None:
    """Fuzz one target in this process; atheris ends it."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        one = MAKERS[target]()
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*seeds(target), *(file.read_bytes() for file in kept(target))]):
        (corpus / f"seed-{number}").write_bytes(data)
    words = [
        sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=20",
        "-rss_limit_mb=3000", "-max_len=20000", "-verbosity=0", "-print_final_stats=1",
        f"-artifact_prefix={corpus.parent}/{target}-",
    ]  # fmt: skip
    atheris.Setup(words, one)
    atheris.Fuzz()


def main() -> int:
    """Run, or replay, what the command line says."""
    parser = argparse.ArgumentParser(description="Fuzz what reads strangers' bytes.")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=600, help="of each target")
    parser.add_argument("--corpus", type=Path, help="keep inputs in this folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", action="store_true", help="only what is kept")
    given = parser.parse_args()
    chosen = TARGETS if given.target == "all" else (given.target,)
    if given.replay:
        for target in chosen:
            one = MAKERS[target]()
            for data in [*seeds(target), *(file.read_bytes() for file in kept(target))]:
                one(data)
            print(f"{target}: {len(kept(target))} kept inputs, no crash")
        return 0
    corpus = given.corpus or Path(tempfile.mkdtemp())
    if given.target != "all":
        run(given.target, given.seconds, corpus / given.target, given.seed)
        return 0
    print("target        executions  seconds  processor  crashes", flush=True)
    tallies = [fuzzed(target, given.seconds, corpus, given.seed) for target in chosen]
    print(f"in all       {sum(one.runs for one in tallies):11}")
    for one in tallies:
        print(one.fault, end="")
    return int(any(one.fault for one in tallies))


@dataclass
class Tally:
    """What came of one target: executions, seconds, those of the processor, and the first fault."""

    runs: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    fault: str = ""


def fuzzed(target: str, seconds: int, corpus: Path, seed: int) -> Tally:
    """Fuzz one target in processes of its own until the time is over, and print its row.

    An input that took long by the clock, but not by the processor's, was interrupted by others.
    """
    tally = Tally()
    while not tally.fault and tally.seconds < seconds:
        begun, before = time.monotonic(), _processor()
        left = max(1, round(seconds - tally.seconds))  # libFuzzer takes 0 for no end
        done = subprocess.run(  # noqa: S603 - this script
            [sys.executable, __file__, target, "--seconds", str(left), "--seed", str(seed),
             "--corpus", str(corpus)],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        tally.seconds += time.monotonic() - begun
        tally.processor += _processor() - before
        told = _RUNS.search(done.stderr)
        tally.runs += int(told[1]) if told else 0
        if done.returncode and not _was_stopped(target, corpus):
            tally.fault = f"{target}: {done.stderr[-3000:]}\n"
        seed += 1
    row = f"{tally.runs:11} {tally.seconds:8.0f} {tally.processor:10.0f} {int(bool(tally.fault)):8}"
    print(f"{target:12} {row}", flush=True)
    return tally


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _was_stopped(target: str, corpus: Path) -> bool:
    """Whether the run ended with inputs that are quick after all."""
    if list(corpus.glob(f"{target}-crash-*")) or list(corpus.glob(f"{target}-oom-*")):
        return False
    slow = list(corpus.glob(f"{target}-timeout-*"))
    one = MAKERS[target]()
    for file in slow:
        begun = time.process_time()
        one(file.read_bytes())
        if time.process_time() - begun > _LONG:
            return False
        file.unlink()
    return bool(slow)


if __name__ == "__main__":
    raise SystemExit(main())
