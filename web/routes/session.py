"""Signing in to the page with a key; the browser then holds a cookie and never the key."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from web.auth import Principal
from web.depends import Anybody, Served
from web.gateway import COOKIE
from web.schemas import SignedIn, SignIn

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.post("", summary="Sign in", status_code=201)
async def sign_in(body: SignIn, served: Served, request: Request, response: Response) -> SignedIn:
    """Open a session of the page; needs no other key than the one in the body."""
    address = request.client.host if request.client else ""
    cookie, principal = await run_in_threadpool(served.authority.sign_in, body.key, address)
    response.set_cookie(
        COOKIE, cookie, max_age=int(served.settings.session_hours * 3600), httponly=True,
        samesite="strict", secure=served.settings.secure or request.url.scheme == "https", path="/",
    )  # fmt: skip
    return _told(principal)


@router.get("", summary="Who is signed in")
async def session(who: Anybody) -> SignedIn:
    """With a key instead of a cookie, `csrf` is empty."""
    return _told(who)


@router.delete("", summary="Sign out", status_code=204)
def sign_out(served: Served, who: Anybody, response: Response) -> None:
    """End the session; with a key instead of a cookie nothing happens."""
    served.authority.sign_out(who)
    response.delete_cookie(COOKIE, path="/")


def _told(principal: Principal) -> SignedIn:
    sites = None if principal.sites is None else sorted(principal.sites)
    return SignedIn(
        name=principal.name, scopes=sorted(principal.scopes), sites=sites, csrf=principal.csrf
    )
