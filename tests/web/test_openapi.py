"""The document is complete, and no route is open that should not be."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest

from verify.opening import Places
from web.app import create_app
from web.gateway import OPEN, OPEN_FOLDER
from web.settings import Settings


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory):
    database = tmp_path_factory.mktemp("openapi") / "g.sqlite3"
    made = create_app(Settings(places=Places(database=str(database))))
    yield made
    made.state.services.parts.close()


def test_every_route_is_told_with_its_errors(app):
    for path, item in app.openapi()["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (path, method)
            assert {"401", "403", "429", "500"} <= operation["responses"].keys()
            free = path in OPEN or (path, method) == ("/v1/session", "post")
            assert operation["security"] == ([] if free else [{"key": []}, {"session": []}])


def test_nothing_answers_without_a_key_but_health_and_signing_in(app):
    async def ask() -> None:
        # not started: what needs services would fail
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for path, item in app.openapi()["paths"].items():
                for method in item:
                    if path in OPEN or (path, method) == ("/v1/session", "post"):
                        continue
                    answer = await http.request(method, path.replace("{", "").replace("}", ""))
                    assert answer.status_code == 401, (method, path)
                    assert answer.json()["error"]["code"] == "no_key"

    anyio.run(ask)


def test_what_is_open_is_what_was_meant_to_be():
    assert {"/health/live", "/health/ready", "/signin", "/favicon.ico"} == OPEN
    assert OPEN_FOLDER == "/static/"


def test_examples_of_people_are_of_nobody(app):
    assert "Ada Vale" in str(app.openapi())
    assert not list(Path("web").glob("*.jpg"))
