"""Pictures out of a request: multipart or base64 in JSON, never a path and never a URL.

The body is counted while it comes, and refused as soon as it is too long; pictures stay in memory
and are not decoded here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from web.errors import BodyTooLarge, BodyUnusable

if TYPE_CHECKING:
    from web.limits import Gate

_PARTS = 64  # of a multipart body
_FIELD = 10_000  # bytes of a field that is no picture
_MULTIPART, _JSON = b"multipart/form-data", b"application/json"


@dataclass
class Form:
    """What a request brought.

    Attributes:
        fields: name → texts, in their order.
        pictures: name → files' bytes, in their order.
    """

    fields: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, list[bytes]] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """The one text of a field; None without it or where it is empty.

        Raises:
            BodyUnusable: there are several.
        """
        found = self.fields.get(name, [])
        if len(found) > 1:
            raise BodyUnusable(f"The field {name} was given {len(found)} times; give it once.")
        return found[0] if found and found[0] != "" else None

    def number(self, name: str) -> float | None:
        """The one number of a field; None without it.

        Raises:
            BodyUnusable: it is no number.
        """
        given = self.text(name)
        try:
            return None if given is None else float(given)
        except ValueError:
            raise BodyUnusable(f"The field {name} is {given!r:.40}; give a number.") from None

    def flag(self, name: str) -> bool:
        """Whether a field says true.

        Raises:
            BodyUnusable: it says neither true nor false.
        """
        given = (self.text(name) or "false").lower()
        if given not in ("true", "false"):
            raise BodyUnusable(f"The field {name} is {given!r:.40}; give true or false.")
        return given == "true"

    def only(self, *names: str) -> Form:
        """Itself, where it holds nothing else.

        Raises:
            BodyUnusable: an unknown field, which would be ignored.
        """
        if unknown := sorted((self.fields.keys() | self.pictures.keys()) - set(names)):
            raise BodyUnusable(
                f"There is no field {unknown[0]!r:.60}; there are {', '.join(names)}."
            )
        return self

    def one(self, name: str) -> bytes:
        """The one picture of a field.

        Raises:
            BodyUnusable: there is none, or several.
        """
        return self.several(name, 1)[0]

    def several(self, name: str, most: int, least: int = 1) -> list[bytes]:
        """The pictures of a field.

        Raises:
            BodyUnusable: too few or too many.
        """
        found = self.pictures.get(name, [])
        if not least <= len(found) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise BodyUnusable(
                f"{len(found)} pictures came as {name}; send {wanted}, as multipart files or as "
                'base64 in JSON: {"image": "…"}.', "wrong_number_of_pictures",
            )  # fmt: skip
        return found


@asynccontextmanager
async def received(request: Request, limit: int, gate: Gate) -> AsyncIterator[Form]:
    """Read a request with pictures; the memory it holds is given back at the end of the block.

    Args:
        request: not read yet.
        limit: bytes of pictures.
        gate: counts what is inside.

    Raises:
        BodyTooLarge: more bytes than `limit`.
        BodyUnusable: neither multipart nor JSON, or a broken one.
        TooMany: there is no room for it now.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    is_json = kind == _JSON
    if not is_json and kind != _MULTIPART:
        raise BodyUnusable(
            "Send pictures as multipart/form-data, or as base64 in application/json.",
            "unsupported_media_type", status=415,
        )  # fmt: skip
    if is_json:
        limit = limit * 4 // 3 + 4096
    held = 0
    chunks: list[bytes] = []
    try:
        async for chunk in _stream(request):
            gate.hold(len(chunk))
            held += len(chunk)
            if held > limit:
                raise BodyTooLarge(f"The request has more than {limit} bytes; send less.")
            chunks.append(chunk)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        yield _from_json(body) if is_json else _from_multipart(body, options.get(b"boundary"))
    finally:
        gate.release(held)


async def _stream(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise BodyUnusable("The request ended before its body did.", "incomplete") from None


def _from_json(body: bytes) -> Form:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise BodyUnusable("The body is no JSON.", "invalid_json", status=400) from None
    if not isinstance(values, dict):
        raise BodyUnusable("The body is JSON and no object; send {…}.")
    form = Form()
    for name, value in values.items():
        _add(form, str(name), value)
    return form


def _add(form: Form, name: str, value: Any) -> None:  # noqa: ANN401 - whatever JSON held
    if name in ("image", "first", "second"):
        form.pictures.setdefault(name, []).append(_decoded(name, value))
    elif name == "images":
        if not isinstance(value, list):
            raise BodyUnusable("images is a list of base64 texts.")
        form.pictures.setdefault("image", []).extend(_decoded(name, one) for one in value)
    elif isinstance(value, bool):
        form.fields[name] = ["true" if value else "false"]
    elif isinstance(value, str | int | float):
        form.fields[name] = [str(value)]
    elif isinstance(value, list) and all(isinstance(one, str) for one in value):
        form.fields[name] = list(value)
    elif value is not None:
        raise BodyUnusable(f"The field {name!r:.60} is neither text, number nor true or false.")


def _decoded(name: str, value: Any) -> bytes:  # noqa: ANN401 - whatever JSON held
    if not isinstance(value, str):
        raise BodyUnusable(f"{name} is a picture's bytes as base64 text.")
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise BodyUnusable(
            f"{name} is no base64: send the picture's bytes, never a path or a URL.", "no_base64"
        ) from None


@dataclass
class _Reader:
    """What python-multipart calls while it reads; parts with a file name are pictures."""

    body: bytes
    form: Form = field(default_factory=Form)
    parts: int = 0
    name: bytes = b""
    value: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: list[bytes] = field(default_factory=list)

    def begin(self) -> None:
        self.parts += 1
        if self.parts > _PARTS:
            raise BodyUnusable(f"The body has more than {_PARTS} parts.")
        self.headers, self.data = {}, []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        self.headers[self.name.lower()] = self.value
        self.name = self.value = b""

    def content(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def end(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BodyUnusable("A part of the body has no name.")
        name, content = options[b"name"].decode("utf-8", "replace"), b"".join(self.data)
        if b"filename" in options or name in ("image", "first", "second"):
            self.form.pictures.setdefault(name, []).append(content)
            return
        if len(content) > _FIELD:
            raise BodyUnusable(f"The field {name!r:.60} has more than {_FIELD} bytes.")
        try:
            self.form.fields.setdefault(name, []).append(content.decode())
        except UnicodeDecodeError:
            raise BodyUnusable(f"The field {name!r:.60} is no UTF-8 text.") from None


def _from_multipart(body: bytes, boundary: bytes | None) -> Form:
    if not boundary:
        raise BodyUnusable("The multipart body names no boundary.", "invalid_multipart", status=400)
    reader = _Reader(body)
    callbacks: Any = {
        "on_part_begin": reader.begin, "on_part_data": reader.content, "on_part_end": reader.end,
        "on_header_field": reader.header_field, "on_header_value": reader.header_value,
        "on_header_end": reader.header_end,
    }  # fmt: skip
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        raise BodyUnusable(
            "The multipart body is broken.", "invalid_multipart", status=400
        ) from None
    return reader.form
