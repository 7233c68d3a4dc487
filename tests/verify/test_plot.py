"""Plots: gathered, projected and drawn from made-up vectors and real pictures, read back."""

import csv
import io
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from defusedxml.ElementTree import fromstring
from PIL import Image

from verify.errors import PlotToolMissing, PlotUnusable
from verify.plot import Cloud, Plot, drawn
from verify.plot_colours import AGAINST, COLOURS, FOR, MARKS, colour, heat_layer, mark
from verify.plot_files import content, kind_of
from verify.plot_page import forget_in_page, plot_page
from verify.plot_project import project, umap_is_there
from verify.plot_sources import of_npz, thumbnail

NASTY = '</script><img src=x onerror="alert(1)"> $x_1$ & _ü'
HAS_MATPLOTLIB = find_spec("matplotlib") is not None


def groups(count: int = 3, each: int = 12, dim: int = 8) -> tuple[np.ndarray, list[str]]:
    """Unit vectors float32 (N, D) around well parted directions."""
    rng = np.random.default_rng(1)
    vectors = np.repeat(np.eye(dim)[:count], each, axis=0) + 0.1 * rng.standard_normal(
        (count * each, dim)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"kind {i // each}" for i in range(count * each)]


def plot(dims: int = 2, labels: list[str] | None = None, **more: object) -> Plot:
    vectors, usual = groups()
    labels = usual if labels is None else labels
    files = tuple(f"{label}/{i}.png" for i, label in enumerate(labels))
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    cloud = Cloud(
        vectors, tuple(labels), files, (thumbnail(red),) * len(labels), "a test",
        **{"total": len(labels), "templates": tuple(range(100, 100 + len(labels))), **more},
    )  # fmt: skip
    return Plot(cloud, project(vectors, dims, "pca"), 0)


def embedded(page: str) -> dict:
    """What the page's script reads."""
    start = page.index('id="data">') + len('id="data">')
    return json.loads(page[start : page.index("</script>", start)])


def test_principal_components_are_those_of_the_covariance():
    vectors, _ = groups()
    found = project(vectors, 2, "pca")
    centred = vectors - vectors.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    wanted = np.abs(centred @ axes[:2].T)
    np.testing.assert_allclose(np.abs(found.places), wanted, atol=1e-5)
    assert found.variance == pytest.approx(tuple((spread**2 / (spread**2).sum())[:2]), abs=1e-5)
    assert found.method == "pca"
    assert "PCA to 2 dimensions" in found.words
    again = project(-vectors, 2, "pca")  # signs are definite: the picture is not mirrored by luck
    np.testing.assert_allclose(np.abs(again.places), np.abs(found.places), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_alike_lies_close(dims: int):
    vectors, labels = groups()
    places = project(vectors, dims, "pca").places
    assert places.shape == (36, dims)
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(far, np.inf)
    nearest = far.argmin(axis=1)
    assert [labels[row] for row in nearest] == labels


def test_the_fallback_says_why(monkeypatch: pytest.MonkeyPatch):
    vectors, _ = groups()
    monkeypatch.setattr("verify.plot_project.importlib.util.find_spec", lambda _: None)
    found = project(vectors)
    assert (found.method, "UMAP is not installed" in found.words) == ("pca", True)
    with pytest.raises(PlotToolMissing, match=r"vultus\[plot\].*--method pca"):
        project(vectors, method="umap")


def test_leftovers_of_umap_are_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "umap" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    assert not umap_is_there()


def test_few_vectors_are_told():
    vectors, _ = groups()
    with pytest.raises(PlotUnusable, match="2 vectors: a picture of 2 dimensions needs 3"):
        project(vectors[:2])
    with pytest.raises(PlotUnusable, match="have 2 dimensions: ask for --dims 2"):
        project(np.ascontiguousarray(vectors[:, :2]), 3)
    if umap_is_there():
        assert "5 vectors are too few for UMAP" in project(vectors[:5]).words


@pytest.mark.slow
@pytest.mark.skipif(not umap_is_there(), reason="the extra plot is not installed")
def test_umap_keeps_neighbours_and_its_seed():
    vectors, labels = groups()
    found = project(vectors, 2, "umap", seed=3)
    assert (found.method, found.places.shape) == ("umap", (36, 2))
    far = np.linalg.norm(found.places[:, None] - found.places[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert [labels[row] for row in far.argmin(axis=1)] == labels
    np.testing.assert_array_equal(project(vectors, 2, "umap", seed=3).places, found.places)


def test_the_draw_is_seeded_and_told():
    rows = drawn(100, 10, 4)
    assert len(set(rows.tolist())) == 10
    assert (rows == drawn(100, 10, 4)).all()
    assert (drawn(5, 10, 4) == np.arange(5)).all()
    assert "36 vectors of 3 labels from a test, drawn from 90 (seed 0)" in plot(total=90).lines()


def test_coordinates_as_json_and_csv():
    made = plot(3, left_out={"face_not_found": 2})
    values = json.loads(content(made, "json"))
    rows = list(csv.DictReader(io.StringIO(content(made, "csv").decode())))
    assert (values["vectors"], values["left_out"]) == (36, {"face_not_found": 2})
    assert list(rows[0]) == ["x", "y", "z", "label", "file"]
    for row, point, place in zip(rows, values["points"], made.projection.places, strict=True):
        assert [float(row[a]) for a in "xyz"] == [point[a] for a in "xyz"]
        assert point["x"] == pytest.approx(place[0], abs=1e-6)
        assert row["label"] == point["label"]


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="matplotlib is not installed")
@pytest.mark.parametrize("dims", [2, 3])
def test_pictures_are_drawn_the_same_twice(dims: int):
    labels = [f"_{NASTY} {i % 3}" for i in range(36)]
    made = plot(dims, labels)
    png = content(made, "png")
    assert png == content(made, "png")
    with Image.open(io.BytesIO(png)) as image:
        assert min(image.size) > 800
        colours = {
            f"#{r:02X}{g:02X}{b:02X}" for _, (r, g, b) in image.convert("RGB").getcolors(1 << 20)
        }
    assert set(COLOURS[:3]) <= colours, "the legend shows three colours"
    svg = content(made, "svg")
    assert svg == content(made, "svg")
    assert fromstring(svg).tag.endswith("svg"), "it is well formed"
    assert b"<script" not in svg


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="matplotlib is not installed")
def test_many_labels_have_no_legend():
    few = content(plot(labels=[f"kind {i % 12}" for i in range(36)]), "svg")
    many = content(plot(labels=[f"kind {i % 13}" for i in range(36)]), "svg")
    assert b"legend_1" in few
    assert b"legend_1" not in many


def test_twelve_labels_are_twelve_pairs_of_colour_and_mark():
    assert len({(colour(i), mark(i)) for i in range(24)}) == 24
    assert {mark(i) for i in range(4)} == set(MARKS)


def test_the_page_holds_everything_and_nothing_escapes():
    labels = [NASTY if i % 2 else "plain" for i in range(36)]
    page = plot_page(plot(labels=labels))
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img src=x" not in page
    assert "default-src 'none'" in page
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert "https:" not in page
    values = embedded(page)
    names = [values["labels"][number]["name"] for number in values["label"]]
    assert names == labels
    assert len(values["points"]) == len(values["thumbs"]) == 36
    assert page == plot_page(plot(labels=labels))


def test_somebody_is_forgotten_in_a_page(tmp_path: Path):
    labels = ["Ann Lee" if i < 4 else "Bob" for i in range(36)]
    path = tmp_path / "plot.html"
    path.write_text(plot_page(plot(labels=labels)), encoding="utf-8")
    assert not forget_in_page(path, {7}), "it shows no such template"
    assert forget_in_page(path, {100, 101, 102, 103})
    page = path.read_text(encoding="utf-8")
    values = embedded(page)
    assert "Ann Lee" not in page
    assert len(values["points"]) == len(values["files"]) == len(values["thumbs"]) == 32
    assert {values["labels"][n]["name"] for n in values["label"]} == {"Bob"}
    path.write_text("<p>something else</p>", encoding="utf-8")
    assert not forget_in_page(path, {104})
    assert path.read_text(encoding="utf-8") == "<p>something else</p>"
    assert not forget_in_page(tmp_path / "gone.html", {104})
    path.write_text(page.replace('"templates":', '"other":'), encoding="utf-8")
    with pytest.raises(PlotUnusable, match="delete this plot"):
        forget_in_page(path, {104})


def test_an_npz_is_read(tmp_path: Path):
    vectors, _ = groups()
    labels = np.arange(36) % 3 - 1
    pictures = np.zeros((36, 9, 9), np.uint8)
    path = tmp_path / "vectors.npz"
    np.savez(
        path, vectors=3 * vectors, labels=labels, names=np.array(["a", "b"]), pictures=pictures
    )
    cloud = of_npz(path, limit=30)
    assert (len(cloud), cloud.total, set(cloud.labels)) == (30, 36, {"", "a", "b"})
    np.testing.assert_allclose(np.linalg.norm(cloud.vectors, axis=1), 1, atol=1e-6)
    assert all(one is not None and one[:2] == b"\xff\xd8" for one in cloud.thumbnails)
    np.savez(path, vectors=vectors)
    assert set(of_npz(path).labels) == {""}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"points": np.eye(4)}, "no array `vectors`"),
        ({"vectors": np.zeros((4, 3))}, "row 0 of `vectors` is zero"),
        ({"vectors": np.full((4, 3), np.nan)}, "not finite"),
        ({"vectors": np.arange(4)}, r"must be numbers \(N, D\)"),
        ({"vectors": np.eye(4), "labels": np.arange(3)}, r"must be numbers or texts \(4,\)"),
        ({"vectors": np.eye(4), "labels": np.arange(4), "names": np.array(["a"])}, "point out of"),
        ({"vectors": np.eye(4), "pictures": np.zeros((4, 2, 2))}, "must be uint8"),
        ({"vectors": np.eye(4), "pictures": np.zeros((4, 2, 2, 2), np.uint8)}, "1 or 3"),
    ],
)
def test_arrays_that_cannot_be_drawn(tmp_path: Path, arrays: dict, says: str):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(PlotUnusable, match=says):
        of_npz(tmp_path / "x.npz")


def test_what_is_no_npz(tmp_path: Path):
    (tmp_path / "x.npz").write_text("no")
    np.save(tmp_path / "y.npy", np.eye(3))
    for name in ("x.npz", "y.npy"):
        with pytest.raises(PlotUnusable, match=r"no \.npz file"):
            of_npz(tmp_path / name)


def test_heat_is_orange_where_it_fell_and_blue_where_it_rose():
    heat = np.array([[0.2, -0.1], [0.0, 0.4]])
    layer = heat_layer(heat, 0.2)
    assert tuple(layer[0, 0, :3]) == FOR
    assert tuple(layer[0, 1, :3]) == AGAINST
    assert layer[0, 0, 3] == layer[1, 1, 3] == 204 > layer[0, 1, 3] > layer[1, 0, 3] == 0


def test_kinds_of_files():
    assert [kind_of(Path(name)) for name in ("a.HTML", "b.svg", "c.jpg", "d")] == [
        "html", "svg", None, None,
    ]  # fmt: skip
