"""Decisions into the database, those of several requests in one transaction.

An answer is sent after its row is committed. The transaction that commits also makes sure that
what an answer rests on still holds: the templates it was compared with (the gallery's `rev` has
not moved) and how many attempts on the person there were, so that both are exact with any number
of workers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.columns import now
from store.gallery import record_decisions
from store.records import Decision
from store.schema import Gallery
from store.session import Store
from web import metrics
from web.batching import Batcher
from web.errors import LockedOut
from web.settings import Rate

_FLOOR_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """A decision to record.

    Attributes:
        actor: who asked.
        values: arguments of `store.gallery.record_decision`.
        rev: the gallery's `rev` it rests on; None: it rests on no template.
        uid: of the person it is about.
        counted: whether it is an attempt on them.
    """

    actor: str
    values: dict[str, Any]
    rev: int | None = None
    uid: str | None = None
    counted: bool = False


class Moved(Exception):
    """The gallery changed under a decision; it must be made again."""


class Recorder:
    """Commits decisions in groups.

    Args:
        store: the gallery's database.
        lockout: answers other than yes about one person, in a time; None: any number.
    """

    def __init__(self, store: Store, lockout: Rate | None) -> None:
        self._store, self.lockout = store, lockout
        self._floor, self._floor_at = 0, -_FLOOR_SECONDS
        self.batcher: Batcher[tuple[Row, ...], None] = Batcher(self._commit, "vultus-recorder")

    def _commit(self, groups: Sequence[tuple[Row, ...]]) -> list[Exception | None]:
        metrics.COMMIT.observe(len(groups))
        with self._store.begin() as session:
            rev = session.scalar(select(Gallery.rev).where(Gallery.id == 1)) or 0
            failures = self._failures(session, groups)
            results = [self._judge(rows, rev, failures) for rows in groups]
            by_actor: dict[str, list[Row]] = {}
            for rows, result in zip(groups, results, strict=True):
                if result is None:
                    for row in rows:
                        by_actor.setdefault(row.actor, []).append(row)
            for actor, own in by_actor.items():
                session.info["actor"] = actor
                record_decisions(session, [(row.uid, row.values) for row in own])
        return results

    def _judge(self, rows: tuple[Row, ...], rev: int, failures: dict[int, int]) -> Exception | None:
        """Why decisions cannot be recorded, or None; counts attempts."""
        if any(row.rev is not None and row.rev != rev for row in rows):
            return Moved()
        for row in rows:
            if not row.counted or self.lockout is None:
                continue
            person = row.values["person_id"]
            if failures.get(person, 0) >= self.lockout.count:
                return locked_out(self.lockout)
            failures[person] = failures.get(person, 0) + (row.values["answer"] != "yes")
        return None

    def _failures(self, session: Session, groups: Sequence[tuple[Row, ...]]) -> dict[int, int]:
        """Person → answers other than yes about them within the time."""
        if self.lockout is None:
            return {}
        people = {row.values["person_id"] for rows in groups for row in rows if row.counted}
        return self.attempts(session, people)

    def attempts(self, session: Session, people: set[int]) -> dict[int, int]:
        """Person → answers other than yes about them within the time of the lock-out."""
        if self.lockout is None or not people:
            return {}
        since = now() - timedelta(seconds=self.lockout.seconds)
        query = (
            select(Decision.person_id, func.count())
            .where(
                Decision.person_id.in_(people), Decision.id > self._oldest(session, since),
                Decision.kind == "verify", Decision.answer != "yes", Decision.time > since,
            )
            .group_by(Decision.person_id)
        )  # fmt: skip
        return {row[0]: row[1] for row in session.execute(query) if row[0] is not None}

    def _oldest(self, session: Session, since: datetime) -> int:
        """An id below which every decision is older; it keeps counting from reading history."""
        if time.monotonic() - self._floor_at > _FLOOR_SECONDS:
            self._floor_at = time.monotonic()
            query = select(func.min(Decision.id)).where(Decision.time > since)
            self._floor = (session.scalar(query) or 1) - 1
        return self._floor


def locked_out(lockout: Rate) -> LockedOut:
    """The refusal of an attempt on somebody whom too many attempts were about."""
    return LockedOut(
        f"{lockout.count} attempts on this person failed within {lockout.seconds / 60:g} minutes; "
        "wait, or identify them another way.",
        retry_after=lockout.seconds,
    )
