"""`vultus export` and `vultus import`: a gallery there and back, and what hostile files do."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load, save
from sqlalchemy import select, update

from enroll.archive import export_gallery
from enroll.archive_format import TABLES
from enroll.archive_import import Imported, import_gallery
from enroll.errors import ArchiveExists, ArchiveUnusable, OutputUnusable
from migrations import ensure_schema
from store.audit_check import verify_log
from store.audit_read import read_events
from store.clusters import save_run
from store.erasure import forget_person
from store.errors import KeyMissing, KeyWrong, SpaceMismatch
from store.gallery import pin_space, put_calibration, record_decision
from store.people import add_person, find_person, list_people
from store.photos import record_face, record_photo
from store.profiles import put_profile
from store.records import Profile
from store.resealing import reseal
from store.schema import Person, Site
from store.session import Store
from store.sync import open_synced
from store.templates import add_template
from store.vault import Master

if TYPE_CHECKING:
    from conftest import Gallery

SPACE = "toy-8-abc"
NAMES = ("Ada", "Zoë", "李雷", "Bob")


@pytest.fixture
def new(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Store]:
    """New galleries, closed after the test."""
    made: list[Store] = []

    def make(kind: str = "sqlite") -> Store:
        place = tmp_path / f"gallery{len(made)}.sqlite3"
        url = place if kind == "sqlite" else request.getfixturevalue("databases").make()
        store = Store.open(url, actor="user:tester")
        made.append(store)
        ensure_schema(store)
        return store

    yield make
    for store in made:
        store.close()


def enrol(session, person, number: int, source: str = "a.jpg"):
    vector = np.random.default_rng(number).standard_normal(8).astype(np.float32)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    photo = record_photo(session, digest, source, 1, 10, 10, outcome="enrolled")
    face = record_face(
        session, photo, box=np.array([0.1, number, 2, 3], np.float32), points=np.ones((5, 2), "f4"),
        confidence=0.9, quality={"sharpness": 1.5}, crop=bytes([number % 256]) * number,
    )  # fmt: skip
    return add_template(session, person, face, SPACE, vector / np.linalg.norm(vector))


def fill(store: Store, names: tuple[str, ...] = NAMES) -> None:
    with store.begin() as session:
        pin_space(session, SPACE)
        ids = []
        for number, name in enumerate(names):
            person = add_person(session, name, "berlin" if number % 2 else "")
            ids += [enrol(session, person, 3 * number + more, f"{name}.jpg").id for more in (1, 2)]
        forget_person(session, find_person(session, names[1]))
        ids.append(enrol(session, None, 99).id)
        put_calibration(session, SPACE, '{"a": 1}', "digest")
        put_profile(session, "gate", fmr=1e-4, fpir=0.01, unsure=10)
        record_decision(
            session, kind="verify", answer="yes", space=SPACE, source="a", similarity=0.1 + 0.2,
            threshold=0.3, fmr=1e-4, person_id=find_person(session, names[0]).id, calibration_id=1,
        )  # fmt: skip
        members = [i for i in ids if i not in (3, 4)]
        save_run(
            session, space=SPACE, method="graph", source="x", parameters={"cut": 0.4},
            clusters={0: members[:2], 1: members[2:]},
        )  # fmt: skip


def content(store: Store) -> dict[str, list[tuple]]:
    """Every table, without what was logged of exports and imports."""
    with store.read() as session:
        rows = {
            name: [
                tuple(row)
                for row in session.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for name, table in TABLES.items()
        }
        assert verify_log(session).whole
    rows["events"] = [row for row in rows["events"] if row[3] not in ("exported", "imported")]
    return rows


@pytest.mark.parametrize(
    ("first", "second"), [("sqlite", "sqlite"), ("sqlite", "postgresql"), ("postgresql", "sqlite")]
)
def test_there_and_back_every_table_is_equal(
    new: Callable, tmp_path: Path, first: str, second: str
):
    store, file = new(first), tmp_path / "a.vultus"
    fill(store)
    before = content(store)
    told = export_gallery(store, file)
    assert file.stat().st_mode & 0o077 == 0
    assert told.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    back = new(second)
    done = import_gallery(back, file)
    assert done.restored
    assert content(back) == content(store) == before
    assert done.conflicts == []
    assert [len(open_synced(one, "exact:", SPACE, 8)) for one in (store, back)] == [6, 6]
    with back.begin() as session:
        assert add_person(session, "Eve").id == 5


def test_a_sealed_gallery_is_exported_with_its_key_only(
    new: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain, file = new(), tmp_path / "a.vultus"
    fill(plain)
    export_gallery(plain, file)
    monkeypatch.setenv("VULTUS_KEY", "11" * 32)
    sealed = new()
    with sealed.begin() as session:
        reseal(session, Master.of(b"\x11" * 32), "gallery")
    done = import_gallery(sealed, file)
    assert done.tables["templates"]["added"] == 7
    with sealed.read() as session:
        blobs = session.execute(select(TABLES["templates"].c.vector)).scalars().all()
    again = tmp_path / "b.vultus"
    export_gallery(sealed, again)
    vectors = [load(zipfile.ZipFile(f).read("templates-0000.safetensors")) for f in (file, again)]
    assert np.allclose(vectors[0]["vectors"], vectors[1]["vectors"], atol=1e-6)
    assert all(row.tobytes() not in b"".join(blobs) for row in vectors[0]["vectors"])
    monkeypatch.delenv("VULTUS_KEY")


def test_a_sealed_archive_there_and_back(
    new: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, file = new(), tmp_path / "a.vultus"
    fill(store)
    with pytest.raises(KeyMissing):
        export_gallery(store, file, sealed=True)
    assert list(tmp_path.glob("*.vultus*")) == list(tmp_path.glob(".*.part")) == []
    monkeypatch.setenv("VULTUS_KEY", "11" * 32)
    store, back = new(), new()
    fill(store)
    told = export_gallery(store, file, sealed=True)
    assert told.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert import_gallery(back, file).restored
    assert content(back) == content(store)
    with store.read() as session:
        assert [event.details["sealed"] for event in read_events(session, last=1)] == [True]
    monkeypatch.setenv("VULTUS_KEY", "22" * 32)
    other = new()
    with pytest.raises(KeyWrong):
        refuse(other, file)


def test_merging_twice_changes_nothing_more(new: Callable, tmp_path: Path):
    store, other, file = new(), new(), tmp_path / "a.vultus"
    fill(store)
    with other.begin() as session:
        pin_space(session, SPACE)
        enrol(session, add_person(session, "Eve"), 50)
    export_gallery(store, file)
    first = import_gallery(other, file)
    assert not first.restored
    assert first.tables["people"] == {"added": 3, "merged": 0, "skipped": 0, "conflicts": 0}
    assert first.tables["templates"]["added"] == 7
    after = content(other)
    with other.read() as session:
        names = [person.name for person in list_people(session)]
        assert sorted(names) == sorted(["Eve", "Ada", "Bob", "李雷"])
    assert len(open_synced(other, "exact:", SPACE, 8)) == 7
    second = import_gallery(other, file)
    assert content(other) == after
    assert sum(counts["added"] for counts in second.tables.values()) == 0
    assert second.tables["people"]["merged"] == 3


def test_what_does_not_go_together_is_reported(new: Callable, tmp_path: Path):
    store, other, file = new(), new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    import_gallery(other, file)
    with other.begin() as session:
        session.execute(update(Person).where(Person.name == "Bob").values(name="Robert"))
        session.execute(update(Person).where(Person.name == "Ada").values(uid="f" * 32))
        session.execute(update(Profile).values(fmr=0.5))
        session.execute(update(Site).where(Site.name == "berlin").values(policy={"days": 1}))
    done = import_gallery(other, file)
    said = "\n".join(done.conflicts)
    for words in (
        "'Robert' keeps that name", "'Ada (2)' now", "Profile 'gate'", "Site 'berlin'",
        "stays with whom it is",
    ):  # fmt: skip
        assert words in said
    with other.read() as session:
        kept = {person.name: person.templates for person in list_people(session)}
    assert kept == {"Ada": 2, "Ada (2)": 0, "Robert": 2, "李雷": 2}


def test_who_was_forgotten_here_is_not_brought_back(new: Callable, tmp_path: Path):
    store, other, file = new(), new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    import_gallery(other, file)
    with other.begin() as session:
        forget_person(session, find_person(session, "Ada"))
    before = content(other)
    done = import_gallery(other, file)
    after = content(other)
    for name in ("people", "photos", "faces", "templates"):
        assert after[name] == before[name]
    assert done.tables["people"]["skipped"] == 1
    assert done.tables["photos"]["skipped"] == 2


def test_another_space_is_refused(new: Callable, tmp_path: Path):
    store, other, file = new(), new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    with other.begin() as session:
        pin_space(session, "other-8-def")
    before = content(other)
    with pytest.raises(SpaceMismatch):
        import_gallery(other, file)
    assert content(other) == before


def test_a_file_that_is_there_is_kept(new: Callable, tmp_path: Path):
    store, file = new(), tmp_path / "a.vultus"
    file.write_text("precious")
    with pytest.raises(ArchiveExists, match="--force"):
        export_gallery(store, file)
    assert file.read_text() == "precious"
    export_gallery(store, file, replace=True)
    assert zipfile.is_zipfile(file)
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_not_replaced(new: Callable, tmp_path: Path):
    os.mkfifo(tmp_path / "device")
    for place in (tmp_path / "device", tmp_path):
        with pytest.raises(OutputUnusable, match="it is no file"):
            export_gallery(new(), place, replace=True)
    assert (tmp_path / "device").is_fifo()


class Forger:
    """Takes an archive apart and puts another together."""

    def __init__(self, file: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.manifest = json.loads(self.members.pop("manifest.json"))
        self.members.pop("manifest.sha256")

    def lines(self, name: str, change: Callable[[list[dict]], object]) -> None:
        rows = [json.loads(line) for line in self.members[name].splitlines()]
        change(rows)
        self.members[name] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def list_anew(self) -> None:
        """Make the manifest true to the members, as a forger would."""
        for one in self.manifest["members"]:
            data = self.members[one["name"]]
            one |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if one["name"].endswith(".jsonl"):
                one["rows"] = data.count(b"\n")

    def write(self, file: Path) -> None:
        text = json.dumps(self.manifest).encode()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in self.members.items():
                archive.writestr(name, data)
            archive.writestr("manifest.json", text)
            archive.writestr("manifest.sha256", hashlib.sha256(text).hexdigest())


def changed_row(forger: Forger) -> None:
    forger.members["people.jsonl"] = forger.members["people.jsonl"].replace(b"Ada", b"Eve")


def path_traversal(forger: Forger) -> None:
    forger.members["../../etc/evil.jsonl"] = b"{}\n"
    forger.manifest["members"].append(
        {"name": "../../etc/evil.jsonl", "rows": 1, "size": 3, "sha256": "0"}
    )


def unlisted_member(forger: Forger) -> None:
    forger.members["people-0001.jsonl"] = b"{}\n"


def missing_member(forger: Forger) -> None:
    del forger.members["templates-0000.safetensors"]


def future_version(forger: Forger) -> None:
    forger.manifest["version"] = 2


def future_schema(forger: Forger) -> None:
    forger.manifest["schema"] = "9999"


def bomb(forger: Forger) -> None:
    forger.members["people.jsonl"] = b"\0" * 50_000_000
    forger.list_anew()


def lying_size(forger: Forger) -> None:
    forger.manifest["members"][0]["size"] += 1


def wrong_type(forger: Forger) -> None:
    forger.lines("people.jsonl", lambda rows: rows[0].update(name=7))
    forger.list_anew()


def missing_column(forger: Forger) -> None:
    forger.lines("people.jsonl", lambda rows: rows[0].pop("uid"))
    forger.list_anew()


def no_json(forger: Forger) -> None:
    forger.members["people.jsonl"] = b"[" * 100_000 + b"\n"
    forger.list_anew()


def dangling(forger: Forger) -> None:
    forger.lines("people.jsonl", lambda rows: rows[0].update(site_id=77))
    forger.list_anew()


def twice(forger: Forger) -> None:
    forger.lines("people.jsonl", lambda rows: rows[1].update(id=rows[0]["id"]))
    forger.list_anew()


def control_characters(forger: Forger) -> None:
    forger.lines("people.jsonl", lambda rows: rows[0].update(name="a\x1b[31m"))
    forger.list_anew()


def long_vectors(forger: Forger) -> None:
    tensors = load(forger.members["templates-0000.safetensors"])
    forger.members["templates-0000.safetensors"] = save({"vectors": tensors["vectors"] * 2})
    forger.list_anew()


def other_tensors(forger: Forger) -> None:
    forger.members["faces-0000.safetensors"] = save(
        {"crops": np.zeros(3, np.uint8), "ends": np.array([5] * 7)}
    )
    forger.list_anew()


def no_tensors(forger: Forger) -> None:
    forger.members["faces-0000.safetensors"] = b"\xff" * 100
    forger.list_anew()


@pytest.mark.parametrize(
    "forge",
    [
        changed_row, path_traversal, unlisted_member, missing_member, future_version, future_schema,
        bomb, lying_size, wrong_type, missing_column, no_json, dangling, twice, control_characters,
        long_vectors, other_tensors, no_tensors,
    ],
    ids=lambda forge: forge.__name__,
)  # fmt: skip
def test_a_hostile_archive_changes_nothing(
    new: Callable, tmp_path: Path, forge: Callable[[Forger], None]
):
    store, file = new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    forger = Forger(file)
    forge(forger)
    bad = tmp_path / "bad.vultus"
    forger.write(bad)
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArchiveUnusable, match=r"bad\.vultus.*Nothing was changed"):
        refuse(new(), bad)
    assert len(sorted(tmp_path.rglob("*"))) <= len(files) + 3  # the new gallery's


def refuse(store: Store, file: Path) -> Imported:
    before = content(store)
    try:
        return import_gallery(store, file)
    finally:
        assert content(store) == before


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99, -1])
def test_a_cut_archive_changes_nothing(new: Callable, tmp_path: Path, keep: float):
    store, file = new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    data = file.read_bytes()
    end = int(len(data) * keep) if 0 < keep < 1 else int(keep)
    file.write_bytes(data[:end])
    other = new()
    before = content(other)
    with pytest.raises(ArchiveUnusable, match="Nothing was changed"):
        refuse(other, file)
    assert content(other) == before


def test_flipped_bytes_change_nothing(new: Callable, tmp_path: Path):
    """Every 211th byte in turn: whatever it hits, it is found, or it was of no consequence."""
    store, file = new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    wanted, data = content(store), file.read_bytes()
    found = 0
    for place in range(0, len(data), 211):
        spoiled = bytearray(data)
        spoiled[place] ^= 0x5A
        file.write_bytes(bytes(spoiled))
        target = new()
        try:
            import_gallery(target, file)
        except ArchiveUnusable:
            found += 1
        else:
            assert content(target) == wanted
    assert found > len(data) // 211 // 2


def default_index(gallery: Gallery) -> Path:
    return next(iter(gallery.database.parent.glob("*.vultus-index")))


def test_the_commands(unchanged, inside: Callable, tmp_path: Path):
    file, other = tmp_path / "a.vultus", tmp_path / "other" / "gallery.sqlite3"
    with Store.open(unchanged.database) as store, store.read() as session:
        people = len(list_people(session))
    own = unchanged.copy_to(tmp_path / "copy")
    done = inside("export", file, *own.at, "--format", "json")
    assert done.code == 0, done
    assert done.json()["rows"]["people"] == people
    again = inside("export", file, *own.at)
    assert (again.code, "--force" in again.err) == (2, True)
    done = inside("import", file, "--database", other)
    assert done.code == 0, done
    assert "is now the one that was exported" in done.out
    name, picture = own.genuine
    for at in (own.database, other):
        asked = inside("verify", name, "--source", picture, "--database", at)
        assert asked.code == 0, asked
    file.write_bytes(b"no archive")
    done = inside("import", file, "--database", other)
    assert done.code == 2
    assert "Nothing was changed" in done.err

    key, opened = tmp_path / "key", tmp_path / "plain.vultus"
    assert inside("seal", "new-key", key).code == 0
    assert inside("seal", "on", *own.at, "--key-file", key).code == 0
    assert default_index(unchanged).is_file(), "the index of what was copied is not ours"
    for stdin in ("n\n", ""):
        asked = inside("export", opened, *own.at, "--key-file", key, stdin=stdin)
        assert (asked.code, opened.exists(), "is sealed" in asked.err) == (130, False, True)
    assert inside("export", opened, *own.at, "--key-file", key, "--plain").code == 0


def test_the_commands_of_a_sealed_archive(own: Gallery, inside: Callable, tmp_path: Path):
    key, file, other = tmp_path / "key", tmp_path / "a.vultus", tmp_path / "other.sqlite3"
    inside("seal", "new-key", key)
    assert inside("seal", "on", *own.at, "--key-file", key).code == 0
    both = inside("export", file, *own.at, "--key-file", key, "--sealed", "--plain")
    assert (both.code, "exclude each other" in both.err) == (64, True)
    assert inside("export", file, *own.at, "--key-file", key, "--sealed").code == 0
    name, picture = own.genuine
    held = file.read_bytes()
    assert not zipfile.is_zipfile(file)
    assert name.encode() not in held
    refused = inside("import", file, "--database", other)
    assert (refused.code, "--key-file" in refused.err) == (3, True)
    done = inside("import", file, "--database", other, "--key-file", key)
    assert done.code == 0, done
    assert "is now the one that was exported" in done.out
    assert inside("verify", name, "--source", picture, "--database", other).code == 0
    file.write_bytes(held[:-1])
    cut = inside("import", file, "--database", other, "--key-file", key)
    assert (cut.code, "cut off. Nothing was changed" in cut.err) == (2, True)


def test_nothing_is_pickled(new: Callable, tmp_path: Path):
    store, file = new(), tmp_path / "a.vultus"
    fill(store)
    export_gallery(store, file)
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {
            ".json", ".jsonl", ".safetensors", ".sha256",
        }  # fmt: skip
