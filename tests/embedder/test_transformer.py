import copy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from embedder.align import Crop
from embedder.embed import Embedder
from embedder.errors import NoFace, NotAnImage
from embedder.transformer import PictureEncoder

Pictures = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def things(embedder: Embedder, crops: list[Crop]) -> tuple[Pictures, list[str]]:  # noqa: ARG001 - skips without it
    """Four textures, six noisy pictures of each, with their names."""
    rng = np.random.default_rng(8)
    pictures, names = [], []
    for i in range(24):
        noisy = crops[i % 4].pixels + rng.normal(0, 10, (112, 112, 3))
        pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
        names.append(f"texture {i % 4}")
    return pictures, names


@pytest.fixture(scope="module")
def whole(things: tuple[Pictures, list[str]]) -> PictureEncoder:  # noqa: ARG001 - skips without it
    return PictureEncoder(detector="whole")


def test_a_pipeline_learns_and_knows(whole: PictureEncoder, things: tuple[Pictures, list[str]]):
    pictures, names = things
    pipeline = make_pipeline(whole, KNeighborsClassifier(1))
    pipeline.fit(pictures[:12], names[:12])
    assert pipeline.predict(pictures[12:]).tolist() == names[12:]


def test_it_is_cross_validated(whole: PictureEncoder, things: tuple[Pictures, list[str]]):
    pictures, names = things
    scores = cross_val_score(make_pipeline(whole, KNeighborsClassifier(1)), pictures, names, cv=3)
    assert scores.tolist() == [1, 1, 1]


def test_vectors_are_those_of_the_embedder(
    whole: PictureEncoder, things: tuple[Pictures, list[str]]
):
    vectors = whole.fit(things[0], things[1]).transform(things[0][:3])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 128)
    expected = [found.vectors[0] for found in whole.embedder.embed(things[0][:3])]
    assert vectors == pytest.approx(np.array(expected), abs=1e-6)
    assert whole.transform([]).shape == (0, 128)
    assert whole.card.dim == 128


def test_it_is_cloned_and_asked_for_its_parameters():
    encoder = PictureEncoder("sface-mirror", detector="whole", rule="largest", device="cpu")
    parameters = {
        "model": "sface-mirror", "detector": "whole", "rule": "largest", "device": "cpu",
        "runtime": None,
    }  # fmt: skip
    assert encoder.get_params() == parameters
    assert clone(encoder).get_params() == parameters
    assert clone(encoder) is not encoder
    assert encoder.set_params(rule="centre").rule == "centre"
    check_is_fitted(encoder)


def test_changed_parameters_are_used_after_a_first_use(things: tuple[Pictures, list[str]]):
    encoder = PictureEncoder("sface", detector="whole", runtime="onnxruntime")
    before = encoder.transform(things[0][:1])
    assert encoder.embedder is encoder.embedder, "it is opened once"
    encoder.set_params(model="sface-mirror")
    assert encoder.card.name == "sface-mirror"
    fresh = PictureEncoder("sface-mirror", detector="whole", runtime="onnxruntime")
    after = encoder.transform(things[0][:1])
    assert np.array_equal(after, fresh.transform(things[0][:1]))
    assert not np.allclose(before, after, atol=1e-4)


def test_a_used_encoder_is_copied_without_its_networks(
    whole: PictureEncoder, things: tuple[Pictures, list[str]]
):
    expected = whole.transform(things[0][:1])
    twin = copy.deepcopy(whole)  # by the state that a worker process would be sent
    assert set(vars(twin)) == set(whole.get_params())
    assert twin.get_params() == whole.get_params()
    assert np.array_equal(twin.transform(things[0][:1]), expected)


def test_a_picture_without_a_face_is_named_by_its_place(
    people: dict[str, list[Path]],
    embedder: Embedder,  # noqa: ARG001 - skips without it
):
    face = next(iter(people.values()))[0]
    blank = np.full((200, 200, 3), 128, np.uint8)
    encoder = PictureEncoder()
    assert encoder.transform([face]).shape == (1, 128)
    with pytest.raises(NoFace, match=r"Picture 2 shows no face.*detector='whole'"):
        encoder.transform([face, face, blank, face])
    with pytest.raises(NotAnImage):
        encoder.transform([face, b"no picture"])


def test_people_are_recognised(
    people: dict[str, list[Path]],
    embedder: Embedder,  # noqa: ARG001 - skip without them
):
    several = {name: paths[:2] for name, paths in list(people.items())[:6] if len(paths) > 1}
    if len(several) < 2:
        pytest.skip("needs two pictures each of two people")
    pipeline = make_pipeline(PictureEncoder(), KNeighborsClassifier(1))
    pipeline.fit([paths[0] for paths in several.values()], list(several))
    found = pipeline.predict([str(paths[1]) for paths in several.values()])
    assert found.tolist() == list(several)
