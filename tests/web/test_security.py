"""What must be refused is refused with the right code, and is in the log of events."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from store.keys import add_key
from verify.opening import Parts, Places
from web.tokens import new_key, parse_key, seal_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Served

CODE = "import vultus; vultus.main()"
BOMB_SIDE = 60_000


def code(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()
    assert set(told) == {"error", "request_id"}
    assert answer.headers["x-request-id"] == told["request_id"]
    return answer.status_code, told["error"]["code"]


@pytest.fixture(scope="module")
def server(
    gallery: Callable[[Path], Path],
    launch: Callable[..., Served],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """A server of its own: the refusals of other tests would use up what the log takes a minute."""
    place = tmp_path_factory.mktemp("guarded")
    served = launch(gallery(place), place / "server.log", "--failures", "400/1m")
    yield served
    served.stop()


def logged(
    server: Served, answer: tuple[int, str], route: str | None = None, key: str | None = None
) -> dict[str, Any]:
    """The row of the log about a refusal, waiting for the second it may take.

    Args:
        server: whose log.
        answer: status and code that were told.
        route: that was asked; None: any.
        key: that asked, or its name; None: any or none.
    """
    wanted: dict[str, Any] = {"status": answer[0], "reason": answer[1]}
    wanted |= {} if route is None else {"route": route}
    wanted |= {} if key is None else {"key": server.keys.get(key, key).split("_")[1]}
    rows: list[dict[str, Any]] = []
    end = time.monotonic() + 10
    with server.client() as http:
        while time.monotonic() < end:
            params = {"action": "request_refused", "limit": 200}
            rows = http.get("/v1/audit", params=params).json()["items"]
            for row in rows:
                if wanted.items() <= row["details"].items():
                    return dict(row)
            time.sleep(0.2)
    pytest.fail(f"{wanted} is not in the log: {[row['details'] for row in rows]}")


@pytest.mark.parametrize("path", ["/v1/people", "/metrics", "/openapi.json", "/v1/nothing"])
def test_without_a_key_nothing_is_told(server: Served, path: str):
    answer = httpx.get(server.url + path)
    assert code(answer) == (401, "no_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert logged(server, (401, "no_key"))["private"] == {"address": "127.0.0.1"}


@pytest.mark.parametrize(
    ("key", "wanted"), [("revoked", "key_revoked"), ("expired", "key_expired")]
)
def test_a_key_that_ended_holds_no_longer(server: Served, key: str, wanted: str):
    with server.client(key) as http:
        assert code(http.get("/v1/people")) == (401, wanted)
    assert logged(server, (401, wanted), key=key)["details"]["count"] >= 1


@pytest.mark.parametrize(
    ("key", "method", "path"),
    [
        ("verify", "POST", "/v1/identify"),
        ("verify", "POST", "/v1/people"),
        ("identify", "GET", "/v1/people"),
        ("enrol", "DELETE", "/v1/people/0123456789abcdef0123456789abcdef"),
        ("enrol", "GET", "/v1/audit"),
        ("verify", "GET", "/metrics"),
    ],
)
def test_a_key_without_the_scope_is_refused(server: Served, key: str, method: str, path: str):
    with server.client(key) as http:
        assert code(http.request(method, path)) == (403, "scope")
    assert logged(server, (403, "scope"), key=key)["details"]["count"] >= 1


def test_a_person_of_another_site_is_as_unknown_as_nobody(
    server: Served, album: dict[str, list[Path]]
):
    name = next(iter(album))
    uid = server.uid(name)
    with server.client("north") as http:
        assert http.get("/v1/people").json() == {"items": [], "next": None}
        nobody = http.get("/v1/people/" + "0" * 32)
        answers = [
            http.get(f"/v1/people/{uid}"),
            http.post(f"/v1/people/{uid}/verify", files={"image": album[name][4].read_bytes()}),
            http.patch(f"/v1/people/{uid}", json={"name": "Mine"}),
            http.post(f"/v1/people/{uid}/templates", files={"image": b"x"}),
        ]
        assert {code(answer) for answer in (nobody, *answers)} == {(404, "unknown_person")}
        enrolled = http.post("/v1/people", data={"name": "A"}, files={"image": b"x"})
        assert code(enrolled) == (403, "site")
    for route in ("/v1/people/{uid}", "/v1/people/{uid}/verify", "/v1/people/{uid}/templates"):
        assert logged(server, (404, "unknown_person"), route, "north")
    assert logged(server, (403, "site"), "/v1/people", "north")


def test_a_revoked_key_ends_within_two_seconds(server: Served, environment: dict[str, str]):
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "keys", *arguments, "--database", str(server.database)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    key = make_key(server.database, "short-lived")
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}) as http:
        first = http.get("/v1/people")
        assert first.status_code == 200, first.text
        assert http.get("/v1/people").status_code == 200  # from memory
        run("revoke", "short-lived")
        time.sleep(1.1)
        assert code(http.get("/v1/people")) == (401, "key_revoked")
    assert logged(server, (401, "key_revoked"), key=key)
    assert key.split("_", 2)[2] not in run("list", "--format", "json")


def test_an_upload_that_is_too_large_is_not_read(server: Served):
    with server.client() as http:
        answer = http.post("/v1/detect", files={"image": b"x" * (17 << 20)})
        assert code(answer) == (413, "too_large")

        def endless():
            yield b"x" * (1 << 20)
            for _ in range(40):
                yield b"x" * (1 << 20)

        try:  # the server may close before the last byte was sent
            chunked = http.post(
                "/v1/detect", content=endless(),
                headers={"Content-Type": "multipart/form-data; boundary=b"},
            )  # fmt: skip
            assert code(chunked) == (413, "too_large")
        except httpx.WriteError:
            pass
    assert logged(server, (413, "too_large"), key="admin")


def bomb() -> bytes:
    """A PNG of 60,000 × 60,000 pixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(BOMB_SIDE // 8 + 1) * 300, 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    )


def test_a_decompression_bomb_is_refused_by_its_header(server: Served):
    with server.client() as http:
        assert code(http.post("/v1/identify", files={"image": bomb()})) == (413, "too_large")
        again = {"first": bomb(), "second": bomb()}
        assert code(http.post("/v1/compare", files=again)) == (413, "too_large")
    for route in ("/v1/identify", "/v1/compare"):
        assert logged(server, (413, "too_large"), route, "admin")


@pytest.mark.parametrize(
    "value",
    ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x.jpg", "../../gallery.sqlite3", "0"],
)
def test_a_path_or_url_is_no_picture(server: Served, value: str):
    with server.client() as http:
        assert code(http.post("/v1/detect", json={"image": value}))[0] == 422
        field = http.post("/v1/detect", files={"image": (None, value)})
        assert code(field) == (422, "not_an_image")
        named = http.post("/v1/detect", files={"image": (value, b"text")})
        assert code(named) == (422, "not_an_image")
        crop = http.get(f"/v1/templates/{base64.b16encode(value.encode()).decode()}/crop")
        assert code(crop) == (404, "unknown_template")
    assert logged(server, (422, "not_an_image"), "/v1/detect", "admin")
    assert logged(server, (404, "unknown_template"), "/v1/templates/{uid}/crop", "admin")


def test_a_path_or_url_in_base64s_place_is_in_the_log(server: Served):
    with server.client() as http:
        told = code(http.post("/v1/compare", json={"first": "file:///etc/passwd", "second": "/"}))
    assert told == (422, "no_base64")
    assert logged(server, told, "/v1/compare", "admin")


def test_the_page_needs_its_token_for_every_change(server: Served, album: dict[str, list[Path]]):
    with httpx.Client(base_url=server.url) as http:
        wrong = http.post("/v1/session", json={"key": "vk_nonsense"})
        assert code(wrong) in {(401, "wrong_key"), (429, "too_many_failures")}
        signed = http.post("/v1/session", json={"key": server.keys["admin"]})
        if signed.status_code == 429:
            pytest.fail("guesses of another test block this one")
        cookie = signed.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
        token = signed.json()["csrf"]
        assert http.get("/v1/people").status_code == 200  # by the cookie alone
        uid = server.uid(next(iter(album)))
        body = {"files": {"image": next(iter(album.values()))[4].read_bytes()}}
        path = f"/v1/people/{uid}/verify"
        assert code(http.post(path, **body)) == (403, "csrf")
        assert code(http.post(path, headers={"X-CSRF-Token": token[::-1]}, **body)) == (403, "csrf")
        forged = {"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}
        assert code(http.post(path, headers=forged, **body)) == (403, "cross_site")
        assert http.post(path, headers={"X-CSRF-Token": token}, **body).status_code == 200
        assert http.delete("/v1/session", headers={"X-CSRF-Token": token}).status_code == 204
        assert code(http.get("/v1/people")) == (401, "no_key")
    for refusal in ("csrf", "cross_site"):
        assert logged(server, (403, refusal), key="admin")


def test_another_site_cannot_sign_somebody_in(server: Served):
    told = httpx.post(
        f"{server.url}/v1/session", json={"key": server.keys["verify"]},
        headers={"Sec-Fetch-Site": "cross-site"},
    )  # fmt: skip
    assert code(told) == (403, "cross_site")
    assert "set-cookie" not in told.headers
    assert logged(server, (403, "cross_site"))


def test_a_signed_out_cookie_holds_no_longer(server: Served):
    with httpx.Client(base_url=server.url) as http:
        token = http.post("/v1/session", json={"key": server.keys["verify"]}).json()["csrf"]
        cookie = http.cookies["vultus_session"]
        http.delete("/v1/session", headers={"X-CSRF-Token": token})
        old = httpx.get(f"{server.url}/v1/people", cookies={"vultus_session": cookie})
        assert code(old) == (401, "session_expired")
    assert logged(server, (401, "session_expired"))
    with server.client() as admin:
        for action in ("signed_in", "signed_out"):
            rows = admin.get("/v1/audit", params={"action": action}).json()["items"]
            assert "key:verify" in {row["actor"] for row in rows}


def test_an_idempotency_key_is_no_way_around(server: Served, album: dict[str, list[Path]]):
    files = list(album.values())[8]
    with server.client() as http:

        def enrol(name: str, file: Path) -> httpx.Response:
            return http.post(
                "/v1/people", data={"name": name}, files={"image": file.read_bytes()},
                headers={"Idempotency-Key": "replayed-1"},
            )  # fmt: skip

        first = enrol("Replayed", files[0])
        assert first.status_code == 201
        same = enrol("Replayed", files[0])
        assert (same.status_code, same.json()) == (201, first.json())
        assert same.headers["idempotent-replayed"] == "true"
        for other in (enrol("Somebody Else", files[0]), enrol("Replayed", files[1])):
            assert code(other) == (409, "idempotency_mismatch")
        assert http.get("/v1/people", params={"q": "Somebody Else"}).json()["items"] == []
    assert logged(server, (409, "idempotency_mismatch"), "/v1/people", "admin")


def test_a_person_who_is_tried_too_often_is_locked_and_the_log_says_whom(
    server: Served, album: dict[str, list[Path]], strangers: list[Path]
):
    uid = server.uid(list(album)[3])
    told = []
    with server.client("verify") as http:
        for _ in range(6):
            body = {"image": strangers[0].read_bytes()}
            answer = http.post(f"/v1/people/{uid}/verify", files=body)
            told.append(answer.status_code)
    assert told == [200] * 5 + [423]
    assert code(answer) == (423, "locked_out")
    assert int(answer.headers["retry-after"]) > 0
    row = logged(server, (423, "locked_out"), "/v1/people/{uid}/verify", "verify")
    assert row["subject"] == uid


def test_every_answer_forbids_scripts_from_elsewhere(server: Served):
    for answer in (httpx.get(f"{server.url}/health/live"), httpx.get(f"{server.url}/v1/people")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_log_names_nobody(server: Served, album: dict[str, list[Path]]):
    name = next(iter(album))
    with server.client() as http:
        http.get("/v1/people", params={"q": name})
        http.get("/v1/people/" + server.uid(name))
    written = server.log.read_text()
    assert '"route": "/v1/people/{uid}"' in written
    assert all(word not in written for word in name.split())
    assert all(key.split("_", 2)[2] not in written for key in server.keys.values())


def test_another_address_needs_to_be_asked_for(environment: dict[str, str], tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, "serve", "--host", "192.0.2.1", "--database",
         str(tmp_path / "g.sqlite3")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "--allow-remote" in done.stderr


def test_the_chain_is_whole_after_all_this(server: Served):
    with server.client() as http:
        found = http.get("/v1/audit/verify").json()
    assert found["whole"] is True
    assert found["length"] > 0


def packed(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("archive", "wanted"),
    [
        (packed(**{"../../evil.jpg": b"x"}), (422, "unsafe_path")),
        (packed(**{"Ann/1.jpg": b"x", "/tmp/evil.txt": b"x"}), (422, "unsafe_path")),  # noqa: S108 - refused
        (packed(**{"Ann/1.jpg": bytes(65 << 20)}), (413, "too_large")),  # 64 KiB of zip
        (b"no zip at all", (422, "broken_archive")),
        (packed(**{"readme.txt": b"x"}), (422, "number_of_photos")),
    ],
    ids=["outside", "absolute", "bomb", "no-zip", "no-photo"],
)
def test_an_archive_that_could_do_harm_is_refused_at_once(
    server: Served, archive: bytes, wanted: tuple[int, str]
):
    with server.client() as http:
        asked = http.post(
            "/v1/jobs", params={"kind": "enrol_zip"}, content=archive,
            headers={"Content-Type": "application/zip"},
        )  # fmt: skip
        assert code(asked) == wanted
        assert http.get("/v1/jobs").json()["items"] == []
    assert logged(server, wanted, "/v1/jobs", "admin")
    assert not list(server.database.parent.parent.rglob("evil*"))
    assert not list(server.database.with_suffix(".jobs").glob("*"))


def test_a_job_that_fails_is_in_the_log(server: Served):
    """A photo whose bytes are not those that were packed: seen only while it is unpacked."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("Ann/1.jpg", b"the bytes")
    broken = data.getvalue().replace(b"the bytes", b"THE BYTES")
    with server.client() as http:
        asked = http.post(
            "/v1/jobs", params={"kind": "enrol_zip"}, content=broken,
            headers={"Content-Type": "application/zip"},
        )  # fmt: skip
        assert asked.status_code == 202
        uid, state = asked.json()["uid"], "waiting"
        while state in ("waiting", "running"):
            time.sleep(0.1)
            job = http.get(f"/v1/jobs/{uid}").json()
            state = job["state"]
        assert (state, job["error"]["code"]) == ("failed", "broken_archive")
        row = http.get("/v1/audit", params={"action": "job_failed"}).json()["items"][0]
    assert (row["subject"], row["actor"]) == (uid, "key:admin")
    assert row["details"] == {"kind": "enrol_zip", "code": "broken_archive"}


def test_a_site_that_is_none_is_refused_before_the_work_begins(server: Served):
    with server.client() as http:
        told = code(http.post("/v1/jobs", params={"kind": "purge", "site": "a\0b"}))
        assert told == (422, "invalid_name")
    assert logged(server, told, "/v1/jobs", "admin")


def test_a_thousand_guesses(server: Served):
    real = server.keys["verify"]
    uid = real.split("_")[1]
    told = set()
    with httpx.Client(base_url=server.url) as http:
        for number in range(1000):
            guess = f"vk_{uid if number % 100 == 0 else f'{number:012x}'}_{number:043d}"
            answer = http.get("/v1/people", headers={"Authorization": f"Bearer {guess}"})
            told.add(code(answer))
    assert told == {(401, "wrong_key"), (429, "too_many_failures")}
    with server.client("verify") as http:
        assert http.get("/v1/people").status_code == 200  # the real one still holds
    fresh = make_key(server.database, "behind-the-same-router")
    with httpx.Client(base_url=server.url) as http:  # from the address that guesses
        guess = {"Authorization": f"Bearer {new_key()[1]}"}
        told = {code(http.get("/v1/people", headers=guess)) for _ in range(100)}
        assert (429, "too_many_failures") in told
        assert http.post("/v1/session", json={"key": fresh}).status_code == 201
        right = {"Authorization": f"Bearer {fresh}"}
        assert httpx.get(f"{server.url}/v1/people", headers=right).status_code == 200
    for told in ((401, "wrong_key"), (429, "too_many_failures")):
        assert logged(server, told)["private"] == {"address": "127.0.0.1"}


def make_key(database: Path, name: str) -> str:
    uid, key = new_key()
    secret = parse_key(key)
    assert secret is not None
    with Parts(Places(database=str(database))) as parts, parts.store.begin() as session:
        add_key(session, uid, name, seal_secret(secret[1]), ["verify"])
    return key
