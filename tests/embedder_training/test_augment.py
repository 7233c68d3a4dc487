from dataclasses import fields, replace

import pytest
import torch

from embedder.augment import AUGMENTATIONS, Augmentation, Augmenter, augmentation
from embedder.errors import BadRecipe

QUIET = Augmentation(**{
    f.name: 0.0
    for f in fields(Augmentation)
    if f.name not in {"degrees", "move", "scale", "sigma", "grain", "least"}
})  # fmt: skip


def faces(count=6, channels=3, side=112):
    """Light above, dark below: what is up shows."""
    down = torch.linspace(230, 20, side).view(1, 1, side, 1)
    return down.expand(count, channels, side, side).contiguous()


def run(how, x, seed=1):
    torch.manual_seed(seed)
    return Augmenter(how, side=x.shape[-1], channels=x.shape[1])(x)


def test_nothing_asked_changes_nothing():
    x = faces()
    torch.testing.assert_close(run(QUIET, x), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
@pytest.mark.parametrize(("channels", "side"), [(3, 112), (1, 28)])
def test_seeded_in_range_and_upright(name, channels, side):
    x = faces(16, channels, side)
    how = augmentation(name)
    one, same, other = run(how, x), run(how, x), run(how, x, seed=2)
    assert one.shape == x.shape
    assert one.min() >= 0
    assert one.max() <= 255
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    edge = side // 4
    assert (one[:, :, :edge].mean((1, 2, 3)) > one[:, :, -edge:].mean((1, 2, 3))).all()


@pytest.mark.parametrize(
    "way", ["shift", "light", "blur", "noise", "jpeg", "small", "mask", "glasses", "hand"]
)
def test_each_way_changes_what_it_should(way):
    torch.manual_seed(0)
    x = (torch.rand(8, 3, 112, 112) * 255).round()
    difference = (run(replace(QUIET, **{way: 1.0}), x) - x).abs()  # (N, C, S, S)
    assert (difference.flatten(1).amax(dim=1) > 0.1).all()
    changed = difference > 4
    upper, lower = changed[:, :, :28].float().mean(), changed[:, :, 70:].float().mean()
    if way == "mask":
        assert upper == 0
        assert lower > 0.3
    if way == "glasses":
        assert lower < 1e-3  # the soft edge of a lens
    if way in {"mask", "glasses", "hand"}:
        assert changed.float().mean() < 0.6


def test_mirror():
    x = torch.rand(2, 3, 32, 32) * 255
    mirrored = run(replace(QUIET, mirror=1.0), x)
    torch.testing.assert_close(mirrored, x.flip(3), rtol=0, atol=1e-3)


def test_a_share_stays_clean():
    x = (torch.rand(400, 3, 16, 16) * 255).round()
    how = replace(QUIET, clean=0.5, noise=1.0, grain=0.2)
    changed = (run(how, x) - x).abs().flatten(1).amax(dim=1) > 0.5
    assert 0.4 < changed.float().mean() < 0.6
    assert torch.equal(x, x.round())  # what was given stays as it was


def test_a_face_is_never_turned_over():
    with pytest.raises(BadRecipe, match="45"):
        Augmentation(degrees=180)
    with pytest.raises(BadRecipe, match="probability"):
        Augmentation(blur=2)
    with pytest.raises(BadRecipe, match="known are none"):
        augmentation("wild")
