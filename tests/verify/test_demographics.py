from pathlib import Path

import numpy as np
import pytest

from verify.demographics import by_column, read_columns
from verify.errors import PairsUnusable
from verify.pairs import score_all
from verify.photoset import Listing, PhotoSet


def photos_of(people: int, each: int) -> PhotoSet:
    generator = np.random.default_rng(0)
    who = np.repeat(np.arange(people), each)
    files = tuple(f"p{person}/{row}.jpg" for row, person in enumerate(who))
    vectors = generator.standard_normal((people, 4))[who]
    vectors = vectors + 0.6 * generator.standard_normal((len(who), 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    shown = Listing(Path("people"), files, who, tuple(f"p{n}" for n in range(people)))
    return PhotoSet(shown, vectors, np.ones(len(who), dtype=bool), {4: "face_not_found"})


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["person", "file"])
def test_rates_are_plain_counts(tmp_path: Path, kind: str):
    photos = photos_of(20, 3)
    keys = photos.listing.names if kind == "person" else photos.listing.files
    rows = [f"{key},{('x', 'x', 'y', '')[n % 4]}" for n, key in enumerate(keys)]
    (column,) = read_columns(table(tmp_path, "\n".join([f"{kind},sex", *rows])), photos.listing)
    used = np.ones(60, dtype=bool)
    threshold = 0.5
    found = by_column(score_all(photos, used), column, threshold, 0.1, used)
    value = {key: ("x", "x", "y", "")[n % 4] for n, key in enumerate(keys)}
    who = photos.listing.people

    def label(row: int) -> str:
        return value[photos.listing.person(row) if kind == "person" else photos.listing.files[row]]

    counts: dict[tuple[str, ...], list[int]] = {}
    for a in range(60):
        for b in range(a + 1, 60):
            same = who[a] == who[b]
            failed = 4 in {a, b}
            match = not failed and float(photos.vectors[a] @ photos.vectors[b]) >= threshold
            key = (*sorted((label(a), label(b))), "mated" if same else "other")
            cell = counts.setdefault(key, [0, 0])
            cell[0] += match != same
            cell[1] += 1
    for one in found.subgroups:
        other = counts[one.value, one.value, "other"]
        mated = counts.get((one.value, one.value, "mated"), [0, 0])
        assert [one.fmr.errors, one.fmr.trials] == other
        assert [one.fnmr.errors, one.fnmr.trials] == mated
        assert one.fmr.value == pytest.approx(other[0] / other[1], abs=1e-9)
    (across,) = found.crossings
    assert [across.fmr.errors, across.fmr.trials] == counts["x", "y", "other"]
    rates = {one.value: one.fmr.value or 0.0 for one in found.subgroups}
    worst = found.ratios[0]
    assert worst.ratio == pytest.approx(max(rates.values()) / min(rates.values()))
    assert rates[str(worst.highest)] >= rates[str(worst.lowest)]
    assert found.unlabelled > 0


def test_small_subgroups_are_unsupported(tmp_path: Path):
    photos = photos_of(20, 3)
    rows = [f"{name},{'rare' if n < 2 else 'many'}" for n, name in enumerate(photos.listing.names)]
    (column,) = read_columns(table(tmp_path, "\n".join(["person,kind", *rows])), photos.listing)
    used = np.ones(60, dtype=bool)
    found = by_column(score_all(photos, used), column, 0.999, 0.1, used)
    many, rare = found.subgroups
    assert rare.people == 2
    assert not rare.fmr.supported
    assert many.fmr.supported
    assert found.ratios[0].ratio is None
    assert "turned away" in found.meaning[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line of titles"),
        ("sex,age\nf,30", "line of titles"),
        ("person\np1", "line of titles"),
        ("person,sex\nnobody,f", "names no person"),
        ("file,camera\nnowhere.jpg,a", "names no photo"),
        ("person,age\n" + "\n".join(f"p{n},{n}" for n in range(40)), "give bands"),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, message: str):
    with pytest.raises(PairsUnusable, match=message):
        read_columns(table(tmp_path, text), photos_of(40, 1).listing)
