"""Whether the server lives, whether it can answer, and its figures."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from store.errors import StoreError
from web import metrics
from web.depends import Admin, Served
from web.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="The process answers")
async def live() -> Health:
    """Needs no key."""
    return Health(status="ok")


@router.get(
    "/health/ready", response_model=Health, responses={503: {"model": Health}},
    summary="Networks are open and the database answers",
)  # fmt: skip
def ready(served: Served) -> Response:
    """Needs no key."""
    if not served.ready:
        return JSONResponse({"status": "starting"}, 503)
    try:
        served.parts.store.require_current()
    except StoreError:
        return JSONResponse({"status": "unavailable"}, 503)
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics", summary="Prometheus' text format",
    response_class=Response, responses={200: {"content": {"text/plain": {}}}},
)  # fmt: skip
def figures(served: Served, who: Admin) -> Response:  # noqa: ARG001 - the scope is the point
    """Counts and durations, of all workers; no name, key or path is in them."""
    metrics.INSIDE.set(served.gate.inside)
    return Response(metrics.text(), media_type=metrics.CONTENT_TYPE_LATEST)
