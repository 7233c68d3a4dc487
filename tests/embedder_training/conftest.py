"""Training needs torch (extra `train`); without it each module here is one skipped test."""

from __future__ import annotations

import importlib.util

import pytest

HERE = importlib.util.find_spec("torch") is not None

if not HERE:

    def pytest_pycollect_makemodule(module_path, parent):
        """One skipped test in place of a module, whose imports would fail."""
        return Untrained.from_parent(parent, path=module_path)


class Untrained(pytest.Module):
    """A test module that cannot be imported here."""

    def collect(self):
        yield NoTorch.from_parent(self, name="needs_torch")


class NoTorch(pytest.Item):
    """The one test of it: skipped."""

    def runtest(self):
        pytest.skip('torch is not installed (pip install "vultus[train]")')


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Networks this small are slower with more threads, and tests share the machine."""
    if HERE:
        import torch

        torch.set_num_threads(1)
