"""The report: words, tables and pictures of results that are made up here and known."""

from __future__ import annotations

import base64
import dataclasses
import io
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.partition import agreement
from verify.chart_pictures import ending, thumbnail
from verify.evaluation import (
    ClusteringResult,
    Crossing,
    Curve,
    Demographic,
    Estimate,
    Example,
    Failures,
    GallerySize,
    IdentificationResult,
    OpenSetPoint,
    OperatingPoint,
    Rate,
    Ratio,
    Setup,
    Spread,
    SubgroupRates,
    VerificationResult,
)
from verify.probability import Reliability
from verify.rates import error_curve, histogram, operating, threshold_at
from verify.report import (
    genuine_turned_away,
    headline_point,
    interval,
    of_many,
    ratio_words,
    report,
    share,
    strangers_pass,
    write_report,
)

PEOPLE = Path(str(resources.files("enroll") / "people" / "people"))
NASTY = '<script>alert("1")</script> & "Ann\'s" <b>'
UNSUPPORTED = Rate(None, None, None, 0, 0, 400)
MEANING = (
    "A higher FMR means that strangers of this value pass more often at your door.",
    "A higher FNMR means that genuine users of this value are turned away more often.",
)


def rate(errors: int, trials: int, units: int) -> Rate:
    value = errors / trials
    if errors == 0:
        return Rate(0.0, 0.0, 3 / units, 0, trials, units)
    spread = 1.96 * np.sqrt(value * (1 - value) / min(units, trials))
    return Rate(value, max(value - spread, 0.0), min(value + spread, 1.0), errors, trials, units)


def photo(person: int, number: int) -> str:
    folder = sorted(PEOPLE.iterdir())[person]
    return str(sorted(folder.glob("*.jpg"))[number])


def example(first: int, second: int, similarity: float | None, *, number: int = 1) -> Example:
    names = [folder.name for folder in sorted(PEOPLE.iterdir())]
    return Example(photo(first, 0), photo(second, number), names[first], names[second], similarity)


def setup(kind: str) -> Setup:
    return Setup(
        kind=kind, data="gate cameras, May", model="sface", space="sface-128-5d1c0f9a",
        detector="yunet", rule="centre", protocol="all pairs of the folder; 10 folds of people",
        drop_failures=False, seed=7, created="2026-05-04",
    )  # fmt: skip


def failures(*, dropped: bool = False) -> Failures:
    return Failures(
        1612, 12, rate(7, 1000, 400), rate(5, 612, 400),
        {"face_not_found": 9, "multiple_faces": 3},
        (("/srv/cameras/gate/1.jpg", "face_not_found"), ("/srv/cameras/gate/2.jpg", "too_large")),
        dropped,
    )  # fmt: skip


def scores(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mated = np.sort(np.clip(random.normal(0.62, 0.12, 2400), -1, 1))
    return mated, np.sort(np.clip(random.normal(0.04, 0.1, 120_000), -1, 1))


def verification() -> VerificationResult:
    mated, nonmated = scores()
    points = []
    for asked in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        if asked < 3 / 79_800:
            points.append(OperatingPoint(asked, None, dataclasses.replace(
                UNSUPPORTED, units=79_800), UNSUPPORTED))  # fmt: skip
            continue
        found = operating(mated, nonmated, threshold_at(nonmated, asked))
        points.append(
            OperatingPoint(
                asked,
                found.threshold,
                rate(found.false_matches, found.nonmated, 79_800),
                rate(found.false_non_matches, found.mated, 400),
            )
        )
    return VerificationResult(
        setup=setup("verification"), failures=failures(), people=400, person_pairs=79_800,
        mated_people=400, mated=2400, nonmated=120_000, accuracy=Spread(0.9942, 0.0031, 10),
        validation=Spread(0.9733, 0.0102, 10), far=0.0011, far_asked=0.001,
        auc=Estimate(0.9991, 0.9985, 0.9996), eer=Estimate(0.0042, 0.0029, 0.0061),
        points=tuple(points), curve=error_curve(mated, nonmated),
        histogram=histogram(mated, nonmated),
        false_matches=tuple(example(i, i + 1, 0.51 - i / 50) for i in range(6)),
        false_non_matches=(
            example(2, 2, None), *(example(i, i, 0.12 + i / 50, number=3) for i in range(3, 7)),
        ),
        demographics=(demographic(),),
    )  # fmt: skip


def demographic() -> Demographic:
    parts = (
        SubgroupRates("18–30", 180, rate(60, 40_000, 16_110), rate(10, 1100, 180)),
        SubgroupRates("31–60", 190, rate(41, 41_000, 17_955), rate(31, 1150, 190)),
        SubgroupRates("61 and older", 3, UNSUPPORTED, UNSUPPORTED),
    )
    return Demographic(
        column="age band", asked=1e-3, threshold=0.35, subgroups=parts,
        crossings=(Crossing("18–30", "31–60", rate(9, 39_000, 34_200)),),
        ratios=(
            Ratio("fmr", "18–30", "31–60", 1.5, 0.9), Ratio("fnmr", "31–60", "18–30", 2.97, 1.2),
        ),
        unlabelled=27, meaning=MEANING,
    )  # fmt: skip


def open_set(strangers: int, seed: int) -> tuple[Curve, tuple[OpenSetPoint, ...]]:
    random = np.random.default_rng(seed)
    best = np.sort(np.clip(random.normal(0.6, 0.11, 900), -1, 1))
    others = np.sort(np.clip(random.normal(0.2 + seed / 50, 0.055, strangers), -1, 1))
    points = []
    for asked in (0.003, 0.01, 0.1):
        if asked < 3 / strangers:
            points.append(OpenSetPoint(asked, None, UNSUPPORTED, UNSUPPORTED))
            continue
        found = operating(best, others, threshold_at(others, asked))
        points.append(
            OpenSetPoint(
                asked,
                found.threshold,
                rate(found.false_matches, strangers, strangers),
                rate(found.false_non_matches, 900, 300),
            )
        )
    return error_curve(best, others), tuple(points)


def identification() -> IdentificationResult:
    curves = [open_set(600, seed) for seed in range(5)]
    sizes = tuple(
        GallerySize(people, people * 2, rate(888 - 4 * n, 900, 300), curves[n][1])
        for n, people in enumerate((25, 50, 100, 200, 300))
    )
    rates = {rank: rate(errors, 900, 300) for rank, errors in ((1, 871), (5, 884), (10, 889))}
    cmc = tuple(np.minimum(871 / 900 + np.log(np.arange(1, 101)) / 115, 1.0).tolist())
    return IdentificationResult(
        setup=setup("identification"), failures=failures(), gallery_people=300,
        gallery_photos=600, mated=900, strangers=600, stranger_people=150, ranks=rates, cmc=cmc,
        points=curves[-1][1], curve=curves[-1][0], sizes=sizes,
        false_positives=tuple(example(i, i + 2, 0.49 - i / 50) for i in range(4)),
        misses=tuple(example(i, i + 3, 0.41 - i / 50) for i in range(3)),
    )  # fmt: skip


def clustering() -> ClusteringResult:
    true = np.repeat(np.arange(14), 6)
    found = true.copy()
    found[6:9], found[80:] = 0, 20
    return ClusteringResult(
        setup=dataclasses.replace(setup("clustering"), drop_failures=True),
        failures=failures(dropped=True),
        method="a graph of nearest neighbours, threshold from the calibration", photos=84,
        agreement=agreement(found, true),
        merges=tuple(example(i, i + 1, 0.31 + i / 50) for i in range(3)),
        splits=tuple(example(i, i, 0.44 - i / 50) for i in range(2)),
    )  # fmt: skip


def reliability() -> Reliability:
    predicted = np.linspace(0.03, 0.97, 10)
    weight = np.array([40, 2, 1, 1, 0, 1, 1, 1, 3, 50]) / 100
    return Reliability(200, predicted, predicted**1.1, weight, 0.011, 0.018)


RESULTS = {
    "verification": verification, "identification": identification, "clustering": clustering,
}  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that elements close in order."""

    VOID = frozenset({"meta", "img", "br", "path", "circle", "rect"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.tags if found == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).replace("\xa0", " ").split())


@pytest.mark.parametrize("kind", RESULTS)
def test_a_page_is_whole_and_names_nothing_outside(kind):
    page = report(RESULTS[kind](), reliability())
    read = Reader(page)
    ids = [attrs["id"] for _, attrs in read.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "a", "use"}
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in read.all("img"))
    policy = next(m["content"] for m in read.all("meta") if "http-equiv" in m)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    ("kind", "charts"), [("verification", 4), ("identification", 4), ("clustering", 0)]
)
def test_every_chart_has_a_name_and_a_description(kind, charts):
    read = Reader(report(RESULTS[kind](), reliability()))
    drawn = read.all("svg")
    ids = {attrs.get("id") for _, attrs in read.tags}
    assert len(drawn) == charts
    for chart in drawn:
        assert chart["role"] == "img"
        assert set(str(chart["aria-labelledby"]).split()) <= ids


def test_the_summary_counts_people():
    result = verification()
    point = result.points[2]
    words = Reader(report(result)).words
    turned_away = round(point.fnmr.value * 1000)
    assert f"Of 1,000 strangers, 1 passes; of 1,000 genuine users, {turned_away} are" in words
    assert "12 of 1,612 photos gave no usable face and count as errors" in words


def test_unsupported_rates_are_said_and_never_shown_as_0():
    read = Reader(report(verification()))
    assert (
        read.words.count("unsupported") == 3 * 2 + 2 + 1
    )  # two asked rates, one value of a column, and the foot
    assert "79,800 pairs of people cannot show a rate of 0.001 %" in read.words
    assert "takes about 300,000" in read.words


def test_a_result_without_any_supported_rate_says_so():
    whole = verification()
    points = tuple(OperatingPoint(p.asked, None, UNSUPPORTED, UNSUPPORTED) for p in whole.points)
    empty = Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    bare = dataclasses.replace(
        whole, points=points, curve=empty, accuracy=None, validation=None, far=None,
        eer=Estimate(None), auc=Estimate(None), false_matches=(), false_non_matches=(),
        demographics=(),
    )  # fmt: skip
    read = Reader(report(bare))
    assert "are too few to state an error rate" in read.words
    assert len(read.all("svg")) == 1
    assert read.all("img") == []
    assert "treat it as you treat the photos" not in read.words


def test_what_was_not_seen_is_not_shown_as_0():
    clean = dataclasses.replace(failures(), failed=0, reasons={}, files=())
    result = dataclasses.replace(verification(), eer=Estimate(0.0, 0.0, 0.0), failures=clean)
    words = Reader(report(result)).words
    assert "Equal error rate none seen Accuracy" in words
    assert "No usable face none seen 0 of 1,612 photos" in words


def test_identification_without_strangers():
    whole = identification()
    points = tuple(OpenSetPoint(p.asked, None, UNSUPPORTED, UNSUPPORTED) for p in whole.points)
    closed = dataclasses.replace(
        whole, strangers=0, stranger_people=0, points=points, curve=None, false_positives=()
    )
    read = Reader(report(closed))
    assert "0 searches of 0 strangers are too few" in read.words
    assert len(read.all("svg")) == 1
    assert "Right at rank 1 96.8 %" in read.words


def test_clustering_in_words():
    result = clustering()
    words = Reader(report(result)).words
    assert f"84 photos of 14 people gave {result.agreement.found} clusters" in words
    assert "left out of every rate here (--drop-failures)" in words
    for figure in (result.agreement.nmi, result.agreement.ari, result.agreement.v):
        assert f"{figure:.4f}" in words


def test_demographics_say_what_an_error_means():
    words = Reader(report(verification())).words
    for sentence in MEANING:
        assert sentence in words
    assert "False non-matches are 3.0 times as frequent for 31–60 as for 18–30." in words
    assert "The intervals support at least 1.2 times." in words
    assert "27 people have no value" in words
    assert "18–30 and 31–60" in words


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Ratio("fmr", None, None, None, None), "too few people of at least two values"),
        (Ratio("fmr", "a", "b", None, 1.4), "none seen for b, so no ratio. The intervals support"),
        (Ratio("fnmr", "a", "b", 2.0, 0.7), "2.0 times as frequent for a as for b. The intervals"),
        (Ratio("fnmr", "a", "b", 2.0, 0.7), "the data shows no difference"),
    ],
)
def test_a_ratio_in_words(ratio, said):
    assert said in ratio_words(ratio)


def test_nasty_names_stay_text(tmp_path):
    folder = tmp_path / "Ann's <b>"
    folder.mkdir()
    file = folder / 'x" onerror="alert(1).jpg'
    Image.new("RGB", (40, 30), "red").save(file)
    pair = Example(str(file), "missing<i>.jpg", NASTY, NASTY + "2", 0.5)
    whole = verification()
    part = dataclasses.replace(demographic(), column=NASTY, subgroups=(
        SubgroupRates(NASTY, 5, UNSUPPORTED, UNSUPPORTED),))  # fmt: skip
    odd = dataclasses.replace(
        whole, setup=dataclasses.replace(whole.setup, data=NASTY, protocol=NASTY, model=NASTY),
        false_matches=(pair,), demographics=(part,),
    )  # fmt: skip
    read = Reader(report(odd))
    tags = {tag for tag, _ in read.tags}
    assert "script" not in tags
    assert "i" not in tags
    assert not any("onerror" in attrs for _, attrs in read.tags)
    assert f"Verification on {NASTY}" in read.words
    assert NASTY + "2" in read.words


def test_a_picture_is_small_upright_and_without_metadata(tmp_path):
    wide = Image.new("RGB", (600, 300), "navy")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "where it was taken"
    wide.save(tmp_path / "wide.jpg", exif=exif)
    uri = thumbnail(str(tmp_path / "wide.jpg"))
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as small:
        assert small.format == "JPEG"
        assert small.size == (56, 112)
        assert not small.getexif()


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_photo_that_cannot_be_read_gives_a_placeholder(tmp_path, content):
    file = tmp_path / "gone.jpg"
    if content is not None:
        file.write_bytes(content)
    assert thumbnail(str(file)) is None
    pair = Example(str(file), photo(0, 0), "Ann", "Ben", None)
    read = Reader(report(dataclasses.replace(clustering(), merges=(pair,), splits=())))
    assert len(read.all("img")) == 1
    label = next(attrs["aria-label"] for attrs in read.all("span") if attrs.get("role") == "img")
    assert label == f"The photo {tmp_path.name}/gone.jpg of Ann cannot be read"


def test_no_place_on_the_machine_is_told():
    page = report(verification())
    assert "/srv/" not in page
    assert str(PEOPLE) not in page
    assert ending("/srv/a/b/c.jpg") == "b/c.jpg"
    assert ending("c.jpg") == "c.jpg"


def test_long_lists_are_cut_and_the_cut_is_said():
    many = tuple(example(0, 1, 0.5) for _ in range(30))
    read = Reader(report(dataclasses.replace(clustering(), merges=many, splits=())))
    assert len(read.all("img")) == 48
    assert "And 6 more in the JSON result." in read.words


def test_provenance_names_data_model_space_seed_and_version():
    words = Reader(report(verification())).words
    for fact in ("gate cameras, May", "sface-128-5d1c0f9a", "yunet", "2026-05-04", "Seed 7"):
        assert fact in words
    assert "Vultus 0." in words or "Vultus from source" in words


def test_the_file_is_written_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    result = clustering()
    write_report(result, path)
    assert path.read_text(encoding="utf-8") == report(result)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OSError, match="missing"):
        write_report(result, tmp_path / "missing" / "report.html")


@pytest.mark.parametrize(
    ("value", "count", "base"),
    [(1.0, 1000, 1000), (0.016, 16, 1000), (0.00096, 1, 1000), (0.0009, 9, 10_000),
     (3e-6, 3, 1_000_000)],
)  # fmt: skip
def test_a_rate_as_people(value, count, base):
    assert of_many(value) == (count, base)


def test_words_of_rates():
    assert strangers_pass(rate(5, 1000, 300)) == "Of 1,000 strangers, 5 pass"
    assert strangers_pass(rate(0, 1000, 300)) == "Of 1,000 comparisons with strangers, none passes"
    assert genuine_turned_away(rate(0, 900, 300)).endswith("none is turned away")
    assert genuine_turned_away(Rate(0.001, None, None, 1, 1000, 9)).endswith("1 is turned away")
    assert share(rate(0, 900, 300)) == "none seen"
    assert interval(rate(0, 900, 300)) == "at most 1\xa0%"
    assert share(None) == share(UNSUPPORTED) == "unsupported"
    assert interval(UNSUPPORTED) == ""


def test_the_headline_is_the_supported_point_nearest_to_one_in_a_thousand():
    points = verification().points
    assert headline_point(points, 1e-3).asked == 1e-3
    assert headline_point((*points[:2], *points[4:]), 1e-3).asked == 1e-2
    assert headline_point(points[4:], 1e-3) is None
