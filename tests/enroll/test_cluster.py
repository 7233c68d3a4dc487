"""A library of generated people into clusters, and clusters into people."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from enroll.cluster import (
    ClusterRules,
    cluster_library,
    name_person,
    partition,
    summary_of_last,
)
from enroll.errors import FolderUnusable, NothingToEnroll
from enroll.forget import forget
from index.errors import VectorIndexError
from store.errors import InvalidName, SpaceMismatch, UnknownCluster
from store.templates import faces_of_photos
from verify.calibration import BINS, Calibration, calibration_for
from verify.cuts import CUT_RATE, cuts_of
from verify.errors import UnsupportedRate
from verify.identify import identify

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from enroll.cluster import Clustering

    from .conftest import Shelf, Sorted


def owners(clustering: Clustering) -> list[Counter[str]]:
    """Of each cluster, how many photos of whom."""
    return [Counter(Path(file).parent.name for file in c.files) for c in clustering.clusters]


def groups(clustering: Clustering) -> set[frozenset[str]]:
    return {frozenset(cluster.files) for cluster in clustering.clusters}


# --- finding clusters


def test_each_person_is_one_cluster(sorted_folder: Sorted):
    found = sorted_folder.clustering
    assert (found.photos, found.faces, found.unsorted) == (108, 108, ())
    assert sorted(len(owner) for owner in owners(found)) == [1] * 18
    assert {next(iter(owner)) for owner in owners(found)} == {
        path.name for path in sorted_folder.library.glob("*/*/")
    }
    assert found.method.startswith("average link, cut at similarity 0.")


def test_the_result_is_kept_as_it_is_told(sorted_folder: Sorted, library: Shelf):
    told = [(c.number, len(c.templates), None) for c in sorted_folder.clustering.clusters]
    assert summary_of_last(library.parts) == told
    rows = library.ask(
        "SELECT number, template_id FROM clusters JOIN cluster_faces ON cluster_id = clusters.id"
    )
    clusters = sorted_folder.clustering.clusters
    assert set(rows) == {(c.number, template) for c in clusters for template in c.templates}
    assert json.loads(json.dumps(sorted_folder.clustering.to_dict()))["faces"] == 108


def test_unnamed_faces_are_in_no_index(library: Shelf):
    assert library.count("templates") == 108
    assert library.count("changes") == 0
    assert len(library.parts.index) == 0


def test_the_second_run_decodes_nothing_and_finds_the_same(
    library: Shelf, sorted_folder: Sorted, monkeypatch: pytest.MonkeyPatch
):
    before = library.counts()
    monkeypatch.setattr("enroll.intake.decode", lambda *_, **__: pytest.fail("decoded"))
    again = cluster_library(library.parts, sorted_folder.library)
    first = sorted_folder.clustering
    assert again.run != first.run
    assert again.clusters == first.clusters
    assert library.counts() == before


def test_k_means_gives_k_clusters(library: Shelf, sorted_folder: Sorted):
    found = cluster_library(library.parts, sorted_folder.library, ClusterRules(k=18))
    assert found.method == "k-means, k = 18"
    assert len(found.clusters) == 18
    assert sum(len(c.templates) for c in found.clusters) == 108
    again = cluster_library(library.parts, sorted_folder.library, ClusterRules(k=18))
    assert again.clusters == found.clusters


@pytest.mark.parametrize("k", [0, 109])
def test_k_out_of_range_is_an_error_and_leaves_no_run(
    library: Shelf, sorted_folder: Sorted, k: int
):
    with pytest.raises(VectorIndexError, match="k must be from 1"):
        cluster_library(library.parts, sorted_folder.library, ClusterRules(k=k))
    assert library.count("runs") == 1


def test_clusters_are_numbered_by_size_and_begin_with_the_most_typical_face(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    names = list(people)[:3]
    sizes = dict(zip(names, (2, 5, 3), strict=True))
    found = cluster_library(
        shelf.parts, album({name: people[name][:size] for name, size in sizes.items()})
    )
    assert [c.number for c in found.clusters] == [1, 2, 3]
    assert [len(c.templates) for c in found.clusters] == [5, 3, 2]
    assert [next(iter(owner)) for owner in owners(found)] == [names[1], names[2], names[0]]
    vectors = {i: np.frombuffer(v, "<f4") for i, v in shelf.ask("SELECT id, vector FROM templates")}
    for cluster in found.clusters:
        rows = np.stack([vectors[i] for i in cluster.templates])
        closeness = rows @ rows.mean(axis=0)
        assert np.all(np.diff(closeness) <= 1e-6)


def test_two_faces_of_one_photo_are_never_one_cluster(
    shelf: Shelf,
    album: Callable[..., Path],
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
    people: dict[str, list[Path]],
):
    """Even of one person, twice in a collage: a photo cannot show somebody twice."""
    folder = album({"Ann": next(iter(people.values()))[2:5]})
    path = picture(np.hstack([portraits[0][0], portraits[0][1]]), "photos/collage.png")
    found = cluster_library(shelf.parts, folder)
    homes = [c.number for c in found.clusters for file in c.files if file == str(path)]
    assert len(homes) == 2
    assert homes[0] != homes[1]
    assert found.faces == 5


def test_unsorted_photos_are_told_with_their_reason_on_every_run(
    shelf: Shelf,
    album: Callable[..., Path],
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
    people: dict[str, list[Path]],
):
    folder = album({"Ann": next(iter(people.values()))[:2]})
    picture(np.full((90, 90, 3), 60, np.uint8), "photos/0.png")
    picture((portraits[0][0] * 0.2).astype(np.uint8), "photos/1.png")
    (folder / "2.jpg").write_text("text")
    (folder / "3.jpg").symlink_to("nowhere")
    wanted = [
        (str(folder / "0.png"), "face_not_found"), (str(folder / "1.png"), "low_quality"),
        (str(folder / "2.jpg"), "not_an_image"), (str(folder / "3.jpg"), "not_an_image"),
    ]  # fmt: skip
    for _ in range(2):
        found = cluster_library(shelf.parts, folder)
        assert sorted((u.file, u.reason) for u in found.unsorted) == wanted
        assert (found.photos, found.faces) == (6, 2)


def test_a_library_without_a_face_has_no_clusters(shelf: Shelf, picture: Callable[..., Path]):
    path = picture(np.full((90, 90, 3), 60, np.uint8), "photos/0.png")
    found = cluster_library(shelf.parts, path.parent)
    assert (found.clusters, found.faces, found.method) == ((), 0, "no faces")
    with pytest.raises(VectorIndexError):
        cluster_library(shelf.parts, path.parent, ClusterRules(k=1))


def test_the_same_bytes_twice_are_one_face(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    ann = next(iter(people.values()))
    folder = album({"a": ann[:2], "b": ann[:1]})
    for _ in range(2):
        found = cluster_library(shelf.parts, folder)
        assert (found.photos, found.faces) == (3, 2)
        (files,) = groups(found)
        assert files == {str(folder / "a" / "1.jpg"), str(folder / "a" / "2.jpg")}


def test_a_library_that_was_moved_is_told_where_it_is_now(
    shelf: Shelf,
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    tmp_path: Path,
):
    folder = album({"Ann": next(iter(people.values()))[:2]})
    cluster_library(shelf.parts, folder)
    shutil.move(folder, tmp_path / "moved")
    (files,) = groups(cluster_library(shelf.parts, tmp_path / "moved"))
    assert files == {str(tmp_path / "moved" / "Ann" / f"{n}.jpg") for n in (1, 2)}


def test_only_the_photos_of_the_library_are_in_its_clusters(
    library: Shelf, people: dict[str, list[Path]]
):
    name, pictures = next(iter(people.items()))
    found = cluster_library(library.parts, pictures[0].parent)
    assert owners(found) == [Counter({name: 6})]


def test_progress_is_told_after_each_commit(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    seen = []

    def told(done: int, of: int) -> None:
        seen.append((done, of, shelf.count("photos")))

    cluster_library(shelf.parts, album({"A": next(iter(people.values()))[:3]}), progress=told)
    assert seen[-1] == (3, 3, 3)
    assert all(done == committed for done, _, committed in seen)


def test_an_interrupted_run_keeps_its_faces_and_is_continued(
    shelf: Shelf,
    album: Callable[..., Path],
    people: dict[str, list[Path]],
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupted(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    folder = album({name: people[name][:2] for name in list(people)[:3]})
    with monkeypatch.context() as patch:
        patch.setattr("enroll.batches.batches.__defaults__", (2, 1e9, None, None))
        with pytest.raises(KeyboardInterrupt):
            cluster_library(shelf.parts, folder, progress=interrupted)
    assert (shelf.count("photos"), shelf.count("templates"), shelf.count("runs")) == (2, 2, 0)
    assert len(cluster_library(shelf.parts, folder).clusters) == 3
    assert shelf.count("templates") == 6


def test_no_library(shelf: Shelf, tmp_path: Path):
    with pytest.raises(FolderUnusable):
        cluster_library(shelf.parts, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToEnroll):
        cluster_library(shelf.parts, tmp_path / "empty")


def test_another_model_is_refused_before_any_photo_is_read(
    library: Shelf, open_shelf: Callable[..., Shelf], sorted_folder: Sorted,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    other = open_shelf(library.database, model="sface-mirror")
    monkeypatch.setattr("enroll.intake.fetch", lambda *_: pytest.fail("read"))
    with pytest.raises(SpaceMismatch):
        cluster_library(other.parts, sorted_folder.library)


# --- the cut


def test_the_cut_is_the_similarity_at_its_rate(embedder: object):
    calibration = calibration_for(embedder.space)
    cut, strangers = cuts_of(calibration)
    assert calibration.fmr_at(cut) <= CUT_RATE < calibration.fmr_at(cut - 0.001)
    assert calibration.fmr_at(strangers) <= 0.5 < calibration.fmr_at(strangers - 0.001)


def of_people(people: int) -> Calibration:
    pairs = people * (people - 1) // 2
    nonmated = np.zeros(BINS)
    nonmated[1000 : 1000 + pairs] = 1
    return Calibration(
        "toy", "toy people", people, pairs, 0, people, nonmated, np.zeros(BINS), {}, "0" * 64, "",
    )  # fmt: skip


def test_a_small_calibration_cuts_at_the_rate_it_supports():
    few = of_people(7)
    cut, strangers = cuts_of(few)
    assert few.fmr_at(cut) <= few.smallest_fmr
    assert strangers < cut


@pytest.mark.parametrize("people", [2, 3, 4])
def test_too_small_a_calibration_is_refused_with_what_to_do(people: int):
    with pytest.raises(UnsupportedRate, match="calibrate"):
        cuts_of(of_people(people))


def test_pairs_that_must_be_apart_are_parted():
    rows = np.eye(8, dtype=np.float32)[[0, 0, 1, 1]]
    assert partition(rows, (0.5, 0.1)).tolist() == [0, 0, 1, 1]
    apart = np.array([[0, 1]])
    assert partition(rows, (0.5, 0.1), apart).tolist() == [0, 1, 2, 2]


# --- naming


def test_a_named_cluster_is_an_enrolled_person(library: Shelf, sorted_folder: Sorted):
    cluster = sorted_folder.clustering.clusters[2]
    named = name_person(library.parts, 3, "Ann Lee")
    assert named.to_dict() == {
        "cluster": 3, "person": "Ann Lee", "faces": len(cluster.templates), "new_person": True,
    }  # fmt: skip
    assert len(library.parts.index) == len(cluster.templates)
    assert library.ask("SELECT rev FROM engines") == library.ask("SELECT rev FROM gallery")
    with library.parts.store.read() as session:
        digests = [str(row[0]) for row in library.ask("SELECT digest FROM photos")]
        faces = faces_of_photos(session, digests, library.parts.card.space)
        vector = faces.vectors[faces.ids == cluster.templates[0]]
        (who,) = identify(vector, library.parts.index, session, library.parts.calibration)
    assert who.person == "Ann Lee"
    assert summary_of_last(library.parts)[2] == (3, len(cluster.templates), "Ann Lee")


def test_names_are_told_on_the_next_run(library: Shelf, sorted_folder: Sorted):
    name_person(library.parts, 3, "Ann Lee")
    again = cluster_library(library.parts, sorted_folder.library)
    assert [c.number for c in again.clusters if c.name == "Ann Lee"] == [3]
    assert [c.name for c in again.clusters].count(None) == 17
    assert again.clusters[2].to_dict()["name"] == "Ann Lee"


def test_of_several_names_in_a_cluster_the_most_frequent_is_told(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
):
    from enroll.person import EnrolmentRules

    ann = next(iter(people.values()))
    allow = EnrolmentRules(allow_lookalikes=True)
    for name, some in {"Zed": ann[:1], "Ann": ann[1:3], "Bob": ann[3:5]}.items():
        shelf.enroll(album({name: some}, name), allow)
    (cluster,) = cluster_library(shelf.parts, ann[0].parent).clusters
    assert (len(cluster.templates), cluster.name) == (6, "Ann")


@pytest.mark.parametrize("name", ["Ann Lee", "  Ann Lee ", "Zoe\u0308"])
def test_naming_after_somebody_known_adds_to_them(library: Shelf, sorted_folder: Sorted, name: str):
    clusters = sorted_folder.clustering.clusters
    assert name_person(library.parts, 1, name).added
    named = name_person(library.parts, 2, name)
    assert not named.added
    assert named.faces == len(clusters[1].templates)
    assert library.count("people") == 1
    assert len(library.parts.index) == sum(len(c.templates) for c in clusters[:2])


def test_a_name_of_another_site_is_another_person(library: Shelf):
    name_person(library.parts, 1, "Ann Lee")
    assert name_person(library.parts, 2, "Ann Lee", "annex").added
    assert library.count("people") == 2


@pytest.mark.parametrize("number", [0, -1, 19])
def test_an_unknown_cluster_is_told(library: Shelf, number: int):
    with pytest.raises(UnknownCluster, match=f"no cluster {number};"):
        name_person(library.parts, number, "Ann")
    assert library.count("people") == 0


def test_without_a_run_there_is_no_cluster(shelf: Shelf):
    with pytest.raises(UnknownCluster):
        name_person(shelf.parts, 1, "Ann")
    assert summary_of_last(shelf.parts) == []


def test_a_name_that_cannot_be_stored_changes_nothing(library: Shelf):
    assert len(library.parts.index) == 0  # opened: its row is there
    before = library.dump()
    with pytest.raises(InvalidName):
        name_person(library.parts, 1, "two\nlines")
    assert library.dump() == before


def test_a_cluster_whose_faces_were_forgotten_cannot_be_named(library: Shelf):
    name_person(library.parts, 1, "Ann")
    forget(library.parts, "Ann")
    with pytest.raises(UnknownCluster):
        name_person(library.parts, 1, "Bob")
    assert library.count("people") == 0
