"""What is on record: calibrations, profiles, the log of events, decisions, and what they show."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response
from sqlalchemy import func, select

from enroll.audit_gallery import audit_gallery
from store.audit_check import verify_log
from store.calibrations import list_calibrations
from store.columns import now
from store.gallery import gallery_status
from store.listing import decisions_page, events_page, template_uids
from store.people import expired_people, list_people
from store.records import Decision
from store.templates import named_templates, owners
from verify.calibration import Calibration, calibration_for
from verify.decision import rule_at
from verify.profiles import profiles
from web import schemas, showing
from web.depends import Admin, Cursor, Limit, Served, Verifier, next_of, place_of
from web.errors import NotFound
from web.services import Services

router = APIRouter(prefix="/v1", tags=["records"])
_POINTS = 2000
_EDGES = np.linspace(-1.0, 1.0, 81)
_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# Of a page that is one file: its own style and pictures, no script, nothing from elsewhere.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox"
)


@router.get("/calibrations", summary="What says what a similarity means")
def calibrations(served: Served, who: Verifier) -> schemas.CalibrationsList:  # noqa: ARG001 - the scope
    """Those the gallery keeps, and the one in force."""
    items = []
    with served.parts.store.read() as session:
        for row in list_calibrations(session, served.parts.card.space):
            curve = calibration_for(row.space, row.body)
            items.append(_calibration(curve, row.id, active=row.active, created=row.created))
    if not any(item.active for item in items):
        shipped = served.parts.calibration
        items.append(_calibration(shipped, None, active=True, created=None))
    return schemas.CalibrationsList(items=items)


def _calibration(
    curve: Calibration, number: int | None, *, active: bool, created: datetime | None
) -> schemas.Calibration:
    return schemas.Calibration(
        number=number, space=curve.space, source=curve.source, active=active,
        smallest_fmr=curve.smallest_fmr, created=created,
    )  # fmt: skip


@router.get("/profiles", summary="The error rates of sites, by name")
def list_profiles(served: Served, who: Verifier) -> schemas.ProfilesList:  # noqa: ARG001 - the scope
    """The gallery's own, then the built-in ones."""
    with served.parts.store.read() as session:
        found = profiles(session)
    return schemas.ProfilesList(items=[schemas.Profile(**one.to_dict()) for one in found])


@router.get("/audit", summary="The log of events, the newest first")
def audit(
    served: Served, who: Admin, cursor: Cursor = None, limit: Limit = 50,  # noqa: ARG001 - the scope
    action: Annotated[str | None, Query(max_length=100)] = None,
    person: Annotated[str | None, Query(max_length=100, description="uid")] = None,
) -> schemas.EventsPage:  # fmt: skip
    """What was done and refused, by whom; `private` is null where it was erased."""
    with served.parts.store.read() as session:
        rows = events_page(
            session, action=action, subject=person, after=place_of(cursor), limit=limit
        )
        items = [
            schemas.Event(
                number=row.id, time=row.time, actor=row.actor, action=row.action,
                subject=row.subject, details=json.loads(row.details),
                private=None if row.private is None else json.loads(row.private), hash=row.hash,
            )
            for row in rows
        ]  # fmt: skip
    return schemas.EventsPage(items=items, next=next_of(rows, limit))


@router.get("/audit/verify", summary="Is the log whole?")
def check(served: Served, who: Admin) -> schemas.LogState:  # noqa: ARG001 - the scope is the point
    """Checks every row; of a long log it takes a while."""
    with served.parts.store.read() as session:
        return schemas.LogState(**verify_log(session).to_dict())


@router.get("/decisions", summary="Decisions on record, the newest first")
def decisions(
    served: Served,
    who: Admin,  # noqa: ARG001 - the scope
    cursor: Cursor = None,
    limit: Limit = 50,
) -> schemas.RecordedPage:
    """Each with the uid of whom it is about; no picture and no vector is kept."""
    with served.parts.store.read() as session:
        rows = decisions_page(session, after=place_of(cursor), limit=limit)
        items = [
            schemas.Recorded(
                number=row.id, time=row.time, kind=row.kind,
                answer=row.answer,  # type: ignore[arg-type]  # one of the three
                person=uid, similarity=row.similarity, threshold=row.threshold, fmr=row.fmr,
                actor=row.actor,
            )
            for row, uid in rows
        ]  # fmt: skip
    return schemas.RecordedPage(items=items, next=next_of([row for row, _ in rows], limit))


@router.get("/insight/map", summary="Templates in the plane")
def gallery_map(served: Served, who: Admin) -> schemas.Map:  # noqa: ARG001 - the scope is the point
    """A sample of at most 2,000, spread evenly over the gallery; its principal plane."""
    with served.parts.store.read() as session:
        found = named_templates(session, served.parts.card.space)
        rows = np.linspace(0, len(found) - 1, min(_POINTS, len(found))).astype(int)
        ids = found.ids[rows].tolist()
        whose, uids = owners(session, ids), template_uids(session, ids)
    if len(ids) == 0:
        return schemas.Map(points=[], total=0, explained=0.0)
    plane, share = _principal_plane(found.vectors[rows])
    points = [
        schemas.MapPoint(
            template=uids[one], person=whose[one].uid, name=whose[one].name,
            x=round(float(x), 4), y=round(float(y), 4), crop=showing.crop_url(uids[one]) or "",
        )
        for one, (x, y) in zip(ids, plane, strict=True) if one in whose and one in uids
    ]  # fmt: skip
    return schemas.Map(points=points, total=len(found), explained=round(share, 4))


def _principal_plane(vectors: Any) -> tuple[Any, float]:  # noqa: ANN401 - arrays, told below
    """Vectors, float32 (N, D), on their first two principal axes, (N, 2) in −1…1; the share."""
    centred = vectors - vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(vectors), 2))
    seen = centred @ axes[:2].T
    plane[:, : seen.shape[1]] = seen
    total = float((sizes**2).sum())
    share = float((sizes[:2] ** 2).sum()) / total if total > 0 else 0.0
    return plane / max(float(np.abs(plane).max()), 1e-9), share


@router.get("/insight/scores", summary="How similar decisions were")
def scores(served: Served, who: Admin) -> schemas.Scores:  # noqa: ARG001 - the scope is the point
    """Of the last 100,000 verifications, and the thresholds of some rates for one template."""
    counts = {}
    with served.parts.store.read() as session:
        newest = session.scalar(select(func.max(Decision.id))) or 0
        for answer in ("yes", "no", "unsure"):
            query = select(Decision.similarity).where(
                Decision.id > newest - 100_000, Decision.kind == "verify",
                Decision.answer == answer, Decision.similarity.is_not(None),
            )  # fmt: skip
            counts[answer] = np.histogram(
                [s for s in session.scalars(query) if s is not None], _EDGES
            )[0].tolist()
    curve = served.parts.calibration
    rates = [rate for rate in _RATES if rate >= curve.smallest_fmr]
    cuts = [round(rule_at(curve, rate).threshold, 6) for rate in rates]
    return schemas.Scores(edges=_EDGES.round(4).tolist(), thresholds=cuts, fmr=rates, **counts)


@router.get("/insight/evaluation", summary="How often the encoder errs")
def evaluation(served: Served, who: Admin) -> schemas.Evaluation:  # noqa: ARG001 - the scope is the point
    """Rates with counts and intervals, ROC, DET: of the data the calibration in force is from."""
    from verify.calibration_report import report_of

    own = None if _report_file(served) is None else "/v1/insight/report"
    return schemas.Evaluation(**report_of(served.parts.calibration).to_dict(), report=own)


@router.get(
    "/insight/report", summary="The operator's own evaluation report",
    response_class=Response, responses={200: {"content": {"text/html": {}}}},
)  # fmt: skip
def report(served: Served, who: Admin) -> Response:  # noqa: ARG001 - the scope is the point
    """The HTML page that `vultus evaluate … --report` wrote and `vultus serve --report` named."""
    file = _report_file(served)
    if file is None:
        raise NotFound("There is no report; name one with: vultus serve --report FILE.")
    headers = {"Content-Security-Policy": _REPORT_POLICY}
    return Response(file.read_bytes(), media_type="text/html", headers=headers)


def _report_file(served: Services) -> Path | None:
    """The file the server was started with, where it is still there."""
    named = served.settings.report
    file = None if named is None else Path(named)
    return file if file is not None and file.is_file() else None


@router.get("/insight/findings", summary="What is wrong in the gallery")
def findings(served: Served, who: Admin) -> schemas.Findings:  # noqa: ARG001 - the scope is the point
    """Duplicates, confusable people, outliers and more; of a large gallery it takes a while."""
    found = audit_gallery(served.parts).to_dict()
    return schemas.Findings(
        clean=found["clean"],
        counts=found["counts"],
        skipped=found["skipped"],
        findings=[schemas.Finding(**one) for one in found["findings"]],
    )


@router.get("/insight/gallery", summary="What the gallery holds")
def gallery(served: Served, who: Admin) -> schemas.GalleryState:  # noqa: ARG001 - the scope is the point
    """Counts, and people who cannot be verified, or only by one picture."""
    with served.parts.store.read() as session:
        status = gallery_status(session)
        people = list_people(session)
        expired = len(expired_people(session, now()))
    return schemas.GalleryState(
        uid=status.uid, space=status.space, people=status.people, photos=status.photos,
        templates=status.templates, unnamed=status.unnamed, decisions=status.decisions,
        without_templates=sum(person.templates == 0 for person in people),
        one_template=sum(person.templates == 1 for person in people), expired=expired,
    )  # fmt: skip
