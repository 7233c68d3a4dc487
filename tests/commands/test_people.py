"""`vultus people` and `vultus forget`: what they show and change, and the question before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus

Inside = Callable[..., "Done"]


def listed(inside: Inside, gallery: Gallery) -> dict[str, dict]:
    said = inside("people", "list", *gallery.at, "--format", "json").json()
    return {person["name"]: person for person in said["people"]}


def test_list(inside: Inside, shared: Gallery):
    people = listed(inside, shared)
    assert sorted(people) == shared.names
    assert {(p["photos"], p["templates"], p["site"]) for p in people.values()} == {(4, 4, "")}
    table = inside("people", "list", *shared.at).out.splitlines()
    assert table[0].split() == ["name", "site", "photos", "templates", "uid"]
    assert table[-1] == "6 people"


def test_show_by_name_in_any_case_and_by_uid(inside: Inside, shared: Gallery):
    name = shared.names[0]
    said = inside("people", "show", name.upper(), *shared.at, "--format", "json").json()
    photos = [Path(one["photo"]) for one in said["photos_of_templates"]]
    assert said["name"] == name
    assert photos == sorted((shared.folder / name).glob("*.jpg"))
    assert name in inside("people", "show", said["uid"], *shared.at).out


def test_rename(inside: Inside, own: Gallery):
    name, probe = own.genuine
    before = listed(inside, own)[name]
    done = inside("people", "rename", name, "Ann Lee", *own.at)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{name} is now Ann Lee.")
    assert listed(inside, own)["Ann Lee"] == before | {"name": "Ann Lee"}
    assert inside("verify", "Ann Lee", "--source", probe, *own.at).code == 0
    assert inside("verify", name, "--source", probe, *own.at).code == 2


def test_merge(inside: Inside, own: Gallery):
    one, other = own.names[:2]
    done = inside("people", "merge", one, other, "--yes", *own.at)
    assert done.code == 0
    assert "4 templates" in done.out
    people = listed(inside, own)
    assert one not in people
    assert people[other]["templates"] == 8
    done = inside("identify", own.genuine[1], *own.at, "--format", "csv")
    assert done.out.split(",")[1] == other


def test_forget_a_person(inside: Inside, own: Gallery):
    name, probe = own.genuine
    vectors = [row[5] for row in own.content()[3][:4]]
    assert {len(vector) for vector in vectors} == {512}
    done = inside("forget", name, "--yes", *own.at, "--format", "json")
    assert done.code == 0
    said = done.json()
    assert said["forgot"] == "person"
    assert (said["templates"], said["faces"], said["photos"]) == (4, 4, 4)
    assert name not in listed(inside, own)
    for file in own.database.parent.iterdir():
        data = file.read_bytes()
        assert not any(vector in data for vector in vectors), f"a vector is still in {file.name}"
    assert inside("identify", probe, *own.at).code == 1


def test_forget_a_photo(inside: Inside, own: Gallery):
    name = own.names[0]
    photo = min((own.folder / name).glob("*.jpg"))
    done = inside("forget", photo, "--yes", *own.at)
    assert done.code == 0
    assert f"Forgot the photo {photo}: 1 templates" in done.out
    assert listed(inside, own)[name]["templates"] == 3
    assert photo.is_file(), "the photo itself is the user's"


QUESTIONS = [
    (("people", "merge", "{0}", "{1}"), "Move everything of {0} to {1}?"),
    (("forget", "{0}"), "Erase the person {0} for good?"),
]
EACH = pytest.mark.parametrize(("asked", "question"), QUESTIONS, ids=["merge", "forget"])


@EACH
def test_no_changes_nothing(
    inside: Inside, unchanged: Gallery, asked: tuple[str, ...], question: str
):
    arguments = [word.format(*unchanged.names) for word in asked]
    done = inside(*arguments, *unchanged.at, stdin="n\n")
    assert (done.code, done.out) == (130, "")
    assert question.format(*unchanged.names) in done.err
    assert "Nothing was changed." in done.err


@EACH
def test_no_answer_changes_nothing(
    vultus: Vultus, unchanged: Gallery, asked: tuple[str, ...], question: str
):
    arguments = [word.format(*unchanged.names) for word in asked]
    done = vultus(*arguments, *unchanged.at)  # stdin is at its end, as under cron
    assert (done.code, done.out) == (130, "")
    assert question.format(*unchanged.names) in done.err
    assert "Traceback" not in done.err


@EACH
def test_yes_goes_on(vultus: Vultus, own: Gallery, asked: tuple[str, ...], question: str):
    done = vultus(*(word.format(*own.names) for word in asked), *own.at, stdin="y\n")
    assert done.code == 0
    assert question.format(*own.names) in done.err
    assert own.names[0] not in vultus("people", "list", *own.at).out
