"""Clustering again: what stays, what joins, what people said, and taking it back."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from enroll.cluster import ClusterRules, cluster_library, name_person, summary_of_last
from enroll.clustering_edits import (
    answer_suggestion,
    merge_clusters,
    move_faces,
    pending_suggestions,
    split_cluster,
)
from enroll.clustering_known import Shot, burst_pairs
from enroll.clustering_methods import METHODS
from enroll.corrections import operations, undo
from enroll.errors import UnknownSuggestion
from store.errors import CannotUndo, InvalidCorrection, UnknownCluster, UnknownTemplate
from store.templates import LibraryFaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from enroll.cluster import Clustering

    from .conftest import Shelf, Sorted


def members(clustering: Clustering) -> dict[int, frozenset[int]]:
    return {one.number: frozenset(one.templates) for one in clustering.clusters}


def uids(clustering: Clustering) -> dict[int, str | None]:
    return {one.number: one.uid for one in clustering.clusters}


def homes(clustering: Clustering, *templates: int) -> list[int]:
    """The number of the cluster of each template."""
    of = {t: one.number for one in clustering.clusters for t in one.templates}
    return [of[template] for template in templates]


@pytest.fixture
def half(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
) -> tuple[Shelf, Path, Clustering]:
    """Four people with three photos each, clustered."""
    folder = album({name: people[name][:3] for name in list(people)[:4]})
    return shelf, folder, cluster_library(shelf.parts, folder)


# --- what joins, what stays


def test_new_photos_join_and_all_else_stays(
    half: tuple[Shelf, Path, Clustering], people: dict[str, list[Path]]
):
    shelf, folder, first = half
    names = list(people)
    shutil.copy(people[names[0]][4], folder / names[0] / "new.jpg")
    shutil.copy(people[names[5]][0], folder / "stranger.jpg")
    then = cluster_library(shelf.parts, folder)
    before, after = members(first), members(then)
    (home,) = [c.number for c in then.clusters if str(folder / names[0] / "new.jpg") in c.files]
    fresh = max(before) + 1
    assert {n: t for n, t in after.items() if n not in {home, fresh}} == {
        n: t for n, t in before.items() if n != home
    }
    assert after[home] > before[home]
    assert len(after[fresh]) == 1
    assert {n: uids(then)[n] for n in before} == uids(first)
    told = {(c.kind, c.before, c.after, c.added) for c in then.changes}
    assert told == {("grown", (home,), (home,), 1), ("new", (), (fresh,), 1)}


def test_a_plan_changes_no_cluster(
    half: tuple[Shelf, Path, Clustering], people: dict[str, list[Path]]
):
    shelf, folder, first = half
    shutil.copy(people[next(iter(people))][4], folder / "new.jpg")
    planned = cluster_library(shelf.parts, folder, plan=True)
    assert (planned.run, planned.operation) == (0, None)
    assert [(c.kind, c.added) for c in planned.changes] == [("grown", 1)]
    assert (shelf.count("runs"), shelf.count("cluster_faces")) == (1, first.faces)
    done = cluster_library(shelf.parts, folder)
    assert members(done) == members(planned)
    assert done.changes == planned.changes


def test_photos_that_are_gone_leave_their_clusters(half: tuple[Shelf, Path, Clustering]):
    shelf, folder, first = half
    lost = min(folder.iterdir())
    shutil.rmtree(lost)
    then = cluster_library(shelf.parts, folder)
    (gone,) = [c.number for c in first.clusters if Path(c.files[0]).parent == lost]
    assert members(then) == {n: t for n, t in members(first).items() if n != gone}
    assert [(c.kind, c.before) for c in then.changes] == [("gone", (gone,))]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_people_and_keeps_numbers(
    library: Shelf, sorted_folder: Sorted, method: str
):
    found = cluster_library(library.parts, sorted_folder.library, ClusterRules(method=method))
    assert members(found) == members(sorted_folder.clustering)
    assert uids(found) == uids(sorted_folder.clustering)
    assert found.changes == ()
    assert (found.curve is not None) == (method == "kmeans")
    if found.curve is not None:
        again = cluster_library(library.parts, sorted_folder.library, ClusterRules(k="auto"))
        assert (again.method, again.curve) == (found.method, found.curve)


def test_a_moved_library_keeps_uids(half: tuple[Shelf, Path, Clustering], tmp_path: Path):
    shelf, folder, first = half
    shutil.move(folder, tmp_path / "moved")
    then = cluster_library(shelf.parts, tmp_path / "moved")
    assert dict(zip(uids(then).values(), members(then).values(), strict=True)) == dict(
        zip(uids(first).values(), members(first).values(), strict=True)
    )
    assert then.changes == ()


def test_undo_brings_the_clustering_before_back(
    half: tuple[Shelf, Path, Clustering], people: dict[str, list[Path]]
):
    shelf, folder, first = half
    shutil.copy(people[next(iter(people))][4], folder / "new.jpg")
    then = cluster_library(shelf.parts, folder)
    last = cluster_library(shelf.parts, folder)
    with pytest.raises(CannotUndo, match="clustering that came after"):
        undo(shelf.parts, then.operation)
    assert [undo(shelf.parts).kind for _ in range(2)] == ["cluster", "cluster"]
    assert (last.operation, [o.undone is None for o in operations(shelf.parts)]) == (
        3, [False, False, True],
    )  # fmt: skip
    told = {number: size for number, size, _ in summary_of_last(shelf.parts)}
    assert told == {one.number: len(one.templates) for one in first.clusters}
    undo(shelf.parts)
    assert summary_of_last(shelf.parts) == []


# --- what people said


@pytest.mark.parametrize("again", [False, True])
def test_merged_clusters_stay_merged_until_it_is_undone(
    half: tuple[Shelf, Path, Clustering], again: bool
):
    shelf, folder, first = half
    rules = ClusterRules(again=again)
    done = merge_clusters(shelf.parts, [3, 2])
    assert (done.kind, done.cluster) == ("together", 2)
    sizes = {number: size for number, size, _ in summary_of_last(shelf.parts)}
    assert sizes == {1: 3, 2: 6, 3: 0, 4: 3}
    then = cluster_library(shelf.parts, folder, rules)
    both = members(first)[2] | members(first)[3]
    assert members(then)[2] == both
    assert uids(then)[2] == uids(first)[2]
    undo(shelf.parts)
    undo(shelf.parts, done.operation)
    assert {n: s for n, s, _ in summary_of_last(shelf.parts)} == {1: 3, 2: 3, 3: 3, 4: 3}
    assert shelf.count("facts") == 0
    assert set(members(cluster_library(shelf.parts, folder, rules)).values()) == set(
        members(first).values()
    )


@pytest.mark.parametrize("again", [False, True])
def test_a_split_holds_until_it_is_undone(half: tuple[Shelf, Path, Clustering], again: bool):
    shelf, folder, first = half
    rules = ClusterRules(again=again)
    away = first.clusters[0].templates[1:]
    done = split_cluster(shelf.parts, 1, away)
    assert (done.kind, done.cluster) == ("apart", 5)
    then = cluster_library(shelf.parts, folder, rules)
    assert sorted(members(then)[n] for n in (1, 5)) == sorted(
        [frozenset(away), frozenset(first.clusters[0].templates[:1])], key=sorted
    ) or {members(then)[1], members(then)[5]} == {
        frozenset(away),
        frozenset(first.clusters[0].templates[:1]),
    }
    undo(shelf.parts)
    undo(shelf.parts)
    assert [n for n, size, _ in summary_of_last(shelf.parts) if size] == [1, 2, 3, 4]
    assert members(cluster_library(shelf.parts, folder, rules)) == members(first)


def test_a_moved_face_stays_where_it_was_put_and_gets_the_name(
    half: tuple[Shelf, Path, Clustering],
):
    shelf, folder, first = half
    name_person(shelf.parts, 2, "Ann")
    face = first.clusters[0].templates[-1]
    assert move_faces(shelf.parts, [face], 2).kind == "move"
    then = cluster_library(shelf.parts, folder)
    assert homes(then, face) == [2]
    assert [c.name for c in then.clusters if c.number == 2] == ["Ann"]
    assert len(shelf.parts.index) == 4
    done = move_faces(shelf.parts, [face], None)
    assert done.cluster == 5
    assert len(shelf.parts.index) == 3
    last = cluster_library(shelf.parts, folder, ClusterRules(again=True))
    assert homes(last, face) != [2]
    for _ in range(3):
        undo(shelf.parts)
    assert len(shelf.parts.index) == 4
    assert homes(cluster_library(shelf.parts, folder), face) == [2]


def test_a_name_brings_clusters_of_one_person_together(half: tuple[Shelf, Path, Clustering]):
    shelf, folder, first = half
    name_person(shelf.parts, 1, "Ann")
    name_person(shelf.parts, 4, "Ann")
    then = cluster_library(shelf.parts, folder)
    assert members(then)[1] == members(first)[1] | members(first)[4]
    assert [(c.kind, c.before, c.after) for c in then.changes] == [("merged", (1, 4), (1,))]


def test_somebody_twice_in_one_photo_when_people_say_so(
    shelf: Shelf,
    picture: Callable[..., Path],
    portraits: list[list[NDArray[np.uint8]]],
):
    """A collage: the rule that a photo shows nobody twice gives way to what was said."""
    path = picture(np.hstack([portraits[0][0], portraits[0][1]]), "photos/collage.png")
    found = cluster_library(shelf.parts, path.parent)
    assert len(found.clusters) == 2
    merge_clusters(shelf.parts, [1, 2])
    for rules in (ClusterRules(), ClusterRules(again=True)):
        (only,) = cluster_library(shelf.parts, path.parent, rules).clusters
        assert len(only.templates) == 2


def test_what_cannot_be_done_says_why_and_changes_nothing(half: tuple[Shelf, Path, Clustering]):
    shelf, _, first = half
    name_person(shelf.parts, 1, "Ann")
    name_person(shelf.parts, 2, "Bob")
    before = shelf.dump()
    one = first.clusters[0].templates
    with pytest.raises(InvalidCorrection, match="different names"):
        merge_clusters(shelf.parts, [1, 2])
    with pytest.raises(InvalidCorrection, match="at least two"):
        merge_clusters(shelf.parts, [1, 1])
    with pytest.raises(UnknownCluster):
        merge_clusters(shelf.parts, [1, 99])
    with pytest.raises(InvalidCorrection, match="nothing would stay"):
        split_cluster(shelf.parts, 1, one)
    with pytest.raises(InvalidCorrection, match="not in cluster 2"):
        split_cluster(shelf.parts, 2, one[:1])
    with pytest.raises(UnknownTemplate):
        move_faces(shelf.parts, [999], 1)
    with pytest.raises(InvalidCorrection, match="already"):
        move_faces(shelf.parts, one[:1], 1)
    with pytest.raises(UnknownSuggestion, match="No suggestion 'none'"):
        answer_suggestion(shelf.parts, "none", "same")
    assert shelf.dump() == before


# --- suggestions


@pytest.fixture
def parted(
    half: tuple[Shelf, Path, Clustering], monkeypatch: pytest.MonkeyPatch
) -> tuple[Shelf, Path, Clustering]:
    """The same four people under a cut so high that everybody is in several clusters."""
    shelf, folder, _ = half
    monkeypatch.setattr("enroll.cluster.cuts_of", lambda _: (0.93, 0.086))
    return shelf, folder, cluster_library(shelf.parts, folder, ClusterRules(again=True))


def test_what_should_be_one_cluster_is_suggested_and_answered(
    parted: tuple[Shelf, Path, Clustering],
):
    shelf, folder, found = parted
    hints = pending_suggestions(shelf.parts)
    assert hints == found.suggestions
    assert hints
    chances = [hint.probability for hint in hints]
    assert chances == sorted(chances, reverse=True)
    best, second = [hint for hint in hints if hint.kind == "merge"][:2]
    files = {
        t: Path(f).parent for c in found.clusters for t, f in zip(c.templates, c.files, strict=True)
    }
    assert len({files[t] for t in best.one + best.other}) == 1
    done = answer_suggestion(shelf.parts, best.id, "same")
    assert done.kind == "together"
    assert best.id not in {hint.id for hint in pending_suggestions(shelf.parts)}
    then = cluster_library(shelf.parts, folder)
    assert len(set(homes(then, *best.one, *best.other))) == 1
    undo(shelf.parts)
    undo(shelf.parts, done.operation)
    assert pending_suggestions(shelf.parts) == hints
    answer_suggestion(shelf.parts, second.id, "skip")
    then = cluster_library(shelf.parts, folder)
    assert {hint.id for hint in then.suggestions} == {hint.id for hint in hints} - {second.id}


def test_two_people_are_kept_apart_and_not_suggested_again(
    parted: tuple[Shelf, Path, Clustering], monkeypatch: pytest.MonkeyPatch
):
    shelf, folder, found = parted
    best = next(hint for hint in found.suggestions if hint.kind == "merge")
    assert answer_suggestion(shelf.parts, best.id, "different").kind == "apart"
    monkeypatch.undo()
    then = cluster_library(shelf.parts, folder, ClusterRules(again=True))
    assert not set(homes(then, best.one[0])) & set(homes(then, best.other[0]))
    assert best.id not in {hint.id for hint in then.suggestions}


def test_two_people_in_one_cluster_are_suggested_and_split(
    half: tuple[Shelf, Path, Clustering], people: dict[str, list[Path]]
):
    shelf, folder, first = half
    found = cluster_library(shelf.parts, folder, ClusterRules(k=2))
    hint = next(hint for hint in found.suggestions if hint.kind == "split")
    assert answer_suggestion(shelf.parts, hint.id, "different").kind == "apart"
    assert [size for _, size, _ in summary_of_last(shelf.parts)] != [6, 6]
    assert len([1 for _, size, _ in summary_of_last(shelf.parts) if size]) == 3
    assert hint.id not in {one.id for one in pending_suggestions(shelf.parts)}
    assert first.faces == 12
    assert len(people) >= 4


# --- bursts


def unit(*angles: float) -> NDArray[np.float32]:
    return np.array([[np.cos(a), np.sin(a)] for a in angles], dtype=np.float32)


def faces_in(photos: list[int], vectors: NDArray[np.float32]) -> LibraryFaces:
    ids = np.arange(1, len(photos) + 1)
    return LibraryFaces(ids, np.array(photos), np.full(len(photos), -1), vectors)


def test_a_burst_ties_each_face_to_the_one_it_is_most_like():
    start = datetime(2026, 5, 1, 12, tzinfo=UTC)
    shots = {
        1: Shot("a", start, "x/1.jpg"), 2: Shot("b", start + timedelta(seconds=3), "x/2.jpg"),
        3: Shot("c", start + timedelta(seconds=9), "x/3.jpg"), 4: Shot("d", None, "x/4.jpg"),
        5: Shot("e", start + timedelta(seconds=1), "y/5.jpg"),
    }  # fmt: skip
    faces = faces_in([1, 1, 2, 2, 3, 4, 5], unit(0, 1.5, 1.4, 0.3, 0, 0, 0))
    assert burst_pairs(faces, shots, 0.5).tolist() == [[0, 3], [1, 2]]
    assert burst_pairs(faces, shots, 0.99).tolist() == [[1, 2]]


def test_a_burst_is_used_unless_it_is_switched_off(
    shelf: Shelf, tmp_path: Path, people: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
):
    """Under a cut nobody reaches only the burst ties the two photos."""
    monkeypatch.setattr("enroll.cluster.cuts_of", lambda _: (0.999, 0.086))
    for second, path in enumerate(next(iter(people.values()))[:2]):
        exif = Image.Exif()
        exif[0x0132] = f"2026:05:01 12:00:0{second}"
        (tmp_path / "burst").mkdir(exist_ok=True)
        with Image.open(path) as image:
            image.save(tmp_path / "burst" / path.name, exif=exif, quality=95)
    (only,) = cluster_library(shelf.parts, tmp_path / "burst").clusters
    assert len(only.templates) == 2
    rules = ClusterRules(bursts=False, again=True)
    assert len(cluster_library(shelf.parts, tmp_path / "burst", rules).clusters) == 2


# --- things


def test_things_are_clustered_without_faces(
    open_shelf: Callable[..., Shelf], picture: Callable[..., Path]
):
    """Four kinds of drawn things; no calibration of faces is used for them."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:160, 0:160]
    drawn = {
        "stripes": lambda _: ((rows // 16) % 2) * 200 + 20,
        "disc": lambda r: np.where((rows - 80 - r) ** 2 + (columns - 80) ** 2 < 2500, 230, 40),
        "checks": lambda _: (((rows // 24) + (columns // 24)) % 2) * 180 + 40,
        "slope": lambda r: columns + r,
    }
    tint = np.array([[1, 0.6, 0.3], [0.3, 1, 0.5], [0.4, 0.5, 1], [1, 1, 0.4]])
    for (kind, draw), colour in zip(drawn.items(), tint, strict=True):
        for number in range(4):
            grey = draw(int(rng.integers(0, 8))) + rng.normal(0, 4, (160, 160))
            pixels = np.clip(grey[..., None] * colour, 0, 255).astype(np.uint8)
            picture(pixels, f"things/{kind}/{number}.png")
            folder = picture(pixels, f"things/{kind}/{number}.png").parent.parent
    from embedder.embed import open_embedder

    shelf = open_shelf(detector="whole")
    shelf.parts.embedder = open_embedder("sface", detector="whole")
    found = cluster_library(shelf.parts, folder)
    assert found.method == "k-means, k chosen"
    assert (found.faces, found.unsorted) == (16, ())
    assert found.curve is not None
    assert found.curve["criterion"] == "silhouette"
    kinds = sorted(frozenset(Path(f).parent.name for f in c.files) for c in found.clusters)
    assert len(kinds) == 4
    assert all(len(kind) == 1 for kind in kinds)
