"""One route a page. They hold no data of the gallery but names of sites: scripts ask /v1 for it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from store.schema import Site
from web.auth import Principal
from web.depends import Served
from web.pages.rendering import PLACES, may_open, page, places_of
from web.services import Services

router = APIRouter()
SHOW_PICTURE = "show_picture"  # in a site's policy: whether the gate shows the stored picture


@router.get("/")
async def start(request: Request) -> Response:
    """Go where the signed-in key may go."""
    who = _who(request)
    places = places_of(who)
    return RedirectResponse("/signin" if who is None or not places else places[0][0], 303)


@router.get("/signin")
async def sign_in(request: Request) -> Response:
    """Ask for a key."""
    return page("signin", None, "/signin", signed_in=_who(request) is not None)


@router.get("/gate")
async def gate(
    request: Request, served: Served, kiosk: Annotated[bool, Query()] = False,
    seconds: Annotated[int, Query(ge=2, le=120)] = 8, challenge: Annotated[bool, Query()] = False,
) -> Response:  # fmt: skip
    """Is this the person? `kiosk` shows nothing else; `seconds` until it begins again."""
    showing = await run_in_threadpool(_sites_showing, served)
    return _open(
        request, "gate", "/gate", kiosk=kiosk, seconds=seconds, challenge=challenge,
        showing=showing, frames=served.settings.max_frames,
    )  # fmt: skip


@router.get("/people")
async def people(request: Request, served: Served) -> Response:
    """Everybody who is enrolled."""
    return _open(request, "people", "/people", frames=served.settings.max_frames)


@router.get("/people/{uid}")
async def person(uid: str, request: Request, served: Served) -> Response:
    """One person; whether there is one, /v1 says."""
    return _open(request, "person", "/people", uid=uid, frames=served.settings.max_frames)


@router.get("/identify")
async def identify(request: Request) -> Response:
    """Who is in a picture?"""
    return _open(request, "identify", "/identify")


@router.get("/library")
async def library(request: Request) -> Response:
    """Faces of a library in clusters, to be named and corrected."""
    return _open(request, "library", "/library")


@router.get("/insight")
async def insight(request: Request) -> Response:
    """What decisions and the gallery look like."""
    return _open(request, "insight", "/insight")


def _who(request: Request) -> Principal | None:
    """Who is signed in to the page."""
    found: Principal | None = request.state.session
    return found


def _open(
    request: Request, name: str, path: str, *, kiosk: bool = False,
    **values: Any,  # noqa: ANN401 - what the page's script is told
) -> Response:  # fmt: skip
    """A page, the sign-in, or a word on what the key lacks."""
    who = _who(request)
    if who is None:
        return RedirectResponse("/signin", 303)
    scope = next(scope for place, _, scope in PLACES if place == path)
    if not may_open(who, path, scope):
        return page("refused", who, path, status=403, kiosk=kiosk)
    return page(name, who, path, kiosk=kiosk, **values)


def _sites_showing(served: Services) -> list[str]:
    """Names of the sites whose policy lets the gate show the stored picture."""
    with served.parts.store.read() as session:
        rows = session.execute(select(Site.name, Site.policy)).all()
    return [name for name, policy in rows if policy and policy.get(SHOW_PICTURE) is True]
