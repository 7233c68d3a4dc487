"""Progress on long work: a bar on stderr where somebody watches, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def progress(
    items: Iterable[T], title: str, unit: str, total: int | None = None, *, quiet: bool = False
) -> Iterable[T]:
    """Pass items on, with a bar that tells the rate and the time left.

    Args:
        items: what is worked on.
        title: what the bar is called.
        unit: what one item is.
        total: how many there will be; None: the length of a sequence, else unknown.
        quiet: no bar; neither is there one where stderr is no terminal.
    """
    from tqdm import tqdm

    if total is None and isinstance(items, Sequence):
        total = len(items)
    return tqdm(
        items, desc=title, unit=f" {unit}", total=total, file=sys.stderr, leave=False,
        disable=quiet or not sys.stderr.isatty(), dynamic_ncols=True,
    )  # fmt: skip
