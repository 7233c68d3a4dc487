"""Search at scale: recall@10, queries per second, beside FAISS used by hand in the same run.

    python benchmarks/search_scale.py [--sizes 10000 100000 1000000 3000000] [--kinds flat ivf-sq8]
        [--keep FOLDER]

`--keep` leaves the files of the indexes in a folder and takes them from there the next time, so
that building can be done while the machine is busy, and measuring while it is not.

The crowd is made, not measured: N templates of 128 numbers, three a person, around a common
direction, the people normally distributed with a spectrum that falls as i^-0.25; strangers' cosines
have mean 0.09 and standard deviation 0.11, those of a person's photos a mean of 0.64 (SFace on LFW:
0.09, 0.09 and 0.66). Queries are new photos of enrolled people.

By hand, FAISS searches with the very lists that Vultus built, with the same number of lists looked
into and of candidates:

- flat: IndexFlatIP.search for K; and, in brackets, FAISS's kernel (`faiss.knn`) over a copy of the
  vectors that begins with a cache line and lies in huge pages, the best that FAISS can do: where
  IndexFlatIP's memory begins is the allocator's chance, and its pages are small
- ivf-flat: IndexIVFFlat.search for K; there are no codes, and nothing is compared again
- ivf-sq8, ivf-pq: IndexRefine over the lists and an IndexFlatIP: the candidates are compared again
  with the vectors themselves, as Vultus does

It returns FAISS's ids and single-precision similarities; Vultus besides checks the queries,
computes the similarities in double precision, orders equal ones by id, and tells ids of its own.
They take turns in one process, in changing order. A batch counts with its shortest time, so that
another program on the machine weighs on both or on neither, and the ratio is that of the sums over
the batches; so does the ratio of processor time, which means something with one thread only
(`OMP_NUM_THREADS=1`): threads that wait for each other burn it. Every figure is of batches of 64,
but for the time of one query alone. `open` is the time to read the file, digest verified.

Letters: N templates, D dimensions, Q queries, K neighbours.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import faiss
import numpy as np
from numpy.typing import NDArray

from index.faiss import FaissIndex
from index.neighbors import Neighbors
from index.recall import recall
from index.rows import ALIGNED
from index.rules import Plan

D, K, BATCH, PER_PERSON, QUERIES = 128, 10, 64, 3, 256
AT_LEAST = 4.0  # seconds that turns are taken, where so many turns are quicker
Vectors = NDArray[np.float32]
Search = Callable[[Vectors], object]
HEAD = ("N", "kind", "recall@10", "q/s", "by hand q/s", "time ratio", "processor ratio", "one ms",
        "build s", "open s", "file MB", "lists, probes, candidates")  # fmt: skip


def main() -> None:
    """Build, measure, print one row an engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6, 3 * 10**6])
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf-flat", "ivf-sq8", "ivf-pq"])
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="folder of built indexes")
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
            with tempfile.TemporaryDirectory() as folder:
                path = (arguments.keep or Path(folder)) / f"{size}-{kind}"
                row = measured(path, vectors, queries, truth, plan, hand, arguments.turns)
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
    path: Path, vectors: Vectors, queries: Vectors, truth: Neighbors, plan: Plan,
    flat: faiss.Index, turns: int,
) -> tuple[str, ...]:  # fmt: skip
    """The cells of one engine, whose file is, or will be, at `path`."""
    if not path.is_file():
        build(path, vectors, plan)
    began = perf_counter()
    index, marks = FaissIndex.load(path)
    opened = perf_counter() - began
    searched = index.searched
    if plan.kind != "flat" and index.exact:
        return (searched.reason, *("–",) * (len(HEAD) - 3))
    ours, *others = in_turns(index, hand_searches(index, flat, vectors), queries, turns)
    took, theirs = ours[0], others[0][0]
    alone = [timed(lambda q=q: index.search(queries[q : q + 1], K))[0] for q in range(50)]
    found = recall(index.search(queries, K), truth)
    effort = searched.efforts[0] if searched.efforts else None
    how = "–" if effort is None else f"{searched.lists}, {effort.probes}, {effort.width}"
    return (
        f"{found:.4f}", f"{len(queries) / took:,.0f}", f"{len(queries) / theirs:,.0f}",
        *(ratios(ours[way], [other[way] for other in others]) for way in (0, 1)),
        f"{1e3 * float(np.median(alone)):.1f}", marks["built"], f"{opened:.2f}",
        f"{path.stat().st_size / 1e6:,.0f}", how,
    )  # fmt: skip


def build(path: Path, vectors: Vectors, plan: Plan) -> None:
    """Makes an index and its file; the seconds stand in its marks."""
    index = FaissIndex(D, plan)
    index.add(np.arange(len(vectors)), vectors)
    began = perf_counter()
    index.train()
    index.save(path, {"built": f"{perf_counter() - began:.1f}"})


def in_turns(
    index: FaissIndex, by_hand: list[Search], queries: Vectors, turns: int
) -> list[tuple[float, float]]:
    """Seconds for all queries (Q, D), by the clock and of processors: ours, then each by hand.

    Of each batch the shortest of its turns counts.
    """
    parts = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
    ways: list[Search] = [lambda part: index.search(part, K), *by_hand]
    times = np.full((len(ways), len(parts), 2), np.inf)
    began, turn = perf_counter(), 0
    while turn < turns or perf_counter() - began < AT_LEAST:
        for place, part in enumerate(parts):
            for step in range(len(ways)):
                way = (turn + place + step) % len(ways)
                took = timed(lambda part=part, way=way: ways[way](part))
                times[way, place] = np.minimum(times[way, place], took)
        turn += 1
    return [(clock, work) for clock, work in times.sum(axis=1).tolist()]


def ratios(ours: float, others: list[float]) -> str:
    """Ours as a multiple of the first, and in brackets of the second where there is one."""
    first, *more = (f"{ours / other:.3f}" for other in others)
    return " ".join([first, *(f"({other})" for other in more)])


def hand_searches(index: FaissIndex, flat: faiss.Index, vectors: Vectors) -> list[Search]:
    """The same search as one would write it with FAISS alone, in one way or two."""
    lists = index._lists  # noqa: SLF001 - by hand means without our engine around them
    if lists is None:
        rows, metric = aligned(vectors), faiss.METRIC_INNER_PRODUCT
        return [
            lambda queries: flat.search(queries, K),
            lambda queries: faiss.knn(queries, rows, K, metric=metric),
        ]
    effort, base = index.searched.efforts[0], lists._index  # noqa: SLF001 - as above
    asked = faiss.SearchParametersIVF(nprobe=effort.probes)
    if index.searched.kind == "ivf-flat":
        return [lambda queries: base.search(queries, K, params=asked)]
    refined = faiss.IndexRefine(base, flat)
    factor = effort.width / K
    both = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=asked)
    return [lambda queries: (refined, lists, refined.search(queries, K, params=both))]


def aligned(vectors: Vectors) -> Vectors:
    """A copy (N, D) that begins with a cache line."""
    memory = np.empty(vectors.nbytes + ALIGNED, dtype=np.uint8)
    start = -memory.ctypes.data % ALIGNED
    copy = memory[start : start + vectors.nbytes].view(np.float32).reshape(vectors.shape)
    copy[:] = vectors
    return copy


def neighbors(similarities: Vectors, ids: NDArray[np.int64]) -> Neighbors:
    """What FAISS found, as our engines tell it."""
    return Neighbors(ids, similarities)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call, by the clock and of processors."""
    began, before = perf_counter(), process_time()
    call()
    return perf_counter() - began, process_time() - before


if __name__ == "__main__":
    main()
