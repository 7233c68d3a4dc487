"""A list of consents: what it may look like, what is refused, and whom it lets in."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from enroll.consents import names_without_photos, read_consents
from enroll.errors import ConsentsUnusable
from enroll.person import EnrolmentRules
from store.consent import Consent
from store.policies import set_policy

if TYPE_CHECKING:
    from .conftest import Shelf

DAY = datetime(2026, 3, 1, tzinfo=UTC)
ANN = Consent("consent", DAY, "form-17")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name,basis,date,reference\nAnn Lee,consent,2026-03-01,form-17\n", {"Ann Lee": ANN}),
        ("name;date;reference;basis\r\n Ann Lee ;2026-03-01;form-17;consent\r\n", {"Ann Lee": ANN}),
        ("\ufeffname,basis\nAnn,\nBob,contract", {"Ann": Consent(), "Bob": Consent("contract")}),
        ('age,name,reference\n7,"Lee, Ann","3 ""b"""', {"Lee, Ann": Consent(None, None, '3 "b"')}),
        (unicodedata.normalize("NFD", "name,basis\nZoë,consent\n"), {"Zoë": Consent("consent")}),
        ("name,date\n", {}),
    ],
    ids=["commas", "semicolons", "mark", "quotes", "decomposed", "nobody"],
)  # fmt: skip
def test_what_a_list_may_look_like(tmp_path: Path, text: str, found: dict[str, Consent]):
    file = tmp_path / "forms.csv"
    file.write_bytes(text.encode())
    assert read_consents(file) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "name the columns"),
        (b"Ann,consent,2026-03-01,form-17\n", "line 1.*name the columns"),
        (b"name\nAnn\n", "line 1.*name the columns"),
        (b"name,date\nAnn,1 March\n", "line 2.*'1 March' is no day"),
        (b"name,date\nAnn,2026-02-30\n", "line 2.*is no day"),
        (b"name,basis\nAnn,consent\nAnn,contract\n", "line 3.*Ann comes twice"),
        (b"name,basis\n,consent\n", "line 2.*cannot be empty"),
        (b"name,basis\nAnn\x1b[2J,consent\n", "line 2.*control characters"),
        (b'name,basis\n"Ann,consent\n', "unexpected end"),
        (b"name,basis\nZo\xeb,consent\n", "UTF-8"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: bytes, words: str):
    file = tmp_path / "forms.csv"
    file.write_bytes(text)
    with pytest.raises(ConsentsUnusable, match=f"(?s){words}.*name,basis,date,reference"):
        read_consents(file)


def test_a_list_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConsentsUnusable, match=r"none\.csv cannot be used: no such file"):
        read_consents(tmp_path / "none.csv")


def test_names_without_photos_are_told():
    listed = {"Ann": ANN, "Bob": ANN, "Zoë": ANN}
    assert names_without_photos(listed, ["Ann", unicodedata.normalize("NFD", "Zoë")]) == ["Bob"]


def test_who_is_on_the_list_is_enrolled_where_consent_is_required(
    open_shelf: Callable[..., Shelf], people: dict[str, list[Path]], album: Callable[..., Path]
):
    names = sorted(people)[:3]
    folder = album({name: people[name][:1] for name in names})
    shelf = open_shelf()
    with shelf.parts.store.begin() as session:
        set_policy(session, "", consent_required=True)
    rules = EnrolmentRules(
        consent=Consent("consent", DAY),
        consents={names[0]: Consent(reference="form-1"), names[1]: Consent("contract", DAY, "c-9")},
    )
    outcomes = {outcome.person: outcome.reason for outcome in shelf.enroll(folder, rules)}
    assert outcomes == {names[0]: None, names[1]: None, names[2]: "consent_missing"}
    columns = "name, consent_basis, substr(consent_date, 1, 10), consent_reference"
    assert shelf.ask(f"SELECT {columns} FROM people ORDER BY id") == [  # noqa: S608 - a test's own words
        (names[0], "consent", "2026-03-01", "form-1"),
        (names[1], "contract", "2026-03-01", "c-9"),
    ]
    later = EnrolmentRules(consents={names[0]: Consent(reference="form-2")})
    assert shelf.enroll(folder, later)[0].status == "unchanged"
    assert shelf.ask("SELECT consent_reference FROM people ORDER BY id") == [("form-2",), ("c-9",)]
