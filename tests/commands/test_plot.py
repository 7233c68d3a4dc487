"""`vultus plot` as a user meets it: a gallery, a folder, an .npz, a pair; and forgetting in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Done, Gallery

PCA = ("--method", "pca")


def points(page: Path) -> list[tuple[str, str]]:
    """Label and file of each point of a page."""
    text = page.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    values = json.loads(text[start : text.index("</script>", start)])
    names = [values["labels"][number]["name"] for number in values["label"]]
    assert all(one is not None for one in values["thumbs"])
    return list(zip(names, values["files"], strict=True))


def test_a_gallery_is_drawn_and_somebody_forgotten_in_it(
    inside: Callable[..., Done], own: Gallery, tmp_path: Path
):
    page, other = tmp_path / "plot.html", tmp_path / "plot.csv"
    done = inside("plot", *own.at, *PCA, "--dims", 3, "--out", page, "--out", other)
    assert done.code == 0, done
    assert "24 vectors of 6 labels from the gallery" in done.out
    assert f"Wrote {page}" in done.out
    shown = points(page)
    assert {name for name, _ in shown} == set(own.names)
    assert len(shown) == 24
    gone = inside("forget", own.names[0], "--yes", *own.at)
    assert gone.code == 0, gone
    assert {name for name, _ in points(page)} == set(own.names[1:])
    assert own.names[0] not in page.read_text(encoding="utf-8")
    assert f"{other} was drawn from the gallery" in gone.out + gone.err


@pytest.mark.usefixtures("weights")
def test_a_folder_as_numbers(inside: Callable[..., Done], shared: Gallery, tmp_path: Path):
    at = ("--database", tmp_path / "gallery.sqlite3", "--model", "sface", "--quiet", *PCA)
    done = inside("plot", shared.folder, "--format", "csv", "--limit", 10, *at)
    assert done.code == 0, done
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 10
    assert all(row["file"].startswith(row["label"] + "/") for row in rows)
    assert "drawn from 24 (seed 0)" in done.err
    assert not (tmp_path / "plot.html").exists()


@pytest.mark.usefixtures("weights")
def test_a_pair_says_what_its_similarity_rests_on(
    inside: Callable[..., Done], unchanged: Gallery, tmp_path: Path
):
    _, probe = unchanged.genuine
    other = min((unchanged.folder / unchanged.names[0]).glob("*.jpg"))
    page = tmp_path / "why.html"
    asked = ("--why", probe, other, "--step", "0.2", "--out", page, "--format", "json")
    done = inside("plot", *asked, *unchanged.at)
    assert done.code == 0, done
    values = done.json()
    assert -1 <= values["similarity"] <= 1
    assert values["threshold"] is not None
    drops = [np.array(one["drops"]) for one in values["maps"]]
    assert all(one.max() > 0.005 for one in drops), "covering a face makes it less alike somewhere"
    assert f"similarity {values['similarity']:.3f}; threshold" in page.read_text(encoding="utf-8")
    compared = inside("compare", probe, other, "--format", "json", *unchanged.at).json()
    assert values["similarity"] == pytest.approx(compared["similarity"], abs=3e-3)
    assert values["threshold"] == pytest.approx(compared["threshold"])


def test_vectors_of_anything(inside: Callable[..., Done], tmp_path: Path):
    vectors = np.random.default_rng(0).standard_normal((20, 6))
    np.savez(tmp_path / "v.npz", vectors=vectors, labels=np.arange(20) % 4)
    done = inside("plot", tmp_path / "v.npz", *PCA, "--format", "json")
    assert done.code == 0, done
    values = done.json()
    assert (values["method"], len(values["points"])) == ("pca", 20)
    assert {point["label"] for point in values["points"]} == {"0", "1", "2", "3"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--out", "plot.jpg"), 64, "none of the endings .html, .png"),
        (("--why", "A", "A", "--dims", 3), 64, "--dims does not go with --why A B"),
        (("F", "--patch", 0.3), 64, "--patch goes with --why A B"),
        (("F", "--why", "A", "A"), 64, "takes two photos"),
        (("F", "--site", "gym"), 64, "--site is of a gallery"),
        (("--database", "NEW"), 2, "Nobody is enrolled"),
        (("E",), 3, "holds no photos"),
        (("--why", "A", "A"), 2, "shows no face"),
        (("N",), 2, "no .npz file"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    inside: Callable[..., Done], shared: Gallery, spoiled: Callable, tmp_path: Path,
    arguments: tuple, code: int, says: str,
):  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "not.npz").write_text("no")
    places = {
        "A": spoiled("faceless.png"), "F": shared.folder, "E": tmp_path / "empty",
        "NEW": tmp_path / "new.sqlite3", "N": tmp_path / "not.npz",
    }  # fmt: skip
    done = inside("plot", *(places.get(a, a) for a in arguments), "--model", "sface")
    assert done.code == code, done
    assert says in done.err
