"""Pictures made harder, a batch at a time, on the device they are on.

What a camera does to a face: mirrored, turned a little, cut a little wider or closer, darker or
of another colour, blurred, noisy, squeezed by JPEG, small, and partly hidden by a mask, glasses or
a hand. Never upside-down: a face that is upside-down is another thing.

All chance comes from torch's generator; the caller seeds it (`torch.manual_seed`) and gets the
same pictures again. Masks, glasses and hands are drawn where an aligned face has its mouth and
eyes (`embedder.align.REFERENCE`).

Letters: N pictures, C channels, S side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import kornia.augmentation as kornia
import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.errors import BadRecipe


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often a picture is changed in each way (probability, 0…1) and how strongly.

    Attributes:
        clean: left as it is, but for the mirror.
        mirror: left and right exchanged; 0 for digits and letters.
        shift: turned, moved and scaled.
        degrees: the most it is turned, at most 45.
        move: the most it is moved, as share of S.
        scale: the most it is made larger or smaller, as share.
        light: brightness, contrast, and for colour saturation and hue.
        grey: made grey.
        blur: Gaussian, σ up to `sigma` pixels of 112.
        sigma: the most σ.
        noise: Gaussian, σ up to `grain`.
        grain: the most noise, as share of white.
        jpeg: JPEG of quality 20…80; colour pictures with S a multiple of 16 only.
        small: shrunk to `least`…S pixels and back.
        least: the smallest side, as share of S.
        mask: a mask over mouth and nose.
        glasses: dark or clear glasses.
        hand: a hand or another thing in front, from any border.
    """

    clean: float = 0.0
    mirror: float = 0.5
    shift: float = 0.8
    degrees: float = 10.0
    move: float = 0.06
    scale: float = 0.1
    light: float = 0.5
    grey: float = 0.05
    blur: float = 0.2
    sigma: float = 2.5
    noise: float = 0.2
    grain: float = 0.08
    jpeg: float = 0.1
    small: float = 0.2
    least: float = 0.2
    mask: float = 0.1
    glasses: float = 0.05
    hand: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 45:
            raise BadRecipe(f"degrees is {self.degrees}: a face is turned by 45 at most.")
        for name in _CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise BadRecipe(f"{name} is {getattr(self, name)}: a probability is 0…1.")


_CHANCES = (
    "clean", "mirror", "shift", "light", "grey", "blur", "noise", "jpeg", "small", "mask",
    "glasses", "hand",
)  # fmt: skip

# Captures far from their clean enrolment in one half, clean faces in the other: what a student
# sees whose teacher is always shown the clean face.
_HARD = Augmentation(
    clean=0.5, shift=0.5, degrees=6, move=0.03, scale=0.05, light=0.4, blur=0.35, sigma=3.5,
    noise=0.35, grain=0.16, jpeg=0.15, small=0.35, least=0.14, mask=0.35, glasses=0.05, hand=0.08,
)  # fmt: skip
AUGMENTATIONS = {
    "none": None,
    "faces": Augmentation(),
    # What a cheap camera in a dark hall makes of people who may wear masks.
    "captures": Augmentation(
        blur=0.4, noise=0.4, jpeg=0.2, small=0.4, mask=0.3, glasses=0.1, hand=0.1, light=0.7
    ),
    "hard-half": _HARD,
    "hard-third": replace(_HARD, clean=0.67),
    "digits": Augmentation(
        mirror=0, light=0, grey=0, blur=0, noise=0, jpeg=0, small=0, mask=0, glasses=0, hand=0
    ),
    "things": Augmentation(
        mirror=0.5, light=0.2, grey=0, blur=0, noise=0.1, grain=0.05, jpeg=0, small=0, mask=0,
        glasses=0, hand=0.1, degrees=6, scale=0.08,
    ),
    # Things that stand upright in the middle of small grey pictures.
    "garments": Augmentation(
        mirror=0.5, shift=0.6, degrees=4, move=0.05, scale=0.06, light=0, grey=0, blur=0, noise=0,
        jpeg=0, small=0, mask=0, glasses=0, hand=0.15,
    ),
    # SimCLR: two views must differ in everything but what is shown.
    "views": Augmentation(
        shift=1.0, degrees=12, move=0.12, scale=0.25, light=0.8, grey=0.2, blur=0.4, noise=0.2,
        jpeg=0, small=0.2, mask=0.1, glasses=0.05, hand=0.2,
    ),
}  # fmt: skip


def augmentation(name: str) -> Augmentation | None:
    """A set of probabilities by name; None for `none`.

    Raises:
        BadRecipe: no such name.
    """
    if name not in AUGMENTATIONS:
        raise BadRecipe(f"There is no augmentation {name!r}: known are {', '.join(AUGMENTATIONS)}.")
    return AUGMENTATIONS[name]


class Augmenter(nn.Module):
    """Changes batches as an `Augmentation` says."""

    def __init__(self, how: Augmentation, *, side: int, channels: int) -> None:
        super().__init__()
        self.how = how
        self.mirror = kornia.RandomHorizontalFlip(p=how.mirror)
        self.geometry = kornia.RandomAffine(
            degrees=how.degrees, translate=(how.move, how.move), p=how.shift,
            scale=(1 - how.scale, 1 + how.scale), padding_mode="border",
        )  # fmt: skip
        self.light = _light(how, channels)
        kernel = max(3, round(side / 112 * how.sigma * 4) | 1)
        sigma = max(0.2, side / 112 * how.sigma)
        self.blur = kornia.RandomGaussianBlur((kernel, kernel), (0.1, sigma), p=how.blur)
        jpeg = how.jpeg > 0 and channels == 3 and side % 16 == 0
        self.jpeg = kornia.RandomJPEG(p=how.jpeg) if jpeg else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        """Float (N, C, S, S) in 0…255 → the same shape and range."""
        with torch.no_grad():
            return self._changed(pictures / 255) * 255

    def _changed(self, pictures: Tensor) -> Tensor:
        """Float (N, C, S, S) in 0…1 → the same shape and range."""
        how = self.how
        x = self.mirror(pictures)
        if not how.clean:
            return self._harder(x)
        hard = torch.rand(len(x), device=x.device) >= how.clean
        if hard.any():
            x[hard] = self._harder(x[hard])
        return x

    def _harder(self, pictures: Tensor) -> Tensor:
        """Float (N, C, S, S) in 0…1 → the same shape and range."""
        how = self.how
        x = self.geometry(pictures)
        for chance, draw in ((how.mask, mask), (how.glasses, glasses), (how.hand, hand)):
            x = drawn(x, chance, draw)
        x = self.blur(shrunk(self.light(x), how.small, how.least))
        x = noisy(x, how.noise, how.grain)
        return self.jpeg(x.clamp(0, 1)).clamp(0, 1)


def _light(how: Augmentation, channels: int) -> nn.Module:
    if channels == 3:
        jitter = kornia.ColorJitter(0.4, 0.4, 0.3, 0.03, p=how.light)
        return nn.Sequential(jitter, kornia.RandomGrayscale(p=how.grey))
    return nn.Sequential(
        kornia.RandomBrightness((0.6, 1.4), p=how.light),
        kornia.RandomContrast((0.6, 1.4), p=how.light),
    )


def chosen(count: int, chance: float, device: torch.device) -> Tensor:
    """Which of N pictures: float32 (N, 1, 1, 1), 1 with probability `chance`, else 0."""
    return (torch.rand(count, 1, 1, 1, device=device) < chance).float()


def noisy(x: Tensor, chance: float, grain: float) -> Tensor:
    """Gaussian noise of σ in 0…`grain` added to some of float (N, C, S, S) in 0…1; unclamped."""
    if not chance:
        return x
    strength = torch.rand(len(x), 1, 1, 1, device=x.device) * grain
    return x + torch.randn_like(x) * strength * chosen(len(x), chance, x.device)


def shrunk(x: Tensor, chance: float, least: float) -> Tensor:
    """Some of float (N, C, S, S) shrunk and enlarged again, each eighth of a batch by one factor.

    Small sides come more often than large ones: the factor is uniform in its logarithm.
    """
    if not chance:
        return x
    side = x.shape[-1]
    parts = []
    for part in x.chunk(8):
        target = max(4, round(side * least ** float(torch.rand(()))))
        little = functional.interpolate(part, size=target, mode="area")
        back = functional.interpolate(little, size=side, mode="bilinear", align_corners=False)
        take = chosen(len(part), chance, x.device)
        parts.append(part * (1 - take) + back * take)
    return torch.cat(parts)


Shape = tuple[Tensor, Tensor]  # cover (N, 1, S, S) in 0…1 and colour (N, C, 1, 1)


def drawn(x: Tensor, chance: float, draw: Callable[[int, Tensor, Tensor], Shape]) -> Tensor:
    """Lay a drawn thing over some pictures.

    Args:
        x: float (N, C, S, S) in 0…1.
        chance: share of the pictures that get one.
        draw: `mask`, `glasses` or `hand`.

    Returns:
        float (N, C, S, S) in 0…1; `x` itself where nothing is drawn.
    """
    if not chance:
        return x
    take = torch.rand(len(x), device=x.device) < chance
    count = int(take.sum())
    if not count:
        return x
    axis = (torch.arange(x.shape[-1], device=x.device) + 0.5) / x.shape[-1]
    across, down = axis.view(1, 1, 1, -1), axis.view(1, 1, -1, 1)
    cover, colour = draw(count, across, down)
    if x.shape[1] == 1:
        colour = colour.mean(dim=1, keepdim=True)
    shade = 0.85 + 0.15 * torch.rand(count, 1, 1, 1, device=x.device) * (down + 0.5)
    out = x.clone()
    out[take] = x[take] * (1 - cover) + (colour * shade).clamp(0, 1) * cover
    return out


def _between(count: int, low: float, high: float, like: Tensor) -> Tensor:
    """Uniform numbers (N, 1, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, device=like.device)


def _soft(inside: Tensor) -> Tensor:
    """A signed distance (share of S, positive inside) to a cover with an edge of about a pixel."""
    return torch.sigmoid(inside * 160)


def _ellipse(across: Tensor, down: Tensor, x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> Tensor:
    """About the signed distance to an ellipse's edge, in share of S."""
    radius = torch.sqrt(((across - x) / w) ** 2 + ((down - y) / h) ** 2 + 1e-9)
    return (1 - radius) * torch.minimum(w, h)


def mask(
    count: int, across: Tensor, down: Tensor, tops: tuple[float, float] = (0.50, 0.66)
) -> Shape:
    """A mask from the bridge or tip of the nose down over the chin, of any colour.

    Args:
        count: N.
        across: float (1, 1, 1, S), where each column is, 0…1.
        down: float (1, 1, S, 1), where each row is, 0…1.
        tops: where its upper edge lies, share of S from above, least and most.

    Returns:
        Cover float (N, 1, S, S) and colour float (N, 3, 1, 1), both in 0…1.
    """
    top = _between(count, *tops, across)
    x = _between(count, 0.46, 0.54, across)
    bow = _between(count, 0.0, 0.35, across) * (across - x) ** 2
    width = _between(count, 0.32, 0.44, across)
    bottom = _between(count, 0.40, 0.55, across)
    below = _soft(down - top - bow)
    cover = below * _soft(_ellipse(across, down, x, top + 0.12, width, bottom))
    return cover, torch.rand(count, 3, 1, 1, device=across.device) ** 0.6


def glasses(count: int, across: Tensor, down: Tensor) -> Shape:
    """Two lenses, dark or nearly clear, with a bridge.

    Args:
        count: N.
        across: float (1, 1, 1, S), where each column is, 0…1.
        down: float (1, 1, S, 1), where each row is, 0…1.

    Returns:
        Cover float (N, 1, S, S) and colour float (N, 3, 1, 1), both in 0…1.
    """
    left, right, y = 38.3 / 112, 73.6 / 112, 51.6 / 112
    w, h = _between(count, 0.11, 0.15, across), _between(count, 0.07, 0.13, across)
    lens = torch.maximum(
        _ellipse(across, down, torch.full_like(w, left), torch.full_like(w, y), w, h),
        _ellipse(across, down, torch.full_like(w, right), torch.full_like(w, y), w, h),
    )
    bridge = 0.012 - (down - y).abs() + 0 * across
    bridge = torch.where((across > left) & (across < right), bridge, torch.full_like(bridge, -1.0))
    frame = torch.maximum(_soft(0.012 - lens.abs()), _soft(bridge))
    dark = _between(count, 0.1, 0.95, across)
    cover = torch.maximum(frame, _soft(lens) * dark)
    return cover, torch.rand(count, 3, 1, 1, device=across.device) * 0.25


_SKIN = (0.85, 0.65, 0.52)


def hand(count: int, across: Tensor, down: Tensor) -> Shape:
    """A bar with a round end reaching in from the left, right or lower border: skin or a thing.

    Args:
        count: N.
        across: float (1, 1, 1, S), where each column is, 0…1.
        down: float (1, 1, S, 1), where each row is, 0…1.

    Returns:
        Cover float (N, 1, S, S) and colour float (N, 3, 1, 1), both in 0…1.
    """
    side = torch.randint(0, 3, (count, 1, 1, 1), device=across.device)
    reach = _between(count, 0.1, 0.45, across)
    along = _between(count, 0.2, 0.9, across)
    thick = _between(count, 0.06, 0.16, across)
    slope = _between(count, -0.6, 0.6, across)
    depth = torch.where(side == 0, across, torch.where(side == 1, 1 - across, 1 - down))
    other = torch.where(side == 2, across, down) - along - slope * depth
    over = functional.relu(depth - reach + thick)
    cover = _soft(thick - torch.sqrt(over**2 + other**2 + 1e-9))
    skin = torch.tensor(_SKIN, device=across.device).view(1, 3, 1, 1)
    skin = skin * _between(count, 0.3, 1.05, across)
    thing = torch.rand(count, 3, 1, 1, device=across.device)
    return cover, torch.where(_between(count, 0, 1, across) < 0.7, skin, thing).clamp(0, 1)
