from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from store.changes import changes_after, current_rev
from store.clusters import clusters_of, find_cluster, name_cluster, save_run
from store.corrections import merge_people, rename_person
from store.errors import AmbiguousPerson, InvalidName, PersonExists, UnknownPerson
from store.gallery import record_decision
from store.names import clean_name
from store.people import (
    add_person,
    expired_people,
    find_person,
    list_people,
    site_ids,
)
from store.schema import DEFAULT_SITE, Template
from store.session import Store
from store.templates import owners, vectors_of

SPACE = "toy-8-abc"


@pytest.mark.parametrize("name", ["", "  ", "a" * 201, "a\x00b", "a\nb", "a\x1b[31m", "a\u2028b"])
def test_names_that_cannot_be_stored(name: str):
    with pytest.raises(InvalidName):
        clean_name(name)


@pytest.mark.parametrize(
    ("given", "stored"),
    [(" Ada ", "Ada"), ("Zoe\u0308", "Zo\u00eb"), ("李雷", "李雷"), ("a" * 200, "a" * 200)],
)
def test_names_as_they_are_stored(given: str, stored: str):
    assert clean_name(given) == stored


def test_a_name_is_taken_per_site(store: Store):
    with store.begin() as session:
        add_person(session, "Zoe\u0308")
        add_person(session, "Zo\u00eb", site="berlin")
        with pytest.raises(PersonExists, match="exists already; "):
            add_person(session, "Zo\u00eb")
        with pytest.raises(PersonExists, match="in site 'berlin'"):
            add_person(session, "Zo\u00eb", site=" berlin ")


def test_finding(store: Store):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        lower = add_person(session, "ada", site="berlin")
        zoe = add_person(session, "Zoë", site="berlin")
        assert find_person(session, ada.uid) is ada
        assert find_person(session, "Ada") is ada
        assert find_person(session, "ada") is lower
        assert find_person(session, "ZOË") is zoe
        assert find_person(session, "ADA", site="") is ada
        with pytest.raises(AmbiguousPerson, match="2 people are called 'ADA'"):
            find_person(session, "ADA")
        with pytest.raises(UnknownPerson, match="did you mean 'Zoë'"):
            find_person(session, "Zoé")
        with pytest.raises(UnknownPerson):
            find_person(session, ada.uid, site="berlin")


def test_the_default_site_has_id_zero(store: Store):
    with store.begin() as session:
        assert add_person(session, "Ada").site_id == DEFAULT_SITE == 0
        there = add_person(session, "Bob", site="berlin").site_id
        assert there > 0
        assert site_ids(session, ["", "berlin", "nowhere"]) == [0, there]


def test_counts(store: Store, give: Callable, new_photo: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        add_person(session, "Bob", site="berlin")
        photo = new_photo(session)
        for picture in (photo, photo, None):
            give(session, ada, photo=picture)
        give(session, None)
    with store.read() as session:
        found = {person.name: person for person in list_people(session)}
        assert (found["Ada"].photos, found["Ada"].templates) == (2, 3)
        assert (found["Bob"].photos, found["Bob"].templates) == (0, 0)
        assert [person.name for person in list_people(session, site="berlin")] == ["Bob"]
        assert [person.name for person in list_people(session, site="")] == ["Ada"]


def test_expiry_is_kept_as_a_moment(store: Store):
    moment = datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=3)))
    with store.begin() as session:
        add_person(session, "Ada", expires=moment)
        add_person(session, "Bob")
    with store.read() as session:
        assert list_people(session)[0].expires == moment
        assert list_people(session)[0].expires.tzinfo is UTC
        assert [person.name for person in expired_people(session, moment)] == ["Ada"]
        assert expired_people(session, moment - timedelta(seconds=1)) == []


def test_a_time_without_zone_is_refused(store: Store):
    with pytest.raises(Exception, match="no time zone"), store.begin() as session:
        add_person(session, "Ada", expires=datetime(2030, 1, 1))  # noqa: DTZ001 - the point


def test_renaming(store: Store):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        add_person(session, "Bob")
        with pytest.raises(PersonExists):
            rename_person(session, ada, "Bob")
        assert rename_person(session, ada, " Ada ").name == "Ada"
        assert rename_person(session, ada, "ada").name == "ada"
        assert find_person(session, "ada") is ada


@pytest.mark.parametrize(("site", "logged"), [("", 2), ("berlin", 2)])
def test_merging(store: Store, give: Callable, site: str, logged: int):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        target = add_person(session, "Ada L.", site=site)
        ids = [give(session, ada).id for _ in range(2)]
        run = save_run(
            session, space=SPACE, method="graph", source="x", parameters={}, clusters={0: ids}
        )
        name_cluster(session, find_cluster(session, 0), ada)
        decision = record_decision(
            session, kind="verify", answer="yes", space=SPACE, source="x", person_id=ada.id
        )
        rev = current_rev(session)
        assert merge_people(session, ada, target) == 2
        changes = changes_after(session, rev, 100)
        assert [change.op for change in changes] == ["add"] * logged
    with store.read() as session:
        assert [person.name for person in list_people(session)] == ["Ada L."]
        assert vectors_of(session, target.id, SPACE)[0].tolist() == ids
        assert clusters_of(session, run)[0].name == "Ada L."
        assert session.get(type(decision), decision.id).person_id == target.id
        assert {owner.site for owner in owners(session, ids).values()} == {site}


def test_merging_with_oneself_changes_nothing(store: Store, give: Callable):
    with store.begin() as session:
        ada = add_person(session, "Ada")
        template = give(session, ada)
        assert merge_people(session, ada, ada) == 0
        assert session.get(Template, template.id).person_id == ada.id
