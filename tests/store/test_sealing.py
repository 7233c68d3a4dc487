import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keyring
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from store.changes import current_rev
from store.corrections import merge_people
from store.erasure import forget_person
from store.errors import (
    KeyMissing,
    KeyUnusable,
    KeyWrong,
    OneToOneOnly,
    SealBroken,
    SealedIndex,
    StoreError,
)
from store.ledger import Event, Seal
from store.people import add_person, find_person
from store.photos import crops
from store.resealing import reseal, rewrap, seal_status
from store.schema import Face, Gallery, Photo, Template
from store.sealing import lock_protection, protection, refuse_server
from store.session import Store
from store.sync import open_synced, refresh, save
from store.synced import default_index_url
from store.templates import (
    add_template,
    assign_person,
    faces_of_photos,
    named_templates,
    remove_templates,
    vectors_of,
)
from store.vault import FILE_VARIABLE, KEY_VARIABLE, Master, Vault, decrypt, encrypt, new_key
from store.vectors import unpack

SPACE, DIM = "toy-8-abc", 8
FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Master:
    """The key that the environment names."""
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv(KEY_VARIABLE, FIRST.hex())
    return Master.of(FIRST)


@pytest.fixture
def filled(store: Store, give: Callable) -> dict[int, np.ndarray]:
    """Two people with two templates each and two faces of nobody; template → vector."""
    with store.begin() as session:
        for person in (add_person(session, "Ann"), add_person(session, "Bob"), None):
            for number in range(2):
                name = "nobody" if person is None else person.name
                give(session, person, crop=f"{name} {number}".encode())
        rows = session.scalars(select(Template).order_by(Template.id)).all()
        return {row.id: unpack([row.vector])[0] for row in rows}


def cover(
    store: Store, key: Master, renewal: str | None = None, vault: Vault | None = None
) -> None:
    with store.begin() as session:
        if vault is not None:
            session.info["vault"] = vault
        reseal(session, key, renewal)


@contextmanager
def undone(store: Store) -> Iterator[Session]:
    """A transaction whose changes are rolled back at the end."""
    with store.begin() as session:
        savepoint = session.begin_nested()
        yield session
        savepoint.rollback()


def rows(session: Session, table: type = Template) -> list:
    return list(session.scalars(select(table).order_by(table.id)))


def raw(session: Session) -> dict[int, bytes]:
    return {row.id: bytes(row.vector) for row in rows(session)}


def shown(session: Session) -> dict[int, np.ndarray]:
    """Every template by way of the reading functions."""
    found = faces_of_photos(session, list(session.scalars(select(Photo.digest))), SPACE)
    return dict(zip(found.ids.tolist(), found.vectors, strict=True))


def assert_same(found: dict[int, np.ndarray], wanted: dict[int, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for template, vector in wanted.items():
        np.testing.assert_allclose(found[template], vector, atol=3e-7)


@pytest.mark.parametrize("renewal", [None, "gallery", "person"])
def test_sealed_rows_give_back_what_was_stored(
    store: Store, filled: dict, key: Master, renewal: str | None
):
    with store.read() as session:
        before = raw(session)
    cover(store, key, renewal)
    with store.read() as session:
        after = raw(session)
        assert after.keys() == before.keys()
        for template, blob in after.items():
            assert before[template] not in blob
            assert before[template][:8] not in blob
        assert_same(shown(session), filled)
        found = crops(session, list(filled))
        assert [found[i].decode() for i in sorted(found)] == [
            f"{name} {n}" for name in ("Ann", "Bob", "nobody") for n in range(2)
        ]
        assert all(b"nobody" not in face.crop for face in rows(session, Face))
        status = seal_status(session)
        assert (status.sealed, status.renewal, status.plain) == (key.fingerprint, renewal, 0)
        assert (status.keys, status.templates, status.crops) == (3, 6, 6)
        assert session.get(Gallery, 1).epoch == (0 if renewal is None else 1)


@pytest.mark.usefixtures("filled")
def test_everybody_has_a_data_key_of_their_own(store: Store, key: Master):
    cover(store, key)
    with store.read() as session:
        owner = {row.id: row.person_id for row in rows(session, Seal)}
        assert sorted(owner.values(), key=str) == sorted([None, 1, 2], key=str)
        for template in rows(session):
            assert owner[template.seal_id] == template.person_id
            assert session.get(Face, template.face_id).seal_id == template.seal_id


@pytest.mark.parametrize("renewal", [None, "gallery", "person"])
@pytest.mark.usefixtures("filled")
def test_new_rows_of_a_sealed_gallery_are_sealed(
    store: Store, key: Master, give: Callable, renewal: str | None
):
    cover(store, key, renewal)
    with store.begin() as session:
        old = give(session, find_person(session, "Ann"), crop=b"one more").id
        new = give(session, add_person(session, "Cid"), crop=b"new here").id
        seals = {row.id: row.person_id for row in rows(session, Seal)}
        for template in (old, new):
            row = session.get(Template, template)
            assert seals[row.seal_id] == row.person_id
            assert session.get(Face, row.face_id).seal_id == row.seal_id
    with store.read() as session:
        assert crops(session, [old, new]) == {old: b"one more", new: b"new here"}
        assert seal_status(session).plain == 0
        assert (seal_status(session).keys, len(shown(session))) == (4, 8)


@pytest.mark.parametrize("renewal", [None, "gallery", "person"])
def test_naming_seals_anew_under_the_persons_key(
    store: Store, filled: dict, key: Master, renewal: str | None
):
    cover(store, key, renewal)
    with store.begin() as session:
        before = raw(session)
        assign_person(session, [5, 1], find_person(session, "Bob"))
        assign_person(session, [2], None)
    with store.read() as session:
        owner = {row.id: row.person_id for row in rows(session, Seal)}
        assert [owner[row.seal_id] for row in rows(session)] == [2, None, 2, 2, 2, None]
        assert [owner[row.seal_id] for row in rows(session, Face)] == [2, None, 2, 2, 2, None]
        after = raw(session)
        assert [i for i in before if before[i] != after[i]] == [1, 2, 5]
        assert_same(shown(session), filled)
        assert len(crops(session, list(filled))) == 6


@pytest.mark.usefixtures("filled")
def test_what_a_forgotten_person_had_cannot_be_read_again(store: Store, key: Master):
    cover(store, key)
    with store.read() as session:
        kept = rows(session)[0]
        seal_row = next(row for row in rows(session, Seal) if row.person_id == 1)
    with store.begin() as session:
        forget_person(session, find_person(session, "Ann"))
    with undone(store) as session:  # the row from a backup of templates alone
        assert session.get(Seal, seal_row.id) is None
        face = rows(session, Face)[0]
        back = Template(
            uid=kept.uid, person_id=2, face_id=face.id, space="other", vector=kept.vector,
            seal_id=kept.seal_id,
        )  # fmt: skip
        session.add(back)
        session.flush()
        with pytest.raises(SealBroken, match=r"data key of template \w+ is gone"):
            vectors_of(session, 2, "other")


def test_merged_people_stay_readable(store: Store, filled: dict, key: Master):
    cover(store, key, "person")
    with store.begin() as session:
        merge_people(session, find_person(session, "Ann"), find_person(session, "Bob"))
    with store.read() as session:
        ids, vectors = vectors_of(session, 2, SPACE)
        assert_same(
            dict(zip(ids.tolist(), vectors, strict=True)), {i: filled[i] for i in range(1, 5)}
        )
        assert len(crops(session, list(filled))) == 6


@pytest.mark.usefixtures("filled")
def test_a_row_put_in_anothers_place_does_not_open(store: Store, key: Master):
    cover(store, key)
    with undone(store) as session:
        one, other = rows(session)[:2]
        one.vector, other.vector = other.vector, one.vector  # of the same person and key
        session.flush()
        with pytest.raises(SealBroken, match=r"template \w+ was changed or moved"):
            vectors_of(session, 1, SPACE)
    with undone(store) as session:
        session.execute(update(Template).where(Template.id == 1).values(space="another-8"))
        with pytest.raises(SealBroken):
            vectors_of(session, 1, "another-8")
    with undone(store) as session:
        first, second = rows(session, Face)[:2]
        first.crop, second.crop = second.crop, first.crop
        session.flush()
        with pytest.raises(SealBroken, match=r"crop of photo \w+ was changed"):
            crops(session, [1])


@pytest.mark.parametrize("place", [0, 1, 5, 20, -1])
@pytest.mark.usefixtures("filled")
def test_one_changed_bit_is_noticed(store: Store, key: Master, place: int):
    cover(store, key, "gallery")
    with undone(store) as session:
        row = rows(session)[0]
        blob = bytearray(row.vector)
        blob[place] ^= 1
        row.vector = bytes(blob)
        session.flush()
        with pytest.raises(StoreError) as refused:
            vectors_of(session, 1, SPACE)
        assert refused.value.code in {"seal_broken", "renewed_meanwhile"}


@pytest.mark.usefixtures("filled")
def test_a_changed_data_key_or_seed_is_noticed(store: Store, key: Master):
    cover(store, key, "gallery")
    for values in ({"wrapped": b"x" * 60}, {"transform": b"short"}):
        table = Seal if "wrapped" in values else Gallery
        with undone(store) as session:
            session.execute(update(table).values(**values))
            with pytest.raises(SealBroken):
                vectors_of(session, 1, SPACE)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=40), st.data())
def test_any_change_of_sealed_bytes_or_of_what_they_belong_to_is_noticed(
    plain: bytes, bound: bytes, data: st.DataObject
):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    aead = AESGCM(FIRST)
    sealed = encrypt(aead, plain, bound)
    assert decrypt(aead, sealed, bound, "it") == plain
    assert encrypt(aead, plain, bound) != sealed  # another nonce
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    wrong = [(bytes(changed), bound), (sealed[:-1], bound), (sealed, bound + b"x"), (b"", bound)]
    for blob, belongs in wrong:
        with pytest.raises(SealBroken, match="it was changed"):
            decrypt(aead, blob, belongs, "it")


@pytest.mark.usefixtures("filled")
def test_without_the_key_the_error_names_it(
    store: Store, key: Master, monkeypatch: pytest.MonkeyPatch
):
    cover(store, key, "gallery")
    for text, kind in (("", KeyMissing), (SECOND.hex(), KeyWrong)):
        monkeypatch.setenv(KEY_VARIABLE, text)
        with store.read() as session:
            session.info["vault"] = Vault()
            with pytest.raises(kind, match=f"sealed with the key {key.fingerprint}") as refused:
                vectors_of(session, 1, SPACE)
            assert refused.value.exit_code == 3
            assert "--key-file" in str(refused.value)
    with undone(store) as session:
        session.info["vault"] = Vault()
        with pytest.raises(KeyWrong, match=Master.of(SECOND).fingerprint):
            add_person_with_face(session)


def add_person_with_face(session: Session) -> None:
    face = session.scalar(select(Face))
    vector = np.eye(1, DIM, dtype=np.float32)[0]
    add_template(session, add_person(session, "Dan"), face, "new-8", vector)


def test_a_new_master_key_opens_and_the_old_one_does_not(
    store: Store, filled: dict, key: Master, monkeypatch: pytest.MonkeyPatch
):
    cover(store, key, "person")
    with store.read() as session:
        before = raw(session)
    monkeypatch.setenv(KEY_VARIABLE, f"{SECOND.hex()} {FIRST.hex()}")
    with store.begin() as session:
        session.info["vault"] = vault = Vault()
        assert rewrap(session, vault.sealing_master()) == 3
    monkeypatch.setenv(KEY_VARIABLE, SECOND.hex())
    with store.read() as session:
        session.info["vault"] = Vault()
        assert raw(session) == before
        assert_same(shown(session), filled)
        assert session.get(Gallery, 1).sealed == Master.of(SECOND).fingerprint
    with store.read() as session:  # keys unwrapped before: the process goes on
        assert_same(shown(session), filled)
    monkeypatch.setenv(KEY_VARIABLE, FIRST.hex())
    with store.read() as session:
        session.info["vault"] = Vault()
        with pytest.raises(KeyWrong):
            shown(session)


def test_a_new_key_is_on_the_disk_before_anything_is_sealed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[tuple[bool, bool]] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "key").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    new_key(tmp_path / "key")
    assert synced == [(False, False), (True, True)]


def test_a_running_process_finds_the_new_key_in_its_file(
    store: Store, filled: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(KEY_VARIABLE)
    file = tmp_path / "key"
    first, _ = new_key(file)
    running = Vault(file)
    cover(store, running.sealing_master(), vault=running)
    second, older = new_key(file)
    assert older == 1
    with store.begin() as session:
        session.info["vault"] = other = Vault(file)
        rewrap(session, other.sealing_master())
    with store.begin() as session:
        session.info["vault"] = running  # which has read the file before the new key was in it
        assert [master.fingerprint for master in running.masters()] == [first]
        add_person_with_face(session)
        assert {row.master for row in rows(session, Seal)} == {second}
        assert_same(shown(session), filled)


@pytest.mark.parametrize("renewal", [None, "gallery", "person"])
def test_unsealing_gives_the_rows_back(
    store: Store, filled: dict, key: Master, renewal: str | None
):
    cover(store, key, renewal)
    with store.begin() as session:
        done = reseal(session, None, None)
        assert (done.templates, done.crops, done.keys) == (6, 6, 0)
    with store.read() as session:
        session.info["vault"] = Vault("/nowhere")
        assert_same({i: unpack([blob])[0] for i, blob in raw(session).items()}, filled)
        assert rows(session, Face)[0].crop == b"Ann 0"
        assert rows(session, Seal) == []
        assert protection(session).sealed is None


def test_renewing_changes_every_row_and_keeps_ids_vectors_and_neighbours(
    store: Store, filled: dict, key: Master
):
    cover(store, key, "gallery")
    synced = open_synced(store, "exact:", SPACE, DIM)
    queries = np.stack(list(filled.values()))
    wanted = synced.search(queries, 4)
    with store.read() as session:
        before, old_keys = raw(session), {row.id for row in rows(session, Seal)}
        held = {row.id: row.vector for row in rows(session)}
        rev = current_rev(session)
    inside = synced.index.vectors(np.array([1, 2]))
    cover(store, key, "gallery")
    stale = synced.search(queries, 4)  # has not followed yet: still right
    assert np.array_equal(stale.ids, wanted.ids)
    assert refresh(synced) == 4
    assert not np.allclose(synced.index.vectors(np.array([1, 2])), inside, atol=0.05)
    found = synced.search(queries, 4)
    assert np.array_equal(found.ids, wanted.ids)
    np.testing.assert_allclose(found.similarities, wanted.similarities, atol=1e-6)
    with store.read() as session:
        assert current_rev(session) == rev + 4
        assert not {row.id for row in rows(session, Seal)} & old_keys
        after = raw(session)
        assert after.keys() == held.keys()
        assert all(after[i] != before[i] for i in before)
        assert_same(shown(session), filled)
        actions = list(session.scalars(select(Event.action).order_by(Event.id.desc()).limit(2)))
        assert actions == ["renewed", "sealed"]


def test_people_with_transforms_of_their_own_are_verified_and_never_compared(
    store: Store, filled: dict, key: Master
):
    synced = open_synced(store, "exact:", SPACE, DIM)
    assert len(synced) == 4
    cover(store, key, "person")
    refresh(synced)
    assert len(synced) == 0
    assert len(open_synced(store, "exact:", SPACE, DIM)) == 0
    with store.read() as session:
        ids, vectors = vectors_of(session, 1, SPACE)
        assert_same(dict(zip(ids.tolist(), vectors, strict=True)), {1: filled[1], 2: filled[2]})
        with pytest.raises(OneToOneOnly, match="vultus rekey --renewable gallery"):
            named_templates(session, SPACE)
    cover(store, key, "gallery")
    refresh(synced)
    query = np.stack([filled[3]])
    assert (len(synced), synced.search(query, 1).ids.tolist()) == (4, [[3]])


def test_the_index_of_a_sealed_gallery_is_not_written(
    sqlite_store: Store, give: Callable, key: Master, caplog: pytest.LogCaptureFixture
):
    store = sqlite_store
    with store.begin() as session:
        give(session, add_person(session, "Ann"))
    url = default_index_url(store, SPACE)
    file = Path(url.partition(":")[2])
    before = open_synced(store, None, SPACE, DIM)
    assert file.exists()
    cover(store, key)
    file.unlink()
    with store.begin() as session:
        give(session, find_person(session, "Ann"))
    with caplog.at_level(logging.WARNING):
        assert refresh(before) == 1
        assert save(before) is False  # it was opened with a file, before the gallery was sealed
        sealed = open_synced(store, None, SPACE, DIM)
        assert save(sealed) is False
    assert (caplog.records, file.exists(), sealed.path, len(sealed)) == ([], False, None, 2)
    with store.read() as session, pytest.raises(SealedIndex, match="in the clear"):
        refuse_server(session, "milvus:http://host:19530")


@pytest.mark.usefixtures("filled")
def test_an_unsealed_gallery_asks_for_no_key(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(FILE_VARIABLE, "/nowhere/key")
    with store.begin() as session:
        add_person_with_face(session)
        assign_person(session, [5], find_person(session, "Ann"))
        remove_templates(session, [1])
        assert len(shown(session)) == 5
        assert seal_status(session).keys == 0


@pytest.mark.usefixtures("filled")
def test_a_savepoint_that_is_undone_leaves_no_key_behind(store: Store, key: Master, give: Callable):
    """SQLite gives the id of the undone key again: it must not be taken for the new one."""
    cover(store, key)
    with store.begin() as session:
        undone = session.begin_nested()
        give(session, add_person(session, "Cid"))
        undone.rollback()
        give(session, add_person(session, "Dan"), crop=b"of Dan")
    with store.read() as session:
        person = find_person(session, "Dan")
        ids, vectors = vectors_of(session, person.id, SPACE)
        assert vectors.shape == (1, DIM)
        assert crops(session, ids.tolist()) == {int(ids[0]): b"of Dan"}


@pytest.mark.usefixtures("filled")
def test_a_crop_whose_face_is_nobodys_any_more_does_not_stop_renewing(store: Store, key: Master):
    cover(store, key)
    with store.begin() as session:
        remove_templates(session, [1, 2])  # Ann's faces stay, under Ann's key
        session.execute(update(Seal).where(Seal.person_id == 1).values(person_id=None))
        session.delete(session.scalar(select(Seal).order_by(Seal.id).limit(1)))
    cover(store, key, "gallery")
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Template)) == 4
        assert len(shown(session)) == 4


@pytest.mark.usefixtures("filled")
def test_a_second_writer_waits_for_the_gallery_row(store: Store, key: Master):
    with store.begin() as session:
        lock_protection(session)
        assert protection(session).sealed is None
        reseal(session, key, None)
        assert lock_protection(session).sealed == key.fingerprint


def test_keys_are_read_in_every_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import base64

    monkeypatch.delenv(KEY_VARIABLE)
    file = tmp_path / "keys"
    plain, safe = base64.b64encode(SECOND).decode(), base64.urlsafe_b64encode(b"\xff" * 32)
    file.write_text(f"# mine\n{FIRST.hex().upper()}  # one\n\n{plain}\n{safe.decode().rstrip('=')}")
    names = [Master.of(key).fingerprint for key in (FIRST, SECOND, b"\xff" * 32)]
    assert [master.fingerprint for master in Vault(file).masters()] == names
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    monkeypatch.setenv(KEY_VARIABLE, f"{FIRST.hex()} {(b'z' * 32).hex()}")
    found = [master.fingerprint for master in Vault().masters()]
    assert found == [*names, Master.of(b"z" * 32).fingerprint]


@pytest.mark.parametrize("text", ["no key", "00", "ab" * 31, "ab" * 33, "é" * 32])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(KeyUnusable, match="no key of 32 bytes"):
        Vault(file).masters()
    with pytest.raises(KeyUnusable):
        new_key(file)
    assert file.read_text(encoding="utf-8") == text


def test_a_key_file_that_cannot_be_used(tmp_path: Path):
    with pytest.raises(KeyUnusable, match="does not exist"):
        Vault(tmp_path / "none").masters()
    with pytest.raises(KeyUnusable, match="is a directory"):
        Vault(tmp_path).masters()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeyUnusable, match="no text"):
        Vault(tmp_path / "bytes").masters()


def test_a_new_key_file_is_the_owners_alone_and_keys_are_random(tmp_path: Path):
    file = tmp_path / "deep" / "key"
    first, _ = new_key(file)
    second, older = new_key(file)
    assert (older, file.stat().st_mode & 0o777) == (1, 0o600)
    assert first != second
    assert [master.fingerprint for master in Vault(file).masters()] == [second, first, FIRST_NAME]
    assert os.listdir(file.parent) == ["key"]  # noqa: PTH208 - the names are what is asked


FIRST_NAME = Master.of(FIRST).fingerprint


class Drawer(KeyringBackend):
    """A keyring in memory, through the library's own interface."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("it is locked")
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


def test_a_key_in_the_keyring(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(KEY_VARIABLE)
    before, drawer = keyring.get_keyring(), Drawer()
    keyring.set_keyring(drawer)
    try:
        with pytest.raises(KeyUnusable, match="no such entry"):
            Vault("keyring:work").masters()
        made, _ = new_key("keyring:work")
        assert Vault("keyring:work").sealing_master().fingerprint == made
        assert list(drawer.held) == [("vultus", "work")]
        drawer.locked = True
        with pytest.raises(KeyUnusable, match="it is locked"):
            Vault("keyring:work").masters()
    finally:
        keyring.set_keyring(before)
