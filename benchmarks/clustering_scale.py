"""Clustering a million vectors: minutes and memory.

    python benchmarks/clustering_scale.py [--rows 1000000] [--threads 2]

A seeded mixture: unit centres drawn at random, each row a centre and noise, of unit length. k-means
finds 1,000 clusters in 20 steps; the graph method finds 10 neighbours through lists and neighbours
of neighbours, cuts and joins.
Each method runs in a process of its own, whose peak memory is told (the vectors included). Seconds
are of the clock; the processor's seconds beside them tell how busy the machine was otherwise.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIM, CENTRES, NOISE, SEED = 128, 20_000, 0.8, 0
K, STEPS, NEIGHBORS = 1000, 20, 10
TARGETS = {"k-means": "≤ 180 s, ≤ 8 GB", "graph": "≤ 600 s, ≤ 8 GB, recall@10 ≥ 0.95"}


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=TARGETS, help="run one method here and print JSON")
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps(measured(options.only, options.rows, options.threads)))
        return
    print(f"{options.rows:,} × {DIM}, {CENTRES:,} centres, seed {SEED}, {options.threads} threads")
    print(f"{'method':9} {'seconds':>8} {'processor':>9} {'GB':>6}  {'found':60} target")
    for method, target in TARGETS.items():
        command = [sys.executable, __file__, "--only", method, "--rows", str(options.rows),
                   "--threads", str(options.threads)]  # fmt: skip
        reply = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - itself
        row = json.loads(reply.stdout)
        figures = f"{row['seconds']:8.0f} {row['processor']:9.0f} {row['gb']:6.1f}"
        print(f"{method:9} {figures}  {row['found']:60} {target}", flush=True)


def mixture(rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit rows float32 (N, D) around unit centres, and the centre of each, int64 (N,)."""
    random = np.random.default_rng(SEED)
    centres = random.normal(size=(CENTRES, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = random.integers(CENTRES, size=rows)
    vectors = np.empty((rows, DIM), dtype=np.float32)
    for start in range(0, rows, 1 << 16):
        block = truth[start : start + (1 << 16)]
        noise = random.normal(size=(len(block), DIM)).astype(np.float32)
        noise *= NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
        noise += centres[block]
        vectors[start : start + (1 << 16)] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return vectors, truth


def measured(method: str, rows: int, threads: int) -> dict[str, Any]:
    """Seconds, peak memory and what was found."""
    import faiss

    from index.partition import bcubed

    faiss.omp_set_num_threads(threads)
    vectors, truth = mixture(rows)
    begun, busy = time.perf_counter(), time.process_time()
    labels, found = (with_kmeans if method == "k-means" else with_graph)(vectors)
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    found += f", BCubed F {bcubed(labels, truth).f:.3f}" if method == "graph" else ""
    return {"seconds": seconds, "processor": busy, "gb": peak, "found": found}


def with_kmeans(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], str]:
    """k-means from one beginning."""
    from index.kmeans import kmeans

    found = kmeans(vectors, K, seed=SEED, tries=1, steps=STEPS)
    told = f"similarity {found.objective:.3f}, {found.reseeded} moved, {found.trained_on:,} trained"
    return found.labels, told


def with_graph(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], str]:
    """Neighbours through lists, then joined; the cuts lie between rows of one centre and of two."""
    from index.graph import graph_link
    from index.nearest import nearest_rows

    begun = time.perf_counter()
    near = nearest_rows(vectors, NEIGHBORS)
    searched = time.perf_counter() - begun
    labels = graph_link(vectors, 0.45, 0.0, NEIGHBORS, nearest=near)
    told = f"{labels.max() + 1:,} clusters, recall {near.recall:.3f}, {near.probes} lists"
    return labels, f"{told} and {near.rounds} rounds, {searched:.0f} s search"


if __name__ == "__main__":
    main()
