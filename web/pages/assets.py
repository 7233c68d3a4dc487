"""Scripts, styles and drawings of the page: read once, told apart by a digest of their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request, Response

from web.errors import NotFound

router = APIRouter(prefix="/static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page.

    Attributes:
        body: its bytes.
        kind: its media type.
        tag: quoted digest, as ETag has it.
    """

    body: bytes
    kind: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """All files of the page by name; nothing else can be asked for."""
    found = {}
    for file in resources.files("web").joinpath("static").iterdir():
        kind = _TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            body = file.read_bytes()
            found[file.name] = Asset(body, kind, f'"{hashlib.sha256(body).hexdigest()[:24]}"')
    return found


@router.get("/{name}")
async def asset(name: str, request: Request) -> Response:
    """A file; a browser that has it is told so in a few bytes."""
    found = assets().get(name)
    if found is None:
        raise NotFound("There is no such file.")
    headers = {"ETag": found.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.kind, headers=headers)
