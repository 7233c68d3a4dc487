"""`vultus people split` and `not`, and `vultus undo`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Done, Gallery

Inside = Callable[..., "Done"]


def templates(inside: Inside, gallery: Gallery, name: str) -> list[str]:
    said = inside("people", "show", name, *gallery.at, "--format", "json").json()
    return [str(one["template"]) for one in said["photos_of_templates"]]


def named(inside: Inside, gallery: Gallery) -> dict[str, int]:
    said = inside("people", "list", *gallery.at, "--format", "json").json()
    return {person["name"]: person["templates"] for person in said["people"]}


def test_not_and_undo(inside: Inside, own: Gallery):
    name = own.names[0]
    photo = min((own.folder / name).glob("*.jpg"))
    before = named(inside, own)
    done = inside("people", "not", name, photo, *own.at)
    assert (done.code, done.out.splitlines()) == (
        0,
        [f"1 templates are no longer {name}'s.", "Undo it with: vultus undo 1"],
    )
    assert named(inside, own)[name] == 3
    done = inside("identify", photo, *own.at, "--format", "json")
    (face,) = done.json()["photos"][0]["faces"]
    assert name not in {candidate["person"] for candidate in face["candidates"]}
    done = inside("enroll", photo, "--name", name, *own.at, "--format", "json")
    assert done.code == 3
    assert done.json()["files"][0]["reason"] == "not_this_person"
    done = inside("undo", *own.at)
    assert (done.code, done.out) == (0, f"Operation 1, not ({name}), is undone.\n")
    assert named(inside, own) == before
    assert inside("identify", photo, *own.at).code == 0


def test_split_and_undo_in_the_wrong_order(inside: Inside, own: Gallery):
    one, other = own.names[:2]
    before = named(inside, own)
    moved = templates(inside, own, one)[:2]
    done = inside("people", "split", one, "Twin", *moved, *own.at, "--format", "json")
    wanted = {"kind": "split", "person": one, "other": "Twin", "templates": 2, "operation": 1}
    assert (done.code, done.json()) == (0, wanted)
    assert inside("people", "merge", "Twin", other, "--yes", *own.at).code == 0
    done = inside("undo", 1, *own.at)
    assert (done.code, done.out) == (2, "")
    assert "undo operation 2 (merge) first" in done.err
    listed = inside("undo", "--list", *own.at, "--format", "json").json()
    assert [(row["number"], row["kind"]) for row in listed] == [(2, "merge"), (1, "split")]
    assert inside("undo", 2, *own.at, "--format", "json").json()["kind"] == "merge"
    assert inside("undo", 1, *own.at).code == 0
    assert named(inside, own) == before
    table = inside("undo", "--list", *own.at).out
    assert table.count("undone") == 2
    done = inside("undo", *own.at)
    assert done.code == 2
    assert "nothing to undo" in done.err
    assert inside("undo", 1, "--list", *own.at).code == 64


def test_corrections_that_cannot_be_made(inside: Inside, own: Gallery):
    name = own.names[0]
    every = templates(inside, own, name)
    for asked, said in (
        (("split", name, "Twin", *every), "Nothing of"),
        (("not", name, "nowhere.jpg"), "No photo"),
        (("not", name, "99999"), "not in the gallery"),
        (("split", name, own.names[1], every[0]), "exists already"),
        (("not", "Nobody", every[0]), "Nobody called"),
    ):
        done = inside("people", *asked, *own.at)
        assert (done.code, said in done.err) == (2, True), done
    assert named(inside, own)[name] == 4
