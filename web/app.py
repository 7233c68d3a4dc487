"""The application: services, routes, and what an error becomes. READ THIS FIRST.

request ─gateway─▶ key, rate, size ─▶ route ─▶ scope ─▶ library ─▶ JSON
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from embedder.errors import EmbedderError, UnusablePhoto
from enroll.errors import EnrollError
from index.errors import VectorIndexError
from store.errors import StoreError
from verify.errors import VerifyError
from verify.opening import Parts
from web.depends import PROBLEMS
from web.errors import Refusal, status_of
from web.gateway import Gateway, envelope
from web.openapi import document
from web.pages import router as pages
from web.routes import ROUTERS
from web.services import Services
from web.settings import Settings

SETTINGS = "VULTUS_SERVE"  # how `vultus serve` tells its workers
_LIBRARY = (EmbedderError, EnrollError, StoreError, VectorIndexError, VerifyError)
_WORDS = {404: ("not_found", "There is no such route."),
          405: ("method_not_allowed", "This route has no such method.")}  # fmt: skip


def create_app(settings: Settings | None = None, parts: Parts | None = None) -> FastAPI:
    """The application, not started: its lifespan opens the networks and starts the threads.

    Args:
        settings: how to serve; None: the defaults.
        parts: a gallery that is open already, closed with the application; None: as `settings`
            say.

    Raises:
        StoreError: the database cannot be used.
    """
    settings = Settings() if settings is None else settings
    parts = Parts(settings.places) if parts is None else parts
    parts.store.require_current()
    served = Services(settings, parts)
    app = FastAPI(
        title="Vultus", version=_version(), lifespan=_lifespan, responses=PROBLEMS,
        docs_url=None, redoc_url=None, openapi_url=None, separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.services = served
    app.add_middleware(Gateway, services=served)
    for router in (*ROUTERS, pages):
        app.include_router(router)
    app.add_api_route("/openapi.json", lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # as FastAPI's page says
    for kind in _LIBRARY:
        app.add_exception_handler(kind, _library_error)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


def app_from_environment() -> FastAPI:
    """The application of a worker that `vultus serve` started."""
    from web.logs import configure

    configure(os.environ.get("VULTUS_LOG_LEVEL", "info"))
    return create_app(Settings.from_json(os.environ[SETTINGS]))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    served: Services = app.state.services
    await run_in_threadpool(served.start)
    try:
        yield
    finally:
        await run_in_threadpool(served.close)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vultus")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0"


def _problem(
    request: Request, status: int, code: str, message: str, details: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:  # fmt: skip
    request.state.code = code
    body = envelope(code, message, details, request.state.request_id)
    return JSONResponse(body, status, headers)


async def _refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)  # noqa: S101 - for the type checker
    request.state.refusal = error
    return _problem(request, error.status, error.code, str(error), error.details, error.headers)


async def _library_error(request: Request, error: Exception) -> JSONResponse:
    """An error of another package: its own code, or the reason a picture was refused for."""
    status = status_of(error)
    code = getattr(error, "reason", None) or getattr(error, "code", "error")
    if isinstance(error, StoreError) and status == 503:
        code = error.code  # `reason` is the database's own text there
        return _problem(request, status, code, "The database cannot be used now.")
    if status >= 500:
        raise error
    if isinstance(error, UnusablePhoto) and code == "too_large":
        status = 413
    return _problem(request, status, str(code), str(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
    problems = [
        {"where": [str(part) for part in one["loc"]], "what": one["msg"]}
        for one in error.errors()[:20]
    ]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return _problem(request, 400, "invalid_json", "The body is no JSON.")
    return _problem(
        request, 422, "invalid_request", "The request does not fit; details say where.",
        {"problems": problems},
    )  # fmt: skip


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    code, message = _WORDS.get(error.status_code, ("bad_request", "The request is broken."))
    headers = dict(error.headers or {})
    return _problem(request, error.status_code, code, message, None, headers)
