"""A body fitted to another, block by block."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from embedder.network import coarsen, unit
from embedder.train_body import fit_block, fit_body, imitate


def body(first_stride, seed):
    """A smaller SFace: blocks over each channel by itself and over all, in turn."""
    torch.manual_seed(seed)
    return nn.Sequential(
        unit(3, 8, stride=first_stride), unit(8, 8, groups=8), unit(8, 12, 1),
        unit(12, 12, stride=2, groups=12), unit(12, 16, 1),
    )  # fmt: skip


def smooth(count, seed):
    """Pictures (N, 3, 32, 32) of soft blots, about -1 to 1."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, 32, mode="bicubic")


def test_a_body_of_the_same_shape_becomes_the_other():
    whole, fresh = body(1, 0), body(1, 1)
    for norm in (m for m in whole.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    assert fit_body(fresh, whole, smooth(64, 2)) > 0.999
    new = smooth(16, 3)
    with torch.no_grad():
        torch.testing.assert_close(fresh(new), whole(new), rtol=0.1, atol=0.1)


def test_half_the_positions_follow_better_than_spread_kernels():
    whole, half, spread = body(1, 4), body(2, 5), body(2, 4)
    coarsen(spread)
    fit_body(half, whole, smooth(96, 6))
    new = smooth(32, 7)
    with torch.no_grad():
        wanted = whole.eval()(new)[:, :, ::2, ::2]
        near = [
            float(functional.cosine_similarity(one.eval()(new), wanted).mean())
            for one in (half, spread)
        ]
    assert near[0] > 0.9
    assert near[0] > near[1]


def test_imitating_brings_a_fitted_body_nearer():
    whole, half = body(1, 4), body(2, 5)
    pictures = smooth(256, 6)
    fit_body(half, whole, pictures[:64])

    def lost():
        with torch.no_grad():
            wanted = whole.eval()(new)[:, :, ::2, ::2]
            return float((half.eval()(new) - wanted).square().mean() / wanted.var())

    new = smooth(64, 7)
    before = lost()
    averages = half[0][1].running_mean.clone()
    told = imitate(
        half, whole, lambda rows: pictures[rows], np.arange(256), steps=60, seed=1, bf16=False
    )
    assert lost() < 0.8 * before
    assert 0 < told < 1
    torch.testing.assert_close(half[0][1].running_mean, averages)


def test_the_normalisation_holds_what_the_convolution_gives():
    """Learning goes on with the averages a batch has: they must be those that are kept."""
    block = unit(6, 10, 1)
    x, wanted = torch.randn(200, 6, 4, 4), torch.randn(200, 10, 4, 4)
    wanted += functional.conv2d(x, torch.randn(10, 6, 1, 1))
    with torch.no_grad():
        fit_block(block, x, wanted)
        kept = block.eval()(x)
        own = block.train()(x)
    torch.testing.assert_close(kept, own, rtol=0.02, atol=0.02)


def test_another_number_of_blocks_is_refused():
    with pytest.raises(ValueError, match="zip"):
        fit_body(body(1, 0)[:4], body(1, 0), smooth(8, 0))
