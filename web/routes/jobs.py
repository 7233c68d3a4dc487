"""Long work: asked for, followed, cancelled."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from embedder.encoder import card_of
from store.audit import append_event
from store.jobs import JobRecord, add_job, cancel_job, find_job, jobs_page
from store.names import clean_site
from web import schemas, showing
from web.archives import examine
from web.auth import Principal
from web.depends import Cursor, Enroller, Limit, Served, next_of, place_of
from web.enrolling import ON_MULTIPLE, require_everywhere, require_site
from web.errors import BodyTooLarge, BodyUnusable
from web.job_kinds import EVERYWHERE, KINDS, UPLOADS
from web.jobs import ARCHIVE
from web.services import Services

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_PAUSE = 0.5
_ZIP = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BODY = {"requestBody": {"required": False, "content": _ZIP}}
Kind = Annotated[str, Query(pattern=f"^({'|'.join(KINDS)})$", description=", ".join(KINDS))]


@router.post(
    "", status_code=202, response_model=schemas.Job, summary="Ask for long work",
    openapi_extra=_BODY,
)  # fmt: skip
async def ask(
    request: Request, served: Served, who: Enroller, kind: Kind,
    site: Annotated[
        str | None, Query(max_length=200, description="For enrol_zip, and to purge only there.")
    ] = None,
    on_multiple: Annotated[str, Query(pattern=f"^({'|'.join(ON_MULTIPLE)})$")] = "reject",
    k: Annotated[int | None, Query(ge=1, le=100_000, description="For cluster.")] = None,
    model: Annotated[
        str | None, Query(max_length=200, description="For migrate: the encoder.")
    ] = None,
) -> schemas.Job:  # fmt: skip
    """The body is a zip of photos: `Name/1.jpg` or `Name.jpg` for enrol_zip, any for cluster.

    `migrate` encodes the gallery with another encoder and leaves the cut-over to `vultus migrate`;
    `purge` erases what may be kept no longer. The answer comes at once; follow the job by its
    events. It survives a restart of the server.
    """
    site = None if site is None else clean_site(site)
    require_site(site or "", who)
    if kind not in UPLOADS or who.sites is not None:
        who.require("admin")
    if kind in EVERYWHERE or (kind == "purge" and site is None):
        require_everywhere(who)
    if kind == "migrate":
        card_of(model or "")
    uid = secrets.token_hex(16)
    folder = served.jobs.place(uid)
    if kind in UPLOADS:
        await _receive(request, folder, served.settings.max_archive)
    given = {
        "site": site or "", "only": site, "on_multiple": on_multiple, "k": k, "model": model,
        "actor": who.actor,
    }  # fmt: skip
    row = await run_in_threadpool(_add, served, kind, given, who, uid)
    served.jobs.wake()
    return showing.job(row)


def _add(served: Services, kind: str, given: dict[str, Any], who: Principal, uid: str) -> JobRecord:
    with served.parts.store.begin(actor=who.actor) as session:
        append_event(session, "job_asked", uid, {"kind": kind})
        return add_job(session, kind, given, who.key_id, uid)


async def _receive(request: Request, folder: Path, limit: int) -> None:
    """The body into a file; nothing stays of one that is too long, breaks off or is no good."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in ("application/zip", "application/octet-stream"):
        raise BodyUnusable(
            "Send the zip as it is, with Content-Type: application/zip.",
            "unsupported_media_type", status=415,
        )  # fmt: skip
    folder.mkdir(mode=0o700, parents=True)
    try:
        with (folder / ARCHIVE).open("wb") as file:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise BodyTooLarge(f"The archive has more than {limit} bytes.")
                await run_in_threadpool(file.write, chunk)
        if size == 0:
            raise BodyUnusable("The body is empty; send a zip of photos.")
        await run_in_threadpool(examine, folder / ARCHIVE)
    except ClientDisconnect:
        shutil.rmtree(folder, ignore_errors=True)
        raise BodyUnusable("The request ended before its body did.", "incomplete") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _own(who: Principal) -> int | None:
    """Whose jobs a key may see: its own, or for admin all."""
    return None if who.may("admin") and who.sites is None else who.key_id


@router.get("", summary="List jobs, the newest first")
def list_jobs(
    served: Served, who: Enroller, cursor: Cursor = None, limit: Limit = 50
) -> schemas.JobsPage:
    """A key sees its own; admin sees all."""
    with served.parts.store.read() as session:
        rows = jobs_page(session, _own(who), place_of(cursor), limit)
    return schemas.JobsPage(items=[showing.job(row) for row in rows], next=next_of(rows, limit))


@router.get("/{uid}", summary="One job")
def show(uid: str, served: Served, who: Enroller) -> schemas.Job:
    """How far it has come, and its result at the end."""
    with served.parts.store.read() as session:
        return showing.job(find_job(session, uid, _own(who)))


@router.delete("/{uid}", summary="Cancel a job")
def cancel(uid: str, served: Served, who: Enroller) -> schemas.Job:
    """What is done stays done; a job that is over stays as it is."""
    with served.parts.store.begin(actor=who.actor) as session:
        append_event(session, "job_cancelled", find_job(session, uid, _own(who)).uid)
        return showing.job(cancel_job(session, uid, _own(who)))


@router.get(
    "/{uid}/events", summary="Follow a job", response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)  # fmt: skip
async def events(
    uid: str, served: Served, who: Enroller,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,  # noqa: ARG001 - each tells all
) -> StreamingResponse:  # fmt: skip
    """Server-sent events: `progress` with the job as data whenever it changes, `end` at the end."""

    def look() -> schemas.Job:
        with served.parts.store.read() as session:
            return showing.job(find_job(session, uid, _own(who)))

    first = await run_in_threadpool(look)
    return StreamingResponse(
        _stream(served, first, look), media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )  # fmt: skip


async def _stream(served: Services, job: schemas.Job, look: Any) -> AsyncIterator[str]:  # noqa: ANN401 - a function without arguments
    told, silent = "", 0.0
    while served.ready:
        text = json.dumps(job.model_dump(mode="json"))
        over = job.state in ("done", "failed", "cancelled")
        if text != told:
            told, silent = text, 0.0
            yield f"event: {'end' if over else 'progress'}\ndata: {text}\n\n"
        if over:
            return
        await asyncio.sleep(_PAUSE)
        silent += _PAUSE
        if silent >= 10.0:
            silent = 0.0
            yield ": still here\n\n"
        job = await run_in_threadpool(look)
