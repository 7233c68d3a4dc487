"""Memory that a loop frees and takes again."""

import platform
import subprocess
import sys

import pytest

LOOP = """
import resource, sys
import numpy as np
from embedder.heap import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "kept" else None
np.ones(40_000_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(40_000_000, np.uint8)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way):
    done = subprocess.run(
        [sys.executable, "-c", LOOP, way], capture_output=True, text=True, check=True
    )
    said, count = done.stdout.split()
    return said, int(count)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only the GNU C library gives it back so"
)
def test_what_is_freed_is_taken_again_without_a_fault_a_page():
    said, kept = faults("kept")
    assert said == "True"
    _, given_back = faults("given-back")
    assert kept * 10 < given_back


def test_another_c_library_is_left_alone(monkeypatch):
    import ctypes

    from embedder.heap import keep_freed_memory

    class Other:
        pass

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Other())
    assert keep_freed_memory() is False
