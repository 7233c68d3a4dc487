"""Purging: whose time is over, and what a site keeps for some days only; terms of enrolment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from enroll.cluster import cluster_library, name_person
from enroll.person import EnrolmentRules
from enroll.purge import plan_purge, purge
from store.consent import Consent, without_consent
from store.errors import ConsentMissing
from store.policies import SitePolicy, list_sites, policy_of, set_policy
from verify.person import verify_person

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Shelf

THEN = datetime(2026, 3, 1, tzinfo=UTC)
GIVEN = Consent("consent", THEN, "form-17")


def expiries(shelf: Shelf) -> dict[str, str | None]:
    rows = shelf.ask("SELECT name, expires FROM people ORDER BY name")
    return {str(name): None if ends is None else str(ends)[:10] for name, ends in rows}


def test_expires_also_holds_for_people_who_are_there_already(
    shelf: Shelf, people: dict[str, list[Path]]
):
    one, two, *_ = next(iter(people.values()))
    shelf.enroll(one, name="Ann")
    assert expiries(shelf) == {"Ann": None}
    assert shelf.enroll(one, EnrolmentRules(expires=THEN), name="Ann")[0].status == "unchanged"
    assert expiries(shelf) == {"Ann": "2026-03-01"}
    later = THEN + timedelta(days=31)
    shelf.enroll(two, EnrolmentRules(expires=later), name="Ann")
    shelf.enroll(two, EnrolmentRules(), name="Ann")
    shelf.enroll(two, EnrolmentRules(expires=THEN, dry_run=True), name="Ann")
    assert expiries(shelf) == {"Ann": "2026-04-01"}
    assert shelf.ask("SELECT count(*) FROM events WHERE action = 'expiry_changed'") == [(2,)]


def test_purge_takes_who_has_expired_and_nobody_else(
    enrolled: Shelf, people: dict[str, list[Path]]
):
    names = list(people)[:4]
    parts = enrolled.parts
    enrolled.enroll(people[names[0]][3], EnrolmentRules(expires=THEN), name=names[0])
    enrolled.enroll(
        people[names[1]][3], EnrolmentRules(expires=THEN.replace(year=2030)), name=names[1]
    )
    now = THEN + timedelta(days=1)
    assert plan_purge(parts, now=THEN - timedelta(days=1)).empty
    plan = plan_purge(parts, now=now)
    assert [person.name for person in plan.people] == [names[0]]
    assert plan_purge(parts, "north", now=now).empty
    done = purge(parts, now=now)
    assert done.people == plan.people
    assert done.cleaned is not None
    assert done.cleaned.proof is not None
    assert done.cleaned.proof.clean
    (receipt,) = done.receipts
    assert receipt is not None
    assert receipt["counts"]["templates"] == 3
    assert sorted(expiries(enrolled)) == sorted(names[1:])
    actions = [row[0] for row in enrolled.ask("SELECT action FROM events ORDER BY id")]
    assert {"person_forgotten", "purged", "scrubbed"} <= set(actions)
    length = len(actions)
    assert purge(parts, now=now).empty
    assert enrolled.ask("SELECT count(*) FROM events") == [(length,)]


def test_retention_takes_decisions_and_unnamed_library_faces(
    library: Shelf,
):
    name_person(library.parts, 1, "Ann")
    ((name,),) = library.ask("SELECT source FROM photos JOIN faces ON faces.photo_id = photos.id "
                             "JOIN templates ON face_id = faces.id "
                             "WHERE person_id IS NOT NULL LIMIT 1")  # fmt: skip
    verify_person(library.parts, "Ann", Path(str(name)))
    photos = library.count("photos")
    later = datetime.now(UTC) + timedelta(days=31)
    assert purge(library.parts, now=later).empty  # no site has a retention
    with library.parts.store.begin() as session:
        set_policy(session, "", retention_days=30)
    assert purge(library.parts).empty
    done = purge(library.parts, now=later)
    assert done.cleaned is not None
    counts = done.sites[0].counts
    kept = library.count("templates")
    assert (counts["decisions"], counts["library"]) == (1, photos - kept)
    assert kept == 6
    assert library.count("people") == 1
    assert library.ask("SELECT count(*) FROM templates WHERE person_id IS NULL") == [(0,)]
    assert library.ask("SELECT private FROM events WHERE action = 'decided'") == [(None,)]


def test_a_site_that_requires_consent_stores_nothing_without_it(
    shelf: Shelf, people: dict[str, list[Path]]
):
    one, two, *_ = next(iter(people.values()))
    with shelf.parts.store.begin() as session:
        set_policy(session, "north", consent_required=True)
    north = EnrolmentRules(site="north")
    for consent in (Consent(), Consent("consent", THEN, None)):
        rules = EnrolmentRules(site="north", consent=consent)
        (outcome,) = shelf.enroll(one, rules, name="Ann")
        assert (outcome.status, outcome.reason) == ("rejected", "consent_missing")
    assert [shelf.count(table) for table in ("people", "photos", "faces")] == [0, 0, 0]
    given = EnrolmentRules(site="north", consent=GIVEN)
    assert shelf.enroll(one, given, name="Ann")[0].status == "enrolled"
    assert shelf.enroll(two, north, name="Ann")[0].status == "enrolled"  # it is on record
    columns = "consent_basis, substr(consent_date, 1, 10), consent_reference"
    assert shelf.ask(f"SELECT {columns} FROM people") == [("consent", "2026-03-01", "form-17")]  # noqa: S608 - a test's own words
    assert shelf.ask("SELECT count(*) FROM events WHERE action = 'consent_recorded'") == [(1,)]


def test_a_cluster_is_not_named_without_consent_either(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    cluster_library(shelf.parts, album({"x": next(iter(people.values()))[:2]}))
    with shelf.parts.store.begin() as session:
        set_policy(session, "", consent_required=True)
    with pytest.raises(ConsentMissing):
        name_person(shelf.parts, 1, "Ann")
    assert shelf.count("people") == 0
    assert name_person(shelf.parts, 1, "Ann", consent=GIVEN).added
    with shelf.parts.store.read() as session:
        assert without_consent(session) == []


def test_policies_are_kept_and_logged(shelf: Shelf):
    with shelf.parts.store.begin() as session:
        assert policy_of(session, "north") == SitePolicy()
        set_policy(session, "north", retention_days=7, show_picture=True)
        set_policy(session, "north", consent_required=True, retention_days=None)
        assert policy_of(session, "north") == SitePolicy(None, True, True)
        told = [(site.name, site.people, site.policy) for site in list_sites(session)]
    assert told == [("", 0, SitePolicy()), ("north", 0, SitePolicy(None, True, True))]
    assert shelf.ask("SELECT count(*) FROM events WHERE action = 'policy_set'") == [(2,)]
