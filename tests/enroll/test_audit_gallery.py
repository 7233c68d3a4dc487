"""The audit of a gallery: what it finds, what it says, and that mending as it says mends."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from enroll.audit_gallery import SERIOUS, GalleryAudit, audit_gallery
from enroll.audit_sheet import write_audit
from enroll.corrections import deny, merge
from enroll.errors import OutputUnusable
from enroll.person import EnrolmentRules
from enroll.rekey import seal
from store.policies import set_policy
from store.vault import new_key
from verify.opening import Parts, Places

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Shelf

ANYWAY = EnrolmentRules(allow_lookalikes=True)


def kinds(audit: GalleryAudit) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for one in audit.findings:
        found.setdefault(one.kind, []).append(one.people)
    return found


@pytest.fixture
def names(people: dict[str, list[Path]]) -> list[str]:
    return list(people)[:4]


def test_a_sound_gallery(enrolled: Shelf):
    audit = audit_gallery(enrolled.parts)
    assert (audit.people, audit.templates, audit.findings, audit.skipped) == (4, 8, (), ())
    assert audit.clean
    assert audit.to_dict()["clean"] is True


def test_a_duplicate_is_found_and_mended_by_merging(
    enrolled: Shelf, names: list[str], people: dict[str, list[Path]]
):
    for photo in people[names[0]][2:4]:
        enrolled.enroll(photo, ANYWAY, name="Second Name")
    audit = audit_gallery(enrolled.parts)
    assert kinds(audit) == {"duplicate": [(names[0], "Second Name")]}
    (finding,) = audit.findings
    assert (finding.serious, audit.clean, len(finding.templates)) == (True, False, 4)
    assert str(people[names[0]][2]) in finding.files
    assert "alike on average" in finding.evidence
    command, verb, what, source, target = shlex.split(finding.mend)
    assert (command, verb, what) == ("vultus", "people", "merge")
    merge(enrolled.parts, source, target)
    assert audit_gallery(enrolled.parts).clean


def test_an_outlier_and_one_template_are_found(
    enrolled: Shelf,
    names: list[str],
    strangers: dict[str, list[Path]],
):
    (stranger, *_), (single, *_) = list(strangers.values())[:2]
    enrolled.enroll(stranger, ANYWAY, name=names[0])
    enrolled.enroll(single, ANYWAY, name="Only One")
    audit = audit_gallery(enrolled.parts)
    assert kinds(audit) == {"outlier": [(names[0],)], "one_template": [("Only One",)]}
    finding = audit.findings[0]
    assert finding.files == (str(stranger),)
    *_, verb, uid, template = shlex.split(finding.mend)
    assert verb == "not"
    deny(enrolled.parts, uid, [template])
    left = kinds(audit_gallery(enrolled.parts))
    assert "outlier" not in left


def test_old_photos_orphans_spaces_and_consent(enrolled: Shelf, names: list[str]):
    later = datetime.now(UTC) + timedelta(days=3700)
    assert sorted(kinds(audit_gallery(enrolled.parts, now=later))["old_template"]) == sorted(
        (name,) for name in names
    )
    with enrolled.parts.store.begin() as session:
        set_policy(session, "", consent_required=True)
        run = session.connection().exec_driver_sql
        run("UPDATE photos SET outcome = 'enrolled'")
        run("INSERT INTO photos (digest, source, size, width, height, outcome, added) "
            "SELECT 'd', 'lost.jpg', 1, 1, 1, 'enrolled', added FROM photos LIMIT 1")  # fmt: skip
        run("UPDATE templates SET space = 'other' WHERE person_id = 1")
    found = kinds(audit_gallery(enrolled.parts))
    assert found["orphan"] == [()]
    assert found["mixed_spaces"] == found["one_template"] == [(names[0],)]
    assert sorted(found["no_consent"]) == sorted((name,) for name in names)


def test_an_index_out_of_step_and_a_broken_one_are_told(enrolled: Shelf):
    len(enrolled.parts.index)
    path = enrolled.parts.index.path
    assert path is not None
    with enrolled.parts.store.begin() as session:
        session.connection().exec_driver_sql("DELETE FROM templates WHERE id = 1")
    finding = next(one for one in audit_gallery(enrolled.parts).findings if one.kind == "index")
    assert finding.mend == "vultus index build"
    assert "1 too many" in finding.evidence
    path.write_bytes(path.read_bytes()[:100])
    assert kinds(audit_gallery(enrolled.parts))["index"] == [()]


def test_without_a_calibration_the_rest_is_looked_at(
    enrolled: Shelf, monkeypatch: pytest.MonkeyPatch
):
    from verify.errors import NoCalibration

    def none(_parts: Parts) -> None:
        raise NoCalibration("toy")

    monkeypatch.setattr(Parts, "calibration", property(none))
    audit = audit_gallery(enrolled.parts)
    assert audit.clean
    assert "not compared with names" in audit.skipped[0]


def test_people_with_transforms_of_their_own_are_not_compared(enrolled: Shelf, tmp_path: Path):
    new_key(tmp_path / "key")
    with Parts(Places(database=str(enrolled.database), key_file=str(tmp_path / "key"))) as parts:
        seal(parts, "person")
        audit = audit_gallery(parts)
    assert audit.clean
    assert "transform of their own" in audit.skipped[0]


def test_the_page_shows_findings_and_their_pictures(
    enrolled: Shelf, names: list[str], people: dict[str, list[Path]], tmp_path: Path
):
    enrolled.enroll(people[names[0]][2], ANYWAY, name="<b>Second")
    audit = audit_gallery(enrolled.parts)
    page = write_audit(enrolled.parts, audit, tmp_path / "out")
    text = page.read_text()
    assert "&lt;b&gt;Second" in text
    assert "<b>Second" not in text
    shown = {f"audit-faces/{file.name}" for file in (tmp_path / "out" / "audit-faces").iterdir()}
    assert len(shown) == 3
    assert all(f'src="{one}"' in text for one in shown)
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnusable):
        write_audit(enrolled.parts, audit, tmp_path / "file")
    assert "duplicate" in SERIOUS
