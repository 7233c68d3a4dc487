"""How to combine a person's photos, and how many neighbours to ask.

    VULTUS_DATA=... python benchmarks/evidence.py [--model sface]

People of `celeba` and `pins`, each set for itself. Verification: M photos of each person are
templates, five others are probes; each way of combining gets the threshold at which strangers pass
at the asked rate on half of the people (averaged over pairs of people), and is measured on the
other half, both ways round. Identification: half of the people are enrolled with M photos, the
others are strangers; the nearest k templates must all be the first candidate's (as many as that
person has) for an answer. Labels of the sets are noisy, the ways are compared on the same noise.

Letters: K people, M templates, F probes of a person, D dimensions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pictures import aligned

Vectors = NDArray[np.float32]
SETS = ("celeba", "pins")
COUNTS = (1, 3, 5, 10)
PROBES = 5
FMR, FPIR = 1e-3, 0.01
KS = (1, 3, 10)
DRAWS = 5


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sface")
    model = parser.parse_args().model
    sets = {name: albums(name, model) for name in SETS}
    for name, album in sets.items():
        print(f"{model}, {name}: {len(album)} people with {max(COUNTS) + PROBES} photos or more")
    print_verification(sets)
    print_identification(sets)


def albums(name: str, model: str) -> list[Vectors]:
    """Vectors of each person with enough photos, float32 (photos, D) each."""
    found = aligned(name, model)
    rows = [found.vectors[found.names == person] for person in np.unique(found.names)]
    return [some for some in rows if len(some) >= max(COUNTS) + PROBES]


def draw(album: list[Vectors], m: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Templates float32 (K, M, D) and probes float32 (K, F, D), at random."""
    chosen = [some[rng.permutation(len(some))[: m + PROBES]] for some in album]
    rows = np.stack(chosen)
    return rows[:, :m], rows[:, m:]


def largest(similarity: Vectors, templates: Vectors) -> Vectors:  # noqa: ARG001 - one form for all
    """The largest of the M similarities."""
    return similarity.max(axis=-1)


def mean(similarity: Vectors, templates: Vectors) -> Vectors:  # noqa: ARG001 - one form for all
    """Their mean."""
    return similarity.mean(axis=-1)


def top(similarity: Vectors, templates: Vectors) -> Vectors:  # noqa: ARG001 - one form for all
    """The mean of the largest three."""
    return np.sort(similarity, axis=-1)[..., -3:].mean(axis=-1)


def mean_template(similarity: Vectors, templates: Vectors) -> Vectors:
    """Similarity to the mean template, cut to length one."""
    length = np.linalg.norm(templates.mean(axis=1), axis=-1)
    return similarity.mean(axis=-1) / length


def weighted(similarity: Vectors, templates: Vectors) -> Vectors:
    """The mean, weighed by how typical a template is of its person: a quality of the vector.

    The aligned pictures carry no measures of the photo, so the weight is the softmax (at 10) of a
    template's mean similarity to the person's others.
    """
    m = templates.shape[1]
    if m == 1:
        return similarity[..., 0]
    own = np.einsum("kmd,knd->kmn", templates, templates)
    typical = (own.sum(axis=-1) - 1) / (m - 1)
    weight = np.exp(10 * typical)
    weight /= weight.sum(axis=-1, keepdims=True)
    return (similarity * weight).sum(axis=-1)


WAYS: dict[str, Callable[[Vectors, Vectors], Vectors]] = {
    "max": largest,
    "mean": mean,
    "top-3 mean": top,
    "mean template": mean_template,
    "weighted mean": weighted,
}


# What the pair curve gives without a curve of its own for each way and M: the way, and whether the
# rate is divided among the templates.
BY_PAIRS = {
    "max, rate / M": (largest, True),
    "mean, pairs": (mean, False),
    "template, pairs": (mean_template, False),
}


def print_verification(sets: dict[str, list[Vectors]]) -> None:
    """FNMR at the asked FMR of each way, set and M; the FMR realised in brackets."""
    print(f"verification: FNMR at FMR {FMR:g} fitted on other people (FMR realised), {DRAWS} draws")
    head = "".join(f"  {name + ' M=' + str(m):>20}" for name in sets for m in COUNTS)
    print(f"{'':15}{head}")
    cells: dict[str, list[str]] = {way: [] for way in (*WAYS, *BY_PAIRS)}
    for album in sets.values():
        for m in COUNTS:
            for way, (fnmr, fmr) in verification(album, m).items():
                cells[way].append(f"{fnmr:.4f} ({fmr:.1e})")
    for way, row in cells.items():
        print(f"{way:15}" + "".join(f"  {cell:>20}" for cell in row))


def verification(album: list[Vectors], m: int) -> dict[str, tuple[float, float]]:
    """Mean FNMR and FMR of each way over draws and both halves."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in (*WAYS, *BY_PAIRS)}
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        templates, probes = draw(album, m, rng)
        similarity = np.einsum("pfd,kmd->pfkm", probes, templates, optimize=True)
        first = rng.permutation(len(album)) < len(album) // 2
        for way, combine in WAYS.items():
            scores = combine(similarity, templates)  # (K, F, K)
            for fitted, held in ((first, ~first), (~first, first)):
                threshold = np.quantile(split(scores, fitted)[1], 1 - FMR)
                found[way].append(rates(scores, threshold, held))
        for way, (combine, divided) in BY_PAIRS.items():
            scores = combine(similarity, templates)
            for fitted, held in ((first, ~first), (~first, first)):
                each = FMR / m if divided else FMR
                threshold = np.quantile(split(similarity, fitted)[1], 1 - each)
                found[way].append(rates(scores, threshold, held))
    return {way: (float(np.mean([p[0] for p in some])), float(np.mean([p[1] for p in some])))
            for way, some in found.items()}  # fmt: skip


def rates(scores: Vectors, threshold: float, held: NDArray[np.bool_]) -> tuple[float, float]:
    """FNMR and FMR at a threshold.

    Args:
        scores: float32 (K, F, K), probe's person × probe × claimed person.
        threshold: "yes" at or above it.
        held: bool (K,), people measured.
    """
    mated, strangers = split(scores, held)
    return float((mated < threshold).mean()), float((strangers >= threshold).mean())


def split(scores: Vectors, people: NDArray[np.bool_]) -> tuple[Vectors, Vectors]:
    """Mated and non-mated scores among some people, of (K, F, K) or (K, F, K, M)."""
    block = scores[people][:, :, people]
    same = np.eye(len(block), dtype=bool)[:, None].repeat(block.shape[1], axis=1)
    return block[same], block[~same]


def print_identification(sets: dict[str, list[Vectors]]) -> None:
    """FNIR at the asked FPIR for each number of neighbours that must agree."""
    print(f"identification: FNIR at FPIR {FPIR:g} on the strangers, {DRAWS} draws, both ways")
    head = "".join(f"  {name + ' M=' + str(m):>14}" for name in sets for m in COUNTS)
    print(f"{'':14}{head}")
    for k in KS:
        cells = [f"{identification(album, m, k):.4f}" for album in sets.values() for m in COUNTS]
        print(f"{'k = ' + str(k):14}" + "".join(f"  {cell:>14}" for cell in cells))


def identification(album: list[Vectors], m: int, k: int) -> float:
    """Mean FNIR at the threshold that lets FPIR of the strangers pass, agreement included."""
    found = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        templates, probes = draw(album, m, rng)
        enrolled = rng.permutation(len(album)) < len(album) // 2
        for known in (enrolled, ~enrolled):
            gallery = templates[known].reshape(-1, templates.shape[-1])
            owner = np.repeat(np.flatnonzero(known), m)
            truth = np.repeat(np.flatnonzero(known), PROBES)
            own = answers(probes[known], gallery, owner, min(k, m))
            others = answers(probes[~known], gallery, owner, min(k, m))
            accepted = np.where(others[2], others[0], -1.0)
            threshold = np.quantile(accepted, 1 - FPIR)
            right = own[2] & (own[1] == truth) & (own[0] >= threshold)
            found.append(1 - right.mean())
    return float(np.mean(found))


def answers(
    probes: Vectors, gallery: Vectors, owner: NDArray[np.int64], k: int
) -> tuple[Vectors, NDArray[np.int64], NDArray[np.bool_]]:
    """Best similarity, its person, and whether the nearest k agree, for each probe.

    Args:
        probes: float32 (K, F, D).
        gallery: float32 (templates, D).
        owner: int64 (templates,), the person of each.
        k: how many must agree.
    """
    similarity = probes.reshape(-1, probes.shape[-1]) @ gallery.T
    nearest = np.argsort(-similarity, axis=1)[:, :k]
    whose = owner[nearest]
    best = np.take_along_axis(similarity, nearest[:, :1], axis=1)[:, 0]
    return best, whose[:, 0], (whose == whose[:, :1]).all(axis=1)


if __name__ == "__main__":
    main()
