"""What the Milvus engine does with Milvus Lite in this process: adding, searching, agreeing.

    PYTHONPATH=. python benchmarks/milvus_engine.py [--sizes 1000 10000] [--dim 128]

Milvus Lite is the test double of a cluster, written in Python: these numbers say what the tests and
a trial cost, and nothing about a cluster. Unit vectors are drawn with seed 0; queries are stored
vectors, 10 neighbours each, asked one at a time and 100 at a time; the oracle is `index.exact`.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from index.exact import ExactIndex
from index.milvus import MilvusIndex

QUERIES, K = 100, 10


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    print(
        f"{'vectors':>8} {'open':>7} {'add/s':>8} {'1 query':>9} {'of 100':>9}  same ids as exact"
    )
    for size in options.sizes:
        print(row(size, options.dim), flush=True)


def row(size: int, dim: int) -> str:
    """Measures one size."""
    rows = np.random.default_rng(0).normal(size=(size, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, oracle = rows[:QUERIES], ExactIndex(dim)
    oracle.add(np.arange(size), rows)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index = MilvusIndex.open(f"milvus:{Path(folder) / 'faces.db'}", dim)
        opened = time.perf_counter() - start
        start = time.perf_counter()
        index.add(np.arange(size), rows)
        rate = size / (time.perf_counter() - start)
        index.search(queries[:1], K)
        times = []
        for query in queries:
            start = time.perf_counter()
            index.search(query[np.newaxis], K)
            times.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = index.search(queries, K)
        together = (time.perf_counter() - start) / QUERIES
        same = np.mean(found.ids == oracle.search(queries, K).ids)
        index.close()
    return (
        f"{size:8,d} {opened:5.2f} s {rate:8,.0f} {1000 * statistics.median(times):6.1f} ms "
        f"{1000 * together:6.1f} ms  {same:.1%}"
    )


if __name__ == "__main__":
    main()
