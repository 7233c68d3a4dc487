"""Servers as they are run in earnest: several workers behind TLS, PostgreSQL, a gate on top."""

from __future__ import annotations

import datetime as dt
import ipaddress
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enroll.folder import NamedPhoto, PeopleFolder
from enroll.person import enroll_people
from store.keys import add_key, revoke_key
from verify.opening import Parts, Places
from vultus import Client
from web.tokens import new_key, parse_key, seal_secret

if TYPE_CHECKING:
    from .conftest import Served

TRIES = 60  # connections until both workers must have answered


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    return chain, secret


@pytest.fixture(scope="module")
def wide(
    gallery: Callable[[Path], Path],
    launch: Callable[..., Served],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Two workers behind TLS that require a living person."""
    place = tmp_path_factory.mktemp("wide")
    chain, key = certificate(place)
    served = launch(
        gallery(place), place / "server.log", "--workers", "2", "--pad", "require",
        "--lockout", "off", "--tls-cert", str(chain), "--tls-key", str(key), certificate=chain,
    )  # fmt: skip
    yield served
    served.stop()


def worker_of(http: httpx.Client) -> str:
    """Which worker has this connection: its name is the beginning of a challenge."""
    found = http.post("/v1/challenge", json={}).raise_for_status().json()["id"]
    return str(found.partition(".")[0])


@contextmanager
def both(served: Served, key: str = "admin") -> Iterator[list[httpx.Client]]:
    """A connection with a key to each of two workers."""
    with ExitStack() as opened:
        found: dict[str, httpx.Client] = {}
        for _ in range(TRIES):
            http = opened.enter_context(served.client(key))
            found.setdefault(worker_of(http), http)
            if len(found) == 2:
                break
        else:
            pytest.fail(f"{TRIES} connections were all answered by one worker")
        yield list(found.values())


def test_tls_is_spoken_with_the_given_certificate(wide: Served):
    with wide.client() as http:
        signed = http.post("/v1/session", json={"key": wide.keys["verify"]})
        assert "secure" in signed.headers["set-cookie"].lower()
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{wide.url}/health/live")
    with Client(wide.url, wide.keys["admin"], verify_tls=str(wide.certificate)) as client:
        assert len(list(client.people())) >= 4
    plain = wide.url.replace("https", "http")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{plain}/health/live")


def test_a_key_that_is_revoked_ends_in_every_worker(wide: Served):
    uid, key = new_key()
    secret = parse_key(key)
    assert secret is not None
    place = Places(database=str(wide.database))
    with Parts(place) as parts, parts.store.begin() as session:
        add_key(session, uid, "for-a-moment", seal_secret(secret[1]), ["verify"])
    known = replace(wide, keys=wide.keys | {"for-a-moment": key})
    with both(known, "for-a-moment") as workers:
        assert [http.get("/v1/people").status_code for http in workers] == [200, 200]
        with Parts(place) as parts, parts.store.begin() as session:
            revoke_key(session, "for-a-moment")
        time.sleep(1.5)
        refused = [http.get("/v1/people") for http in workers]
    assert [one.status_code for one in refused] == [401, 401]
    assert {one.json()["error"]["code"] for one in refused} == {"key_revoked"}
    assert refusals(wide, "key_revoked", uid) == 2, "one row of each worker"


def refusals(served: Served, reason: str, key: str) -> int:
    """How many rows the log has about a key, waiting for the second that those may take."""
    time.sleep(1.5)
    with served.client() as http:
        params = {"action": "request_refused", "limit": 200}
        rows = http.get("/v1/audit", params=params).json()["items"]
    wanted = {"reason": reason, "key": key}
    return sum(wanted.items() <= row["details"].items() for row in rows)


def test_who_is_enrolled_by_one_worker_is_known_to_the_other_at_once(
    wide: Served, album: dict[str, list[Path]]
):
    files = list(album.values())[5]
    with both(wide) as (one, other):
        pictures = [("image", file.read_bytes()) for file in files[:2]]
        made = one.post("/v1/people", data={"name": "New Here"}, files=pictures)
        uid = made.raise_for_status().json()["person"]["uid"]
        body = {"image": files[4].read_bytes()}
        found = other.post("/v1/identify", files=body).json()
        assert [face["candidates"][0]["uid"] for face in found["faces"]] == [uid]
        seen = other.post(f"/v1/people/{uid}/verify", files=body).json()
        assert seen["similarity"] >= seen["threshold"]
        one.delete(f"/v1/people/{uid}").raise_for_status()
        gone = other.post(f"/v1/people/{uid}/verify", files=body)
        assert gone.json()["error"]["code"] == "unknown_person"
        found = other.post("/v1/identify", files=body).json()
        assert "New Here" not in str(found)


def test_a_gate_that_is_required_has_the_last_word(wide: Served, album: dict[str, list[Path]]):
    name = next(iter(album))
    uid = wide.uid(name)
    with wide.client() as http:
        for file in album[name][3:6]:
            body = {"image": file.read_bytes()}
            found = http.post(f"/v1/people/{uid}/verify", files=body).raise_for_status().json()
            outcome = found["pad"]["outcome"]
            assert outcome in ("bona_fide", "attack", "undecided")
            wanted = {"bona_fide": "yes", "attack": "no", "undecided": "unsure"}
            assert found["answer"] == wanted[outcome]
            row = http.get("/v1/decisions", params={"limit": 1}).json()["items"][0]
            assert row["answer"] == found["answer"]


def test_a_challenge_over_http(wide: Served, album: dict[str, list[Path]]):
    """Somebody else takes the first one's place in front of the camera, at whichever worker."""
    ann, bob = list(album)[:2]
    uid = wide.uid(ann)
    with both(wide) as (one, other):
        begun = one.post("/v1/challenge", json={"person": uid})
        assert begun.status_code == 201
        token, path = begun.json()["id"], f"/v1/challenge/{begun.json()['id']}/frames"
        assert begun.json()["instruction"] == "straight"
        unknown = one.post("/v1/challenge", json={"person": "0" * 32})
        assert unknown.json()["error"]["code"] == "unknown_person"
        with wide.client("verify") as stranger:
            theirs = stranger.post(path, files={"image": album[ann][0].read_bytes()})
            assert (theirs.status_code, theirs.json()["error"]["code"]) == (
                404, "unknown_challenge",
            )  # fmt: skip
        statuses = []
        for turn in range(20):
            file = album[ann if turn < 2 else bob][0]
            http = (one, other)[turn % 2]
            answer = http.post(path, files={"image": file.read_bytes()})
            statuses.append(answer.raise_for_status().json())
            if statuses[-1]["result"] is not None:
                break
        assert statuses[1]["step"] == 1  # two straight looks
        result = statuses[-1]["result"]
        assert result["outcome"] != "bona_fide"
        body = {"files": {"image": album[ann][4].read_bytes()}, "data": {"challenge": token}}
        over = other.post(path, files={"image": album[ann][0].read_bytes()})
        assert (over.status_code, over.json()["error"]["code"]) == (409, "challenge_over")
        found = other.post(f"/v1/people/{uid}/verify", **body).raise_for_status().json()
        assert found["verified"] is not True
        assert found["pad"]["outcome"] == result["outcome"]
        again = one.post(f"/v1/people/{uid}/verify", **body)
        assert (again.status_code, again.json()["error"]["code"]) == (403, "replayed")
        end = one.get("/v1/audit", params={"limit": 200}).json()["items"]
        while "replayed" not in str(end):
            time.sleep(0.2)
            end = one.get("/v1/audit", params={"limit": 200}).json()["items"]
        row = next(row for row in end if row["details"].get("reason") == "replayed")
        assert row["details"]["status"] == 403
        assert row["details"]["key"] == wide.keys["admin"].split("_")[1]


def test_postgresql_under_the_server(
    databases, launch: Callable[..., Served], album: dict[str, list[Path]], tmp_path: Path
):
    url = databases.make()
    name, files = next(iter(album.items()))
    with Parts(Places(database=url)) as parts:
        photos = tuple(NamedPhoto(file, name) for file in files[:2])
        list(enroll_people(parts, PeopleFolder(tmp_path, photos, "", 0)))
    served = launch(url, tmp_path / "server.log", "--pad", "observe", "--spool",
                    str(tmp_path / "spool"))  # fmt: skip
    try:
        with Client(served.url, served.keys["admin"]) as client:
            uid = next(iter(client.people(name))).uid
            found = client.verify(uid, files[4])
            assert (found.answer, found.pad["outcome"] != "not_run") == ("yes", True)
            assert client.identify(files[4]).faces[0].candidates[0].uid == uid
            assert client.get("/v1/audit/verify")["whole"] is True
            assert client.get("/v1/decisions", limit=1)["items"][0]["kind"] == "identify"
            client.forget(uid)
            assert list(client.people()) == []
    finally:
        served.stop()


def test_ssl_files_that_are_missing_are_named(
    environment: dict[str, str], tmp_path: Path, gallery: Callable[[Path], Path]
):
    done = subprocess.run(
        [sys.executable, "-c", "import vultus; vultus.main()", "serve", "--database",
         str(gallery(tmp_path)), "--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "nowhere.pem is no file" in done.stderr
