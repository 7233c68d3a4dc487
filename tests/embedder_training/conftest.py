"""Training needs torch (extra `train`); without it each module here is one skipped test."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch") is None:

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
