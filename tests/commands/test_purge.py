"""`vultus purge`, `vultus sites`, `vultus people consent`: what holds, and what goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Done, Gallery

Inside = Callable[..., "Done"]


def test_people_whose_time_is_over_are_purged(inside: Inside, own: Gallery, tmp_path: Path):
    name = own.names[0]
    assert "nothing to purge" in inside("purge", "--yes", *own.at).out
    said = inside("people", "consent", name, "--expires", "2026-01-31", *own.at, "--format", "json")
    assert said.json()["expires"].startswith("2026-01-31")
    before = own.content()
    assert "1 people would go" in inside("purge", "--dry-run", *own.at).out
    assert inside("purge", *own.at, stdin="n\n").code == 130
    assert own.content() == before
    assert inside("purge", "--site", "north", "--yes", *own.at).code == 0
    file = tmp_path / "purged.json"
    done = inside("purge", "--yes", "--receipt", file, *own.at, "--format", "json")
    assert done.code == 0
    assert [one["name"] for one in done.json()["people"]] == [name]
    assert len(json.loads(file.read_text())) == 1
    assert inside("receipts", "check", file, "--person", name, *own.at).code == 0
    assert name not in inside("people", "list", *own.at).out


def test_policies_are_set_and_listed(inside: Inside, own: Gallery):
    done = inside(
        "sites", "set", "north", "--retention-days", "30", "--consent", "required",
        "--show-picture", *own.at,
    )  # fmt: skip
    assert done.code == 0
    inside("sites", "set", "north", "--retention-days", "forever", *own.at)
    said = inside("sites", "list", *own.at, "--format", "json").json()["sites"]
    assert said[1] == {
        "site": "north", "people": 0, "retention_days": None, "consent_required": True,
        "show_picture": True,
    }  # fmt: skip
    assert "required" in inside("sites", "list", *own.at).out
    assert inside("sites", "set", "north", *own.at).code == 64
    assert inside("sites", "set", "north", "--retention-days", "0", *own.at).code == 64


def test_consent_is_required_where_the_site_says_so(inside: Inside, own: Gallery):
    inside("sites", "set", "north", "--consent", "required", *own.at)
    photo = own.strangers[0]
    enrol = ("enroll", photo, "--name", "Eve", "--site", "north", *own.at)
    done = inside(*enrol, "--format", "json")
    assert (done.code, done.json()["files"][0]["reason"]) == (3, "consent_missing")
    given = ("--consent-basis", "consent", "--consent-date", "2026-11-01")
    assert inside(*enrol, *given).code == 3
    assert inside(*enrol, *given, "--consent-reference", "form-17").code == 0
    said = inside("people", "consent", "Eve", *own.at, "--format", "json").json()
    assert (said["consent_basis"], said["consent_reference"]) == ("consent", "form-17")


def test_consents_come_from_a_list_too(inside: Inside, own: Gallery, tmp_path: Path):
    inside("sites", "set", "north", "--consent", "required", *own.at)
    forms = tmp_path / "forms.csv"
    enrol = ("enroll", own.strangers[0], "--name", "Eve", "--site", "north", *own.at)
    forms.write_text("name,basis,date\nEve,consent,1 March\n")
    refused = inside(*enrol, "--consents", forms)
    assert (refused.code, "line 2 cannot be used: '1 March'" in refused.err) == (2, True)
    forms.write_text("name;basis;date;reference\nEve;consent;2026-03-01;f-1\nBob;consent;;f-2\n")
    done = inside(*enrol, "--consents", forms)
    assert (done.code, "no photo of Bob (1 in all)" in done.err) == (0, True)
    said = inside("people", "consent", "Eve", *own.at, "--format", "json").json()
    assert (said["consent_date"][:10], said["consent_reference"]) == ("2026-03-01", "f-1")
