"""Single templates, and the photos they came from."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.orm import Session

from store.errors import UnknownTemplate
from store.listing import photos_page, templates_by_uid
from store.photos import crops
from store.schema import Template
from store.sync import refresh, save
from store.templates import remove_templates
from web import schemas
from web.auth import Principal
from web.depends import Cursor, Enroller, Limit, Served, Verifier, next_of, place_of

router = APIRouter(prefix="/v1", tags=["templates"])


@router.get(
    "/templates/{uid}/crop", summary="The aligned crop behind a template",
    response_class=Response, responses={200: {"content": {"image/jpeg": {}}}},
)  # fmt: skip
def crop(
    uid: str, served: Served, who: Verifier,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:  # fmt: skip
    """A JPEG; faces nobody has named are shown to keys that may enrol, of every site.

    A template never changes, so a browser may keep its crop for itself alone; it asks each time
    whether it still may, so that a crop is gone from its page once the person is forgotten.
    """
    headers = {"ETag": f'"{uid}"', "Cache-Control": "private, no-cache"}
    with served.parts.store.read() as session:
        template = _one(session, uid, who)
        if if_none_match is not None and headers["ETag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        found = crops(session, [template.id])
    if template.id not in found:
        raise UnknownTemplate([uid])  # type: ignore[list-item]  # only shown
    return Response(found[template.id], media_type="image/jpeg", headers=headers)


@router.delete("/templates/{uid}", status_code=204, summary="Remove one template")
def remove(uid: str, served: Served, who: Enroller) -> None:
    """Its face and photo stay; to erase those, forget the person."""
    with served.parts.store.begin(actor=who.actor) as session:
        remove_templates(session, [_one(session, uid, who).id])
    refresh(served.parts.index)
    save(served.parts.index)


def _one(session: Session, uid: str, who: Principal) -> Template:
    template = templates_by_uid(session, [uid], who.sites)[0]
    if template.person_id is None and not (who.may("enrol") and who.sites is None):
        raise UnknownTemplate([uid])  # type: ignore[list-item]  # only shown
    return template


@router.get("/photos", summary="Photos that were looked at")
def photos(
    served: Served, who: Enroller, cursor: Cursor = None, limit: Limit = 50,
    outcome: Annotated[Literal["enrolled", "rejected", "library"] | None, Query()] = None,
) -> schemas.PhotosPage:  # fmt: skip
    """The newest first; only what was noted of them, the photos themselves are not kept."""
    with served.parts.store.read() as session:
        rows = photos_page(
            session, sites=who.sites, outcome=outcome, after=place_of(cursor), limit=limit
        )
        items = [
            schemas.Photo(
                digest=row.digest, source=row.source, outcome=row.outcome, reason=row.reason,
                width=row.width, height=row.height, added=row.added,
            )
            for row in rows
        ]  # fmt: skip
    return schemas.PhotosPage(items=items, next=next_of(rows, limit))
