import json
from dataclasses import replace

import pytest

from embedder.card import EncoderCard

CARD = EncoderCard(
    name="toy",
    arch="two layers",
    dim=8,
    side=16,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    order="RGB",
    alignment="five-point-similarity-112",
    mirror=False,
    digests={"toy.onnx": "ab" * 32, "toy-int8.onnx": "cd" * 32},
    trained_on="nothing",
    weights_licence="MIT",
    data_licence="none",
    source="these tests",
)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"dim": 9},
        {"side": 17},
        {"mean": (0.0, 0.0, 1.0)},
        {"std": (2.0, 1.0, 1.0)},
        {"order": "BGR"},
        {"alignment": "whole"},
        {"mirror": True},
        {"digests": {"toy.onnx": "ef" * 32, "toy-int8.onnx": "cd" * 32}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_shapes_a_vector_changes_its_space(change: dict[str, object]):
    assert replace(CARD, **change).space != CARD.space


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "three layers"},
        {"trained_on": "something"},
        {"weights_licence": "Apache-2.0"},
        {"data_licence": "CC0"},
        {"source": "elsewhere"},
        {"digests": {"renamed.onnx": "ab" * 32}},
        {"digests": {"toy.onnx": "ab" * 32, "toy-bf16.onnx": "12" * 32}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_shape_it_leaves_the_space(change: dict[str, object]):
    assert replace(CARD, **change).space == CARD.space


def test_the_space_says_name_and_length():
    name, dim, digest = CARD.space.split("-")
    assert (name, dim) == ("toy", "8")
    assert len(digest) == 12
    int(digest, 16)


def test_a_card_is_json_and_can_be_a_key():
    told = json.loads(json.dumps(CARD.to_dict()))
    assert told["space"] == CARD.space
    assert told["digests"] == dict(CARD.digests)
    assert told["mean"] == [0.0, 0.0, 0.0]
    assert {CARD: 1}[replace(CARD)] == 1
