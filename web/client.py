"""The HTTP interface from Python: one method a route, frozen results.

    from vultus import Client

    with Client("http://127.0.0.1:8700", "vk_…") as server:
        answer = server.verify(uid, "probe.jpg")
        print(answer.answer, answer.similarity)

A picture is a path or the bytes of a file; it is read here and sent, the server takes no path.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from web.errors import ClientError, ServerUnreachable

Picture = str | os.PathLike[str] | bytes
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RemotePerson:
    """Somebody who is enrolled; times are ISO 8601 texts in UTC."""

    uid: str
    name: str
    site: str
    created: str
    expires: str | None
    photos: int
    templates: int
    thumbnail: str | None


@dataclass(frozen=True, slots=True)
class PictureOutcome:
    """What became of one picture of an enrolment."""

    index: int
    status: str
    reason: str | None
    detail: str
    faces: int


@dataclass(frozen=True, slots=True)
class RemoteEnrolment:
    """A person, and what became of each picture."""

    person: RemotePerson
    outcomes: tuple[PictureOutcome, ...]


@dataclass(frozen=True, slots=True)
class RemoteDecision:
    """An answer and what it rests on; names and units as `verify.decision.Decision`."""

    answer: str
    verified: bool | None
    person: str | None
    similarity: float
    distance: float
    threshold: float
    unsure_above: float
    fmr: float
    unsure_fmr: float | None
    extrapolated: bool
    probability: float | None
    templates: int
    model: str
    device: str
    time_ms: float
    reasons: tuple[str, ...]
    pad: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RemoteCandidate:
    """Somebody a face may be."""

    uid: str
    person: str
    site: str
    similarity: float
    distance: float
    answer: str
    thumbnail: str | None


@dataclass(frozen=True, slots=True)
class RemoteFace:
    """One face and who it is; `box` is x, y, width, height in pixels of the picture."""

    box: tuple[float, float, float, float]
    answer: str
    person: str | None
    threshold: float
    fpir: float
    candidates: tuple[RemoteCandidate, ...]
    quality: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RemoteIdentification:
    """Who is in a picture; `reason` says why no face could be used."""

    answer: str
    reason: str | None
    faces: tuple[RemoteFace, ...]


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """Long work on the server."""

    uid: str
    kind: str
    state: str
    done: int
    total: int | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    created: str
    finished: str | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


class Client:
    """A server of a gallery.

    Args:
        url: of the server, such as `http://127.0.0.1:8700`.
        key: as `vultus keys add` printed it; None: `VULTUS_API_KEY`.
        timeout: seconds for one answer.
        verify_tls: False accepts any certificate; a path names the one to accept.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        verify_tls: bool | str = True,
    ) -> None:
        key = os.environ.get("VULTUS_API_KEY", "") if key is None else key
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout,
            verify=_trusted(verify_tls),
        )

    def verify(
        self,
        person: str,
        *pictures: Picture,
        fmr: float | None = None,
        profile: str | None = None,
        challenge: str | None = None,
        on_multiple: str | None = None,
    ) -> RemoteDecision:
        """Is this the person? Several pictures are frames of one capture.

        Args:
            person: uid.
            pictures: one to eight.
            fmr: the asked false-match rate; None: the server's default.
            profile: name of a site's rates.
            challenge: id of a challenge that was passed.
            on_multiple: `reject`, `largest` or `centre`.

        Raises:
            ClientError: `code` says what; 423 `locked_out` after too many attempts.
        """
        given = {
            "fmr": fmr,
            "profile": profile,
            "challenge": challenge,
            "on_multiple": on_multiple,
        }
        answer = self._send(f"/v1/people/{person}/verify", given, {"image": pictures})
        return _made(RemoteDecision, answer)

    def compare(
        self, first: Picture, second: Picture, *, fmr: float | None = None
    ) -> RemoteDecision:
        """Do two pictures show one person?"""
        pictures = {"first": [first], "second": [second]}
        return _made(RemoteDecision, self._send("/v1/compare", {"fmr": fmr}, pictures))

    def identify(
        self,
        picture: Picture,
        *,
        fpir: float | None = None,
        sites: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> RemoteIdentification:
        """Who is in this picture? Nobody is an answer."""
        given = {"fpir": fpir, "sites": None if sites is None else list(sites), "limit": limit}
        found = self._send("/v1/identify", given, {"image": [picture]})
        faces = [
            _made(
                RemoteFace,
                face
                | {
                    "box": tuple(face["box"]),
                    "candidates": tuple(_made(RemoteCandidate, c) for c in face["candidates"]),
                },
            )
            for face in found["faces"]
        ]
        return RemoteIdentification(found["answer"], found["reason"], tuple(faces))

    def detect(self, picture: Picture) -> dict[str, Any]:
        """Faces of a live picture, and `guidance`: what the person should do."""
        return self._send("/v1/detect", {}, {"image": [picture]})

    def people(self, q: str = "", site: str | None = None) -> Iterator[RemotePerson]:
        """Everybody the key may know of, by name, read a page at a time."""
        cursor: str | None = None
        while True:
            given = {"q": q, "site": site, "cursor": cursor, "limit": 200}
            page = self._ask("GET", "/v1/people", params=_without_none(given))
            yield from (_made(RemotePerson, row) for row in page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def person(self, uid: str) -> RemotePerson:
        """One person."""
        return _made(RemotePerson, self._ask("GET", f"/v1/people/{uid}"))

    def enrol(
        self,
        name: str,
        *pictures: Picture,
        site: str | None = None,
        expires: str | None = None,
        allow_lookalikes: bool = False,
        idempotency_key: str | None = None,
    ) -> RemoteEnrolment:
        """Enrol somebody new; with an idempotency key it is safe to send again."""
        given = {"name": name, "site": site, "expires": expires}
        given["allow_lookalikes"] = "true" if allow_lookalikes else None
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return _enrolment(self._send("/v1/people", given, {"image": pictures}, headers))

    def add_pictures(self, person: str, *pictures: Picture) -> RemoteEnrolment:
        """Add pictures of somebody who is enrolled."""
        return _enrolment(self._send(f"/v1/people/{person}/templates", {}, {"image": pictures}))

    def rename(self, person: str, name: str) -> RemotePerson:
        """Give somebody another name."""
        return _made(RemotePerson, self._ask("PATCH", f"/v1/people/{person}", json={"name": name}))

    def merge(self, person: str, into: str) -> RemotePerson:
        """Make two people one."""
        found = self._ask("POST", f"/v1/people/{person}/merge", json={"into": into})
        return _made(RemotePerson, found)

    def forget(self, person: str) -> dict[str, Any]:
        """Erase somebody; gives the receipt."""
        return self._ask("DELETE", f"/v1/people/{person}")

    def start_job(self, kind: str, archive: Picture, **parameters: str) -> RemoteJob:
        """Send a zip of photos and have it worked on: `enrol_zip` or `cluster`."""
        params = {"kind": kind, **parameters}
        headers = {"Content-Type": "application/zip"}
        found = self._ask(
            "POST", "/v1/jobs", params=params, content=_bytes(archive), headers=headers
        )
        return _made(RemoteJob, found)

    def job(self, uid: str) -> RemoteJob:
        """How far a job has come."""
        return _made(RemoteJob, self._ask("GET", f"/v1/jobs/{uid}"))

    def cancel_job(self, uid: str) -> RemoteJob:
        """Cancel a job; what is done stays done."""
        return _made(RemoteJob, self._ask("DELETE", f"/v1/jobs/{uid}"))

    def get(self, path: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - a query's values
        """Any other route that reads, such as `/v1/audit`; plain JSON values."""
        return self._ask("GET", path, params=_without_none(params))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(
        self,
        path: str,
        given: Mapping[str, Any],
        pictures: Mapping[str, Sequence[Picture]],
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """A request with pictures."""
        files = [
            (name, ("picture", _bytes(one), "application/octet-stream"))
            for name, several in pictures.items()
            for one in several
        ]
        data = _without_none(given)
        if not files:  # multipart needs a part; JSON does not
            return self._ask("POST", path, json=data, headers=headers)
        return self._ask("POST", path, data=data, files=files, headers=headers)

    def _ask(self, method: str, path: str, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - as httpx takes them
        try:
            answer = self._http.request(method, path, **values)
        except httpx.HTTPError as error:
            raise ServerUnreachable(
                f"{self._http.base_url} does not answer ({error}): is `vultus serve` running?"
            ) from error
        if answer.is_success:
            return {} if answer.status_code == httpx.codes.NO_CONTENT else answer.json()
        raise _problem(answer)


def _trusted(verify: bool | str) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify


def _problem(answer: httpx.Response) -> ClientError:
    try:
        told = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        told = {"code": "no_json", "message": f"The answer was {answer.status_code}, and no JSON."}
    wait = answer.headers.get("retry-after", "")
    return ClientError(
        told["message"],
        status=answer.status_code,
        code=told["code"],
        details=told.get("details"),
        retry_after=float(wait) if wait.isdecimal() else None,
    )


def _bytes(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    """A result from JSON; what a newer server adds is left out."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    kept = {name: value for name, value in values.items() if name in names}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in kept.items()})


def _enrolment(found: Mapping[str, Any]) -> RemoteEnrolment:
    outcomes = tuple(_made(PictureOutcome, one) for one in found["outcomes"])
    return RemoteEnrolment(_made(RemotePerson, found["person"]), outcomes)
