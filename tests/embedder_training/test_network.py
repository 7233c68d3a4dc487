import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from embedder import picture
from embedder.errors import UnknownModel
from embedder.network import NETWORKS, Slope, Strided, build, network_card, parameters_of, unit
from embedder.sface import model_path

SIZES = {
    "small": (0.18e6, 0.20e6),
    "mobileface": (0.9e6, 1.2e6),
    "mobileface-relu": (0.9e6, 1.2e6),
    "mobileface-wide": (1.5e6, 2.2e6),
    "sface-compact": (3.2e6, 3.5e6),
    "sface-narrow": (5.0e6, 5.2e6),
    "sface-half": (3.7e6, 4.0e6),
    "sface-whole": (9.5e6, 9.7e6),
    "picture": (3.4e6, 3.6e6),
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


def test_picture_up_to_its_features_equals_onnx_runtime():
    import onnxruntime

    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (4, 3, 14, 14)).repeat(16, axis=2).repeat(16, axis=3)
    pictures = blocks.astype(np.float32)
    card = picture.card()
    scaled = (pictures - np.float32(card.mean[0])) / np.float32(card.std[0])
    session = onnxruntime.InferenceSession(
        str(picture.model_path()), providers=["CPUExecutionProvider"]
    )
    (wanted,) = session.run([picture.OUTPUT], {picture.INPUT: scaled})
    network = build("picture", dim=8).eval()
    with torch.no_grad():
        features = network.head[:2](network.body(network.scale(torch.from_numpy(pictures))))
        assert network(torch.from_numpy(pictures)).shape == (4, 8)
    cosines = cosine_similarity(features, torch.from_numpy(wanted))
    assert cosines.min() >= 0.9999
    torch.testing.assert_close(features, torch.from_numpy(wanted), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_quick_slope_is_prelu(bf16):
    torch.manual_seed(0)
    x = torch.randn(4, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    ours, torchs = Slope(16).train(), torch.nn.PReLU(16)
    found = []
    for module in (ours, torchs):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = module(given.bfloat16() if bf16 else given)
        (out.float() * x).sum().backward()
        found.append((out.float(), given.grad, module.weight.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02 if bf16 else 1e-5, atol=0.02)
    assert torch.equal(ours.eval()(x), torchs(x))


@pytest.mark.parametrize("bf16", [False, True])
def test_a_unit_whose_normalisation_rests_gives_the_numbers_and_gradients_it_gave(bf16):
    torch.manual_seed(0)
    ours = unit(8, 16, groups=8).train()
    ours[1].running_mean.normal_()
    ours[1].running_var.uniform_(0.5, 2)
    ours[1].eval()
    plain = torch.nn.Sequential(*copy.deepcopy(ours))
    x = torch.randn(4, 8, 12, 12).contiguous(memory_format=torch.channels_last)
    found = []
    for module in (ours, plain):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = module(given)
        (out.float() ** 2).mean().backward()
        found.append([out.float(), given.grad, *(p.grad for p in module.parameters())])
    assert len(found[0]) == 6  # kernel, scale, shift and slope learn
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(
            one, other, rtol=0.05 if bf16 else 1e-4, atol=0.03 if bf16 else 1e-6
        )
    assert torch.equal(ours.eval()(x), plain.eval()(x))


def test_a_unit_that_learns_its_averages_follows_them():
    torch.manual_seed(0)
    ours = unit(3, 8).train()
    before = ours[1].running_mean.clone()
    ours(torch.randn(4, 3, 8, 8) + 2)
    assert not torch.equal(ours[1].running_mean, before)


def test_the_halved_body_sees_every_second_pixel_as_the_whole_one():
    # waves a few pixels long: what lies between two pixels is about what they are
    across = torch.linspace(0, 12, 112)
    waves = torch.sin(across).view(1, 1, 1, -1) + torch.cos(across * 0.7).view(1, 1, -1, 1)
    pictures = 127 + 50 * waves.expand(1, 3, 112, 112)
    whole, half = build("sface-compact").eval(), build("sface-half").eval()
    with torch.no_grad():
        wanted = whole.body[:7](whole.scale(pictures))[:, :, ::2, ::2]
        found = half.body[:7](half.scale(pictures))
        coarse = whole.body[:7](whole.scale(pictures[:, :, ::2, ::2]))
    near = cosine_similarity(found.flatten(1), wanted.flatten(1))
    assert found.shape == wanted.shape
    assert near > 0.95
    assert near > cosine_similarity(coarse.flatten(1), wanted.flatten(1))


@pytest.mark.parametrize(("side", "kernel"), [(8, 3), (7, 3), (9, 5)])
def test_the_gradients_of_a_strided_convolution_are_torch_s(side, kernel):
    torch.manual_seed(0)
    ours = Strided(6, 6, kernel, 2, kernel // 2, groups=6)
    x = torch.randn(3, 6, side, side, requires_grad=True)
    found = ours.train()(x)
    wanted = ours.eval()(x)
    torch.testing.assert_close(found, wanted)
    towards = torch.randn_like(found)
    given = [x, ours.weight, ours.bias]
    for a, b in zip(torch.autograd.grad(found, given, towards),
                    torch.autograd.grad(wanted, given, towards), strict=True):  # fmt: skip
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_strided_convolution_in_bfloat16():
    ours = Strided(6, 6, 3, 2, 1, groups=6, bias=False).train()
    x = torch.randn(3, 6, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(x)
    found.float().square().sum().backward()
    learnt, ours.weight.grad = ours.weight.grad, None
    ours.eval()(x).square().sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(learnt, ours.weight.grad, rtol=0.05, atol=0.5)


def test_an_unknown_network():
    with pytest.raises(UnknownModel, match="known are small"):
        build("resnet")
