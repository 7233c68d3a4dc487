"""Examples for the OpenAPI document: put together from those of the fields.

Every body and every answer in JSON gets one, and every parameter that must be given. A field
without an example of its own, a default or a list of values is a mistake, and told as one.
"""

from __future__ import annotations

from typing import Any

from web.schemas import UID

Schema = dict[str, Any]
JSON = "application/json"
PICTURE = "/9j/4AAQSkZJRgABAQ=="  # how the base64 of a JPEG begins
# What has to be given, by name.
_GIVEN = {
    "uid": UID, "template": UID, "number": 1, "kind": "enrol_zip",
    "token": "1f2e3d4c.mK3…",  # nosec B105
    "suggestion": "0f1e2d3c4b5a6978",
}  # fmt: skip
# A code that a status may come with, and what it says.
PROBLEMS = {
    "400": ("invalid_json", "The body is no JSON."),
    "401": ("no_key", "Send a key: Authorization: Bearer vk_…"),
    "403": ("scope", "This needs the scope admin, which the key 'gate' does not have."),
    "404": ("unknown_person", "Nobody called '9f0c…' is enrolled."),
    "405": ("method_not_allowed", "This route has no such method."),
    "409": ("person_exists", "Ada Vale is enrolled already."),
    "413": ("too_large", "The request has 17825792 bytes; at most 16777216 are taken."),
    "415": ("unsupported_media_type", "Send pictures as multipart/form-data, or as base64."),
    "422": ("face_not_found", "The picture: no face was found."),
    "423": ("locked_out", "5 attempts on this person failed within 10 minutes; wait."),
    "429": ("rate_limited", "This key sends too many requests; wait."),
    "500": ("internal_error", "Something unexpected went wrong here; it is in the server's log."),
    "503": ("database_unusable", "The database cannot be used now."),
}


def add_examples(operation: Schema, known: dict[str, Schema]) -> None:
    """Put examples into an operation.

    Args:
        operation: of the document; changed.
        known: the schemas of the document, by name.

    Raises:
        LookupError: a field has none.
    """
    for parameter in operation.get("parameters", []):
        if parameter.get("required"):
            parameter["example"] = _GIVEN[parameter["name"]]
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for status, body in zip([None, *operation["responses"]], bodies, strict=True):
        media = body.get("content", {}).get(JSON)
        if media is not None and "example" not in media:
            media["example"] = _answer(status, media["schema"], known)


def _answer(status: str | None, schema: Schema, known: dict[str, Schema]) -> Any:  # noqa: ANN401 - JSON
    if status in PROBLEMS and schema.get("$ref", "").endswith("/Problem"):
        code, message = PROBLEMS[status]
        error = {"code": code, "message": message, "details": {}}
        return {"error": error, "request_id": "5f2b8c1d9e0a4b6c"}
    return example_of(schema, known)


def example_of(schema: Schema, known: dict[str, Schema], where: str = "") -> Any:  # noqa: ANN401 - JSON
    """A value of a schema.

    Args:
        schema: as the document has it.
        known: name → schema that others refer to.
        where: the way to it, for the error.

    Raises:
        LookupError: nothing says what a value could be.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(known[name], known, f"{where}{name}.")
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    return _made(schema, known, where)


def _made(schema: Schema, known: dict[str, Schema], where: str) -> Any:  # noqa: ANN401 - JSON
    if "properties" in schema:
        fields = schema["properties"].items()
        return {name: example_of(field, known, where + name) for name, field in fields}
    if schema.get("type") == "array" and "items" in schema:
        return [example_of(schema["items"], known, where)]
    if schema.get("type") == "boolean":
        return False
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], known, where)
    raise LookupError(f"{where} has no example.")
