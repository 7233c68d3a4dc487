"""What the last clustering of a library found, and corrections of who is who."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from enroll import clustering_edits, corrections
from enroll.cluster import name_person
from store.clusters import cluster_faces, clusters_of, find_cluster, first_faces, latest_run
from store.errors import UnknownTemplate
from store.listing import person_by_uid, person_rows, template_uids, templates_by_uid
from store.photos import origins
from store.records import Cluster
from store.templates import owners
from web import schemas, showing
from web.acting import parts_for
from web.auth import Principal
from web.depends import Cursor, Enroller, Limit, Served, cursor_of, place_of
from web.enrolling import require_everywhere, require_site
from web.errors import BodyUnusable
from web.services import Services

router = APIRouter(prefix="/v1", tags=["clusters"])
_LARGEST = 1 << 31
_SHOWN = 3  # faces of each side of a suggestion


@router.get("/clusters", summary="The clusters of the last clustering")
def clusters(
    served: Served, who: Enroller, cursor: Cursor = None, limit: Limit = 50
) -> schemas.ClustersPage:
    """By number, the largest first; each with a face to show."""
    require_everywhere(who)
    after = place_of(cursor) or 0
    with served.parts.store.read() as session:
        run = latest_run(session)
        found = [] if run is None else clusters_of(session, run)
        rows = [row for row in found if row.number > after and row.size][:limit]
        faces = first_faces(session, [row.id for row in rows])
        uids = template_uids(session, list(faces.values()))
        named = sorted({row.person_id for row in rows if row.person_id is not None})
        people = {row.id: row.uid for row in person_rows(session, named)}
    items = [
        schemas.Cluster(
            number=row.number, size=row.size, name=row.name,
            person=people.get(row.person_id or 0),
            thumbnail=showing.crop_url(uids.get(faces.get(row.id, 0))),
        )
        for row in rows
    ]  # fmt: skip
    following = cursor_of(rows[-1].number) if len(rows) == limit else None
    return schemas.ClustersPage(items=items, next=following)


@router.get("/clusters/{number}", summary="One cluster")
def cluster(number: int, served: Served, who: Enroller) -> schemas.Cluster:
    """Its size and, once it has one, its name."""
    require_everywhere(who)
    with served.parts.store.read() as session:
        found = _cluster(session, number)
        run = latest_run(session)
        rows = [] if run is None else clusters_of(session, run)
        row = next(row for row in rows if row.id == found.id)
        faces = first_faces(session, [row.id])
        uids = template_uids(session, list(faces.values()))
        whose = person_rows(session, [] if row.person_id is None else [row.person_id])
    return schemas.Cluster(
        number=row.number, size=row.size, name=row.name,
        person=whose[0].uid if whose else None,
        thumbnail=showing.crop_url(uids.get(faces.get(row.id, 0))),
    )  # fmt: skip


@router.get("/clusters/{number}/faces", summary="The faces of a cluster")
def faces(
    number: int, served: Served, who: Enroller, cursor: Cursor = None, limit: Limit = 50
) -> schemas.FacesPage:
    """Each a template, with its crop and the photo it is from."""
    require_everywhere(who)
    after = place_of(cursor) or 0
    with served.parts.store.read() as session:
        ids = cluster_faces(session, _cluster(session, number))
        shown = [one for one in ids if one > after][:limit]
        uids, photos = template_uids(session, shown), origins(session, shown)
        whose = {one: owner.uid for one, owner in owners(session, shown).items()}
    items = [
        schemas.ClusterFace(
            template=uids[one], crop=showing.crop_url(uids[one]) or "", photo=photos[one].digest,
            person=whose.get(one),
        )
        for one in shown if one in uids and one in photos
    ]  # fmt: skip
    return schemas.FacesPage(
        items=items, next=cursor_of(shown[-1]) if len(shown) == limit else None
    )


def _cluster(session: Any, number: int) -> Cluster:  # noqa: ANN401 - a Session
    return find_cluster(session, number if 0 <= number < _LARGEST else -1)


@router.post("/clusters/{number}/name", summary="Say who a cluster is")
def name_cluster(
    number: int, body: schemas.ClusterName, served: Served, who: Enroller
) -> schemas.Named:
    """Its faces become that person's templates; it can be undone."""
    require_everywhere(who)
    parts = parts_for(served.parts, who.actor)
    number = number if 0 <= number < _LARGEST else -1
    named = name_person(parts, number, body.name, require_site(body.site, who))
    return schemas.Named(person=named.person, faces=named.faces, added=named.added)


@router.post("/people/{uid}/split", summary="Make some of somebody's faces a new person")
def split(uid: str, body: schemas.Split, served: Served, who: Enroller) -> schemas.Correction:
    """`templates` are uids; not all of them may go. It can be undone."""
    parts, ids = _theirs(served, who, uid, body.templates)
    done = corrections.split(parts, uid, body.name, ids)
    served.people.drop(uid)
    return _told(done)


@router.post("/faces/{template}/not", summary="Say that a face is not somebody's")
def deny(template: str, body: schemas.NotThem, served: Served, who: Enroller) -> schemas.Correction:
    """The face stays in the library without a name, and is never taken for them again."""
    parts, ids = _theirs(served, who, body.person, [template])
    done = corrections.deny(parts, body.person, ids)
    served.people.drop(body.person)
    return _told(done)


@router.post("/faces/move", summary="Say where faces belong")
def move(body: schemas.Move, served: Served, who: Enroller) -> schemas.Regrouped:
    """To another cluster, and to its person where it has one. It can be undone."""
    parts, ids = _anywhere(served, who, body.templates)
    to = None if body.to is None else min(body.to, _LARGEST)
    return _regrouped(clustering_edits.move_faces(parts, ids, to))


@router.post("/clusters/merge", summary="Say that clusters are one person")
def merge(body: schemas.Numbers, served: Served, who: Enroller) -> schemas.Regrouped:
    """The faces go to the one with a name, else to the lowest number. It can be undone."""
    parts, _ = _anywhere(served, who, [])
    numbers = [min(number, _LARGEST) for number in body.numbers]
    return _regrouped(clustering_edits.merge_clusters(parts, numbers))


@router.post("/clusters/{number}/split", summary="Say that faces are another person")
def part(number: int, body: schemas.Faces, served: Served, who: Enroller) -> schemas.Regrouped:
    """They become a cluster of their own, and nobody's. It can be undone."""
    parts, ids = _anywhere(served, who, body.templates)
    number = number if 0 <= number < _LARGEST else -1
    return _regrouped(clustering_edits.split_cluster(parts, number, ids))


@router.get("/suggestions", summary="What a person should look at")
def suggestions(served: Served, who: Enroller) -> schemas.SuggestionsList:
    """Clusters that may be one person, or one that may be two; answered ones are left out."""
    require_everywhere(who)
    hints = clustering_edits.pending_suggestions(served.parts)
    with served.parts.store.read() as session:
        run = latest_run(session)
        names = {} if run is None else {row.number: row.name for row in clusters_of(session, run)}
        shown = [one for hint in hints for side in (hint.one, hint.other) for one in side[:_SHOWN]]
        uids = template_uids(session, shown)
    items = [
        schemas.Suggestion(
            id=hint.id, kind=hint.kind,  # type: ignore[arg-type]  # one of the two
            probability=hint.probability, similarity=hint.similarity,
            sides=[
                schemas.SuggestedFaces(
                    cluster=number, name=names.get(number), size=len(side),
                    faces=_crops(uids, side),
                )
                for number, side in zip(hint.clusters, (hint.one, hint.other), strict=True)
            ],
        )
        for hint in hints
    ]  # fmt: skip
    return schemas.SuggestionsList(items=items)


@router.post("/suggestions/{suggestion}", summary="Answer a suggestion")
def answer(suggestion: str, body: schemas.Said, served: Served, who: Enroller) -> schemas.Regrouped:
    """Same: one person. Different: two. Skip: not asked again. The first two can be undone."""
    parts, _ = _anywhere(served, who, [])
    return _regrouped(clustering_edits.answer_suggestion(parts, suggestion, body.answer))


def _anywhere(served: Services, who: Principal, templates: list[str]) -> tuple[Any, list[int]]:
    """The gallery as the key's, and numbers of templates of any site."""
    require_everywhere(who)
    parts = parts_for(served.parts, who.actor)
    with parts.store.read() as session:
        return parts, [row.id for row in templates_by_uid(session, templates)]


def _crops(uids: dict[int, str], side: tuple[int, ...]) -> list[str]:
    return [showing.crop_url(uids[one]) or "" for one in side[:_SHOWN] if one in uids]


def _regrouped(done: clustering_edits.Regrouped) -> schemas.Regrouped:
    return schemas.Regrouped(kind=done.kind, cluster=done.cluster, operation=done.operation)


def _theirs(
    served: Services, who: Principal, uid: str, templates: list[str]
) -> tuple[Any, list[str]]:
    """The gallery as the key's, and numbers of templates, which are that person's."""
    parts = parts_for(served.parts, who.actor)
    with parts.store.read() as session:
        person = person_by_uid(session, uid, who.sites)
        rows = templates_by_uid(session, templates, who.sites)
        if strange := [row.id for row in rows if row.person_id != person.id]:
            raise UnknownTemplate(strange)
    return parts, [str(row.id) for row in rows]


def _told(done: corrections.Corrected) -> schemas.Correction:
    return schemas.Correction(kind=done.kind, templates=done.templates, operation=done.operation)


@router.get("/operations", summary="What was done with people, the latest first")
def operations(served: Served, who: Enroller, limit: Limit = 50) -> schemas.OperationsList:
    """Each can be undone by its number, unless a later one stands in the way."""
    require_everywhere(who)
    found = corrections.operations(served.parts, limit)
    return schemas.OperationsList(items=[schemas.Operation(**one.to_dict()) for one in found])


@router.post("/undo", summary="Undo an operation")
def undo(body: schemas.Undo, served: Served, who: Enroller) -> schemas.Operation:
    """The latest, where no number is given."""
    require_everywhere(who)
    if body.operation is not None and body.operation >= _LARGEST:
        raise BodyUnusable("There is no operation of such a number.", "unknown_operation",
                           status=404)  # fmt: skip
    done = corrections.undo(parts_for(served.parts, who.actor), body.operation)
    return schemas.Operation(**done.to_dict())
