"""The questions: is it them, who is it, are they one, and what does the live picture show."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from embedder.embed import FoundFace
from store.listing import person_rows
from verify.identify import Identification
from verify.profiles import Rates, rates_of
from web import schemas, showing
from web.auth import Principal
from web.deciding import Asked
from web.depends import Identifier, Served, Verifier, takes_pictures
from web.errors import BodyUnusable, Forbidden
from web.guidance import guidance
from web.known import KnownPerson, require_seen
from web.services import Services
from web.uploads import Form, received

router = APIRouter(prefix="/v1", tags=["decisions"])
_ONE_FACE = ("reject", "largest", "centre")
_RATE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_RATES: dict[str, Any] = {
    "fmr": _RATE | {"examples": [0.001]},
    "unsure": _RATE,
    "profile": {"type": "string", "maxLength": 200},
    "on_multiple": {"type": "string", "enum": list(_ONE_FACE)},
}
_SEARCH: dict[str, Any] = {
    "fpir": _RATE | {"examples": [0.01]},
    "unsure": _RATE,
    "profile": _RATES["profile"],
    "sites": {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": 100},
    "on_multiple": {"type": "string", "enum": ["all", "largest", "centre", "reject"]},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
}


@router.post(
    "/people/{uid}/verify", response_model=schemas.Decision, summary="Is this the person?",
    openapi_extra=takes_pictures(
        {"image": 8}, _RATES | {"challenge": {"type": "string", "maxLength": 100}}
    ),
)  # fmt: skip
async def verify(uid: str, request: Request, served: Served, who: Verifier) -> JSONResponse:
    """Compare one to eight frames of one capture with all templates of a person.

    The answer is on record before it is sent. After too many answers other than yes about a
    person nobody is answered about them for a while (423).
    """
    begun = time.perf_counter()
    request.state.subject = uid
    with served.gate.entered():
        person = require_seen(await _person(served, uid), who)
        async with received(request, served.settings.max_upload, served.gate) as form:
            form.only(*_RATES, "image", "challenge")
            pictures = form.several("image", served.settings.max_frames)
            asked, token = await _asked(served, form), form.text("challenge")
            passed = await run_in_threadpool(served.challenges.take, token, uid, who)
            decision = await served.deciding.verify(
                person, lambda: run_in_threadpool(served.people.read, uid), pictures, asked, who,
                served.pad, passed,
            )  # fmt: skip
    return JSONResponse(decision.to_dict() | _by(served, begun))


async def _person(served: Services, uid: str) -> KnownPerson:
    """A person, who is not locked out a moment ago."""
    known = served.people.remembered(uid)
    if known is not None:  # whether they are locked out is checked when the decision is committed
        return known
    return await run_in_threadpool(served.people.read, uid, served.deciding.require_open)


async def _asked(served: Services, form: Form) -> Asked:
    fmr, unsure, profile = _rate(form, "fmr"), _rate(form, "unsure"), form.text("profile")
    if profile is not None:
        rates = await run_in_threadpool(_profile, served, profile, "fmr", fmr, unsure)
        fmr, unsure = rates.first, rates.second
    return Asked(fmr, unsure, _choice(form, "on_multiple", _ONE_FACE))


def _profile(
    served: Services, name: str, kind: str, first: float | None, second: float | None
) -> Rates:
    with served.parts.store.read() as session:
        return rates_of(session, name, kind, first, second)


def _rate(form: Form, name: str) -> float | None:
    given = form.number(name)
    if given is not None and not 0.0 < given < 1.0:
        raise BodyUnusable(f"{name} is a rate: give a number between 0 and 1.")
    return given


def _choice(form: Form, name: str, choices: tuple[str, ...]) -> str:
    given = form.text(name) or choices[0]
    if given not in choices:
        raise BodyUnusable(f"{name} is one of {', '.join(choices)}.")
    return given


def _by(served: Services, begun: float) -> dict[str, Any]:
    """What answered, and how fast."""
    network = getattr(served.parts.embedder.encoder, "network", None)
    device = getattr(network, "device", "cpu")
    return {"device": device, "time_ms": round((time.perf_counter() - begun) * 1e3, 2)}


@router.post(
    "/identify", response_model=schemas.Identified, summary="Who is in this picture?",
    openapi_extra=takes_pictures({"image": 1}, _SEARCH),
)  # fmt: skip
async def identify(request: Request, served: Served, who: Identifier) -> JSONResponse:
    """Every face of a picture, image-left first, with candidates; "no" is nobody known."""
    begun = time.perf_counter()
    with served.gate.entered():
        async with received(request, served.settings.max_upload, served.gate) as form:
            form.only(*_SEARCH, "image")
            picture, most = form.one("image"), _most(form)
            rates = await _search_rates(served, form)
            seen, found = await served.deciding.identify(
                picture, who, fpir=rates.first, unsure=rates.second, k=max(10, most),
                sites=_sites(form, who),
                on_multiple=_choice(form, "on_multiple", ("all", "largest", "centre", "reject")),
            )  # fmt: skip
    shown = await run_in_threadpool(_thumbnails, served, [who for _, who in found], most)
    faces = [_face(face, one, shown, most) for face, one in found]
    answers = {face["answer"] for face in faces}
    height, width = seen.photo.pixels.shape[:2]
    return JSONResponse({
        "answer": next((a for a in ("yes", "unsure") if a in answers), "no"),
        "reason": seen.admission.reason, "detail": seen.admission.detail, "faces": faces,
        "width": width, "height": height, "time_ms": _by(served, begun)["time_ms"],
    })  # fmt: skip


async def _search_rates(served: Services, form: Form) -> Rates:
    fpir, unsure, profile = _rate(form, "fpir"), _rate(form, "unsure"), form.text("profile")
    if profile is None:
        return Rates(fpir, unsure)
    return await run_in_threadpool(_profile, served, profile, "fpir", fpir, unsure)


def _most(form: Form) -> int:
    given = form.number("limit")
    if given is not None and not (1 <= given <= 100 and given.is_integer()):
        raise BodyUnusable("limit is a whole number from 1 to 100.")
    return 5 if given is None else int(given)


def _sites(form: Form, who: Principal) -> list[str] | None:
    given = form.fields.get("sites")
    if given is None:
        return None if who.sites is None else sorted(who.sites)
    if not all(who.sees(site) for site in given):
        raise Forbidden("This key is limited to other sites; name some of them.", "site")
    return given


def _thumbnails(served: Services, found: list[Identification], most: int) -> dict[str, str | None]:
    """Person uid → URL of a crop."""
    ids = sorted({c.person_id for who in found for c in who.candidates[:most]})
    with served.parts.store.read() as session:
        return {row.uid: showing.crop_url(row.template) for row in person_rows(session, ids)}


def _face(
    face: FoundFace, who: Identification, shown: dict[str, str | None], most: int
) -> dict[str, Any]:
    values = who.to_dict()
    candidates = values["candidates"][:most]
    for candidate in candidates:
        candidate.pop("evidence", None)  # rows of the database
        candidate["thumbnail"] = shown.get(candidate["uid"])
    box = [round(float(value), 1) for value in face.crop.face.box]
    return {"box": box, "quality": face.quality.to_dict(), **values, "candidates": candidates}


@router.post(
    "/compare", response_model=schemas.Decision, summary="Do two pictures show one person?",
    openapi_extra=takes_pictures({"first": 1, "second": 1}, _RATES),
)  # fmt: skip
async def compare(request: Request, served: Served, who: Verifier) -> JSONResponse:
    """Nothing of the gallery is asked; the answer is on record."""
    begun = time.perf_counter()
    with served.gate.entered():
        async with received(request, served.settings.max_upload, served.gate) as form:
            form.only(*_RATES, "first", "second")
            first, second = form.one("first"), form.one("second")
            decision = await served.deciding.compare(first, second, await _asked(served, form), who)
    return JSONResponse(decision.to_dict() | _by(served, begun))


@router.post(
    "/detect", response_model=schemas.Detected, summary="What does a live picture show?",
    openapi_extra=takes_pictures({"image": 1}),
)  # fmt: skip
async def detect(
    request: Request,
    served: Served,
    who: Verifier,  # noqa: ARG001 - the scope is the point
) -> JSONResponse:
    """Faces, and one word for what the person should do; nothing is kept or recorded."""
    with served.gate.entered():
        async with received(request, served.settings.max_upload, served.gate) as form:
            seen = await served.deciding.look(form.only("image").one("image"), "all")
    height, width = seen.photo.pixels.shape[:2]
    faces = [
        {
            "box": [round(float(value), 1) for value in face.crop.face.box],
            "points": _points(face), "confidence": round(face.crop.face.confidence, 4),
            "quality": face.quality.to_dict(),
        }
        for face in seen.faces
    ]  # fmt: skip
    told = guidance(seen.faces, width, height)
    return JSONResponse({"faces": faces, "guidance": told, "width": width, "height": height})


def _points(face: FoundFace) -> list[list[float]] | None:
    points = face.crop.face.points
    return None if points is None else [[round(float(v), 1) for v in row] for row in points]
