"""Many requests, good and bad, at a real server: its memory must stay flat.

    VULTUS_DATA=… PYTHONPATH=. python benchmarks/serve_soak.py [--requests 20000] [--clients 16]

Half are verifications; the rest are unusable pictures, broken bodies, wrong keys, unknown people
and lists. The first quarter warms the server up; after it the resident memory is read each
twentieth of the run, and the growth told is that of the last five readings over the first five.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from serve import Question, prepare, request, server


def resident(pid: int) -> float:
    """Mebibytes of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def bad(kind: int, question: Question, key: str) -> bytes:
    """A request that must be refused, or reads a list."""
    if kind == 0:
        return request(Question(b"no picture", question.uid), key)
    if kind == 1:
        return request(Question(question.picture[:2000], question.uid), key)
    if kind == 2:
        return request(question, key[:-1] + ("A" if key[-1] != "A" else "B"))
    if kind == 3:
        return request(Question(question.picture, "0" * 32), key)
    path = ("/v1/people?limit=50", "/v1/decisions?limit=50", "/v1/nothing")[kind % 3]
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def ask(port: int, messages: list[bytes], statuses: Counter[int]) -> None:
    """One client: each message in turn, on a new connection where the server closed the last."""
    writer = None
    for message in messages:
        if writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        statuses[int(head[9:12])] += 1
        if b"connection: close" in head:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def part(port: int, messages: list[bytes], clients: int, statuses: Counter[int]) -> None:
    """A part of the run, shared between clients."""
    await asyncio.gather(*(ask(port, messages[i::clients], statuses) for i in range(clients)))


def main() -> None:
    """Print readings and growth."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)  # noqa: S311 - not for secrets
    statuses: Counter[int] = Counter()
    readings = []
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "gallery.sqlite3"
        questions = prepare(database)
        with server(database, 1, "--lockout", "off", "--failures", "off") as (port, key, pid):
            begun = time.perf_counter()
            for _ in range(20):
                messages = []
                for _ in range(given.requests // 20):
                    question = chance.choice(questions)
                    good = chance.random() < 0.5
                    messages.append(
                        request(question, key) if good else bad(chance.randrange(7), question, key)
                    )
                asyncio.run(part(port, messages, given.clients, statuses))
                readings.append(resident(pid))
            took = time.perf_counter() - begun
    first, last = sum(readings[5:10]) / 5, sum(readings[-5:]) / 5
    print(f"{sum(statuses.values())} requests in {took:.0f} s: {dict(sorted(statuses.items()))}")
    print("MiB: " + " ".join(f"{reading:.0f}" for reading in readings))
    print(f"growth after warm-up: {last / first - 1:+.1%} (at most 5 % wanted)")


if __name__ == "__main__":
    main()
