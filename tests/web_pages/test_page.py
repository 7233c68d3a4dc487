"""The page as people use it: one server, one Chromium, a camera that shows one of the enrolled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

axe = pytest.importorskip("axe_core_python")
pytest.importorskip("selenium")

from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402 - as below
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402 - needs selenium
from selenium.webdriver.common.keys import Keys  # noqa: E402 - needs selenium
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402 - needs selenium

from enroll.cluster import ClusterRules, cluster_library  # noqa: E402 - after the skips
from verify.opening import Parts, Places  # noqa: E402 - after the skips

from .conftest import ENROLLED, Served, film  # noqa: E402 - after the skips

RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(r => done(r.violations.map(v => [
  v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " | " + n.failureSummary)])));
"""
FOREIGN = """
return performance.getEntriesByType("resource").map(e => new URL(e.name)).filter(
  u => u.protocol !== "blob:" && u.origin !== location.origin).map(String);
"""


class Reader:
    """A person at a browser."""

    def __init__(self, driver: Any, served: Served) -> None:
        self.driver, self.served = driver, served

    def open(self, path: str) -> None:
        self.driver.get(self.served.url + path)

    def __getitem__(self, id_: str) -> Any:
        return self.driver.find_element("id", id_)

    def all(self, css: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", css))

    def wait(self, until: Any, seconds: float = 25) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException

        waiting = WebDriverWait(self.driver, seconds, 0.05,
                                ignored_exceptions=[StaleElementReferenceException])  # fmt: skip
        return waiting.until(lambda _: until())

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> Any:
        return self.driver.switch_to.active_element

    def sign_in(self, key: str = "admin") -> None:
        self.driver.delete_all_cookies()
        self.open("/signin")
        self["key"].send_keys(self.served.keys[key], Keys.ENTER)
        self.wait(lambda: "/signin" not in self.driver.current_url)

    def answer(self) -> str:
        self.wait(self["answer"].is_displayed)
        return str(self["answer"].get_attribute("data-answer"))

    def texts(self, css: str) -> list[str]:
        return [one.text for one in self.all(css)]


@pytest.fixture(scope="module")
def names(album: dict[str, list[Path]]) -> SimpleNamespace:
    """Whom the camera shows, another who is enrolled, one of the library alone, and nobody yet."""
    found = list(album)
    return SimpleNamespace(
        shown=found[0], other=found[1], library=found[ENROLLED], new=found[ENROLLED + 1]
    )


@pytest.fixture(scope="module")
def reader(
    served: Served, browse: Any, album: dict[str, list[Path]], names: SimpleNamespace,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Reader]:  # fmt: skip
    video = film(album[names.shown][4], tmp_path_factory.mktemp("film") / "camera.mjpeg")
    with browse(video, size="1280,2400") as driver:  # the whole library in sight
        reader = Reader(driver, served)
        reader.sign_in()
        yield reader


def test_signing_in_with_the_keyboard(reader: Reader):
    reader.open("/")
    assert reader.driver.current_url.endswith("/gate")
    reader.driver.delete_all_cookies()
    reader.open("/people")
    assert reader.driver.current_url.endswith("/signin")
    reader.press("vk_000000000000_nothing", Keys.ENTER)
    reader.wait(lambda: reader["problem"].text != "")
    assert reader["problem"].text == "This is no key of this server."
    reader.press(Keys.BACKSPACE, reader.served.keys["verify"], Keys.ENTER)
    reader.wait(lambda: reader.driver.current_url.endswith("/gate"))
    assert reader.texts(".bar nav a") == ["Gate", "People"]
    reader.open("/insight")
    assert reader.texts("h1") == ["Not with this key"]
    cookie = reader.driver.get_cookie("vultus_session")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    reader.sign_in()
    assert reader.texts(".bar nav a") == ["Gate", "People", "Identify", "Library", "Insight"]


def test_the_gate_knows_the_right_person(reader: Reader, names: SimpleNamespace):
    reader.open("/gate")
    reader.press(names.shown[:5])
    reader.wait(lambda: reader.all("#choices li"))
    assert reader["who"].get_attribute("aria-expanded") == "true"
    reader.press(Keys.ARROW_DOWN, Keys.ENTER)
    assert reader.answer() == "yes"
    assert reader["word"].text == "Yes"
    text = reader["answer"].text
    assert f"This is {names.shown}." in text
    assert "1 in 1,000" in text
    assert "No check against photos, screens or masks ran." in text
    assert reader.focused().get_attribute("id") == "answer"
    assert reader["live"].get_attribute("textContent") == "Yes"
    assert reader.all("#answer img") == [], "no site lets the gate show stored pictures"
    assert reader["video"].get_property("srcObject") is None
    with reader.served.client() as http:
        last = http.get("/v1/decisions").json()["items"][0]
    assert (last["kind"], last["answer"], last["actor"]) == ("verify", "yes", "key:admin")
    reader.press(Keys.TAB, Keys.ENTER)
    reader.wait(reader["ask"].is_displayed)
    assert reader.focused().get_attribute("id") == "who"


def test_the_gate_refuses_somebody_else(reader: Reader, names: SimpleNamespace):
    reader.open("/gate")
    reader.press("Nobody at all", Keys.ENTER)
    reader.wait(lambda: reader["who-problem"].text)
    assert "Nobody is enrolled" in reader["who-problem"].text
    with reader.served.client() as http:
        uid = http.get("/v1/people", params={"q": names.other}).json()["items"][0]["uid"]
    reader["who"].clear()
    reader["who"].send_keys(uid, Keys.ENTER)  # as a scanner types it
    assert reader.answer() == "no"
    assert f"This does not look like {names.other}." in reader["answer"].text


def test_a_picture_does_not_pass_the_head_turns(reader: Reader, names: SimpleNamespace):
    reader.open("/gate?challenge=1")
    assert reader["challenge"].is_selected()
    reader.press(names.shown, Keys.ENTER)
    reader.wait(lambda: "turn" in reader["guide"].text or "straight" in reader["guide"].text)
    assert reader.answer() == "no"
    assert "Nobody live was seen." in reader["answer"].text
    assert "This looks like a photo, screen or mask." in reader["answer"].text


def test_a_kiosk_reaches_nothing_else_and_begins_again(reader: Reader, names: SimpleNamespace):
    reader.open("/gate?kiosk=1&seconds=2")
    assert reader.all("a") == []
    assert reader.all("nav") == []
    reader.press(names.shown[:5], Keys.ENTER)
    reader.wait(lambda: reader["who-problem"].text)
    assert reader.all("#choices li") == [], "a kiosk tells nobody who is enrolled"
    reader["who"].clear()
    reader["who"].send_keys(names.shown.lower(), Keys.ENTER)
    assert reader.answer() == "yes"
    reader.wait(reader["ask"].is_displayed)
    assert reader["who"].get_property("value") == ""
    reader.driver.execute_script("document.exitFullscreen?.().catch(() => {})")


def test_enrolling_from_files_and_the_camera(
    reader: Reader, names: SimpleNamespace, album: dict[str, list[Path]], tmp_path: Path
):
    blank = tmp_path / "blank.jpg"
    Image.new("RGB", (320, 320), (90, 120, 90)).save(blank)
    reader.open("/people")
    reader["add"].click()
    reader["name"].send_keys(names.new)
    files = [*album[names.new][:2], blank]
    reader["files"].send_keys("\n".join(map(str, files)))
    reader["save"].click()
    reader.wait(lambda: len(reader.all("#outcomes li")) == 3)
    shown = reader.texts("#outcomes .badge")
    assert shown == ["Enrolled", "Enrolled", "Refused"]
    assert "No face was found." in reader["outcomes"].text
    reader["camera"].click()
    reader.wait(lambda: reader["mini-guide"].text)
    reader["shoot"].click()
    reader.wait(lambda: len(reader.all("#picked li")) == 2)
    reader.all("#picked button")[0].click()
    reader["save"].click()
    reader.wait(lambda: len(reader.all("#outcomes li")) == 1)
    assert reader.texts("#outcomes .badge") == ["Refused"], "the camera shows somebody else"
    reader.press(Keys.ESCAPE)
    reader.wait(lambda: names.new in reader.texts("#people b"))
    reader["q"].send_keys(names.new.upper())
    reader.wait(lambda: reader.texts("#people b") == [names.new])


def test_renaming_and_forgetting(reader: Reader, album: dict[str, list[Path]]):
    with reader.served.client() as http:
        photo = list(album.values())[ENROLLED + 2][0].read_bytes()
        done = http.post("/v1/people", data={"name": "Temporary"}, files={"image": photo})
        uid = done.raise_for_status().json()["person"]["uid"]
    reader.open(f"/people/{uid}")
    reader.wait(lambda: reader["name"].text == "Temporary")
    assert len(reader.all("#templates li")) == 1
    reader["rename"].click()
    reader["new-name"].clear()
    reader["new-name"].send_keys("Passing By", Keys.ENTER)
    reader.wait(lambda: reader["name"].text == "Passing By")
    reader["forget"].click()
    assert not reader["forget-go"].is_enabled()
    reader["typed"].send_keys("Passing", Keys.ENTER)
    assert reader["forgetting"].is_displayed()
    reader["typed"].send_keys(" By", Keys.ENTER)
    reader.wait(lambda: reader.all("pre.receipt"))
    assert '"forgot"' in reader.all("pre.receipt")[0].text
    assert reader.focused().tag_name == "h1"
    link = reader.all("a[download]")[0]
    assert link.get_attribute("download").startswith("receipt-")
    reader.open(f"/people/{uid}")
    reader.wait(lambda: "Nobody of this ID" in reader.texts("h1"))


def test_identifying_a_picture(
    reader: Reader, album: dict[str, list[Path]], names: SimpleNamespace, tmp_path: Path
):
    two = Image.new("RGB", (640, 320))
    stranger = min((Path(str(resources.files("enroll"))) / "people/strangers").glob("*/*.jpg"))
    for i, file in enumerate((album[names.other][4], stranger)):
        two.paste(Image.open(file), (320 * i, 0))
    two.save(tmp_path / "two.jpg", quality=95)
    reader.open("/identify")
    reader["file"].send_keys(str(tmp_path / "two.jpg"))
    reader.wait(lambda: len(reader.all("#faces > li")) == 2)
    assert reader["verdict"].text == "2 faces"
    assert reader.texts("#faces h3") == [f"1. {names.other}", "2. Nobody known"]
    assert len(reader.all("#picture rect")) == 2
    assert "needed" in reader.all(".candidates li")[0].text
    assert reader.all(".candidates a")[0].text == names.other


def unnamed(reader: Reader) -> list[str]:
    return [text for text in reader.texts(".line.head h2") if text.startswith("Cluster")]


def test_naming_a_cluster_and_undoing_it_with_the_keyboard(reader: Reader):
    reader.open("/library")
    reader.wait(lambda: len(unnamed(reader)) == ENROLLED + 1)
    before = unnamed(reader)
    reader.wait(lambda: reader.all(".tile img"))
    for _ in range(40):
        reader.press(Keys.TAB)
        if reader.focused().text == "Name":
            break
    reader.press(Keys.ENTER)
    reader.wait(reader["naming"].is_displayed)
    reader.press("Somebody New", Keys.ENTER)
    reader.wait(lambda: "Somebody New" in reader.texts(".line.head h2"))
    assert len(unnamed(reader)) == len(before) - 1
    reader.wait(lambda: "Named Somebody New" in "".join(reader.texts("#operations li span")[:1]))
    reader.press("u")
    reader.wait(lambda: unnamed(reader) == before)
    reader.wait(lambda: "undone" in "".join(reader.texts("#operations li")[:1]))


def test_correcting_faces_of_the_library(reader: Reader):
    reader.open("/library")
    reader.wait(lambda: len(unnamed(reader)) == ENROLLED + 1)
    for name in ("First Name", "Second Name"):
        reader.all("[data-tool=name]")[0].click()
        reader["cluster-name"].send_keys(name, Keys.ENTER)
        reader.wait(lambda name=name: name in reader.texts(".line.head h2"))

    def tiles(group: str) -> list[Any]:
        return reader.all(f'button.tile[aria-label$="of {group}"]')

    def sizes() -> tuple[int, int]:
        return len(tiles("First Name")), len(tiles("Second Name"))

    def dragged(what: Callable[[], Any], to: Callable[[], Any]) -> bool:
        """Whether it went; not, if the wall was drawn anew while the mouse took hold of it."""
        hand = ActionChains(reader.driver)
        try:
            hand.drag_and_drop(what(), to()).perform()
        except StaleElementReferenceException:
            hand.reset_actions()
            return False
        return True

    reader.wait(lambda: sizes() == (3, 3))
    reader.wait(lambda: dragged(lambda: tiles("Second Name")[0], lambda: tiles("First Name")[0]))
    reader.wait(lambda: sizes() == (4, 2))
    tiles("First Name")[0].click()
    assert reader["not-them"].text == "Not First Name"
    reader["not-them"].click()
    reader.wait(lambda: sizes() == (3, 2))
    assert len(unnamed(reader)) == ENROLLED, "a face of its own"
    tiles("First Name")[0].click()
    reader["as-new"].click()
    reader["cluster-name"].send_keys("Third Name", Keys.ENTER)
    reader.wait(lambda: (*sizes(), len(tiles("Third Name"))) == (2, 2, 1))

    def head(name: str) -> Any:
        return next(one for one in reader.all(".line.head") if one.text.split("\n")[0] == name)

    last = unnamed(reader)[-1]
    reader.wait(lambda: dragged(lambda: head(last), lambda: head("Third Name")))
    reader.wait(lambda: len(tiles("Third Name")) == 2)

    def undone() -> int:
        with reader.served.client() as http:
            items = http.get("/v1/operations").json()["items"]
        return sum(one["undone"] is not None for one in items)

    before = undone()
    for left in range(1, 8):  # two names, a move, a split, a split and a name, a merge
        reader.wait(reader["undo"].is_enabled)
        reader["undo"].click()
        reader.wait(lambda left=left: undone() == before + left)
    reader.wait(lambda: len(unnamed(reader)) == ENROLLED + 1)


def test_answering_suggestions_with_one_key(reader: Reader, gallery: Path):
    """Twice as many clusters as people: some belong together, and the page says so."""
    with Parts(Places(database=str(reader.served.database))) as parts:
        cluster_library(parts, gallery.parent / "library", ClusterRules(k=2 * (ENROLLED + 1)))

    def stored(what: str) -> list[dict[str, Any]]:
        with reader.served.client() as http:
            return list(http.get(f"/v1/{what}").raise_for_status().json()["items"])

    def waiting() -> list[str]:
        return [one["id"] for one in stored("suggestions")]

    def clusters() -> dict[int, int]:
        return {one["number"]: one["size"] for one in stored("clusters")}

    def shown(which: str) -> None:
        """Wait until the page asks about a suggestion."""
        one = next(one for one in stored("suggestions") if one["id"] == which)
        images = {url for side in one["sides"] for url in side["faces"]}
        reader.wait(lambda: images == {
            image.get_attribute("src").removeprefix(reader.served.url)
            for image in reader.all("#suggestion img")
        })  # fmt: skip

    first = stored("suggestions")
    before = clusters()
    assert [one["kind"] for one in first[:3]] == ["merge"] * 3
    reader.open("/library")
    shown(first[0]["id"])
    assert reader["asking"].is_displayed()
    assert f"{len(first)} to look at" in reader["suggestion"].text
    assert "may be one person" in reader["suggestion"].text

    reader.press("y")
    reader.wait(lambda: len(clusters()) == len(before) - 1)
    one, other = (side["cluster"] for side in first[0]["sides"])
    assert clusters()[min(one, other)] == before[one] + before[other]
    assert first[0]["id"] not in waiting()
    assert (stored("operations")[0]["kind"], stored("operations")[0]["undone"]) == (
        "together",
        None,
    )

    second = waiting()[0]
    shown(second)
    reader.press("n")
    reader.wait(lambda: second not in waiting())
    assert stored("operations")[0]["kind"] == "apart"
    assert len(clusters()) == len(before) - 1

    third, done = waiting()[0], len(stored("operations"))
    shown(third)
    reader.press("s")
    reader.wait(lambda: third not in waiting())
    assert len(stored("operations")) == done, "to skip says nothing"

    reader.wait(lambda: "Not one person" in "".join(reader.texts("#operations li")[:1]))
    reader.press("u")
    reader.wait(lambda: second in waiting())
    assert stored("operations")[0]["undone"] is not None
    reader.wait(lambda: "Undone: Not one person" in reader["live"].get_attribute("textContent"))
    shown(waiting()[0])
    reader.press("u")
    reader.wait(lambda: clusters() == before)
    assert first[0]["id"] in waiting()
    shown(first[0]["id"])


def test_insight_shows_the_evaluation_report(reader: Reader):
    with reader.served.client() as http:
        told = http.get("/v1/insight/evaluation").raise_for_status().json()
        policy = http.get(told["report"]).headers["content-security-policy"]
    assert {"default-src 'none'", "sandbox"} <= set(policy.split("; "))
    assert "script-src" not in policy
    reader.open("/insight")
    reader.wait(lambda: len(reader.all("#report-charts svg")) == 4)
    assert reader["report-summary"].text == told["summary"]
    assert reader.texts("#report-charts h3") == ["ROC", "DET", "Similarities", "Reliability"]
    rows = reader.texts("#report-points tr")
    assert len(rows) == len(told["points"]) >= 3
    for row, point in zip(rows, told["points"], strict=True):
        assert f"{point['fnmr']['errors']} of {point['fnmr']['trials']}" in row
    figures = reader["report-figures"].text
    assert "Equal error rate" in figures
    assert f"{told['person_pairs']:,} pairs of people" in figures
    sides = [one.rect["height"] for one in reader.all("#report-charts svg")]
    assert min(sides) > 100, "drawn, not only there"
    link = reader.all("#report-own a")[0]
    assert link.get_attribute("href") == f"{reader.served.url}/v1/insight/report"
    link.click()
    reader.wait(lambda: reader.texts("h1") == ["Verification on people"])
    assert len(reader.all("svg.chart")) >= 3


def test_insight_shows_decisions_audit_and_findings(reader: Reader):
    reader.open("/insight")
    reader.wait(lambda: reader.all("#scores rect.yes") and reader.all("#curve .dot"))
    reader.wait(lambda: reader.all("#decisions tr") and reader.all("#events tr"))
    reader["check"].click()
    reader.wait(lambda: "Whole" in reader["log-state"].text)
    reader["audit"].click()
    reader.wait(lambda: "finding" in reader["findings-state"].text or
                "Nothing" in reader["findings-state"].text)  # fmt: skip
    with reader.served.client() as http:
        found = http.get("/v1/insight/findings").raise_for_status().json()["findings"]
    assert len(reader.all("#findings > li")) == len(found)
    newest = reader.texts("#decisions tr")[0]
    assert "key:admin" in newest
    canvas = reader.all("#map canvas")[0]
    reader.driver.execute_script("arguments[0].focus()", canvas)
    reader.press(Keys.ARROW_RIGHT)
    reader.wait(lambda: reader.all("#map .tip:not([hidden]) img"))


def states(reader: Reader, album: dict[str, list[Path]], names: SimpleNamespace) -> Iterator[str]:
    """Every page, with something on it."""
    with reader.served.client() as http:
        uid = http.get("/v1/people", params={"q": names.shown}).json()["items"][0]["uid"]
    reader.open("/gate")
    yield "gate"
    reader["who"].send_keys(names.shown, Keys.ENTER)
    reader.answer()
    yield "answer"
    reader.open("/people")
    reader.wait(lambda: reader.all("#people li"))
    yield "people"
    reader["add"].click()
    yield "adding"
    reader.open(f"/people/{uid}")
    reader.wait(lambda: reader.all("#templates li"))
    yield "person"
    reader.open("/identify")
    reader["file"].send_keys(str(album[names.shown][5]))
    reader.wait(lambda: reader.all("#faces > li"))
    yield "identify"
    reader.open("/library")
    reader.wait(lambda: reader.all("button.tile"))
    reader.all("button.tile")[0].click()
    yield "library"
    reader.open("/insight")
    reader.wait(lambda: reader.all("#map canvas") and reader.all("#events tr"))
    yield "insight"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_is_accessible_and_asks_nobody_else(
    reader: Reader, album: dict[str, list[Path]], names: SimpleNamespace, scheme: str, width: int
):
    driver = reader.driver
    features = [{"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"}]  # fmt: skip
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    script = (Path(axe.__file__).parent / "axe.min.js").read_text()
    driver.get_log("browser")
    found = {}
    for state in states(reader, album, names):
        driver.execute_script(script)
        violations = driver.execute_async_script(RUN_AXE)
        found[state] = [one for one in violations if one[1] in ("serious", "critical")]
        wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, state
        assert driver.execute_script(FOREIGN) == []
    assert {state: some for state, some in found.items() if some} == {}
    told = [one["message"] for one in driver.get_log("browser") if one["level"] == "SEVERE"]
    assert told == []
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
