"""The routes, asked of a real server."""

from __future__ import annotations

import base64
import signal
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vultus import Client
from web.errors import ClientError

if TYPE_CHECKING:
    from .conftest import Served


@pytest.fixture
def client(server: Served):
    with Client(server.url, server.keys["admin"]) as opened:
        yield opened


def test_a_person_is_verified_and_a_stranger_is_not(
    server: Served, client: Client, album: dict[str, list[Path]], strangers: list[Path]
):
    name = list(album)[1]
    uid = server.uid(name)
    yes = client.verify(uid, album[name][4])
    assert (yes.answer, yes.verified, yes.person) == ("yes", True, name)
    assert yes.similarity >= yes.threshold
    no = client.verify(uid, strangers[0])
    assert (no.answer, no.verified) == ("no", False)
    rows = client.get("/v1/decisions", limit=2)["items"]
    assert [row["answer"] for row in rows] == ["no", "yes"]
    assert {row["person"] for row in rows} == {uid}
    assert {row["actor"] for row in rows} == {"key:admin"}


def test_frames_of_one_capture_are_fused(
    server: Served, client: Client, album: dict[str, list[Path]]
):
    name = list(album)[1]
    found = client.verify(server.uid(name), *album[name][3:6], fmr=1e-3)
    assert found.answer == "yes"


def test_base64_in_json_gives_the_same_answer(
    server: Served, client: Client, album: dict[str, list[Path]]
):
    name = list(album)[1]
    uid, picture = server.uid(name), album[name][4]
    data = base64.b64encode(picture.read_bytes()).decode()
    with server.client() as http:
        plain = http.post(f"/v1/people/{uid}/verify", json={"image": data}).json()
    assert plain["similarity"] == pytest.approx(client.verify(uid, picture).similarity, abs=1e-6)


def test_who_is_it(server: Served, client: Client, album: dict[str, list[Path]],
                   strangers: list[Path]):  # fmt: skip
    name = list(album)[2]
    found = client.identify(album[name][4])
    assert (found.answer, found.faces[0].person) == ("yes", name)
    assert found.faces[0].candidates[0].uid == server.uid(name)
    assert client.identify(strangers[0]).answer == "no"


def test_two_pictures_are_compared(client: Client, album: dict[str, list[Path]],
                                   strangers: list[Path]):  # fmt: skip
    files = next(iter(album.values()))
    assert client.compare(files[0], files[1]).answer == "yes"
    assert client.compare(files[0], strangers[0]).answer == "no"


def test_a_live_picture_says_what_to_do(client: Client, album: dict[str, list[Path]]):
    found = client.detect(next(iter(album.values()))[0])
    assert found["guidance"] in ("ok", "hold_still", "turn_to_light", "look_ahead")
    assert len(found["faces"]) == 1
    assert len(found["faces"][0]["points"]) == 5


def test_enrol_rename_merge_split_undo_and_forget(
    client: Client, server: Served, album: dict[str, list[Path]]
):
    fifth, sixth = list(album.values())[4:6]
    one = client.enrol("Fifth", *fifth[:2])
    assert [outcome.status for outcome in one.outcomes] == ["enrolled", "enrolled"]
    other = client.enrol("Fifth again", fifth[2], allow_lookalikes=True)
    uid = one.person.uid
    assert client.merge(other.person.uid, uid).templates == 3
    assert client.rename(uid, "The Fifth").name == "The Fifth"
    assert client.verify(uid, fifth[4]).person == "The Fifth"
    added = client.add_pictures(uid, fifth[0], sixth[0])
    assert [outcome.status for outcome in added.outcomes] == ["unchanged", "enrolled"]
    with server.client() as http:
        templates = http.get(f"/v1/people/{uid}/templates").json()["items"]
        assert len(templates) == 4
        crop = http.get(templates[0]["crop"])
        assert crop.headers["content-type"] == "image/jpeg"
        assert crop.headers["cache-control"] == "private, no-cache"
        kept = {"If-None-Match": crop.headers["etag"]}
        again = http.get(templates[0]["crop"], headers=kept)
        assert (again.status_code, again.content) == (304, b"")
        assert crop.content[:2] == b"\xff\xd8"
        wrong = {"templates": [templates[-1]["uid"]], "name": "The Sixth"}
        done = http.post(f"/v1/people/{uid}/split", json=wrong).json()
        assert done["kind"] == "split"
        sixth_uid = next(p.uid for p in client.people("The Sixth"))
        undone = http.post("/v1/undo", json={"operation": done["operation"]})
        assert undone.status_code == 200
        assert http.get(f"/v1/people/{sixth_uid}").status_code == 404
        assert http.delete(f"/v1/templates/{templates[-1]['uid']}").status_code == 204
    assert client.person(uid).templates == 3
    client.forget(uid)
    with server.client() as http:  # what a browser kept must not be shown again
        assert http.get(templates[0]["crop"], headers=kept).status_code == 404
    with pytest.raises(ClientError) as gone:
        client.person(uid)
    assert (gone.value.status, gone.value.code) == (404, "unknown_person")
    assert [p.name for p in client.people("Fifth")] == []


def test_a_photo_that_is_said_not_to_be_somebody(
    client: Client, server: Served, album: dict[str, list[Path]]
):
    files = list(album.values())[7]
    uid = client.enrol("Seventh", *files[:2], allow_lookalikes=True).person.uid
    assert client.verify(uid, files[0]).answer == "yes"
    with server.client() as http:
        listed = http.get(f"/v1/people/{uid}/templates").json()["items"]
        digest = sha256(files[0].read_bytes()).hexdigest()
        wrong = next(one["uid"] for one in listed if one["photo"] == digest)
        assert http.post(f"/v1/faces/{wrong}/not", json={"person": uid}).status_code == 200
    refused = client.verify(uid, files[0])
    assert refused.answer == "no"
    assert any(reason.startswith("not_this_person") for reason in refused.reasons)
    assert client.verify(uid, files[2]).answer == "yes"
    candidates = client.identify(files[0]).faces[0].candidates
    assert uid not in [candidate.uid for candidate in candidates]
    client.forget(uid)


def test_a_request_with_an_idempotency_key_is_done_once(
    server: Served, client: Client, album: dict[str, list[Path]]
):
    picture = list(album.values())[6][0]
    first = client.enrol("Once", picture, idempotency_key="k-1")
    assert client.enrol("Once", picture, idempotency_key="k-1") == first
    with pytest.raises(ClientError) as refused:
        client.enrol("Another", picture, idempotency_key="k-1")
    assert (refused.value.status, refused.value.code) == (409, "idempotency_mismatch")
    with pytest.raises(ClientError) as taken:
        client.enrol("Once", picture)
    assert taken.value.code == "person_exists"

    def send(_: int) -> str:
        with Client(server.url, server.keys["admin"]) as own:
            for _try in range(100):
                try:
                    return own.enrol("At once", idempotency_key="k-2").person.uid
                except ClientError as error:
                    if error.code != "in_progress":
                        raise
                    time.sleep(0.05)
        raise AssertionError("it never ended")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(send, range(4)))) == 1


def test_nobody_is_added_where_no_picture_can_be_used(client: Client, tmp_path: Path):
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    with pytest.raises(ClientError) as refused:
        client.enrol("Nobody", text)
    assert (refused.value.status, refused.value.code) == (422, "not_an_image")
    assert refused.value.details["outcomes"][0]["reason"] == "not_an_image"
    assert list(client.people("Nobody")) == []


def test_pages_of_people_hold_everybody_once(server: Served, client: Client):
    with server.client() as http:
        names, cursor = [], None
        while True:
            params = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
            page = http.get("/v1/people", params=params).json()
            names += [row["name"] for row in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
    assert names == [person.name for person in client.people()]
    assert len(names) >= 4


def test_five_failed_attempts_lock_a_person(
    client: Client, album: dict[str, list[Path]], strangers: list[Path]
):
    files = list(album.values())[7]
    uid = client.enrol("Locked", files[0]).person.uid

    def attempt(_: int) -> str:
        try:
            return client.verify(uid, strangers[0]).answer
        except ClientError as error:
            return error.code if error.retry_after else "no retry_after"

    with ThreadPoolExecutor(8) as pool:  # at once: the count is exact all the same
        told = sorted(pool.map(attempt, range(12)))
    assert told == ["locked_out"] * 7 + ["no"] * 5
    with pytest.raises(ClientError) as locked:
        client.verify(uid, files[1])
    assert (locked.value.status, locked.value.code) == (423, "locked_out")


def test_a_template_removed_elsewhere_counts_at_once(
    server: Served, client: Client, album: dict[str, list[Path]]
):
    from store.people import find_person
    from store.templates import remove_templates, vectors_of
    from verify.opening import Parts, Places

    files = list(album.values())[8]
    uid = client.enrol("Watched", files[0]).person.uid
    assert client.verify(uid, files[1]).answer == "yes"
    with Parts(Places(database=str(server.database))) as parts, parts.store.begin() as session:
        person = find_person(session, uid)
        remove_templates(session, vectors_of(session, person.id, parts.card.space)[0].tolist())
    with pytest.raises(ClientError) as refused:
        client.verify(uid, files[1])
    assert refused.value.code == "no_templates"


def test_what_is_on_record_can_be_read(client: Client):
    assert client.get("/v1/calibrations")["items"][-1]["active"] is True
    assert {"gate", "hall", "border"} <= {p["name"] for p in client.get("/v1/profiles")["items"]}
    held = client.get("/v1/insight/gallery")
    assert held["people"] >= 4
    points = client.get("/v1/insight/map")["points"]
    assert points
    assert all(-1 <= point["x"] <= 1 for point in points)
    scores = client.get("/v1/insight/scores")
    assert sum(scores["yes"]) + sum(scores["no"]) > 0
    report = client.get("/v1/insight/evaluation")
    assert (report["people"], report["report"]) == (447, None)
    assert [chart["title"] for chart in report["charts"]][:2] == ["ROC", "DET"]
    with pytest.raises(ClientError) as none:
        client.get("/v1/insight/report")
    assert none.value.status == 404
    assert client.get("/v1/audit", action="decided", limit=1)["items"][0]["actor"] == "key:admin"


def test_figures_are_told_to_those_who_may_know(server: Served):
    with server.client() as http:
        text = http.get("/metrics").text
    assert 'vultus_requests_total{method="GET",route="/v1/people",status="200"}' in text
    assert "vultus_encoder_batch_faces_bucket" in text


def test_errors_have_one_form(server: Served):
    with server.client() as http:
        answers = [
            http.get("/v1/nothing"),
            http.put("/v1/people"),
            http.patch("/v1/people/" + "0" * 32, content=b"{",
                       headers={"Content-Type": "application/json"}),
            http.get("/v1/people", params={"limit": 0}),
            http.post("/v1/detect", content=b"x", headers={"Content-Type": "text/plain"}),
            http.get("/v1/people", params={"cursor": "nonsense"}),
        ]  # fmt: skip
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [
        (404, "not_found"), (405, "method_not_allowed"), (400, "invalid_json"),
        (422, "invalid_request"), (415, "unsupported_media_type"), (422, "bad_cursor"),
    ]  # fmt: skip


def test_a_job_survives_the_death_of_its_server(
    gallery, launch, tmp_path: Path, album: dict[str, list[Path]]
):
    database = gallery(tmp_path)
    archive = tmp_path / "people.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for name, files in list(album.items())[4:9]:
            for file in files[:4]:
                written.write(file, f"{name}/{file.name}")
    first = launch(database, tmp_path / "one.log")
    with Client(first.url, first.keys["admin"]) as client:
        job = client.start_job("enrol_zip", archive)
        while client.job(job.uid).state == "waiting":
            time.sleep(0.02)
    first.process.kill()
    first.process.wait()
    second = launch(database, tmp_path / "two.log", keys=first.keys)
    try:
        with Client(second.url, second.keys["admin"], timeout=60) as client:
            done = ended(client, job.uid)
            assert done.state == "done", done
            assert done.result["enrolled"] + done.result["unchanged"] == done.total == 20
            with second.client() as http:
                events = http.get(f"/v1/jobs/{job.uid}/events").text
            assert events.startswith("event: end\ndata: {")
            assert len(list(client.people())) == 9
    finally:
        assert second.stop() in (0, -signal.SIGTERM)
    assert not list(database.with_suffix(".jobs").glob("*"))


def ended(client: Client, uid: str):
    """A job once it is over."""
    end = time.monotonic() + 60
    while not client.job(uid).over and time.monotonic() < end:
        time.sleep(0.1)
    return client.job(uid)


def test_a_job_purges_and_one_prepares_a_migration(server: Served, client: Client):
    with server.client() as http:
        gone = {"name": "Long Gone", "expires": "2020-01-01"}
        uid = http.post("/v1/people", json=gone).json()["person"]["uid"]
        job = http.post("/v1/jobs", params={"kind": "purge", "site": "elsewhere"}).json()["uid"]
        assert ended(client, job).result["people"] == []  # that site has nobody
        job = http.post("/v1/jobs", params={"kind": "purge"}).json()["uid"]
        done = ended(client, job)
        assert (done.state, done.result["people"], done.result["pending"]) == ("done", [uid], "")
        assert http.get(f"/v1/people/{uid}").status_code == 404
        assert "Long Gone" not in http.get(f"/v1/jobs/{job}").text
        unknown = http.post("/v1/jobs", params={"kind": "migrate", "model": "nobody's"})
        assert 400 <= unknown.status_code < 500
        asked = http.post("/v1/jobs", params={"kind": "migrate", "model": "sface-mirror"})
        done = ended(client, asked.json()["uid"])
        assert done.state == "done", done
        assert done.result["encoded"] == done.total > 0
    with server.client("north") as http:
        refused = http.post("/v1/jobs", params={"kind": "purge", "site": "north"})
        assert refused.json()["error"]["code"] == "scope"


def test_clusters_are_corrected_and_undone(
    server: Served, client: Client, album: dict[str, list[Path]], tmp_path: Path
):
    archive = tmp_path / "library.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for number, files in enumerate(list(album.values())[-3:]):
            for file in files[-3:]:
                written.write(file, f"{number}-{file.name}")
    assert ended(client, client.start_job("cluster", archive).uid).state == "done"
    with server.client() as http:

        def sizes() -> list[int]:
            return sorted(one["size"] for one in http.get("/v1/clusters").json()["items"])

        before = sizes()
        first = http.get("/v1/clusters").json()["items"][0]
        number = first["number"]
        assert http.get(f"/v1/clusters/{number}").json() == first
        assert http.get("/v1/clusters/99999").json()["error"]["code"] == "unknown_cluster"
        faces = http.get(f"/v1/clusters/{number}/faces").json()["items"]
        one = {"templates": [faces[0]["template"]]}
        parted = http.post(f"/v1/clusters/{number}/split", json=one).json()
        assert sizes() == sorted([*before[:-1], before[-1] - 1, 1])
        moved = http.post("/v1/faces/move", json=one | {"to": number}).json()
        assert sizes() == before
        for done in (moved, parted):
            undone = http.post("/v1/undo", json={"operation": done["operation"]})
            assert undone.status_code == 200, undone.text
        assert sizes() == before
        numbers = [row["number"] for row in http.get("/v1/clusters").json()["items"][:2]]
        merged = http.post("/v1/clusters/merge", json={"numbers": numbers}).json()
        assert len(sizes()) == len(before) - 1
        http.post("/v1/undo", json={"operation": merged["operation"]})
        assert sizes() == before
        for hint in http.get("/v1/suggestions").json()["items"]:
            assert {side["size"] > 0 for side in hint["sides"]} == {True}
        nobody = http.post("/v1/suggestions/0123456789abcdef", json={"answer": "same"})
        assert 400 <= nobody.status_code < 500
