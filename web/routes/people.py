"""The people of the gallery."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from enroll import corrections
from enroll.forget import forget
from enroll.person import EnrolmentRules
from store.answered import forget_answers
from store.listing import (
    PersonRow,
    people_page,
    person_by_uid,
    person_rows,
    templates_of,
)
from store.people import find_person
from verify.opening import Parts
from web import schemas, showing
from web.acting import parts_for
from web.auth import Principal
from web.depends import (
    Admin,
    Cursor,
    Enroller,
    Limit,
    Served,
    Verifier,
    next_of,
    place_of,
    takes_pictures,
)
from web.enrolling import add, enrol, moment, require_new, require_site, rules_of, shown
from web.errors import BodyUnusable
from web.idempotency import fingerprint, key_of, once
from web.services import Services
from web.uploads import Form, received

router = APIRouter(prefix="/v1/people", tags=["people"])
_FIELDS: dict[str, Any] = {
    "on_multiple": {"type": "string", "enum": ["reject", "largest", "centre"]},
    "allow_lookalikes": {"type": "boolean"},
}
_NEW: dict[str, Any] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 200, "examples": ["Ada Vale"]},
    "site": {"type": "string", "maxLength": 200},
    "expires": {"type": "string", "format": "date"},
    "consent_basis": {"type": "string", "maxLength": 200, "examples": ["consent"]},
    "consent_date": {"type": "string", "format": "date"},
    "consent_reference": {"type": "string", "maxLength": 200},
    **_FIELDS,
}


@router.get("", summary="List people by name")
def list_people(
    served: Served, who: Verifier, q: Annotated[str, Query(max_length=200)] = "",
    site: Annotated[str | None, Query(max_length=200)] = None, cursor: Cursor = None,
    limit: Limit = 50,
) -> schemas.PeoplePage:  # fmt: skip
    """Everybody the key may know of, a page at a time; `q` is a part of the name."""
    sites = who.sites if site is None else frozenset({site}) & (who.sites or frozenset({site}))
    with served.parts.store.read() as session:
        rows = people_page(session, sites=sites, text=q, after=place_of(cursor), limit=limit)
    return schemas.PeoplePage(
        items=[showing.person(row) for row in rows], next=next_of(rows, limit)
    )


@router.post(
    "", status_code=201, response_model=schemas.Enrolled, summary="Enrol somebody",
    openapi_extra=takes_pictures({"image": 8}, _NEW, ["name"]),
)  # fmt: skip
async def add_person(
    request: Request, served: Served, who: Enroller,
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,  # noqa: ARG001 - told
) -> Response:  # fmt: skip
    """Add somebody with pictures, or without: then nobody can be verified as them yet.

    Where none of the pictures can be used nothing is stored, and the answer is 422 with the
    outcomes. An `Idempotency-Key` makes it safe to send again.
    """
    key = key_of(request)
    with served.gate.entered():
        async with received(request, served.settings.max_upload, served.gate) as form:
            form.only(*_NEW, "image")
            return await run_in_threadpool(_add, served, who, form, key, fingerprint(request, form))


def _add(served: Services, who: Principal, form: Form, key: str | None, mark: str) -> Response:
    name, site = form.text("name"), require_site(form.text("site") or "", who)
    if name is None:
        raise BodyUnusable("Say who it is: the field name is missing.")
    pictures = form.several("image", served.settings.max_frames, least=0)
    rules, consent = rules_of(form, site), _consent(form)
    parts = parts_for(served.parts, who.actor)

    def work(again: bool) -> tuple[int, dict[str, Any]]:
        if not again:
            require_new(parts, name, site)
        outcomes = enrol(parts, pictures, name, rules) if pictures else []
        told = [one.model_dump() for one in shown(outcomes, who)]
        if outcomes and all(one.status == "rejected" for one in outcomes):
            raise BodyUnusable(
                "None of the pictures can be used, so nobody was added; see the outcomes.",
                outcomes[0].reason, details={"outcomes": told},
            )  # fmt: skip
        person = _found(parts, name, site, rules, consent, added=bool(outcomes))
        return 201, {"person": person.model_dump(mode="json"), "outcomes": told}

    return once(parts.store, who, key, mark, work)


def _found(
    parts: Parts, name: str, site: str, rules: EnrolmentRules, consent: dict[str, Any], *,
    added: bool,
) -> schemas.Person:  # fmt: skip
    if not added:
        person_id = add(parts, name, rules, consent)
    else:
        with parts.store.begin() as session:
            person = find_person(session, name, site)
            for column, value in consent.items():
                setattr(person, column, value)
            person_id = person.id
    with parts.store.read() as session:
        return showing.person(person_rows(session, [person_id])[0])


def _consent(form: Form) -> dict[str, Any]:
    given = {name: form.text(name) for name in ("consent_basis", "consent_reference")}
    date = moment(form, "consent_date")
    return {name: v for name, v in (given | {"consent_date": date}).items() if v is not None}


@router.get("/{uid}", summary="One person and their templates")
def show(uid: str, served: Served, who: Verifier) -> schemas.PersonWithTemplates:
    """A person of a site that is none of the key's is unknown."""
    with served.parts.store.read() as session:
        person = person_by_uid(session, uid, who.sites)
        row = person_rows(session, [person.id])[0]
        items = [showing.template(one) for one in templates_of(session, person.id)]
    return schemas.PersonWithTemplates(**showing.person(row).model_dump(), items=items)


@router.patch("/{uid}", summary="Rename")
def rename(uid: str, body: schemas.NewName, served: Served, who: Enroller) -> schemas.Person:
    """Give somebody another name; it can be undone."""
    parts = parts_for(served.parts, who.actor)
    row = _row(parts, uid, who)
    corrections.rename(parts, uid, body.name)
    served.people.drop(uid)
    return showing.person(_row(parts, row.uid, who))


@router.post("/{uid}/merge", summary="Make two people one")
def merge(uid: str, body: schemas.Into, served: Served, who: Enroller) -> schemas.Person:
    """What this person has moves to `into`, and this person is gone; it can be undone."""
    parts = parts_for(served.parts, who.actor)
    for one in (uid, body.into):
        _row(parts, one, who)
    if uid == body.into:
        raise BodyUnusable("Both are the same person; name another one.", "same_person")
    corrections.merge(parts, uid, body.into)
    for one in (uid, body.into):
        served.people.drop(one)
    return showing.person(_row(parts, body.into, who))


def _row(parts: Parts, uid: str, who: Principal) -> PersonRow:
    """A person whom the key may know of, as lists show them."""
    with parts.store.read() as session:
        return person_rows(session, [person_by_uid(session, uid, who.sites).id])[0]


@router.delete("/{uid}", summary="Forget somebody", response_model=schemas.Erased)
def forget_person(uid: str, served: Served, who: Admin) -> Any:  # noqa: ANN401 - checked by the model
    """Erase a person and all that is theirs alone, down to the bytes; gives the receipt."""
    parts = parts_for(served.parts, who.actor)
    with parts.store.begin() as session:
        person_by_uid(session, uid, who.sites)
        forget_answers(session, uid)
    done = forget(parts, uid)
    served.people.drop(uid)
    return done.to_dict()


@router.get("/{uid}/templates", summary="The templates of a person")
def templates(uid: str, served: Served, who: Verifier) -> schemas.TemplatesList:
    """The oldest first; vectors are never sent."""
    with served.parts.store.read() as session:
        person = person_by_uid(session, uid, who.sites)
        found = templates_of(session, person.id)
    return schemas.TemplatesList(items=[showing.template(one) for one in found])


@router.post(
    "/{uid}/templates", status_code=201, response_model=schemas.Enrolled,
    summary="Add pictures of a person",
    openapi_extra=takes_pictures({"image": 8}, _FIELDS),
)  # fmt: skip
async def add_templates(
    uid: str, request: Request, served: Served, who: Enroller,
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,  # noqa: ARG001 - told
) -> Response:  # fmt: skip
    """One outcome a picture; rejected ones say why."""
    key = key_of(request)
    with served.gate.entered():
        async with received(request, served.settings.max_upload, served.gate) as form:
            form.only(*_FIELDS, "image")
            return await run_in_threadpool(
                _add_templates, uid, served, who, form, (key, fingerprint(request, form))
            )


def _add_templates(
    uid: str, served: Services, who: Principal, form: Form, key: tuple[str | None, str]
) -> Response:
    pictures = form.several("image", served.settings.max_frames)
    parts = parts_for(served.parts, who.actor)
    with parts.store.read() as session:
        person = person_by_uid(session, uid, who.sites)
    rules = rules_of(form, person.site)

    def work(again: bool) -> tuple[int, dict[str, Any]]:  # noqa: ARG001 - a photo is enrolled once anyway
        outcomes = enrol(parts, pictures, person.name, rules)
        served.people.drop(uid)
        with parts.store.read() as session:
            row = person_rows(session, [person.id])[0]
        told = [one.model_dump() for one in shown(outcomes, who)]
        return 201, {"person": showing.person(row).model_dump(mode="json"), "outcomes": told}

    return once(parts.store, who, key[0], key[1], work)
