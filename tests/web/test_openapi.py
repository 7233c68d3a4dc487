"""The document is complete, and no route is open that should not be."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest

from verify.opening import Places
from web import schemas
from web.app import create_app
from web.examples import example_of
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


def test_every_body_and_answer_has_an_example_that_fits(app):
    document = app.openapi()
    bodies = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for one in operation.get("parameters", []):
                assert not one["required"] or "example" in one, (path, method, one["name"])
            told = [operation.get("requestBody", {}), *operation["responses"].values()]
            for media in (one["content"]["application/json"] for one in told
                          if "application/json" in one.get("content", {})):  # fmt: skip
                assert "example" in media, (path, method)
                name = media["schema"].get("$ref", "").rpartition("/")[2]
                if name:  # a field that is missing, unknown or of another kind raises
                    getattr(schemas, name).model_validate(media["example"])
                bodies += 1
    assert bodies > 500
    codes = {
        told["content"]["application/json"]["example"]["error"]["code"]
        for told in document["paths"]["/v1/people"]["get"]["responses"].values()
        if told["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    }
    assert {"no_key", "scope", "rate_limited"} <= codes


def test_a_field_without_an_example_is_a_mistake():
    broken = {"properties": {"name": {"type": "string"}}}
    with pytest.raises(LookupError) as told:
        example_of(broken, {})
    assert "name has no example" in str(told.value)


def test_examples_of_people_are_of_nobody(app):
    assert "Ada Vale" in str(app.openapi())
    assert not list(Path("web").glob("*.jpg"))
