"""Verification over HTTP beside the library on the same pictures, in the same run.

    VULTUS_DATA=… python benchmarks/serve.py [--clients 1,32] [--seconds 15] [--workers 1]

The pictures are LFW's 250×250 JPEGs (view 1): people with two photos or more, one enrolled, the
others asked. The library's row is the whole way decode → detect → align → encode → decide of
`vultus` itself, as many threads as cores, faces encoded in batches of 32, nothing recorded: the
most this machine can do. The server and the clients share the same cores; each client sends its
next request when the answer is there, over a connection that stays open.

Both are told twice: by the clock, where whatever else the machine does counts, and by processor
time of the process alone, which is what a core can do at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.admission import admit
from embedder.quality import DEFAULT_GATE
from enroll.folder import NamedPhoto, PeopleFolder
from enroll.person import EnrolmentRules, enroll_people
from store.listing import people_page
from store.templates import vectors_of
from verify import pair
from verify.opening import Parts, Places

CODE = "import vultus; vultus.main()"
PEOPLE, PICTURES = 100, 400
BOUNDARY = "picture-boundary-7f3a"


@dataclass(frozen=True)
class Question:
    """A picture, and the uid of the person it is said to show."""

    picture: bytes
    uid: str


def lfw(people: int) -> dict[str, list[Path]]:
    """People with two photos or more, by name."""
    root = Path(os.environ["VULTUS_DATA"]) / "lfw-dev" / "test"
    found = {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted(root.iterdir())}
    return dict([item for item in found.items() if len(item[1]) > 1][:people])


def prepare(database: Path) -> list[Question]:
    """Enrol one photo a person; the others are the questions."""
    album = lfw(PEOPLE)
    photos = tuple(NamedPhoto(files[0], name) for name, files in album.items())
    rules = EnrolmentRules(on_multiple="centre", allow_lookalikes=True)
    with Parts(Places(database=str(database))) as parts:
        for _ in enroll_people(parts, PeopleFolder(Path(), photos, "", 0), rules):
            pass
        with parts.store.read() as session:
            uids = {row.name: row.uid for row in people_page(session, limit=PEOPLE)}
    return [
        Question(file.read_bytes(), uids[name])
        for name, files in album.items() if name in uids for file in files[1:]
    ][:PICTURES]  # fmt: skip


def cpu_of(pid: int) -> float:
    """Seconds of processor time a process and its children have used."""
    own = {int(p.parent.name): p.read_text().rpartition(")")[2].split()
           for p in Path("/proc").glob("[0-9]*/stat") if p.exists()}  # fmt: skip
    family, grown = {pid}, True
    while grown:
        more = {child for child, values in own.items() if int(values[1]) in family} - family
        family, grown = family | more, bool(more)
    ticks = sum(int(own[one][11]) + int(own[one][12]) for one in family if one in own)
    return ticks / os.sysconf("SC_CLK_TCK")


def library_rate(database: Path, questions: list[Question], seconds: float) -> tuple[float, float]:
    """Questions a second through the library alone, and processor seconds a question."""
    with Parts(Places(database=str(database))) as parts:
        calibration, embedder = parts.calibration, parts.embedder
        templates = {}
        with parts.store.read() as session:
            for row in people_page(session, limit=PEOPLE):
                templates[row.uid] = vectors_of(session, row.id, parts.card.space)[1]

        def look(question: Question) -> tuple[str, object]:
            found = embedder.faces(embedder.read(question.picture), "centre")
            faces = admit(found, "centre", DEFAULT_GATE).faces
            return question.uid, faces[0] if faces else None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(look, questions[:16]))
            begun, done, used = time.perf_counter(), 0, time.process_time()
            while time.perf_counter() - begun < seconds:
                for start in range(0, len(questions), 32):
                    seen = [s for s in pool.map(look, questions[start : start + 32]) if s[1]]
                    vectors = embedder.encode([face for _, face in seen]).vectors  # type: ignore[misc]
                    for (uid, _), vector in zip(seen, vectors, strict=True):
                        pair.verify(vector[None], templates[uid], calibration)
                    done += len(questions[start : start + 32])
                    if time.perf_counter() - begun >= seconds:
                        break
            used = time.process_time() - used
            return done / (time.perf_counter() - begun), used / done


@contextmanager
def server(database: Path, workers: int, *more: str) -> Iterator[tuple[int, str, int]]:
    """A server process; gives its port, a key and its process id."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    run = [sys.executable, "-c", CODE]
    at = ["--database", str(database)]
    key = subprocess.run(  # noqa: S603 - our own program
        [*run, "keys", "add", f"bench-{time.time_ns()}", "--scope", "admin", *at],
        env=environment, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["serve", "--port", str(port), "--workers", str(workers), *at, *more]
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*run, *arguments, "--log-level", "warning", "--rate", "off", "--detect-rate", "off"],
        env=environment,
    )
    try:
        _wait_ready(port, process)
        yield port, key, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/health/ready", timeout=2
            ) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
        if process.poll() is not None:
            raise SystemExit("The server ended.")
    raise SystemExit("The server did not become ready.")


def request(question: Question, key: str) -> bytes:
    """The bytes of one request."""
    body = (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="on_multiple"\r\n\r\ncentre\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        + question.picture
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST /v1/people/{question.uid}/verify HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    return head.encode() + body


async def client(
    port: int, requests: list[bytes], start: int, end: float, times: list[float],
    statuses: Counter[int],
) -> None:  # fmt: skip
    """One client: ask, wait for the answer, ask again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = start
    while time.perf_counter() < end:
        begun = time.perf_counter()
        writer.write(requests[turn % len(requests)])
        turn += 7
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(size)
        statuses[int(head[9:12])] += 1
        times.append(time.perf_counter() - begun)
    writer.close()


async def load(port: int, requests: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Let clients ask for a while."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    begun = time.perf_counter()
    await asyncio.gather(*(
        client(port, requests, i * 13, begun + seconds, times, statuses) for i in range(clients)
    ))  # fmt: skip
    took = time.perf_counter() - begun
    p50, p99 = np.percentile(times, (50, 99)) * 1e3
    return {"rate": len(times) / took, "p50": p50, "p99": p99, "answers": dict(statuses)}  # type: ignore[dict-item]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", default="1,32")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "gallery.sqlite3"
        questions = prepare(database)
        print(f"{len(questions)} pictures of 250×250, {PEOPLE} people, {os.cpu_count()} cores, "
              f"{platform.processor() or platform.machine()}, {given.workers} workers")  # fmt: skip
        before, cpu = library_rate(database, questions, given.seconds)
        rows: dict[int, dict[str, float]] = {}
        with server(database, given.workers, "--lockout", "off") as (port, key, pid):
            requests = [request(question, key) for question in questions]
            asyncio.run(load(port, requests, 4, 3.0))
            for clients in (int(text) for text in given.clients.split(",")):
                used = cpu_of(pid)
                row = asyncio.run(load(port, requests, clients, given.seconds))
                done = row["rate"] * given.seconds
                rows[clients] = row | {"cpu": (cpu_of(pid) - used) / done * 1e3}
        after, cpu_after = library_rate(database, questions, given.seconds)
    library, own = (before + after) / 2, (cpu + cpu_after) / 2 * 1e3
    print(f"library alone: {before:.1f}/s before, {after:.1f}/s after; {cpu * 1e3:.1f} ms of "
          f"processor a request before, {cpu_after * 1e3:.1f} ms after")  # fmt: skip
    print(f"{'clients':>8} {'by clock/s':>11} {'of library':>11} {'by cpu/s/core':>14} "
          f"{'of library':>11} {'cpu ms':>7} {'p50 ms':>8} {'p99 ms':>8} {'p99/p50':>8} "
          " answers")  # fmt: skip
    for clients, row in rows.items():
        print(f"{clients:8} {row['rate']:11.1f} {row['rate'] / library:11.0%} "
              f"{1e3 / row['cpu']:14.1f} {own / row['cpu']:11.0%} {row['cpu']:7.1f} "
              f"{row['p50']:8.1f} {row['p99']:8.1f} {row['p99'] / row['p50']:8.1f}  "
              f"{json.dumps(row['answers'])}")  # fmt: skip


if __name__ == "__main__":
    main()
