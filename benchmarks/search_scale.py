"""Search at scale: recall@10, queries per second, beside FAISS used by hand in the same run.

    python benchmarks/search_scale.py [--sizes 10000 100000 1000000 3000000] [--kinds flat ivf-sq8]

The crowd is made, not measured: N templates of 128 numbers, three a person, around a common
direction, the people normally distributed with a spectrum that falls as i^-0.25; strangers' cosines
have mean 0.09 and standard deviation 0.11, those of a person's photos a mean of 0.64 (SFace on LFW:
0.09, 0.09 and 0.66). Queries are new photos of enrolled people.

By hand, FAISS searches with the very lists that Vultus built: IndexFlatIP, the IVF index with the
same number of lists looked into, and for coarse codes IndexRefineFlat with the same number of
candidates. The two take turns in one process; the ratio is of the shortest times, so that another
program on the machine weighs on both or on neither. Every figure is of batches of 64, but for the
time of one query alone. `open` is the time to read the file just written, digest verified.

Letters: N templates, D dimensions, Q queries, K neighbours.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import faiss
import numpy as np
from numpy.typing import NDArray

from index.faiss import FaissIndex
from index.neighbors import Neighbors
from index.recall import recall
from index.rules import Plan

D, K, BATCH, PER_PERSON, QUERIES = 128, 10, 64, 3, 256
Vectors = NDArray[np.float32]
HEAD = ("N", "kind", "recall@10", "q/s", "by hand q/s", "time ratio", "one ms", "build s",
        "open s", "file MB", "lists, probes, candidates")  # fmt: skip


def main() -> None:
    """Build, measure, print one row an engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6, 3 * 10**6])
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf-flat", "ivf-sq8", "ivf-pq"])
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    print(f"FAISS {faiss.__version__}, {faiss.omp_get_max_threads()} threads, seed 0")
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for size in arguments.sizes:
        vectors, queries = crowd(size)
        hand = faiss.IndexFlatIP(D)
        hand.add(vectors)
        truth = neighbors(*hand.search(queries, K))
        for kind in arguments.kinds:
            plan = Plan(kind, arguments.recall)
            row = measured(vectors, queries, truth, plan, hand, arguments.turns)
            print("| " + " | ".join((f"{size:,}", kind, *row)) + " |", flush=True)


def crowd(count: int) -> tuple[Vectors, Vectors]:
    """Templates float32 (N, D) and queries float32 (Q, D), unit rows."""
    random = np.random.default_rng(0)
    scale = np.arange(1, D + 1, dtype=np.float32) ** -0.25
    common = unit(random.standard_normal((1, D), dtype=np.float32) * scale)
    people = -(-count // PER_PERSON)
    asked = np.sort(random.choice(people, min(QUERIES, people), replace=False))
    vectors, queries, step = np.empty((people * PER_PERSON, D), np.float32), [], 50_000

    def around(centres: Vectors) -> Vectors:
        noise = random.standard_normal(centres.shape, dtype=np.float32) * scale
        return unit(centres + 0.75 * unit(noise))

    for start in range(0, people, step):
        some = min(step, people - start)
        own = unit(random.standard_normal((some, D), dtype=np.float32) * scale)
        centres = unit(own + 0.4 * common)
        rows = slice(start * PER_PERSON, (start + some) * PER_PERSON)
        vectors[rows] = around(np.repeat(centres, PER_PERSON, axis=0))
        here = asked[(asked >= start) & (asked < start + some)] - start
        queries.append(around(centres[here]))
    return vectors[:count], np.concatenate(queries)


def unit(rows: Vectors) -> Vectors:
    """Rows of length 1, in place."""
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def measured(
    vectors: Vectors, queries: Vectors, truth: Neighbors, plan: Plan, flat: faiss.Index, turns: int
) -> tuple[str, ...]:
    """The cells of one engine."""
    index = FaissIndex(D, plan)
    index.add(np.arange(len(vectors)), vectors)
    began = perf_counter()
    index.train()
    built = perf_counter() - began
    searched = index.searched
    if plan.kind != "flat" and index.exact:
        return (searched.reason, *("–",) * (len(HEAD) - 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces"
        index.save(path, {})
        size = path.stat().st_size / 1e6
        by_hand = hand_search(index, flat)
        began = perf_counter()
        index, _ = FaissIndex.load(path)
        opened = perf_counter() - began
        parts = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
        ours, theirs = [], []
        for _ in range(turns):
            for part in parts:
                ours.append(timed(lambda part=part: index.search(part, K)))
                theirs.append(timed(lambda part=part: by_hand(part)))
        alone = [timed(lambda q=q: index.search(queries[q : q + 1], K)) for q in range(50)]
        found = recall(index.search(queries, K), truth)
    effort = searched.efforts[0] if searched.efforts else None
    how = "–" if effort is None else f"{searched.lists}, {effort.probes}, {effort.width}"
    return (
        f"{found:.4f}", f"{BATCH / min(ours):,.0f}", f"{BATCH / min(theirs):,.0f}",
        f"{min(ours) / min(theirs):.3f}", f"{1e3 * float(np.median(alone)):.1f}", f"{built:.1f}",
        f"{opened:.2f}", f"{size:,.0f}", how,
    )  # fmt: skip


def hand_search(index: FaissIndex, flat: faiss.Index) -> Callable[[Vectors], object]:
    """The same search as one would write it with FAISS alone."""
    lists = index._lists  # noqa: SLF001 - by hand means without our engine around them
    if lists is None:
        return lambda queries: flat.search(queries, K)
    effort, base = index.searched.efforts[0], lists._index  # noqa: SLF001 - as above
    asked = faiss.SearchParametersIVF(nprobe=effort.probes)
    if index.searched.kind == "ivf-flat":
        return lambda queries: base.search(queries, K, params=asked)
    refined = faiss.IndexRefine(base, flat)
    factor = effort.width / K
    both = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=asked)
    return lambda queries: (refined, lists, refined.search(queries, K, params=both))


def neighbors(similarities: Vectors, ids: NDArray[np.int64]) -> Neighbors:
    """What FAISS found, as our engines tell it."""
    return Neighbors(ids, similarities)


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = perf_counter()
    call()
    return perf_counter() - began


if __name__ == "__main__":
    main()
