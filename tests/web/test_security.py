"""What must be refused is refused with the right code, and is in the log of events."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

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


def logged(server: Served, reason: str) -> int:
    """How many refusals of a reason the log holds, waiting for the second they may take."""
    end = time.monotonic() + 5
    count = 0
    while not count and time.monotonic() < end:
        with server.client() as http:
            params = {"action": "request_refused", "limit": 200}
            rows = http.get("/v1/audit", params=params).json()["items"]
        count = sum(row["details"]["count"] for row in rows if row["details"]["reason"] == reason)
        if not count:
            time.sleep(0.2)
    return count


@pytest.mark.parametrize("path", ["/v1/people", "/metrics", "/openapi.json", "/v1/nothing"])
def test_without_a_key_nothing_is_told(server: Served, path: str):
    answer = httpx.get(server.url + path)
    assert code(answer) == (401, "no_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert logged(server, "no_key") > 0


@pytest.mark.parametrize(
    ("key", "wanted"), [("revoked", "key_revoked"), ("expired", "key_expired")]
)
def test_a_key_that_ended_holds_no_longer(server: Served, key: str, wanted: str):
    with server.client(key) as http:
        assert code(http.get("/v1/people")) == (401, wanted)
    assert logged(server, wanted) > 0


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
    assert logged(server, "scope") > 0


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
    assert logged(server, "unknown_person") > 0


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
    assert logged(server, "too_large") > 0


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
        assert code(http.post("/v1/detect", files={"image": bomb()})) == (413, "too_large")


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
    assert logged(server, "no_base64") + logged(server, "not_an_image") > 0


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
    assert logged(server, "csrf") > 0


def test_a_signed_out_cookie_holds_no_longer(server: Served):
    with httpx.Client(base_url=server.url) as http:
        token = http.post("/v1/session", json={"key": server.keys["verify"]}).json()["csrf"]
        cookie = http.cookies["vultus_session"]
        http.delete("/v1/session", headers={"X-CSRF-Token": token})
        old = httpx.get(f"{server.url}/v1/people", cookies={"vultus_session": cookie})
        assert code(old) == (401, "session_expired")


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


def test_an_archive_cannot_write_outside(server: Served):
    import zipfile

    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("../../evil.jpg", b"x")
    with server.client() as http:
        asked = http.post(
            "/v1/jobs", params={"kind": "enrol_zip"}, content=data.getvalue(),
            headers={"Content-Type": "application/zip"},
        )  # fmt: skip
        assert asked.status_code == 202
        end = time.monotonic() + 20
        while time.monotonic() < end:
            job = http.get(f"/v1/jobs/{asked.json()['uid']}").json()
            if job["state"] in ("done", "failed"):
                break
            time.sleep(0.2)
    assert job["state"] == "failed"
    assert "outside" in job["error"]["message"]
    assert not list(server.database.parent.parent.rglob("evil.jpg"))


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
    assert logged(server, "wrong_key") >= 1
    assert logged(server, "too_many_failures") >= 1


def make_key(database: Path, name: str) -> str:
    uid, key = new_key()
    secret = parse_key(key)
    assert secret is not None
    with Parts(Places(database=str(database))) as parts, parts.store.begin() as session:
        add_key(session, uid, name, seal_secret(secret[1]), ["verify"])
    return key
