"""What routes ask for: the services, who asks, a scope, a place in a list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from web.auth import Principal
from web.errors import BodyUnusable
from web.examples import JSON, PICTURE
from web.schemas import Problem
from web.services import Services

LARGEST_PAGE = 200
MULTIPART = "multipart/form-data"
_TEXTS = {
    400: "The request is broken.", 401: "No key, or one that does not hold.",
    403: "The key may not do this.", 404: "There is no such thing.",
    405: "The route has no such method.", 409: "It does not fit what is there.",
    413: "Too many bytes.", 415: "Neither multipart nor JSON.",
    422: "Something in it cannot be used; the code says what.",
    423: "Too many attempts on this person failed.", 429: "Too many requests; see Retry-After.",
    500: "Our error.", 503: "The database or the networks are not ready.",
}  # fmt: skip
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in _TEXTS.items()
}


def services(request: Request) -> Services:
    """The services of this process."""
    found: Services = request.app.state.services
    return found


def asking(request: Request) -> Principal:
    """Who asks; the gateway has made sure that there is somebody."""
    principal: Principal = request.state.principal
    return principal


def scope(name: str) -> Callable[[Request], Principal]:
    """A dependency that lets nobody through whose key has not that scope."""

    def require(request: Request) -> Principal:
        principal = asking(request)
        principal.require(name)
        return principal

    require.__name__ = f"require_{name}"
    return require


Served = Annotated[Services, Depends(services)]
Verifier = Annotated[Principal, Depends(scope("verify"))]
Identifier = Annotated[Principal, Depends(scope("identify"))]
Enroller = Annotated[Principal, Depends(scope("enrol"))]
Admin = Annotated[Principal, Depends(scope("admin"))]
Anybody = Annotated[Principal, Depends(asking)]
Cursor = Annotated[str | None, Query(max_length=40, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="The most items of a page.")]


def cursor_of(row_id: int) -> str:
    """An opaque text for a place in a list."""
    return base64.urlsafe_b64encode(f"c{row_id}".encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> int | None:
    """The row id behind a cursor; None without one.

    Raises:
        BodyUnusable: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    if text[:1] != "c" or not text[1:].isdecimal() or len(text) > 19:
        raise BodyUnusable("The cursor is none of this list's; begin without one.", "bad_cursor")
    return int(text[1:])


def next_of(items: list[Any], limit: int) -> str | None:
    """The cursor after a page whose items have an `id`; None after the last."""
    return cursor_of(items[-1].id) if len(items) == limit else None


def _example(fields: dict[str, dict[str, Any]], pictures: dict[str, int]) -> dict[str, Any]:
    """A body in JSON: the pictures, and those fields that have an example."""
    told = {name: schema["examples"][0] for name, schema in fields.items() if "examples" in schema}
    return told | dict.fromkeys(pictures, PICTURE)


def takes_pictures(
    pictures: dict[str, int], fields: dict[str, dict[str, Any]] | None = None,
    required: list[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The OpenAPI of a body with pictures.

    Args:
        pictures: name → how many at most.
        fields: name → schema of the other fields.
        required: names that must be there; None: the pictures.
    """
    required = list(pictures) if required is None else required
    multipart, plain = dict(fields or {}), dict(fields or {})
    for name, most in pictures.items():
        file = {"type": "string", "contentMediaType": "image/*", "format": "binary"}
        text = {"type": "string", "contentEncoding": "base64", "format": "byte"}
        several = {"type": "array", "minItems": 1, "maxItems": most}
        multipart[name] = file if most == 1 else several | {"items": file}
        plain[name] = text
        if most > 1:
            plain["images"] = several | {"items": text}
    body: dict[str, Any] = {"type": "object", "additionalProperties": False}
    plain_body = body | {"properties": plain}
    if required and "images" not in plain:
        plain_body["required"] = required
    elif "image" in required:
        others = [name for name in required if name != "image"]
        plain_body |= {"anyOf": [{"required": [*others, one]} for one in ("image", "images")]}
    elif required:
        plain_body["required"] = required
    form = body | {"properties": multipart} | ({"required": required} if required else {})
    content = {
        MULTIPART: {"schema": form},
        JSON: {"schema": plain_body, "example": _example(fields or {}, pictures)},
    }
    return {"requestBody": {"required": True, "content": content}}
