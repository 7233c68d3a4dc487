"""Long work that was asked for over HTTP: rows that outlive the process which works on them.

A worker claims a job and shows signs of life; a job whose worker shows none is claimed by another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from store.columns import now
from store.errors import UnknownJob
from store.ledger import Job

STALE = timedelta(seconds=15)
FINISHED = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it stands; see `store.ledger.Job`."""

    id: int
    uid: str
    kind: str
    state: str
    done: int
    total: int | None
    parameters: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    worker: str | None
    key_id: int | None
    created: datetime
    finished: datetime | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINISHED


def add_job(
    session: Session, kind: str, parameters: dict[str, Any], key_id: int | None, uid: str
) -> JobRecord:
    """Keep a job that waits for a worker."""
    row = Job(uid=uid, kind=kind, state="waiting", done=0, parameters=parameters, key_id=key_id)
    session.add(row)
    session.flush()
    return _record(row)


def find_job(session: Session, uid: str, key_id: int | None = None) -> JobRecord:
    """A job.

    Args:
        session: a transaction, as `Store` opens it.
        uid: of the job.
        key_id: only if it was asked for with this key; None: whoever asked.

    Raises:
        UnknownJob: there is none.
    """
    query = select(Job).where(Job.uid == uid)
    row = session.scalar(query if key_id is None else query.where(Job.key_id == key_id))
    if row is None:
        raise UnknownJob(uid)
    return _record(row)


def jobs_page(
    session: Session, key_id: int | None = None, after: int | None = None, limit: int = 50
) -> list[JobRecord]:
    """Jobs, the newest first; arguments as `find_job`, and `after` the last of the page before."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    for given, clause in ((key_id, Job.key_id == key_id), (after, Job.id < (after or 0))):
        query = query if given is None else query.where(clause)
    return [_record(row) for row in session.scalars(query)]


def claim_job(session: Session, worker: str) -> JobRecord | None:
    """Take the oldest job that waits or whose worker shows no sign of life; None without one."""
    row = session.scalar(
        select(Job).where(_free()).order_by(Job.id).limit(1).with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    row.state, row.worker, row.beat = "running", worker, now()
    session.flush()
    return _record(row)


def beat_job(session: Session, job_id: int, worker: str, done: int, total: int | None) -> bool:
    """A sign of life, with progress.

    Returns:
        Whether to go on; False where the job was cancelled or another worker has it.
    """
    mine = update(Job).where(Job.id == job_id, Job.worker == worker, Job.state == "running")
    changed = session.execute(mine.values(done=done, total=total, beat=now()))
    return bool(changed.rowcount)  # type: ignore[attr-defined]  # an UPDATE gives a cursor's result


def finish_job(
    session: Session, job_id: int, worker: str, state: str,
    result: dict[str, Any] | None = None, error: dict[str, Any] | None = None,
) -> bool:  # fmt: skip
    """End a job, done or failed; whether this worker had it."""
    mine = update(Job).where(Job.id == job_id, Job.worker == worker, Job.state == "running")
    ended = mine.values(state=state, result=result, error=error, finished=now())
    return session.scalar(ended.returning(Job.id)) is not None


def release_jobs(session: Session, worker: str) -> None:
    """Give back what a worker has and will not finish."""
    mine = update(Job).where(Job.worker == worker, Job.state == "running")
    session.execute(mine.values(state="waiting", worker=None, beat=None))


def cancel_job(session: Session, uid: str, key_id: int | None = None) -> JobRecord:
    """Cancel a job; one that is over stays as it is.

    Raises:
        UnknownJob: there is none.
    """
    job = find_job(session, uid, key_id)
    going = update(Job).where(Job.id == job.id, Job.state.not_in(FINISHED))
    session.execute(going.values(state="cancelled", finished=now()))
    session.expire_all()
    return find_job(session, uid)


def unfinished_uids(session: Session) -> Sequence[str]:
    """The uids of the jobs that still need what was uploaded for them."""
    return session.scalars(select(Job.uid).where(Job.state.not_in(FINISHED))).all()


def drop_old_jobs(session: Session, moment: datetime) -> None:
    """Delete jobs that ended before a moment (aware)."""
    session.execute(delete(Job).where(Job.finished < moment))


def _free() -> ColumnElement[bool]:
    silent = or_(Job.beat.is_(None), Job.beat < now() - STALE)
    return or_(Job.state == "waiting", and_(Job.state == "running", silent))


def _record(row: Job) -> JobRecord:
    return JobRecord(
        id=row.id, uid=row.uid, kind=row.kind, state=row.state, done=row.done, total=row.total,
        parameters=row.parameters or {}, result=row.result, error=row.error, worker=row.worker,
        key_id=row.key_id, created=row.created, finished=row.finished,
    )  # fmt: skip
