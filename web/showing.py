"""Rows of the store as the routes' JSON."""

from __future__ import annotations

from typing import Any

from store.jobs import JobRecord
from store.listing import PersonRow, TemplateRow
from web import schemas


def crop_url(uid: str | None) -> str | None:
    """Where the crop of a template is."""
    return None if uid is None else f"/v1/templates/{uid}/crop"


def person(row: PersonRow) -> schemas.Person:
    """A person."""
    return schemas.Person(
        uid=row.uid, name=row.name, site=row.site, created=row.created, expires=row.expires,
        photos=row.photos, templates=row.templates, thumbnail=crop_url(row.template),
    )  # fmt: skip


def template(row: TemplateRow) -> schemas.Template:
    """A template."""
    return schemas.Template(
        uid=row.uid, created=row.created, space=row.space, quality=row.quality, photo=row.photo,
        crop=crop_url(row.uid) or "",
    )  # fmt: skip


def job(row: JobRecord) -> schemas.Job:
    """A job."""
    values: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("uid", "kind", "state", "done", "total", "result", "error", "created",
                     "finished")
    }  # fmt: skip
    return schemas.Job(**values)
