"""The small parts, each alone."""

from __future__ import annotations

import struct
import threading
import time
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from store.audit_check import verify_log
from store.ledger import Event
from verify.opening import Parts, Places
from web.archives import LARGEST_FILE, examine, safe_path, unpack
from web.batching import Batcher
from web.cli import serve
from web.errors import BodyTooLarge, BodyUnusable, SettingsWrong, TooMany
from web.limits import Buckets, Gate
from web.refusals import ROWS, Kind, Refusals
from web.settings import Rate, Settings, require_address
from web.tokens import new_key, parse_key, seal_secret, secret_holds
from web.uploads import Form


def test_a_key_is_found_by_one_half_and_checked_by_the_other():
    uid, key = new_key()
    found, secret = parse_key(key)
    salt, kept = seal_secret(secret)
    assert found == uid
    assert secret not in repr((salt, kept))
    assert secret_holds(secret, salt, kept)
    assert not secret_holds(secret[:-1] + ("A" if secret[-1] != "A" else "B"), salt, kept)
    assert parse_key(key + "x") is None


@pytest.mark.parametrize("text", ["5", "0/s", "5/x", "-1/s", "5/m0", ""])
def test_a_rate_that_is_none(text: str):
    with pytest.raises(SettingsWrong) as told:
        Rate.parse(text)
    assert repr(text) in str(told.value)


def test_rates_and_settings_survive_the_way_to_a_worker():
    assert Rate.parse("5/10m") == Rate(5, 600.0)
    assert Rate.parse("off") is None
    settings = Settings(places=Places(database="x"), lockout=None, rate=Rate(1, 2.0))
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("host", ["::", "192.168.1.2", "example.org"])
def test_only_loopback_is_taken_unasked(host: str):
    with pytest.raises(SettingsWrong) as told:
        require_address(host, False)
    assert "--allow-remote" in str(told.value)
    require_address(host, True)
    require_address("127.0.0.1", False)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--report", "nowhere.html"), "nowhere.html is no file"),
        (("--pad-gate", "recapture"), "--pad observe"),
        (("--pad", "observe", "--pad-gate", "none"), "no gate 'none'"),
        (("--tls-cert", "cert.pem"), "come together"),
    ],
)
def test_a_server_does_not_start_with_what_is_not_there(
    options: tuple[str, ...], wanted: str, tmp_path: Path
):
    done = CliRunner().invoke(serve, [*options, "--database", str(tmp_path / "g.sqlite3")])
    assert done.exit_code != 0
    assert wanted in f"{done.output} {done.exception}"


def test_a_bucket_lets_so_many_through_and_says_when_to_come_back():
    buckets = Buckets(Rate(3, 60.0))
    assert [buckets.wait("a") for _ in range(3)] == [0.0] * 3
    assert 19.0 < buckets.wait("a") <= 20.0
    assert buckets.wait("b") == 0.0


def test_a_gate_counts_requests_and_bytes():
    gate = Gate(1, 100)
    with gate.entered():
        gate.hold(60)
        with pytest.raises(TooMany) as full, gate.entered():
            pass
        with pytest.raises(TooMany):
            gate.hold(41)
        gate.release(60)
    assert (full.value.code, full.value.headers["Retry-After"]) == ("overloaded", "1")
    assert (gate.inside, gate.bytes) == (0, 0)


def test_work_that_comes_together_is_done_together():
    sizes, begin = [], threading.Event()

    def work(pieces):
        begin.wait(10)
        sizes.append(len(pieces))
        return [ValueError("odd") if piece % 2 else piece * 10 for piece in pieces]

    batcher = Batcher(work, "test")
    batcher.start()
    first = batcher.submit(0)
    time.sleep(0.1)
    others = [batcher.submit(number) for number in range(1, 20)]
    begin.set()
    assert first.result(10) == 0
    for number, future in enumerate(others, 1):
        if number % 2:
            with pytest.raises(ValueError, match="odd"):
                future.result(10)
        else:
            assert future.result(10) == number * 10
    batcher.close()
    assert sizes == [1, 19]


def test_work_that_fails_is_told_to_all_who_wait():
    def work(pieces):
        raise KeyError(len(pieces))

    batcher = Batcher(work, "test")
    batcher.start()
    futures = [batcher.submit(number) for number in range(3)]
    assert {type(future.exception(10)) for future in futures} == {KeyError}
    batcher.close()


def test_a_flood_of_refusals_is_a_handful_of_rows(tmp_path: Path):
    with Parts(Places(database=str(tmp_path / "g.sqlite3"))) as parts:
        refusals = Refusals(parts.store)
        for number in range(20_000):
            refusals.count(Kind("wrong_key", 401, address=f"10.0.{number // 250}.{number % 250}"))
            if number % 1000 == 0:
                refusals.write()
        refusals.write(everything=True)
        with parts.store.read() as session:
            rows = session.query(Event).filter_by(action="request_refused").all()
            assert verify_log(session).whole
    import json

    assert len(rows) <= ROWS + 1
    assert sum(json.loads(row.details)["count"] for row in rows) == 20_000
    assert all("10.0" not in row.details for row in rows)  # an address is private


@pytest.mark.parametrize("name", ["/a.jpg", "../a.jpg", "a/../../b.jpg", "C:\\a.jpg", "a\0.jpg"])
def test_a_path_out_of_the_archive_is_refused(name: str):
    with pytest.raises(BodyUnusable) as told:
        safe_path(name)
    assert (told.value.status, told.value.code) == (422, "unsafe_path")


def test_what_an_archive_says_of_its_sizes_is_not_believed(tmp_path: Path):
    """64 MiB and a byte of zeros that are told to be ten bytes."""
    archive, inside = tmp_path / "a.zip", tmp_path / "inside"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("Ann/1.jpg", bytes(LARGEST_FILE + 1))
    whole = archive.read_bytes()
    told = struct.pack("<I", LARGEST_FILE + 1)
    assert whole.count(told) == 2  # before the file and in the table of contents
    archive.write_bytes(whole.replace(told, struct.pack("<I", 10)))
    examine(archive)
    with pytest.raises(BodyUnusable) as broken:
        unpack(archive, inside)
    assert broken.value.code == "broken_archive"
    assert sum(file.stat().st_size for file in inside.rglob("*.jpg")) <= 10


@pytest.mark.parametrize("large", [False, True])
def test_a_table_of_contents_that_would_fill_the_memory_is_not_read(tmp_path: Path, large: bool):
    """The records of the end of a zip whose table of contents has 1 GiB, which is not there."""
    size, tables = 1 << 30, b""
    if large:
        tables = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, size, 0)
        tables += struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
        size = 0xFFFFFFFF
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 9, 9, size, 0, 0)
    archive = tmp_path / "a.zip"
    archive.write_bytes(tables + end)
    with pytest.raises(BodyTooLarge) as told:
        examine(archive)
    assert told.value.status == 413


def test_only_photos_are_unpacked(tmp_path: Path):
    archive, inside = tmp_path / "a.zip", tmp_path / "inside"
    link = zipfile.ZipInfo("Ann/link.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr(link, "/etc/passwd")
        for name in ("Ann/1.jpg", "Ann/notes.txt", "__MACOSX/2.jpg", ".hidden/3.jpg"):
            written.writestr(name, b"x")
    assert unpack(archive, inside) == 1
    assert [str(file.relative_to(inside)) for file in inside.rglob("*.*")] == ["Ann/1.jpg"]


def test_a_path_inside_stays():
    assert str(safe_path("Ann Lee\\1.jpg")) == "Ann Lee/1.jpg"


def test_an_unknown_field_is_an_error_and_not_ignored():
    with pytest.raises(BodyUnusable) as told:
        Form({"frm": ["0.1"]}).only("fmr", "image")
    assert "'frm'" in str(told.value)
