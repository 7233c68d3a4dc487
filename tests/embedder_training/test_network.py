import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from embedder.errors import UnknownModel
from embedder.network import NETWORKS, build, network_card, parameters_of
from embedder.sface import model_path

SIZES = {
    "small": (0.18e6, 0.20e6),
    "mobileface": (0.9e6, 1.2e6),
    "mobileface-relu": (0.9e6, 1.2e6),
    "mobileface-wide": (1.5e6, 2.2e6),
    "sface-compact": (3.2e6, 3.5e6),
    "sface-whole": (9.5e6, 9.7e6),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_shapes_and_sizes(name):
    card = network_card(name)
    network = build(name, dropout=0.1, pretrained=False).eval()
    low, high = SIZES[name]
    assert low <= parameters_of(network) <= high
    pictures = torch.rand(2, card.channels, card.side, card.side) * 255
    with torch.no_grad():
        assert network(pictures).shape == (2, card.dim)


def test_dim_is_chosen():
    assert build("small", dim=7).eval()(torch.zeros(1, 1, 28, 28)).shape == (1, 7)


def test_a_grey_network_makes_grey_of_colour():
    network = build("small").eval()
    grey = torch.rand(2, 1, 28, 28) * 255
    with torch.no_grad():
        torch.testing.assert_close(network(grey), network(grey.expand(2, 3, 28, 28)))


def test_dropout_changes_vectors_only_while_training():
    network = build("small", dropout=0.5)
    pictures = torch.rand(8, 1, 28, 28) * 255
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(network(pictures), network(pictures))
    network.eval()
    assert torch.equal(network(pictures), network(pictures))


def test_sface_equals_onnx_runtime():
    import onnxruntime

    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 256, (4, 3, 8, 8)).repeat(14, axis=2).repeat(14, axis=3)
    pictures = blocks.astype(np.float32)
    session = onnxruntime.InferenceSession(str(model_path()), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {session.get_inputs()[0].name: pictures})
    with torch.no_grad():
        vectors = build("sface-whole").eval()(torch.from_numpy(pictures))
    cosines = cosine_similarity(vectors, torch.from_numpy(wanted))
    assert cosines.min() >= 0.9999
    torch.testing.assert_close(vectors, torch.from_numpy(wanted), rtol=1e-3, atol=1e-3)


def test_the_compact_head_sits_on_the_same_body():
    whole, compact = build("sface-whole"), build("sface-compact")
    for a, b in zip(whole.body.parameters(), compact.body.parameters(), strict=True):
        assert torch.equal(a, b)
    fresh = build("sface-compact", pretrained=False)
    assert not torch.equal(next(fresh.parameters()), next(compact.parameters()))


def test_an_unknown_network():
    with pytest.raises(UnknownModel, match="known are small"):
        build("resnet")
