"""All that the routes work with, made once for a process."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs

from store.answered import drop_old_answers
from store.errors import StoreError
from store.gallery import active_calibration
from store.jobs import drop_old_jobs
from store.sync import save
from verify.opening import Parts
from verify.pad import Pad, open_gate
from web.auth import Authority
from web.challenges import Challenges
from web.deciding import Deciding
from web.jobs import JobRunner
from web.known import KnownPeople
from web.limits import Buckets, Gate
from web.logs import LOGGER
from web.refusals import Refusals
from web.relay import FOLDER
from web.settings import Settings

_HELD = 8  # times the largest upload: bytes of pictures in memory at once
_EVERY = 1.0
_SAVED = 10.0  # seconds between two writes of the index's file
_HOURLY = 3600
KEEP_ANSWERS = timedelta(hours=24)
_KEEP_JOBS = timedelta(days=30)
_log = logging.getLogger(LOGGER)


@dataclass
class Services:
    """What the routes work with.

    Attributes:
        settings: of the server.
        parts: the gallery.
    """

    settings: Settings
    parts: Parts
    ready: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        settings, store = self.settings, self.parts.store
        self.authority = Authority(store, settings.session_hours, Buckets(settings.failures))
        self.refusals = Refusals(store)
        self.rates = Buckets(settings.rate)
        self.detect_rates = Buckets(settings.detect_rate)
        self.gate = Gate(settings.waiting, _HELD * settings.max_upload)
        self.people = KnownPeople(self.parts)
        self.deciding = Deciding(self.parts, settings)
        folder = os.environ.get(FOLDER)
        self.challenges = Challenges(None if folder is None else Path(folder))
        self.spool = spool_folder(settings, self.parts)
        self.jobs = JobRunner(self.parts, self.spool)
        gate = open_gate(settings.pad_gate) if settings.pad != "off" else None
        self.pad = Pad(settings.pad, gate)  # type: ignore[arg-type]  # checked by the command

    def start(self) -> None:
        """Open what is slow to open, then start the threads."""
        self.parts.embedder.encoder.card  # noqa: B018 - opens it
        self.parts.index.pause = _SAVED
        self.refusals.start()
        self.deciding.start()
        self.challenges.start()
        if self.settings.job_workers:
            self.jobs.start()
        self._thread = threading.Thread(target=self._keep_house, name="vultus-house", daemon=True)
        self._thread.start()
        self.ready = True

    def close(self) -> None:
        """Finish what is in work, keep what must be kept."""
        self.ready = False
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.jobs.close()
        self.challenges.close()
        self.deciding.close()
        self.refusals.close()
        with contextlib.suppress(StoreError):
            self.authority.write_used()
            self._save_index(lazy=False)
        self.parts.close()

    def _keep_house(self) -> None:
        """Follow the calibration in force; once a minute keep when keys were used; tidy up."""
        turn = 0
        while not self._ended.wait(_EVERY):
            turn += 1
            try:
                self._follow_calibration()
                self._save_index()
                if turn % 60 == 0:
                    self.authority.write_used()
                if turn % _HOURLY == 1:
                    self._tidy()
            except StoreError as error:
                _log.warning("the database is away", extra={"code": error.code})

    def _follow_calibration(self) -> None:
        with self.parts.store.read() as session:
            row = active_calibration(session, self.parts.card.space)
            found = None if row is None else row.id
        kept = vars(self.parts).get("_calibration")
        if kept is not None and kept[1] != found:
            for name in ("_calibration", "calibration"):
                vars(self.parts).pop(name, None)

    def _save_index(self, *, lazy: bool = True) -> None:
        """Write the index's file where it is behind; the rows are the truth, so it may be."""
        index = self.parts.index
        if index.saved != index.position:
            save(index, lazy=lazy)

    def _tidy(self) -> None:
        moment = datetime.now(UTC)
        with self.parts.store.begin() as session:
            drop_old_answers(session, moment - KEEP_ANSWERS)
            drop_old_jobs(session, moment - _KEEP_JOBS)
        self.jobs.tidy()


def spool_folder(settings: Settings, parts: Parts) -> Path:
    """Where uploads of jobs lie while they are worked on: all workers must see it."""
    if settings.spool is not None:
        return Path(settings.spool)
    if parts.store.path is not None:
        return parts.store.path.with_suffix(".jobs")
    return platformdirs.user_cache_path("vultus", appauthor=False) / "jobs"
