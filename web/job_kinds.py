"""What each kind of job does; each can be stopped anywhere and done again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from enroll.cluster import ClusterRules, cluster_library
from enroll.folder import read_people
from enroll.migrate import migrate
from enroll.person import EnrolmentRules, enroll_people
from enroll.purge import purge
from web.archives import unpack
from web.jobs import ARCHIVE, Work

_LISTED = 200  # rejected files in a result


def enrol_zip(work: Work) -> dict[str, Any]:
    """Enrol the people of an uploaded zip, laid out as folders of people are."""
    folder = work.folder / "photos"
    unpack(work.folder / ARCHIVE, folder)
    people = read_people(folder)
    given = work.job.parameters
    rules = EnrolmentRules(
        on_multiple=given.get("on_multiple", "reject"), site=given.get("site", ""),
        expires=_moment(given.get("expires")), allow_lookalikes=bool(given.get("lookalikes")),
        jobs=1,
    )  # fmt: skip
    counts = dict.fromkeys(("enrolled", "unchanged", "rejected"), 0)
    rejected: list[dict[str, Any]] = []
    work.tell(0, len(people.photos))
    for done, outcome in enumerate(enroll_people(work.parts, people, rules), 1):
        counts[outcome.status] += 1
        if outcome.status == "rejected" and len(rejected) < _LISTED:
            values = outcome.to_dict()
            rejected.append(values | {"file": _inside(values["file"], folder)})
        work.tell(done, len(people.photos))
    return {**counts, "layout": people.layout, "rejected_files": rejected}


def cluster(work: Work) -> dict[str, Any]:
    """Cluster the photos of an uploaded zip."""
    folder = work.folder / "photos"
    unpack(work.folder / ARCHIVE, folder)
    given = work.job.parameters
    rules = ClusterRules(k=given.get("k"), faces=given.get("faces", "all"), jobs=1)
    found = cluster_library(work.parts, folder, rules, progress=work.tell)
    return {
        "run": found.run, "method": found.method, "photos": found.photos, "faces": found.faces,
        "clusters": len(found.clusters), "unsorted": len(found.unsorted),
    }  # fmt: skip


def prepare_migration(work: Work) -> dict[str, Any]:
    """Encode the gallery with another encoder; a server answers with its own all the while.

    Cutting over is not for a job: the server must be started anew with the other encoder then.
    """
    found = migrate(
        work.parts, work.job.parameters["model"], prepare=True, leave_out=True, progress=work.tell
    )
    return found.to_dict()


def purge_expired(work: Work) -> dict[str, Any]:
    """Erase people whose time is over, and what sites keep no longer; the result names nobody."""
    found = purge(work.parts, site=work.job.parameters.get("only"))
    told = found.to_dict()
    return {
        "people": [person.uid for person in found.people], "sites": told["sites"],
        "pending": told["pending"],
    }  # fmt: skip


KINDS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "enrol_zip": enrol_zip, "cluster": cluster, "migrate": prepare_migration,
    "purge": purge_expired,
}  # fmt: skip
UPLOADS = frozenset({"enrol_zip", "cluster"})
EVERYWHERE = frozenset({"cluster", "migrate"})  # what belongs to no site


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _inside(file: str, folder: object) -> str:
    return file.removeprefix(f"{folder}/")
