"""Training needs torch (extra `train`); without it every test here skips with that reason."""

from __future__ import annotations

import importlib.util

import pytest

HERE = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if HERE else ["test_*.py"]


if not HERE:

    def pytest_collect_file(file_path, parent):
        """One skipped test in place of each module, whose imports would fail."""
        if file_path.name.startswith("test_"):
            return Untrained.from_parent(parent, path=file_path)
        return None


class Untrained(pytest.File):
    """A test module that cannot be imported here."""

    def collect(self):
        yield NoTorch.from_parent(self, name="needs_torch")


class NoTorch(pytest.Item):
    """The one test of it: skipped."""

    def runtest(self):
        pytest.skip('torch is not installed (pip install "vultus[train]")')
