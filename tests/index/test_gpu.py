"""FAISS on a GPU: the contract runs there too where there is one (see conftest.py)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index.errors import GpuMissing, WrongNumber
from index.exact import ExactIndex
from index.gpu import GpuIndex, GpuPlan, gpu_count
from index.opening import _gpus, open_index

faiss = pytest.importorskip("faiss")
WITHOUT = "needs the extra gpu and an NVIDIA GPU"


@pytest.mark.skipif(_gpus() > 0, reason="there is a GPU")
def test_without_a_gpu_it_fails_and_says_what_to_do():
    assert gpu_count() == 0
    with pytest.raises(GpuMissing, match="--device cpu"):
        GpuIndex(8)
    with pytest.raises(GpuMissing):
        open_index("faiss-gpu:", 8)


@pytest.mark.parametrize("plan", [{"gpus": -1}, {"spread": "round"}])
def test_plans_that_there_are_not(plan: dict[str, object]):
    with pytest.raises(WrongNumber):
        GpuPlan(**plan)


@pytest.mark.skipif(_gpus() == 0, reason=WITHOUT)
@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("spread", ["shards", "replicas"])
def test_any_sequence_equals_the_exact_engine(fp16: bool, spread: str, tmp_path: Path):
    random = np.random.default_rng(0)
    index, exact = GpuIndex(64, GpuPlan(fp16, 0, spread), rows=1000), ExactIndex(64)
    for _ in range(10):
        ids = random.integers(0, 9000, size=2000)
        rows = random.normal(size=(2000, 64))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        index.add(ids, rows, ids % 3)
        exact.add(ids, rows, ids % 3)
        gone = random.integers(0, 9000, size=500)
        assert index.remove(gone) == exact.remove(gone)
        for k, within in ((10, None), (2048, None), (3000, None), (10, np.array([1]))):
            a, b = index.search(rows[:8], k, within), exact.search(rows[:8], k, within)
            assert np.array_equal(a.ids, b.ids)
            assert np.array_equal(a.similarities, b.similarities)
    index.save(tmp_path / "faces", {})
    again, _ = GpuIndex.load(tmp_path / "faces", GpuPlan(fp16, 0, spread))
    assert np.array_equal(again.search(rows[:8], 9).ids, exact.search(rows[:8], 9).ids)


def test_importing_loads_no_engine():
    code = "import index.gpu, index.blocks, sys; print('faiss' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
