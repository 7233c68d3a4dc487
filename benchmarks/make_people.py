"""Draw the pictures of people who do not exist: `enroll/people/`.

    VULTUS_DATA=DIR python benchmarks/make_people.py [--out enroll/people] [--cache DIR]

An active appearance model (Cootes, Edwards, Taylor, IEEE TPAMI 23(6), 2001) is fitted on the
Labeled Faces in the Wild part of the development pictures: a matte cuts each head out of its
background (GrabCut), dense flow to a low-rank picture of the same light brings the heads into
correspondence (Kemelmacher-Shlizerman, Seitz, "Collection flow", CVPR 2012), and a principal
component analysis each describes texture and shape. A person is a draw from the covariance
between people; a picture of that person adds turn, nod, smile and a draw from the covariance
within people, and sets light, backdrop, clothes and place in the frame. Draws are kept when the
encoder tells them apart.

Nothing is written unless YuNet finds exactly one face in each picture, as a JPEG, and no face
the model was fitted on is as near as a similarity of 0.5 to any of them.

Letters: N training heads, H rows and W columns of the head frame, K texture components,
L shape components, J = K + L, A = 3 attributes (turn, nod, smile), D dimensions, P = 5 points.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.align import REFERENCE, similarity_transform
from embedder.embed import open_embedder
from embedder.photo import Photo, read_photo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array = NDArray[np.float32]
Real = NDArray[np.floating[Any]]
Numbers = NDArray[np.number[Any]]
Pixels = NDArray[np.uint8]
Drawn = TypeVar("Drawn", Pixels, Array)

SEED = 20
NAMES = (
    "Arden Wick", "Briar Tolland", "Corin Mabey", "Darcy Fenwold", "Ellis Quarne",
    "Farren Ode", "Gale Hathersby", "Hollis Imber", "Indra Sollow", "Jory Pellamy",
    "Keir Dunmarsh", "Lorne Askew", "Marlow Tine", "Noor Esterby",
)  # fmt: skip
STRANGERS = ("Perrin Voss", "Quill Ransome", "Rowan Thackley", "Sorrel Byde")
PICTURES = 6
SIDE = 320  # of a picture

W, H, SCALE = 192, 208, 1.2  # the head frame: eyes 42 pixels apart
FRAME_POINTS = (REFERENCE - [56.0, 51.6]) * SCALE + [96.0, 92.0]
TEXTURES, SHAPES = 300, 30  # K, L
PER_PERSON = 6  # training heads of one person, so that nobody owns the model

POOL = 400  # draws the people are chosen from
STRENGTH, VARIETY = 0.9, 0.36  # of the draws between and within people
OWN, OTHER, TRAINING = 0.58, 0.29, 0.485  # what the search asks of similarities
REFUSED = 0.5  # nothing is written when a training face is this near
# Draws that do not look like a portrait, by eye; they belong to SEED.
SKIPPED = frozenset({31, 101, 157, 178})
TRIES = 80  # pictures tried for each one kept


# Pictures to vectors


class Sight:
    """Detector and encoder behind one door."""

    def __init__(self) -> None:
        self._embedder = open_embedder("sface")

    def central(self, photo: Photo) -> tuple[Array, Array] | None:
        """Points float32 (P, 2) and unit vector float32 (D,) of the most central face, if any."""
        found = self._embedder.faces(photo, "centre")
        if not found or found[0].crop.face.points is None:
            return None
        return found[0].crop.face.points, self._embedder.encode(found).vectors[0]

    def only(self, photo: Photo) -> Array | None:
        """Unit vector float32 (D,) of the photo's face; None unless there is exactly one."""
        found = self._embedder.faces(photo)
        if len(found) != 1:
            return None
        return np.asarray(self._embedder.encode(found).vectors[0], dtype=np.float32)


def jpeg(pixels: Pixels) -> bytes:
    """A picture uint8 (SIDE, SIDE, 3) as the bytes of its JPEG file, without EXIF."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=88, optimize=True)
    return out.getvalue()


# Training heads


@dataclass(frozen=True, slots=True)
class Heads:
    """What the model is fitted on.

    Attributes:
        rgb: uint8 (N, H, W, 3), aligned.
        points: float64 (N, 5, 2), the five points in the head frame.
        people: str (N,), whose head it is.
        vectors: float32 (N, D), unit rows.
    """

    rgb: Pixels
    points: NDArray[np.float64]
    people: NDArray[np.str_]
    vectors: Array


def heads_of(arrays: dict[str, Numbers]) -> Heads:
    """Heads from the arrays `collect` made."""
    return Heads(
        arrays["rgb"].astype(np.uint8, copy=False),
        arrays["points"].astype(np.float64, copy=False),
        arrays["people"].astype(np.str_, copy=False),
        arrays["vectors"].astype(np.float32, copy=False),
    )


def cached(folder: Path, name: str, make: Callable[[], dict[str, Numbers]]) -> dict[str, Numbers]:
    """Arrays from a file of the cache, or made and put there."""
    path = folder / f"{name}.npz"
    if not path.exists():
        began = time.perf_counter()
        arrays = make()
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]  # its third argument is a flag
        partial.replace(path)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def collect(files: list[Path], sight: Sight) -> dict[str, Numbers]:
    """Find, align and encode the central face of each file: the fields of `Heads`."""
    rgb, points, people, vectors = [], [], [], []
    for path in files:
        photo = read_photo(path)
        central = sight.central(photo)
        if central is None:
            continue
        found, vector = central
        warp = similarity_transform(found.astype(np.float64), FRAME_POINTS)
        rgb.append(
            cv2.warpAffine(
                photo.pixels, warp, (W, H), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        )
        points.append(found @ warp[:, :2].T + warp[:, 2])
        people.append(path.parent.name)
        vectors.append(vector)
    return {
        "rgb": np.stack(rgb).astype(np.uint8),
        "points": np.stack(points).astype(np.float64),
        "people": np.array(people),
        "vectors": np.stack(vectors),
    }


def usable(heads: Heads) -> NDArray[np.intp]:
    """Rows of heads that are frontal and sharp, at most `PER_PERSON` of one person."""
    eyes = heads.points[:, :2].mean(axis=1)
    turn = (heads.points[:, 2, 0] - eyes[:, 0]) / 42
    face = heads.rgb[:, 50:150, 50:142]
    sharp = [cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for f in face]
    rows, seen = [], dict[str, int]()
    for row in np.flatnonzero((np.abs(turn) < 0.22) & (np.array(sharp) > 60)):
        name = str(heads.people[row])
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= PER_PERSON:
            rows.append(row)
    return np.array(rows)


# Mattes


def matte_hint() -> Pixels:
    """GrabCut's starting labels, uint8 (H/2, W/2): a head with a neck in the middle."""
    y, x = np.mgrid[0 : H // 2, 0 : W // 2].astype(np.float32)

    def inside(cy: float, rx: float, ry: float) -> NDArray[np.float32]:
        return np.asarray(((x - 48) / rx) ** 2 + ((y - cy) / ry) ** 2, dtype=np.float32)

    head = inside(46, 33, 46)
    hint = np.full(x.shape, cv2.GC_BGD, np.uint8)
    hint[head < 1.25] = cv2.GC_PR_BGD
    hint[y > 76] = cv2.GC_PR_BGD
    hint[(y >= 76) & (y < 92) & (np.abs(x - 48) > 44)] = cv2.GC_BGD
    hint[head < 0.8] = cv2.GC_PR_FGD
    hint[(y > 88) & (np.abs(x - 48) < 1.2 * y - 81)] = cv2.GC_PR_FGD
    hint[inside(52, 22, 33) < 1] = cv2.GC_FGD
    hint[(y > 85) & (np.abs(x - 48) < 12)] = cv2.GC_FGD
    return hint


def matte(rgb: Pixels, hint: Pixels) -> Pixels:
    """How much of each pixel is head: uint8 (H, W), from rgb uint8 (H, W, 3)."""
    small = cv2.resize(rgb[..., ::-1], (W // 2, H // 2), interpolation=cv2.INTER_AREA)
    back, front = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(1)
    labels, _, _ = cv2.grabCut(
        small, hint.copy(), (0, 0, 0, 0), back, front, 4, cv2.GC_INIT_WITH_MASK
    )
    mask = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    _, parts = cv2.connectedComponents(mask)
    mask = (parts == parts[52, 48]).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    soft = cv2.GaussianBlur(mask.astype(np.float32) * 255, (0, 0), 1.2)
    return np.asarray(cv2.resize(soft, (W, H)), dtype=np.uint8)


def cut_out(rgb: Pixels) -> Pixels:
    """Heads without background: uint8 (N, H, W, 4), premultiplied, from uint8 (N, H, W, 3)."""
    hint = matte_hint()
    fade = np.clip((204 - np.arange(H, dtype=np.float32)) / 16, 0, 1)[:, None]
    out = np.empty((*rgb.shape[:3], 4), np.uint8)
    for row, pixels in enumerate(rgb):
        alpha = matte(pixels, hint) * fade
        out[row, ..., :3] = pixels * (alpha[..., None] / 255)
        out[row, ..., 3] = alpha
    return out


# Correspondence


def even_light(rgba: Pixels) -> Pixels:
    """A grey head uint8 (H/2, W/2) at a standard brightness and contrast, on a grey ground."""
    small = np.asarray(cv2.resize(rgba, (W // 2, H // 2), interpolation=cv2.INTER_AREA), np.float32)
    grey, alpha = small[..., :3] @ np.array([0.3, 0.59, 0.11], np.float32), small[..., 3] / 255
    face = grey[26:80, 28:68]
    level = (grey - face.mean() * alpha) / (face.std() + 8) * 36 + 128 * alpha
    even = np.where(alpha > 0.02, level, 0) + (1 - alpha) * 100
    return np.asarray(even.clip(0, 255), dtype=np.uint8)


def sample(image: Drawn, flow: Array) -> Drawn:
    """An image read at x + flow(x); flow float32 (rows, columns, 2) in its pixels."""
    y, x = np.mgrid[0 : flow.shape[0], 0 : flow.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    read = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cast(Drawn, read)


def grown(flow: Real, times: int) -> Array:
    """A flow float32 (rows, columns, 2) at a larger size, in the pixels of that size."""
    size = (flow.shape[1] * times, flow.shape[0] * times)
    return np.asarray(cv2.resize(flow, size, interpolation=cv2.INTER_CUBIC) * times, np.float32)


def low_rank(rows: Array, rank: int) -> Array:
    """Rows float32 (N, M) projected on their leading `rank` components."""
    mean = rows.mean(axis=0)
    centred = rows - mean
    some = centred[:: max(1, len(rows) // 1000)]
    _, turn = np.linalg.eigh(some @ some.T)
    basis = turn[:, -rank:].T @ some
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return np.asarray(mean + (centred @ basis.T) @ basis, dtype=np.float32)


def flow_to(target: Pixels, grey: Pixels, solver: cv2.DISOpticalFlow, reach: Array) -> Array:
    """Damped, smooth flow float32 (H/4, W/4, 2), target to grey, both uint8 (H/2, W/2)."""
    still = np.zeros((*grey.shape, 2), np.float32)
    flow = solver.calc(target, grey, still) * reach
    length = np.linalg.norm(flow, axis=2, keepdims=True)
    flow = flow * np.tanh(length / 5) * 5 / np.maximum(length, 1e-3)
    flow = cv2.GaussianBlur(flow, (0, 0), 2.5)
    return np.asarray(cv2.resize(flow, (W // 4, H // 4), interpolation=cv2.INTER_AREA) / 2)


def correspond(rgba: Pixels, rounds: tuple[int, ...] = (3, 4, 5, 6)) -> Array:
    """Flows float32 (N, H/4, W/4, 2), in their own pixels, from the common shape to each head.

    Args:
        rgba: uint8 (N, H, W, 4), premultiplied.
        rounds: rank of the pictures the heads are led to, round by round.
    """
    grey = np.stack([even_light(head) for head in rgba])
    y, x = np.mgrid[0 : H // 2, 0 : W // 2].astype(np.float32)
    outside = np.maximum(np.hypot((x - 48) / 36, (y - 50) / 46) - 0.95, 0)
    reach = np.exp(-(outside**2) / (2 * 0.12**2))[..., None].astype(np.float32)
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    solver.setPatchSize(12)
    solver.setFinestScale(0)
    solver.setVariationalRefinementAlpha(60)
    flows = np.zeros((len(rgba), H // 4, W // 4, 2), np.float32)
    for rank in rounds:
        warped = np.stack([sample(g, grown(f, 2)) for g, f in zip(grey, flows, strict=True)])
        target = low_rank(warped.reshape(len(grey), -1).astype(np.float32), rank)
        target8 = target.clip(0, 255).astype(np.uint8).reshape(grey.shape)
        for row, (led, own) in enumerate(zip(target8, grey, strict=True)):
            flows[row] = flow_to(led, own, solver, reach)
        flows -= flows.mean(axis=0)
        flows = low_rank(flows.reshape(len(grey), -1), 40).reshape(flows.shape)
    return flows


# The model


def components(rows: Numbers, count: int) -> tuple[Array, Array, NDArray[np.float64]]:
    """Principal components, in strips of columns so that uint8 rows need not be widened.

    Args:
        rows: any numbers (N, M).
        count: how many components, fewer than N.

    Returns:
        mean float32 (M,) · components float32 (count, M), unit rows · scores float64 (N, count).
    """
    strips = [slice(s, s + 8192) for s in range(0, rows.shape[1], 8192)]
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)

    def centred(strip: slice) -> Array:
        return np.asarray(rows[:, strip].astype(np.float32) - mean[strip])

    gram = np.zeros((len(rows), len(rows)))
    for strip in strips:
        part = centred(strip)
        gram += part @ part.T
    power, turn = np.linalg.eigh(gram)
    power, turn = power[::-1][:count], turn[:, ::-1][:, :count]
    turn = turn * np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(count)])
    onto = (turn / np.sqrt(power)).T.astype(np.float32)
    basis = np.concatenate([onto @ centred(strip) for strip in strips], axis=1)
    return mean, basis, turn * np.sqrt(power)


def typical(rows: Numbers, share: float = 0.8) -> NDArray[np.intp]:
    """The rows of (N, M) that few components describe best: no hands, no second faces."""
    mean, _, scores = components(rows, 60)
    energy = np.array([float(((row.astype(np.float32) - mean) ** 2).sum()) for row in rows])
    rest = energy - (scores**2).sum(axis=1)
    return np.flatnonzero(rest <= np.quantile(rest, share))


def fit(heads: Heads) -> dict[str, Numbers]:
    """Texture and shape components of the usable heads, and their scores."""
    rows = usable(heads)
    rgba = cut_out(heads.rgb[rows])
    flows = correspond(rgba)
    for row, flow in enumerate(flows):
        rgba[row] = sample(rgba[row], grown(flow, 4))
    kept = typical(rgba.reshape(len(rgba), -1))
    texture = components(rgba[kept].reshape(len(kept), -1), TEXTURES)
    shape = components(flows[kept].reshape(len(kept), -1), SHAPES)
    return {
        "texture_mean": texture[0], "texture": texture[1], "texture_scores": texture[2],
        "shape_mean": shape[0], "shape": shape[1], "shape_scores": shape[2],
        "rows": rows[kept],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """Heads as numbers: a head is its coefficients, float64 (J,).

    Attributes:
        texture_mean, texture: float32 (4·H·W,) and (K, 4·H·W), premultiplied RGBA, 0…255.
        shape_mean, shape: float32 (H·W/8,) and (L, H·W/8), flow at a quarter of the size.
        units: what one coefficient of texture and of shape stands for.
        between, within: float64 (J, J), roots of the covariances between and within people.
        attributes: float64 (A, J), what one standard deviation of turn, nod, smile changes.
        skin: float32 (3,), the mean head's colour, RGB.
    """

    texture_mean: Array
    texture: Array
    shape_mean: Array
    shape: Array
    units: tuple[float, float]
    between: NDArray[np.float64]
    within: NDArray[np.float64]
    attributes: NDArray[np.float64]
    skin: Array


def root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A factor R with R Rᵀ = covariance, negative powers set to zero: float64 (J, J)."""
    power, turn = np.linalg.eigh(covariance)
    turn = turn * np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(len(turn))])
    return np.asarray(turn * np.sqrt(np.maximum(power, 0)))


def attributes_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn, nod and smile, float64 (N, A), as five points float64 (N, 5, 2) tell them."""
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    nose = points[:, 2]
    turn = nose[:, 0] - eyes[:, 0]
    nod = (nose[:, 1] - eyes[:, 1]) / (mouth[:, 1] - eyes[:, 1])
    smile = points[:, 4, 0] - points[:, 3, 0]
    return np.stack([turn, nod, smile], axis=1)


def model_of(fitted: dict[str, Numbers], heads: Heads) -> Model:
    """Covariances between and within people, and attribute directions, of the fitted scores."""
    scores = [fitted["texture_scores"].astype(float), fitted["shape_scores"].astype(float)]
    units = [float(np.sqrt((s**2).sum(axis=1).mean())) for s in scores]
    rows = np.hstack([s / unit for s, unit in zip(scores, units, strict=True)])  # (N, J)
    kept = fitted["rows"].astype(int)
    _, who, counts = np.unique(heads.people[kept], return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, who, rows)
    means /= counts[:, None]
    rest = (rows - means[who])[counts[who] > 1]
    within = rest.T @ rest / (len(rest) - (counts > 1).sum())
    between = np.cov(means.T, bias=True) - within * np.mean(1 / counts)
    traits = attributes_of(heads.points[kept])
    traits = (traits - traits.mean(axis=0)) / traits.std(axis=0)
    return Model(
        texture_mean=fitted["texture_mean"].astype(np.float32),
        texture=fitted["texture"].astype(np.float32),
        shape_mean=fitted["shape_mean"].astype(np.float32),
        shape=fitted["shape"].astype(np.float32),
        units=(units[0], units[1]),
        between=root(between),
        within=root(within),
        attributes=traits.T @ rows / len(rows),
        skin=skin_of(crisp(enlarged(fitted["texture_mean"].astype(np.float32)))[0]),
    )


# A head, a body, a picture


@dataclass(frozen=True, slots=True)
class Shot:
    """How a picture of a person is taken; colours are RGB, 0…255.

    Attributes:
        change: float64 (J,), added to the person's coefficients.
        light: direction in radians and strength of light from one side.
        exposure: factor on all light.
        warmth: shift from blue to red.
        backdrop, clothes: colours.
        place: turn in degrees, scale, shift right and down in pixels.
        blur: of the lens, in pixels.
        seed: of backdrop and grain.
    """

    change: NDArray[np.float64]
    light: tuple[float, float]
    exposure: float
    warmth: float
    backdrop: tuple[int, int, int]
    clothes: tuple[int, int, int]
    place: tuple[float, float, float, float]
    blur: float
    seed: int


ZOOM = 2  # of the head frame while drawing
BODY = 640  # side of the body frame; the head frame lies in it at CORNER
CORNER = (128, 60)
EYES = (320, 244)  # between the eyes, in the body frame
BACKDROPS = (
    (196, 203, 209), (150, 166, 180), (120, 134, 128), (205, 192, 174), (92, 104, 122),
    (176, 160, 152), (142, 152, 134), (226, 224, 218), (110, 96, 92), (160, 178, 172),
)  # fmt: skip
CLOTHES = (
    (42, 52, 74), (66, 66, 70), (112, 40, 46), (52, 84, 74), (214, 210, 202), (88, 74, 104),
    (150, 116, 78), (70, 100, 138), (34, 36, 40), (128, 134, 116),
)  # fmt: skip


def smooth(x: Real, low: float, high: float) -> Array:
    """A soft step from 0 at `low` to 1 at `high`, any shape."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def enlarged(flat: Real) -> Array:
    """A texture float32 (4·H·W,) as an image float32 (H·ZOOM, W·ZOOM, 4)."""
    size = (W * ZOOM, H * ZOOM)
    return np.asarray(
        cv2.resize(flat.reshape(H, W, 4), size, interpolation=cv2.INTER_CUBIC), dtype=np.float32
    )


def head_of(model: Model, coefficients: NDArray[np.float64]) -> Array:
    """A head as the model has it: float32 (H·ZOOM, W·ZOOM, 4), premultiplied, about 0…255."""
    count = len(model.texture)
    c = coefficients.astype(np.float32)
    flat = model.texture_mean + (c[:count] * np.float32(model.units[0])) @ model.texture
    bend = model.shape_mean + (c[count:] * np.float32(model.units[1])) @ model.shape
    texture = enlarged(flat)
    flow = grown(bend.reshape(H // 4, W // 4, 2), 4 * ZOOM)
    back = -flow
    for _ in range(5):  # the flow's inverse, by fixed point
        back = -np.asarray(sample(flow, back), dtype=np.float32)
    return np.asarray(sample(texture, back), dtype=np.float32)


def crisp(head: Array) -> tuple[Array, Array]:
    """Colour float32 (…, 3) and matte float32 (…) of a head float32 (…, 4), sharpened."""
    cover = np.clip(head[..., 3] / 255, 0, 1)
    colour = head[..., :3] / np.maximum(cover, 0.15)[..., None]
    alpha = np.asarray(cv2.GaussianBlur(cover, (0, 0), 5), dtype=np.float32)
    fine, broad = cv2.GaussianBlur(colour, (0, 0), 2.2), cv2.GaussianBlur(colour, (0, 0), 6)
    sharp = colour + 0.9 * (colour - fine) + 0.3 * (colour - broad)
    return sharp.clip(0, 255), largest(smooth(alpha, 0.4, 0.8))


def largest(mask: Array) -> Array:
    """A soft mask float32 (rows, columns) without its islands."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats((mask > 0.02).astype(np.uint8))
    return np.asarray(mask * (parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()), np.float32)


def skull(colour: Array, alpha: Array) -> tuple[Array, Array]:
    """A full crown behind a head, in the colours of its edge: the same two arrays, filled up."""
    y, x = np.mgrid[0 : alpha.shape[0], 0 : alpha.shape[1]].astype(np.float32)
    distance = (np.abs((x - 192) / 106) ** 2.3 + np.abs((y - 176) / 132) ** 2.3) ** (1 / 2.3)
    above = 1 - smooth(y, 170, 230)
    dome = (1 - smooth(distance, 0.93, 1.03)) * above
    alpha = alpha * (1 - above * smooth(distance, 1.02, 1.14))  # no stray locks
    weight = np.maximum(cv2.GaussianBlur(alpha, (0, 0), 14), 1e-4)[..., None]
    spread = cv2.GaussianBlur(colour * alpha[..., None], (0, 0), 14) / weight
    spread = spread * (1.0 - 0.3 * smooth(distance, 0.6, 1.0))[..., None]
    whole = alpha + dome * (1 - alpha)
    mixed = colour * alpha[..., None] + spread * (dome * (1 - alpha))[..., None]
    return np.asarray(mixed / np.maximum(whole, 1e-4)[..., None], np.float32), whole


def skin_of(colour: Array) -> Array:
    """The skin's colour float32 (3,): the median of cheeks and nose."""
    return np.asarray(np.median(colour[200:300, 130:254].reshape(-1, 3), axis=0), np.float32)


def natural(colour: Array, usual: Array) -> Array:
    """A head's colour float32 (…, 3) with its cast led most of the way to the usual skin's (3,)."""
    skin = skin_of(colour)
    gain = ((usual / usual.mean()) / (skin / skin.mean())) ** 0.7
    return np.asarray((colour * gain).clip(0, 255), dtype=np.float32)


def below_chin(shape: tuple[int, int]) -> Array:
    """What to keep of a head, float32 (rows, columns): all but the neck."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    distance = np.hypot((x - 192) / 138, (y - 190) / 172)
    return np.where(y > 250, 1 - smooth(distance, 0.9, 1.02), 1.0).astype(np.float32)


def shape_mask(outline: list[tuple[int, int]], soft: float) -> Array:
    """A polygon as a soft mask, float32 (BODY, BODY), 0…1."""
    mask = np.zeros((BODY, BODY), np.uint8)
    cv2.fillPoly(mask, [np.array(outline, np.int32)], 255, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), soft) / 255, dtype=np.float32)


def mirrored(right: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """An outline from its right half, from top to bottom."""
    return right + [(BODY - x, y) for x, y in reversed(right)]


def body(skin: Array, clothes: tuple[int, int, int]) -> tuple[Array, Array]:
    """Neck and shoulders: colour float32 (BODY, BODY, 3) and matte float32 (BODY, BODY)."""
    y, x = np.mgrid[0:BODY, 0:BODY].astype(np.float32)
    neck = shape_mask(mirrored([(386, 330), (384, 430), (396, 470), (450, 520), (450, 640)]), 4)
    coat = shape_mask(
        mirrored([(392, 452), (420, 468), (500, 496), (560, 524), (600, 570), (625, 640)]), 5
    )
    coat *= 1 - shape_mask(mirrored([(392, 380), (398, 446), (372, 478), (342, 497)]), 3)
    round_off = 1 - 0.35 * np.abs(x - EYES[0]) / 72
    flesh = skin * (round_off * (0.66 + 0.28 * smooth(y, 395, 480)))[..., None]
    fall = (1.08 - 0.3 * smooth(np.abs(x - EYES[0]), 60, 300)) * (1.05 - 0.25 * smooth(y, 470, 640))
    cloth = np.array(clothes, np.float32) * fall[..., None]
    matte_of_both = coat + neck * (1 - coat)
    share = (coat / np.maximum(matte_of_both, 1e-4))[..., None]
    colour = flesh * (1 - share) + cloth * share
    return colour.astype(np.float32), matte_of_both


def figure(model: Model, coefficients: NDArray[np.float64], clothes: tuple[int, int, int]) -> Array:
    """Head, neck and shoulders: float32 (BODY, BODY, 4), premultiplied, 0…255 and 0…1."""
    colour, alpha = crisp(head_of(model, coefficients))
    colour = natural(colour, model.skin)
    under, matte_under = body(skin_of(colour), clothes)
    colour, alpha = skull(colour, alpha)
    alpha = alpha * below_chin(alpha.shape)
    out = np.dstack([under * matte_under[..., None], matte_under])
    here = (slice(CORNER[1], CORNER[1] + H * ZOOM), slice(CORNER[0], CORNER[0] + W * ZOOM))
    head = np.dstack([colour * alpha[..., None], alpha])
    out[here] = head + out[here] * (1 - alpha[..., None])
    return np.asarray(out, dtype=np.float32)


def backdrop(colour: tuple[int, int, int], noise: np.random.Generator) -> Array:
    """A studio backdrop, float32 (SIDE, SIDE, 3): soft clouds, brighter in the middle."""
    clouds = cv2.resize(noise.normal(size=(5, 5)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5
    shade = 1.06 - 0.7 * (x * x + y * y) + 0.035 * clouds
    return np.asarray(np.array(colour, np.float32) * shade[..., None], dtype=np.float32)


def lit(image: Array, shot: Shot) -> Array:
    """An image float32 (SIDE, SIDE, 3) under a shot's light."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5
    angle, strength = shot.light
    side = np.tanh(3 * (x * np.cos(angle) + y * np.sin(angle)))
    tint = np.array([1 + shot.warmth, 1.0, 1 - shot.warmth], np.float32)
    return np.asarray(image * np.exp(strength * side)[..., None] * shot.exposure * tint)


def picture(model: Model, person: NDArray[np.float64], shot: Shot) -> Pixels:
    """A picture uint8 (SIDE, SIDE, 3) of a person, float64 (J,)."""
    noise = np.random.default_rng(shot.seed)
    turn, scale, right, down = shot.place
    warp = cv2.getRotationMatrix2D(EYES, turn, scale)
    shift = np.array([SIDE / 2 - EYES[0] + right, 0.42 * SIDE - EYES[1] + down])
    warp = np.column_stack([warp[:, :2], warp[:, 2] + shift])
    drawn = cv2.warpAffine(
        figure(model, person + shot.change, shot.clothes), warp, (SIDE, SIDE), flags=cv2.INTER_AREA
    )
    image = drawn[..., :3] + backdrop(shot.backdrop, noise) * (1 - drawn[..., 3:])
    image = cv2.GaussianBlur(lit(image, shot), (0, 0), shot.blur)
    image = 255 * (1 - np.exp(-0.6 * image / 255)) / (1 - np.exp(-0.6))  # soft highlights
    image = image + noise.normal(0, 1.8, (SIDE, SIDE, 1))
    return np.asarray(image.clip(0, 255), dtype=np.uint8)


# Choosing people and pictures


def plain(model: Model) -> Shot:
    """Even light, looking ahead."""
    still = np.zeros(len(model.between))
    return Shot(still, (0, 0), 0.9, 0, BACKDROPS[0], CLOTHES[1], (0, 0.7, 0, 0), 0.5, 0)


def shot_of(model: Model, draw: np.random.Generator, liveliness: float = 1.0) -> Shot:
    """A shot at random; `liveliness` 0…1 scales how far the face departs from the plain one."""
    change = VARIETY * model.within @ draw.standard_normal(len(model.within))
    change = change + draw.uniform(-1.0, 1.0, 3) @ model.attributes
    return Shot(
        change=liveliness * change,
        light=(draw.uniform(-np.pi, np.pi), draw.uniform(0.0, 0.4)),
        exposure=draw.uniform(0.72, 1.08),
        warmth=draw.uniform(-0.07, 0.09),
        backdrop=BACKDROPS[draw.integers(len(BACKDROPS))],
        clothes=CLOTHES[draw.integers(len(CLOTHES))],
        place=(
            draw.uniform(-9, 9), draw.uniform(0.58, 0.74),
            draw.uniform(-16, 16), draw.uniform(-10, 10),
        ),
        blur=draw.uniform(0.4, 0.8),
        seed=int(draw.integers(1 << 30)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that may be written.

    Attributes:
        data: the JPEG file.
        vector: float32 (D,), unit length.
    """

    data: bytes
    vector: Array


def developed(pixels: Pixels, sight: Sight) -> Kept | None:
    """A picture uint8 (SIDE, SIDE, 3) as it would be on disk; None unless it holds one face."""
    data = jpeg(pixels)
    vector = sight.only(read_photo(data))
    return None if vector is None else Kept(data, vector)


def nearest(vectors: Array, training: Array) -> float:
    """The highest similarity between rows of float32 (Q, D) and of float32 (N, D)."""
    return float((vectors @ training.T).max())


def choose_people(model: Model, sight: Sight, training: Array) -> NDArray[np.float64]:
    """As many people as there are names, far apart: float64 (people, J).

    Args:
        model: what to draw from.
        sight: what tells people apart.
        training: float32 (N, D), faces to stay away from.
    """
    draw = np.random.default_rng(SEED)
    pool = STRENGTH * draw.standard_normal((POOL, len(model.between))) @ model.between.T
    seen = [developed(picture(model, person, plain(model)), sight) for person in pool]
    rows = [
        row for row, kept in enumerate(seen)
        if kept is not None and row not in SKIPPED
        and nearest(kept.vector[None], training) < TRAINING - 0.06
    ]  # fmt: skip
    vectors = np.stack([kept.vector for kept in (seen[row] for row in rows) if kept is not None])
    chosen = far_apart(vectors @ vectors.T, len(NAMES) + len(STRANGERS))
    print(f"people: draws {[rows[i] for i in chosen]} of {len(rows)}", file=sys.stderr)
    return np.asarray(pool[[rows[i] for i in chosen]])


def far_apart(similarity: Array, count: int) -> list[int]:
    """A greedy choice of `count` rows whose highest similarity is low, improved by exchange.

    Args:
        similarity: float32 (Q, Q).
        count: at most Q.
    """
    free = similarity - 2 * np.eye(len(similarity), dtype=np.float32)
    chosen = [int(free.mean(axis=1).argmin())]
    while len(chosen) < count:
        cost = free[:, chosen].max(axis=1)
        cost[chosen] = np.inf
        chosen.append(int(cost.argmin()))
    for _ in range(20 * count):
        inner = free[np.ix_(chosen, chosen)]
        worst = int(inner.max(axis=1).argmax())
        rest = chosen[:worst] + chosen[worst + 1 :]
        cost = free[:, rest].max(axis=1)
        cost[rest] = np.inf
        best = int(cost.argmin())
        if cost[best] >= inner[worst].max():
            break
        chosen = [*rest, best]
    return chosen


def take_pictures(
    model: Model, people: NDArray[np.float64], sight: Sight, training: Array
) -> list[list[Kept]]:
    """`PICTURES` of each person, people float64 (people, J), like each other and nobody else."""
    albums: list[list[Kept]] = [[] for _ in people]
    for number in range(PICTURES):
        for who, person in enumerate(people):
            others = [k.vector for i, a in enumerate(albums) if i != who for k in a]
            own = [k.vector for k in albums[who]]
            albums[who].append(
                one_more(
                    candidates(model, person, (SEED, who, number), sight),
                    np.array(own), np.array(others), training,
                )
            )  # fmt: skip
        print(f"pictures: {number + 1} of each", file=sys.stderr)
    return albums


def candidates(
    model: Model, person: NDArray[np.float64], seed: tuple[int, ...], sight: Sight
) -> Iterator[Kept]:
    """Pictures of a person that hold one face, `TRIES` at most, ever calmer."""
    draw = np.random.default_rng(seed)
    for tried in range(TRIES):
        shot = shot_of(model, draw, 1 - 0.7 * tried / TRIES)
        kept = developed(picture(model, person, shot), sight)
        if kept is not None:
            yield kept


def one_more(offered: Iterator[Kept], own: Array, others: Array, training: Array) -> Kept:
    """The first picture offered that is near its own, far from others and from training faces.

    Args:
        offered: pictures of one person.
        own: float32 (Q, D), this person's pictures so far, Q may be 0.
        others: float32 (R, D), other people's, R may be 0.
        training: float32 (N, D).
    """
    for kept in offered:
        v = kept.vector
        if (
            (not len(own) or float((own @ v).min()) >= OWN)
            and (not len(others) or float((others @ v).max()) <= OTHER)
            and nearest(v[None], training) < TRAINING
        ):
            return kept
    sys.exit(f"No picture fits after {TRIES} tries: change SEED or what the search asks.")


# Report and files


def report(albums: list[list[bytes]], sight: Sight, training: Array) -> bool:
    """Look at the finished files once more, print the table, say whether they may be written.

    Args:
        albums: the JPEG files of each person.
        sight: detector and encoder.
        training: float32 (N, D), unit rows, every face that was read for the model.
    """
    files = [data for album in albums for data in album]
    seen = [sight.only(read_photo(data)) for data in files]
    vectors = np.array([v for v in seen if v is not None])
    owner = np.repeat(np.arange(len(albums)), [len(album) for album in albums])
    owner = owner[[v is not None for v in seen]]
    similarity = vectors @ vectors.T
    pairs = np.triu(np.ones_like(similarity, dtype=bool), 1)
    same = similarity[pairs & (owner[:, None] == owner)]
    other = similarity[pairs & (owner[:, None] != owner)]
    near = nearest(vectors, training)
    rows = {
        "people": f"{len(albums)}, {len(STRANGERS)} of them strangers",
        "pictures": f"{len(files)}, {SIDE}x{SIDE}, {sum(map(len, files)) / 1e6:.2f} MB",
        "exactly one face found": f"{len(vectors)} of {len(files)}",
        "similarity, one person": f"min {same.min():.3f}  mean {same.mean():.3f}",
        "similarity, two people": f"max {other.max():.3f}  mean {other.mean():.3f}",
        "nearest training face": f"max {near:.3f}, of {len(training)} faces",
    }
    for name, value in rows.items():
        print(f"{name:26}{value}")
    return near < REFUSED and len(vectors) == len(files)


def write(albums: list[list[bytes]], out: Path) -> None:
    """Put the files under `people/` and `strangers/`; other pictures there are removed."""
    for old in [*out.glob("people/*/*.jpg"), *out.glob("strangers/*/*.jpg")]:
        old.unlink()
    folders = [out / "people" / name for name in NAMES]
    folders += [out / "strangers" / name for name in STRANGERS]
    for folder, album in zip(folders, albums, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(album, start=1):
            (folder / f"{number}.jpg").write_bytes(data)


def default_cache(files: list[Path]) -> Path:
    """A folder for what takes minutes, in the temporary directory, named after the pictures."""
    listing = "\n".join(f"{path.name} {path.stat().st_size}" for path in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"vultus-make-people-{digest}"


def main() -> int:
    """Fit, draw, check, write; the exit code."""
    parser = argparse.ArgumentParser(description="Draw the pictures of people who do not exist.")
    parser.add_argument("--out", type=Path, default=Path("enroll/people"))
    parser.add_argument("--cache", type=Path, help="folder kept between runs")
    options = parser.parse_args()
    if "VULTUS_DATA" not in os.environ:
        sys.exit("Set VULTUS_DATA to the folder that holds lfw-dev/.")
    files = sorted(Path(os.environ["VULTUS_DATA"], "lfw-dev").glob("*/*/*.jpg"))
    if not files:
        sys.exit("There are no pictures under VULTUS_DATA/lfw-dev.")
    cache = options.cache if options.cache is not None else default_cache(files)
    cache.mkdir(parents=True, exist_ok=True)

    sight = Sight()
    heads = heads_of(cached(cache, "heads", lambda: collect(files, sight)))
    model = model_of(cached(cache, "model", lambda: fit(heads)), heads)
    people = choose_people(model, sight, heads.vectors)
    kept = take_pictures(model, people, sight, heads.vectors)
    albums = [[k.data for k in album] for album in kept]
    if not report(albums, sight, heads.vectors):
        print("Refused: nothing was written.", file=sys.stderr)
        return 1
    write(albums, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
