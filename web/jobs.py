"""Long work in the background: claimed by one worker of one server, told as it goes.

A job is a row and, for uploads, a folder in the spool. Work is done through the library's own
resumable calls, so that a job whose process was killed is done again from where it was: photos
that are enrolled are unchanged the second time.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.audit import append_event
from store.errors import StoreError
from store.jobs import (
    JobRecord,
    beat_job,
    claim_job,
    finish_job,
    release_jobs,
    unfinished_uids,
)
from verify.opening import Parts
from web.acting import parts_for
from web.logs import LOGGER, where

ARCHIVE = "upload.zip"
_PHOTOS = "photos"
_POLL = 1.0
_BEAT = 0.5
_SIGN = 5.0
_FAILED = "job_failed"  # in the log of events
_log = logging.getLogger(LOGGER)

Tell = Callable[[int, int | None], None]


class Ended(Exception):
    """The job was cancelled, the server stops, or another worker has it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a kind of job gets.

    Attributes:
        parts: the gallery, as the key's that asked.
        job: the row.
        folder: what was uploaded for it lies here.
        tell: takes photos done and in all; raises `Ended` where the work must stop.
    """

    parts: Parts
    job: JobRecord
    folder: Path
    tell: Tell


class JobRunner:
    """One thread that works on jobs, one at a time.

    Args:
        parts: the gallery.
        spool: folder of uploads.
    """

    def __init__(self, parts: Parts, spool: Path) -> None:
        self._parts, self.spool = parts, spool
        self._name = secrets.token_hex(8)
        self._ended, self._wanted = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look for jobs."""
        self._thread = threading.Thread(target=self._run, name="vultus-jobs", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is a new job."""
        self._wanted.set()

    def close(self) -> None:
        """Stop; what is in work waits for another worker."""
        self._ended.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def place(self, uid: str) -> Path:
        """The folder of a job's upload."""
        return self.spool / uid

    def tidy(self) -> None:
        """Delete uploads that no job needs any more."""
        if not self.spool.is_dir():
            return
        with self._parts.store.read() as session:
            needed = set(unfinished_uids(session))
        for folder in self.spool.iterdir():
            old = time.time() - folder.stat().st_mtime > 24 * 3600
            if folder.name not in needed and old:
                shutil.rmtree(folder, ignore_errors=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with self._parts.store.begin() as session:
                    job = claim_job(session, self._name)
                if job is not None:
                    self._work(job)
                    continue
            except StoreError as error:
                _log.warning("jobs wait for the database", extra={"code": error.code})
            self._wanted.wait(_POLL)
            self._wanted.clear()

    def _work(self, job: JobRecord) -> None:
        from web.job_kinds import KINDS

        heart = _Heart(self._parts, job, self._name, self._ended)
        actor = str(job.parameters.get("actor", "job"))
        work = Work(parts_for(self._parts, actor), job, self.place(job.uid), heart.tell)
        state, result, error = "done", None, None
        heart.start()
        try:
            result = KINDS[job.kind](work)
        except Ended:
            if self._ended.is_set():
                with self._parts.store.begin() as session:
                    release_jobs(session, self._name)
                return
            shutil.rmtree(self.place(job.uid), ignore_errors=True)
            return
        except Exception as fault:  # noqa: BLE001 - told in the job's row
            state, error = "failed", _told(fault, self.place(job.uid))
            _log.error("job failed", extra={"job": job.uid, "kind": job.kind, "at": where(fault)})
        finally:
            heart.stop()
        with self._parts.store.begin(actor=actor) as session:
            ended = finish_job(session, job.id, self._name, state, result, error)
            if ended and error is not None:
                append_event(session, _FAILED, job.uid, {"kind": job.kind, "code": error["code"]})
        shutil.rmtree(self.place(job.uid), ignore_errors=True)


class _Heart:
    """Signs of life of a job, with how far it has come."""

    def __init__(self, parts: Parts, job: JobRecord, worker: str, ended: threading.Event) -> None:
        self._parts, self._job, self._worker, self._server_ends = parts, job, worker, ended
        self._done, self._total = job.done, job.total
        self._lost = threading.Event()
        self._stopped = threading.Event()
        self._said = 0.0
        self._thread = threading.Thread(target=self._run, name="vultus-heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def tell(self, done: int, total: int | None) -> None:
        """Keep progress; write it twice a second at most."""
        self._done, self._total = done, total
        if time.monotonic() - self._said >= _BEAT or done == total:
            self._beat()
        if self._lost.is_set() or self._server_ends.is_set():
            raise Ended

    def _beat(self) -> None:
        self._said = time.monotonic()
        with self._parts.store.begin() as session:
            mine = beat_job(session, self._job.id, self._worker, self._done, self._total)
        if not mine:
            self._lost.set()

    def _run(self) -> None:
        while not self._stopped.wait(_SIGN):
            try:
                self._beat()
            except StoreError:
                _log.warning("a job's sign of life was not kept", extra={"job": self._job.uid})


def _told(fault: Exception, folder: Path) -> dict[str, Any]:
    code = getattr(fault, "code", None)
    if code is None:
        return {"code": "internal_error", "message": "Something unexpected went wrong here."}
    return {"code": code, "message": str(fault).replace(str(folder), "the upload")}
