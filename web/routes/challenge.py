"""The active challenge: turn the head as asked, before a verification."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from embedder.embed import FoundFace
from verify.decision import DEFAULT_FMR, rule_at
from verify.pad_challenge import Sight
from web.deciding import Seen
from web.depends import Served, Verifier, takes_pictures
from web.schemas import Begin, Challenge
from web.uploads import received

router = APIRouter(prefix="/v1/challenge", tags=["challenge"])
_BESIDE = 0.5  # a face of less than this share of the largest is a passer-by


@router.post("", status_code=201, summary="Begin a challenge", response_model=Challenge)
def begin(body: Begin, served: Served, who: Verifier) -> Any:  # noqa: ANN401 - checked by the model
    """Draw an order of turns; then send a few pictures a second, each as soon as it is taken."""
    if body.person is not None:
        served.people.read(body.person)
    cut = rule_at(served.parts.calibration, DEFAULT_FMR).threshold
    token, status = served.challenges.begin(who, body.person, cut, mirrored=body.mirrored)
    return {"id": token, **status.to_dict()}


@router.post(
    "/{token}/frames", response_model=Challenge, summary="Send one picture of a challenge",
    openapi_extra=takes_pictures({"image": 1}),
)  # fmt: skip
async def frame(token: str, request: Request, served: Served, who: Verifier) -> JSONResponse:
    """Gives the next instruction, and the result at the end; then name it to /verify, once."""
    with served.gate.entered():
        async with received(request, served.settings.max_upload, served.gate) as form:
            seen = await served.deciding.look(form.only("image").one("image"), "all")
        faces = _near(seen)
        vectors = list(await served.deciding.encode(faces)) if faces else []
    sights = [
        Sight(face.crop.face.box, face.crop.face.points, vector)
        for face, vector in zip(faces, vectors, strict=True)
        if face.crop.face.points is not None
    ]
    status = await run_in_threadpool(served.challenges.feed, token, who, sights)
    return JSONResponse({"id": token, **status})


def _near(seen: Seen) -> list[FoundFace]:
    """The faces that count: no passer-by far behind."""
    largest = max((face.quality.size for face in seen.faces), default=0.0)
    return [face for face in seen.faces if face.quality.size >= _BESIDE * largest]
