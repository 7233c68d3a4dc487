import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta

from embedder.embed import Embedder
from verify.errors import PadFolderUnusable
from verify.evaluate_pad import PadEvaluation, evaluate_pad, read_presentations
from verify.pad import PadResult, Shot


class ByName:
    """A gate whose answers stand in the files' names."""

    name = "by-name"

    def check(self, shots: Sequence[Shot]) -> PadResult:
        assert len(shots) == 1
        return PadResult(Path(shots[0].photo.source).stem.partition("-")[0], self.name, score=1.0)


@pytest.fixture(scope="module")
def presentations(people: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 bona fide (1 attack, 1 undecided) and 2 species; the names say what the gate will say."""
    place = tmp_path_factory.mktemp("pad")
    said = {
        "bona_fide": ["bona_fide"] * 4 + ["attack", "undecided"],
        "attack/print": ["attack"] * 5 + ["bona_fide"],
        "attack/screen": ["attack", "bona_fide", "bona_fide", "not_run"],
    }
    pictures = [paths[0] for paths in people.values()]
    for folder, outcomes in said.items():
        for number, outcome in enumerate(outcomes):
            person = place / folder / f"person {number}"
            person.mkdir(parents=True)
            shutil.copy(pictures[number], person / f"{outcome}-{number}.jpg")
    wall = np.random.default_rng(1).integers(90, 140, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(wall).save(place / "attack/print/nobody.png")
    (place / "attack/screen/broken.jpg").write_bytes(b"no picture")
    (place / "attack/print/notes.txt").write_text("not a presentation")
    return place


@pytest.fixture(scope="module")
def found(embedder: Embedder, presentations: Path) -> PadEvaluation:
    return evaluate_pad(embedder, presentations, ByName())


def test_the_rates_of_the_standard(found: PadEvaluation):
    told = json.loads(json.dumps(found.to_dict()))
    bona_fide, (prints, screens) = told["bona_fide"], told["attacks"]
    assert (bona_fide["bpcer"]["errors"], bona_fide["bpcer"]["trials"]) == (1, 6)
    assert bona_fide["bpcer"]["value"] == pytest.approx(1 / 6)
    assert bona_fide["bpcer"]["low"] < 1 / 6 < bona_fide["bpcer"]["high"]
    assert bona_fide["undecided"]["errors"] == 1
    assert bona_fide["bpnrr"]["errors"] == 0
    assert (prints["kind"], prints["presentations"]) == ("print", 7)
    assert (prints["apcer"]["errors"], prints["apcer"]["trials"]) == (1, 6)
    assert (prints["apnrr"]["errors"], prints["apnrr"]["trials"]) == (1, 7)
    assert (screens["apcer"]["errors"], screens["apcer"]["trials"]) == (2, 3)
    assert (screens["apnrr"]["errors"], screens["apnrr"]["trials"]) == (2, 5)
    assert told["worst"] == "screen"
    reasons = {Path(f["file"]).name: f["reasons"] for f in told["files"]}
    assert reasons["nobody.png"] == ["face_not_found"]
    assert reasons["broken.jpg"] == ["not_an_image"]
    text = "\n".join(found.lines())
    assert "BPCER" in text
    assert "APCER of the worst species: 0.6667" in text


def test_independent_presentations_have_the_binomial_interval(found: PadEvaluation):
    rate = found.bona_fide.error
    exact = beta.ppf(0.025, 1, 6), beta.isf(0.025, 2, 5)
    assert rate.low <= exact[0] + 1e-3  # with Korn and Graubard's correction a little wider
    assert rate.high >= exact[1] - 1e-3


def test_a_list_says_the_same_as_the_folders(
    embedder: Embedder, presentations: Path, found: PadEvaluation, tmp_path: Path
):
    rows = [f"{one.path},{one.kind},{one.person}" for one in read_presentations(presentations)]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["file,kind,person", *rows]) + "\n")
    listed = evaluate_pad(embedder, table, ByName()).to_dict()
    assert listed | {"source": ""} == found.to_dict() | {"source": ""}


def test_what_cannot_be_evaluated(presentations: Path, tmp_path: Path):
    with pytest.raises(PadFolderUnusable, match="holds 0 photos"):
        read_presentations(tmp_path)
    shutil.copytree(presentations / "bona_fide", tmp_path / "bona_fide")
    with pytest.raises(PadFolderUnusable, match="attack/KIND"):
        read_presentations(tmp_path)
    (tmp_path / "attack").mkdir()
    shutil.copy(presentations / "attack/print/nobody.png", tmp_path / "attack")
    with pytest.raises(PadFolderUnusable, match="has no species"):
        read_presentations(tmp_path)
    (tmp_path / "list.csv").write_text("path,label\na.jpg,print\n")
    with pytest.raises(PadFolderUnusable, match="columns file and kind"):
        read_presentations(tmp_path / "list.csv")
