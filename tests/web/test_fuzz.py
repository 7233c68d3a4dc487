"""Requests made from the OpenAPI document at random: whatever comes, the answer is one of ours."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from .conftest import Served

CASES, SEED = 400, 7
METHODS = ("get", "post", "patch", "delete", "put")
TEXTS = (
    "", "0" * 32, "0", "-1", "9" * 40, "../..", "a\0b", "ß", "'; --", "%2e%2e%2f", "null", "nan",
    "1e999", "\ud7ff", "x" * 5000, "2027-06-30", "admin",
)  # fmt: skip
VALUES = (
    None, True, 0, -1, 10**30, 0.5, float("inf"), float("nan"), [], {}, [[]], {"a": {"b": []}},
    ["0" * 32], [0, 1], *TEXTS,
)  # fmt: skip
BODIES = (
    b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"--x\r\n", b"--x--", b"PK\x05\x06" + bytes(18),
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--x--\r\n',
)  # fmt: skip
KINDS = ("application/json", "multipart/form-data; boundary=x", "application/zip", "text/plain")


@pytest.fixture(scope="module")
def described(server: Served) -> dict[str, Any]:
    with server.client() as http:
        return dict(http.get("/openapi.json").raise_for_status().json())


def fields_of(operation: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """The fields of a JSON body, as the document tells them."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", {}))


def case(
    chance: random.Random, document: dict[str, Any]
) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """A path as described, a method, the operation, and what httpx sends."""
    template = chance.choice([path for path in document["paths"] if "events" not in path])
    method = chance.choice([*document["paths"][template]] * 4 + list(METHODS))
    operation = document["paths"][template].get(method, {})
    path = "/".join(
        quote(chance.choice(TEXTS)[:200], safe="") or "0" if part.startswith("{") else part
        for part in template.split("/")
    )
    names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    params = {name: chance.choice(TEXTS)[:500] for name in names if chance.random() < 0.3}
    fields = fields_of(operation, document)
    if fields and chance.random() < 0.7:
        body = {name: chance.choice(VALUES) for name in fields if chance.random() < 0.8}
        content, kind = json.dumps(body).encode(), KINDS[0]
    else:
        content, kind = chance.choice(BODIES), chance.choice(KINDS)
    sent = {"url": path, "params": params, "content": content, "headers": {"Content-Type": kind}}
    return template, method, operation, sent


def test_no_request_gets_an_answer_that_is_not_described(server: Served, described: dict[str, Any]):
    chance = random.Random(SEED)  # noqa: S311 - not for secrets
    statuses = set()
    http = server.client()
    for number in range(CASES):
        template, method, operation, sent = case(chance, described)
        shown = (number, method, sent)
        answer = http.request(method, **sent)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (shown, answer.text)
        if answer.status_code >= 400 and template.startswith("/v1/"):
            told = answer.json()
            assert set(told) == {"error", "request_id"}, shown
            assert set(told["error"]) == {"code", "message", "details"}, shown
            assert told["request_id"] == answer.headers["x-request-id"], shown
        if operation and answer.status_code not in (404, 405):
            assert str(answer.status_code) in operation["responses"], (shown, answer.text)
    http.close()
    assert {200, 404, 405, 415, 422} <= statuses
