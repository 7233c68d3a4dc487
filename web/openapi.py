"""The OpenAPI document: what FastAPI finds, and what the gateway adds to every route."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from web.examples import add_examples
from web.gateway import OPEN

_TEXT = """Verify, identify and enrol people over HTTP, at a stated error rate.

Every route but `/health/*` needs a key: `Authorization: Bearer vk_…`, made with `vultus keys add`.
Errors have one form, with a code that scripts can rely on. Lists are paged: send `next` back as
`cursor` until it is null. 429 and 423 say in `Retry-After` how many seconds to wait.
"""


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title="Vultus", version=app.version, description=_TEXT, routes=app.routes
        )
        schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "http", "scheme": "bearer"}
        schemes["session"] = {"type": "apiKey", "in": "cookie", "name": "vultus_session"}
        for path, item in found["paths"].items():
            for method, operation in item.items():
                _complete(path, method, operation)
                add_examples(operation, found["components"]["schemas"])
        app.openapi_schema = found
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    free = path in OPEN or (path, method) == ("/v1/session", "post")
    operation["security"] = [] if free else [{"key": []}, {"session": []}]
    for status, response in operation["responses"].items():
        if status in ("423", "429"):
            seconds = {"type": "integer", "minimum": 1}
            response["headers"] = {"Retry-After": {"schema": seconds, "description": "Seconds."}}
