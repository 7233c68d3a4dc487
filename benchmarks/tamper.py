"""Tamper with the log of events at random, by plain SQL, and see whether the check finds it.

    PYTHONPATH=. python benchmarks/tamper.py [--rows 2000] [--times 1000] [--seed 0] [--url URL]

The log is of a generated gallery: rows with and without something private, some of it erased. Each
attack is one transaction that is checked and rolled back; between two attacks nothing is left of
the first. `rewritten` attacks compute hashes, length and head anew, as somebody can who knows this
program: those are found with an anchor kept elsewhere, and with nothing else.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from migrations import ensure_schema
from store.audit import Anchor, append_events, erase_private, log_anchor
from store.audit_check import verify_log
from store.chain import Happening, row_hash
from store.ledger import Event
from store.session import Store

TEXTS = ("actor", "action", "subject", "details", "commitment", "previous", "hash")
Attack = Callable[[Session, random.Random, int], object]


def fill(store: Store, rows: int) -> Anchor:
    """A log of that many rows about 50 people, two of them forgotten since."""
    with store.begin() as session:
        happenings = []
        for number in range(1, rows - 1):
            private = {"name": f"Person {number % 50}", "source": f"{number}.jpg"}
            happenings.append(
                Happening(
                    ("enrolled", "decided", "renamed")[number % 3],
                    f"{number % 50:032x}",
                    {"similarity": number / rows, "threshold": 0.4},
                    private if number % 4 else None,
                )
            )
        append_events(session, happenings)
        for person in (7, 9):
            erase_private(session, f"{person:032x}")
        return log_anchor(session)


def edit(session: Session, rng: random.Random, rows: int) -> object:
    """Change one character of one text of one row."""
    row, column = rng.randint(1, rows), rng.choice(TEXTS)
    found = session.execute(text(f"SELECT {column} FROM events WHERE id = {row}")).scalar()  # noqa: S608 - own words
    value = "x" if found is None else _changed(str(found), rng)
    session.execute(
        text(f"UPDATE events SET {column} = :value WHERE id = {row}"),  # noqa: S608 - own words
        {"value": value},
    )
    return row


def edit_last(session: Session, rng: random.Random, rows: int) -> object:
    """The same, in the last row."""
    column = rng.choice(TEXTS)
    found = session.execute(text(f"SELECT {column} FROM events WHERE id = {rows}")).scalar()  # noqa: S608 - own words
    value = "x" if found is None else _changed(str(found), rng)
    session.execute(
        text(f"UPDATE events SET {column} = :value WHERE id = {rows}"),  # noqa: S608 - own words
        {"value": value},
    )
    return rows


def edit_time(session: Session, rng: random.Random, rows: int) -> object:
    """Move a row in time by a microsecond up to a day."""
    event = session.get_one(Event, rng.randint(1, rows))
    event.time += timedelta(microseconds=rng.choice((1, 10**6, 86_400 * 10**6)))
    session.flush()
    return event.id


def edit_private(session: Session, rng: random.Random, rows: int) -> object:  # noqa: ARG001 - as the others
    """Change, remove or add something private, or the salt of one."""
    numbers = session.execute(text("SELECT id FROM events ORDER BY id")).scalars().all()
    event = session.get_one(Event, rng.choice(numbers))
    if event.private is None:
        event.private, event.salt = '{"name":"Eve"}', rng.randbytes(16)
    else:
        kind = rng.randrange(4)
        event.private = [_changed(event.private, rng), None, event.private, None][kind]
        event.salt = [event.salt, event.salt, rng.randbytes(16), None][kind]
    session.flush()
    return event.id


def remove(session: Session, rng: random.Random, rows: int) -> object:
    """Delete a row."""
    session.execute(text(f"DELETE FROM events WHERE id = {rng.randint(1, rows)}"))  # noqa: S608 - a number
    return None


def cut(session: Session, rng: random.Random, rows: int) -> object:
    """Delete the last rows."""
    session.execute(text(f"DELETE FROM events WHERE id > {rows - rng.randint(1, 50)}"))  # noqa: S608 - a number
    return None


def swap(session: Session, rng: random.Random, rows: int) -> object:
    """Let two rows change places."""
    one, other = rng.sample(range(1, rows + 1), 2)
    for before, after in ((one, -1), (other, one), (-1, other)):
        session.execute(text(f"UPDATE events SET id = {after} WHERE id = {before}"))  # noqa: S608 - numbers
    return None


def put_in(session: Session, rng: random.Random, rows: int) -> object:
    """Add a copy of a row at the end, or before the beginning."""
    row, place = rng.randint(1, rows), rng.choice((rows + 1, 0, -5))
    columns = "time, actor, action, subject, details, private, salt, commitment, previous, hash"
    session.execute(
        text(
            f"INSERT INTO events (id, {columns}) SELECT {place}, {columns} "  # noqa: S608 - own words
            f"FROM events WHERE id = {row}"
        )
    )
    return None


def end(session: Session, rng: random.Random, rows: int) -> object:
    """Change what the gallery knows of the end."""
    head = _changed(session.execute(text("SELECT log_head FROM gallery")).scalar_one(), rng)
    sets = (f"log_head = '{head}'", f"log_length = {rows + rng.choice((-1, 1, 7))}")
    session.execute(text(f"UPDATE gallery SET {rng.choice(sets)}"))  # noqa: S608 - own words
    return None


def rewritten(session: Session, rng: random.Random, rows: int) -> object:
    """Change a row and compute every later hash, the length and the head anew."""
    row = rng.randint(1, rows)
    session.get_one(Event, row).details = '{"n":0}'
    session.flush()
    previous = session.get_one(Event, row).previous
    for number in range(row, rows + 1):
        event = session.get_one(Event, number)
        event.previous = previous
        values = {column.name: getattr(event, column.name) for column in Event.__table__.columns}
        event.hash = previous = row_hash(values)
    session.flush()
    session.execute(text("UPDATE gallery SET log_head = :head"), {"head": previous})
    return row


ATTACKS: dict[str, Attack] = {
    "edit a text": edit,
    "edit the last row": edit_last,
    "edit a time": edit_time,
    "edit something private": edit_private,
    "remove a row": remove,
    "cut off the end": cut,
    "swap two rows": swap,
    "put a row in": put_in,
    "edit the gallery's length or head": end,
}


def _changed(value: str, rng: random.Random) -> str:
    """A text with one character changed."""
    at = rng.randrange(len(value))
    return value[:at] + chr((ord(value[at]) - 32 + rng.randint(1, 94)) % 95 + 32) + value[at + 1 :]


def attacked(
    store: Store, attack: Attack, rng: random.Random, rows: int, anchor: Anchor | None
) -> bool:
    """Whether an attack is found; nothing is left of it."""
    with store.begin() as session:
        attack(session, rng, rows)
        session.flush()
        session.expire_all()
        found = not verify_log(session, anchor).whole
        session.rollback()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", default=None)
    given = parser.parse_args()
    rng = random.Random(given.seed)  # noqa: S311 - a reproducible choice
    with tempfile.TemporaryDirectory() as place:
        store = Store.open(given.url or Path(place) / "gallery.sqlite3")
        with store:
            ensure_schema(store)
            anchor = fill(store, given.rows)
            begun = time.perf_counter()
            with store.read() as session:
                assert verify_log(session, anchor).whole  # noqa: S101 - the start of the measurement
            took = time.perf_counter() - begun
            done, found = Counter[str](), Counter[str]()
            for number in range(given.times):
                name = list(ATTACKS)[number % len(ATTACKS)]
                done[name] += 1
                found[name] += attacked(store, ATTACKS[name], rng, given.rows, None)
            for kept, what in ((None, "rewritten, no anchor"), (anchor, "rewritten, with anchor")):
                done[what] = 20
                found[what] = sum(
                    attacked(store, rewritten, rng, given.rows, kept) for _ in range(20)
                )
            with store.read() as session:
                assert verify_log(session, anchor).whole  # noqa: S101 - every attack was rolled back
    print(f"{'attack':36} {'done':>6} {'found':>6}")
    for name, count in done.items():
        print(f"{name:36} {count:6} {found[name]:6}")
    at_random = sum(done[name] for name in ATTACKS), sum(found[name] for name in ATTACKS)
    print(f"{'all at random':36} {at_random[0]:6} {at_random[1]:6}")
    print(f"{given.rows} rows checked in {took * 1000:.0f} ms")


if __name__ == "__main__":
    main()
