"""`vultus seal` and `vultus rekey`, as a user meets them."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Done, Gallery, Vultus

SECONDS = 60


@pytest.fixture
def key(inside: Callable[..., Done], tmp_path: Path) -> tuple[str, str]:
    """The option that names a new key file."""
    assert inside("seal", "new-key", tmp_path / "key").code == 0
    return ("--key-file", str(tmp_path / "key"))


def answers(inside: Callable[..., Done], own: Gallery, *options: str) -> list[tuple[object, ...]]:
    """What the gallery says of its probes: verified, and found among all."""
    found: list[tuple[object, ...]] = []
    for who in (own.genuine, own.impostor):
        one = inside("verify", who[0], "--source", who[1], *own.at, *options, "--format", "json")
        values = one.json()
        found.append((one.code, values["answer"], round(values["similarity"], 4)))
    probes = [own.genuine[1], own.strangers[0]]
    for line in inside("identify", *probes, *own.at, *options, "--format", "json").json()["photos"]:
        (face,) = line["faces"]
        best = face["candidates"][0]
        found.append((face["answer"], best["person"], round(best["similarity"], 4)))
    return found


def cells(own: Gallery, query: str) -> list[bytes]:
    with closing(sqlite3.connect(f"file:{own.database}?mode=ro", uri=True)) as opened:
        return [bytes(row[0]) for row in opened.execute(query)]


def bytes_on_disk(own: Gallery) -> bytes:
    files = sorted(own.database.parent.glob("gallery.*"))
    return b"".join(file.read_bytes() for file in files)


def test_the_whole_life_of_a_sealed_gallery(
    inside: Callable[..., Done], own: Gallery, key: tuple[str, str], tmp_path: Path
):
    before = answers(inside, own)
    vectors = cells(own, "SELECT vector FROM templates")
    crops = cells(own, "SELECT crop FROM faces")
    assert all(blob in bytes_on_disk(own) for blob in vectors)

    done = inside("seal", "on", *own.at, *key, "--format", "json")
    assert (done.code, done.json()["not_sealed"], done.json()["data_keys"]) == (0, 0, 6)
    assert [Path(file).suffix for file in done.json()["index_files_removed"]] == [".vultus-index"]
    held = bytes_on_disk(own)
    assert not any(blob in held or blob[:16] in held for blob in vectors)
    assert not any(crop[600:700] in held for crop in crops)
    assert answers(inside, own, *key) == before
    assert not list(own.database.parent.glob("*.vultus-index"))

    again = inside("seal", "on", *own.at, *key)
    assert "Was sealed already" in again.out

    refused = inside("verify", own.genuine[0], "--source", own.genuine[1], *own.at)
    fingerprint = done.json()["key"]
    assert refused.code == 3
    assert fingerprint in refused.err
    assert "--key-file" in refused.err
    inside("seal", "new-key", tmp_path / "other")
    wrong = inside(
        "verify", own.genuine[0], "--source", own.genuine[1], *own.at,
        "--key-file", tmp_path / "other",
    )  # fmt: skip
    assert (wrong.code, f"sealed with the key {fingerprint}" in wrong.err) == (3, True)

    stored = cells(own, "SELECT vector FROM templates")
    for _ in range(2):
        assert inside("rekey", *own.at, *key).code == 0
        renewed = cells(own, "SELECT vector FROM templates")
        assert not set(stored) & set(renewed)
        assert not any(blob in bytes_on_disk(own) for blob in stored)
        assert answers(inside, own, *key) == before
        stored = renewed

    inside("seal", "new-key", key[1])
    assert "6 data keys" in inside("seal", "rotate", *own.at, *key).out
    assert "Nothing to do" in inside("seal", "rotate", *own.at, *key).out
    assert cells(own, "SELECT vector FROM templates") == stored
    assert answers(inside, own, *key) == before
    told = inside("seal", "status", *own.at, "--format", "json").json()
    assert (told["sealed"], told["renewable"], told["epoch"]) == (True, "gallery", 2)
    doctor = inside("doctor", *own.at, *key, "--format", "json").json()
    findings = {finding["what"]: finding for finding in doctor}
    assert findings["sealing"]["state"] == "ok"
    assert "renewable" in findings["sealing"]["found"]
    assert "in memory" in findings["index"]["found"]
    index = inside("index", "status", *own.at, *key, "--format", "json").json()
    assert (index["state"], "sealed" in index["reason"]) == ("none yet", True)

    assert inside("seal", "off", *own.at, *key, stdin="n\n").code == 130
    assert inside("seal", "off", *own.at, *key, "--yes").code == 0
    assert answers(inside, own) == before


def test_a_transform_a_person_verifies_and_does_nothing_else(
    inside: Callable[..., Done], own: Gallery, key: tuple[str, str]
):
    before = answers(inside, own)[:2]
    refused = inside("rekey", *own.at, *key)
    assert (refused.code, "vultus seal on" in refused.err) == (3, True)
    assert inside("seal", "on", "--renewable", "person", *own.at, *key).code == 0
    for who, wanted in zip((own.genuine, own.impostor), before, strict=True):
        done = inside("verify", who[0], "--source", who[1], *own.at, *key, "--format", "json")
        assert (done.code, done.json()["answer"]) == wanted[:2]
    for command in (("identify", own.genuine[1]), ("cluster", own.folder)):
        done = inside(*command, *own.at, *key)
        assert (done.code, "transform of their own" in done.err) == (3, True)
    more = own.probes[own.names[1]][0]
    added = inside("enroll", more, "--name", "Somebody New", *own.at, *key)
    assert added.code == 0
    found = inside("verify", "Somebody New", "--source", more, *own.at, *key)
    assert found.code == 0


def test_another_process_that_has_the_index_open_goes_on(
    inside: Callable[..., Done], own: Gallery, key: tuple[str, str], vultus: Vultus
):
    import vultus as module

    inside("seal", "on", "--renewable", "gallery", *own.at, *key)
    with module.open_gallery(own.database, key_file=key[1]) as gallery:
        probes = [own.genuine[1], own.strangers[0]]

        def asked() -> list[object]:
            faces = [photo.faces[0].who for photo in gallery.identify(probes)]
            return [(f.answer, f.candidates[0].uid, f.candidates[0].evidence) for f in faces]

        before = asked()
        assert vultus("rekey", *own.at, *key).code == 0
        assert asked() == before
        assert vultus("rekey", *own.at, *key).code == 0
        assert vultus("seal", "rotate", *own.at, *key).code == 0
        assert asked() == before


def test_naming_forgetting_and_sheets_in_a_sealed_gallery(
    inside: Callable[..., Done], own: Gallery, key: tuple[str, str], album: Path, tmp_path: Path
):
    inside("seal", "on", "--renewable", "gallery", *own.at, *key)
    place = tmp_path / "sheet"
    found = inside(
        "cluster", album / "strangers", "--out", place, *own.at, *key, "--format", "json"
    ).json()
    assert len(list((place / "faces").glob("*.jpg"))) == found["faces"]
    assert inside("name", 1, "Zoe", *own.at, *key).code == 0
    probe = found["clusters"][0]["faces"][0]["file"]
    assert inside("verify", "Zoe", "--source", probe, *own.at, *key).code == 0
    assert inside("rekey", *own.at, *key).code == 0
    keys = len(cells(own, "SELECT wrapped FROM seals"))
    gone = inside("forget", "Zoe", "--yes", *own.at, *key, "--format", "json")
    assert gone.code == 0, gone
    assert gone.json()["thumbnails"] == found["clusters"][0]["size"]
    assert len(cells(own, "SELECT wrapped FROM seals")) == keys - 1


def big(database: Path, templates: int = 900) -> None:
    """A gallery whose sealing takes a while."""
    from migrations import ensure_schema
    from store.people import add_person
    from store.photos import record_face, record_photo
    from store.session import Store
    from store.templates import add_template

    rng = np.random.default_rng(1)
    with Store.open(database) as store:
        ensure_schema(store)
        with store.begin() as session:
            for number in range(templates):
                digest = hashlib.sha256(str(number).encode()).hexdigest()
                if number % 3 == 0:
                    person = add_person(session, f"P{number}")
                photo = record_photo(session, digest, f"{number}.jpg", 9, 9, 9, outcome="enrolled")
                box = np.array([1, 2, 3, 4], np.float32)
                face = record_face(
                    session, photo, box=box, points=None, confidence=0.9, quality=None,
                    crop=rng.bytes(6000),
                )  # fmt: skip
                vector = rng.standard_normal(128).astype(np.float32)
                vector /= np.linalg.norm(vector)
                add_template(session, person, face, "random-128", vector)


def kill_half_way(vultus: Vultus, database: Path, *command: str) -> None:
    """Start a command and SIGKILL it once it has written a megabyte, before its commit."""
    log = database.with_name(f"{database.name}-wal")
    process = vultus.start(*command, "--database", str(database), start_new_session=True)
    try:
        end = time.monotonic() + SECONDS
        while not (log.exists() and log.stat().st_size > 1_000_000):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_killed_half_way_nothing_has_changed(
    vultus: Vultus, inside: Callable[..., Done], tmp_path: Path, key: tuple[str, str]
):
    from store.session import Store
    from store.templates import named_templates
    from store.vault import Vault

    database = tmp_path / "big.sqlite3"
    big(database)

    def seen() -> tuple[list[int], np.ndarray]:
        with Store.open(database, vault=Vault(key[1])) as store, store.read() as session:
            faces = named_templates(session, "random-128")
            return faces.ids.tolist(), faces.vectors

    def status() -> dict[str, object]:
        return inside("seal", "status", "--database", database, "--format", "json").json()

    wanted = seen()
    for command, kept in ((("seal", "on"), (0, 1800)), (("rekey",), (300, 0))):
        before = status()
        kill_half_way(vultus, database, *command, *key, "--quiet")
        assert status() == before
        assert (before["data_keys"], before["not_sealed"]) == kept
        ids, vectors = seen()
        assert ids == wanted[0]
        np.testing.assert_allclose(vectors, wanted[1], atol=3e-7)
        assert inside(*command, "--database", database, *key, "--quiet").code == 0
    assert (status()["epoch"], seen()[0]) == (1, wanted[0])


def test_a_gallery_that_is_not_sealed_loads_no_cryptography(vultus: Vultus, own: Gallery):
    code = (
        "import sys, atexit, vultus\n"
        "atexit.register(lambda: print('loaded:', 'cryptography' in sys.modules))\n"
        "vultus.main()"
    )
    who, photo = own.genuine
    done = vultus.code(code, "identify", photo, *own.at, "--index", "memory:")
    assert (done.code, who in done.out, "loaded: False" in done.out) == (0, True, True)
