"""The contact sheet: a page that shows every face, in a folder where nothing else is touched."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from enroll.cluster import Cluster, Clustering, Suggestion, Unsorted, cluster_library
from enroll.errors import OutputUnusable
from enroll.sheet import chart_of, remove_thumbnails, write_sheet

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Shelf, Sorted

NASTY = '<script>alert("1")</script>&'


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def found(sorted_folder: Sorted) -> Clustering:
    return sorted_folder.clustering


def test_the_page_shows_every_thumbnail(library: Shelf, found: Clustering, tmp_path: Path):
    path = write_sheet(library.parts, found, tmp_path / "out")
    assert path == tmp_path / "out" / "index.html"
    images = [str(image["src"]) for image in Page(path).of("img")]
    templates = [template for cluster in found.clusters for template in cluster.templates]
    assert images == [f"faces/{template}.jpg" for template in templates]
    assert {file.name for file in (path.parent / "faces").iterdir()} == {
        f"{template}.jpg" for template in templates
    }
    for source in images[:3]:
        with Image.open(path.parent / source) as image:
            assert image.size == (112, 112)


def test_the_page_says_what_was_found(library: Shelf, found: Clustering, tmp_path: Path):
    page = Page(write_sheet(library.parts, found, tmp_path / "out"))
    assert "18 people in 108 photos" in page.text
    assert found.method in page.text
    assert [section["id"] for section in page.of("section")] == [f"c{n}" for n in range(1, 19)]
    assert all(image["alt"] for image in page.of("img"))


def test_the_page_loads_nothing_from_elsewhere(library: Shelf, found: Clustering, tmp_path: Path):
    path = write_sheet(library.parts, found, tmp_path / "out")
    page = Page(path)
    assert not page.of("script")
    assert not page.of("link")
    assert "http" not in path.read_text().replace("http-equiv", "")
    (policy,) = [m["content"] for m in page.of("meta") if "http-equiv" in m]
    assert "default-src 'none'" in str(policy)


def test_the_json_is_the_clustering(library: Shelf, found: Clustering, tmp_path: Path):
    write_sheet(library.parts, found, tmp_path / "out")
    text = (tmp_path / "out" / "clusters.json").read_text(encoding="utf-8")
    assert json.loads(text) == found.to_dict()


def test_nasty_names_are_text(library: Shelf, found: Clustering, tmp_path: Path):
    first, *_ = found.clusters
    again = Cluster(2, first.templates[:1], (f"/{NASTY}.jpg",), NASTY)
    nasty = Clustering(
        1, NASTY, 3,
        (replace(first, name=NASTY, files=(f"/x/{NASTY}",) * len(first.files)), again),
        (Unsorted(f"/{NASTY}.png", "face_not_found"),),
    )  # fmt: skip
    path = write_sheet(library.parts, nasty, tmp_path / "out")
    page = Page(path)
    assert not page.of("script")
    assert "<script" not in path.read_text()
    assert page.text.count(NASTY) == 4  # the method, two names, the unsorted photo
    titles = {image["title"] for image in page.of("img")}
    assert titles == {f"/x/{NASTY}", f"/{NASTY}.jpg"}
    assert {image["alt"] for image in page.of("img")} >= {f"Face 1 of {NASTY}"}


def test_faces_seen_once_stand_together(library: Shelf, found: Clustering, tmp_path: Path):
    single = Cluster(2, found.clusters[1].templates[:1], found.clusters[1].files[:1])
    some = replace(found, clusters=(found.clusters[0], single))
    page = Page(write_sheet(library.parts, some, tmp_path / "out"))
    assert [section.get("id") for section in page.of("section")] == ["c1", None]
    assert [figure["id"] for figure in page.of("figure")] == ["c2"]


def test_a_sheet_replaces_the_one_before(library: Shelf, found: Clustering, tmp_path: Path):
    write_sheet(library.parts, found, tmp_path / "out")
    fewer = replace(found, clusters=found.clusters[:1])
    write_sheet(library.parts, fewer, tmp_path / "out")
    kept = {int(file.stem) for file in (tmp_path / "out" / "faces").iterdir()}
    assert kept == set(found.clusters[0].templates)


# --- suggestions and the choice of k


def test_suggestions_are_shown_with_the_most_typical_faces_of_both_sides(
    library: Shelf, found: Clustering, tmp_path: Path
):
    one, other = (cluster.templates for cluster in found.clusters[:2])
    hint = Suggestion("abc", "merge", 0.42, 0.3, (1, 2), tuple(sorted(one)), tuple(sorted(other)))
    some = replace(found, suggestions=(hint,))
    page = Page(write_sheet(library.parts, some, tmp_path / "out"))
    sides = [str(i["src"]) for i in page.of("img") if "part, face" in str(i["alt"])]
    assert sides == [f"faces/{template}.jpg" for template in (*one, *other)]
    assert "42 %" in page.text
    assert "vultus cluster --answer abc=same" in page.text
    told = json.loads((tmp_path / "out" / "clusters.json").read_text(encoding="utf-8"))
    assert Clustering.from_dict(told) == some
    assert some.without(one, (), ()).suggestions == ()
    moved = some.renumbered({one[0]: 9_999})
    assert 9_999 in moved.suggestions[0].one
    assert 9_999 in moved.clusters[0].templates


def test_the_chart_of_k_has_its_top_where_k_was_chosen(
    library: Shelf, found: Clustering, tmp_path: Path
):
    tried = [
        {"k": k, "links": value, "silhouette": 0.1} for k, value in ((2, 0.2), (8, 0.9), (32, 0.4))
    ]
    curve = {"k": 8, "criterion": "links", "candidates": tried, "explanation": "k = 8, so it is."}
    chart = chart_of(curve)
    assert chart is not None
    points = [tuple(map(float, point.split(","))) for point in chart["line"].split()]
    assert chart["best"] == points[1] == (335.0, 15.0)
    assert [x for x, _ in points] == [40.0, 335.0, 630.0]
    assert [number for _, number in chart["ticks"]] == [2, 8, 32]
    page = Page(write_sheet(library.parts, replace(found, curve=curve), tmp_path / "out"))
    assert "8 clusters, and why" in page.text
    assert "k = 8, so it is." in page.text
    assert len(page.of("polyline")) == 2
    assert chart_of(curve | {"candidates": tried[:1]}) is None


# --- links


def links_in(out: Path) -> dict[str, set[Path]]:
    folders = sorted((out / "people").iterdir())
    return {
        folder.name: {link.resolve(strict=True) for link in folder.iterdir()} for folder in folders
    }


def test_links_lead_to_the_photos_also_on_the_second_run(
    library: Shelf, found: Clustering, tmp_path: Path
):
    out = tmp_path / "out"
    named = replace(found, clusters=(replace(found.clusters[0], name="Ann"), *found.clusters[1:3]))
    for _ in range(2):
        write_sheet(library.parts, named, out, links=True)
        links = links_in(out)
        assert list(links) == ["0001 Ann", "0002", "0003"]
        assert links["0002"] == {Path(file).resolve() for file in found.clusters[1].files}


def test_photos_of_one_name_are_all_linked(library: Shelf, tmp_path: Path, found: Clustering):
    files = []
    for place in ("a/x", "b/x", "c/x", "d/y"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1.jpg").touch()
        files.append(str(tmp_path / place / "1.jpg"))
    cluster = replace(found.clusters[0], templates=found.clusters[0].templates[:4], files=(*files,))
    write_sheet(library.parts, replace(found, clusters=(cluster,)), tmp_path / "out", links=True)
    (linked,) = links_in(tmp_path / "out").values()
    assert linked == {Path(file) for file in files}


def test_a_nasty_name_makes_a_harmless_folder(library: Shelf, found: Clustering, tmp_path: Path):
    cluster = replace(found.clusters[0], name="../../etc/<b>")
    out = tmp_path / "out"
    write_sheet(library.parts, replace(found, clusters=(cluster,)), out, links=True)
    (folder,) = (out / "people").iterdir()
    assert folder.name.startswith("0001")
    assert not set(folder.name) & set("/<>")


def test_without_links_there_are_none(library: Shelf, found: Clustering, tmp_path: Path):
    write_sheet(library.parts, found, tmp_path / "out")
    assert not (tmp_path / "out" / "people").exists()


# --- places


@pytest.mark.parametrize("place", ["file/out", "a" * 300], ids=["in-a-file", "too-long"])
def test_a_place_that_cannot_be_written_is_told(
    library: Shelf, found: Clustering, tmp_path: Path, place: str
):
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnusable, match=r"cannot be written \(.+\): choose another --out"):
        write_sheet(library.parts, found, tmp_path / place)


@pytest.mark.parametrize("name", ["faces/1.jpg", "people/Ann/1.jpg", "index.html"])
def test_what_is_not_a_sheets_is_never_replaced(
    library: Shelf,
    found: Clustering,
    sorted_folder: Sorted,
    tmp_path: Path,
    name: str,
):
    precious = tmp_path / "out" / name
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    for links in (False, True):
        with pytest.raises(OutputUnusable, match="choose another --out"):
            write_sheet(library.parts, found, tmp_path / "out", links=links)
    runs = library.count("runs")
    with pytest.raises(OutputUnusable):
        cluster_library(library.parts, sorted_folder.library, out=tmp_path / "out")
    assert library.count("runs") == runs
    assert precious.read_text() == "precious"
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [precious]


def test_other_files_in_the_folder_stay(library: Shelf, found: Clustering, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for _ in range(2):
        write_sheet(library.parts, found, out, links=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_sheet_inside_its_library_is_no_part_of_it(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    folder = album({name: people[name][:2] for name in list(people)[:2]})
    first = cluster_library(shelf.parts, folder, out=folder / "sheet")
    write_sheet(shelf.parts, first, folder / "sheet", links=True)
    again = cluster_library(shelf.parts, folder, out=folder / "sheet")
    assert (again.photos, again.faces) == (4, 4)


def test_remove_thumbnails(library: Shelf, found: Clustering, tmp_path: Path):
    out = tmp_path / "out"
    write_sheet(library.parts, found, out)
    gone = list(found.clusters[0].templates[:2])
    assert remove_thumbnails(out, [*gone, 10**9]) == 2
    assert {int(file.stem) for file in (out / "faces").iterdir()} == {
        template for c in found.clusters for template in c.templates
    } - set(gone)
    assert remove_thumbnails(out, gone) == 0
    shutil.rmtree(out)
    assert remove_thumbnails(out, gone) == 0


def test_thumbnails_are_removed_from_sheets_only(tmp_path: Path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "7.jpg").write_text("precious")
    assert remove_thumbnails(tmp_path, [7]) == 0
    assert (tmp_path / "faces" / "7.jpg").exists()
