"""Writing plots where they were asked for, and keeping in mind which show a gallery's people."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from embedder.weights import write_atomically
from store.audit import append_event, read_back
from store.ledger import Event
from verify.errors import PlotUnusable
from verify.opening import Parts
from verify.output import as_csv, as_json
from verify.plot import Plot
from verify.plot_why import Why

KINDS = ("html", "png", "svg", "json", "csv")
WRITTEN: Final = "gallery_plotted"  # the action of the row that keeps where a plot lies


def kind_of(path: Path) -> str | None:
    """The kind of file that a name asks for; None where it is none that can be written."""
    kind = path.suffix.lower().removeprefix(".")
    return kind if kind in KINDS else None


def write_plot(result: Plot | Why, paths: Collection[Path]) -> None:
    """Write a plot, or a pair, to files of the kinds their names ask for.

    Raises:
        PlotToolMissing: matplotlib is not installed, for PNG and SVG.
        OSError: a file cannot be written.
    """
    for path in paths:
        write_atomically(path, content(result, kind_of(path) or ""))


def content(result: Plot | Why, kind: str) -> bytes:
    """A plot, or a pair, as a file of a kind of `KINDS`."""
    if kind == "json":
        return (as_json(result.to_dict()) + "\n").encode()
    if kind == "csv":
        return (as_csv(result.rows()) + "\n").encode()
    return _drawing(result, kind)


def _drawing(result: Plot | Why, kind: str) -> bytes:
    from verify import plot_draw, plot_page

    if kind == "html":
        if isinstance(result, Plot):
            return plot_page.plot_page(result).encode()
        return plot_page.why_page(result).encode()
    if isinstance(result, Plot):
        return plot_draw.draw_plot(result, kind)
    return plot_draw.draw_why(result, kind)


def keep_in_mind(parts: Parts, paths: Collection[Path]) -> None:
    """Log where plots of a gallery will lie, so that forgetting somebody finds them."""
    with parts.store.begin() as session:
        for path in paths:
            append_event(session, WRITTEN, None, {}, {"out": str(path.resolve())})


def kept_plots(session: Session) -> list[Path]:
    """The files that plots of the gallery were written to."""
    query = select(Event.private).where(Event.action == WRITTEN, Event.private.is_not(None))
    outs = {read_back(text).get("out") for text in session.scalars(query)}
    return sorted(Path(out) for out in outs if out)


def forget_in_plot(path: Path, templates: Collection[int]) -> tuple[bool, str]:
    """Take templates out of a plot of the gallery.

    Args:
        path: where it lies.
        templates: ids of those that are gone.

    Returns:
        Whether the page was written anew; and what remains to be done by hand, or "".
    """
    if not path.is_file():
        return False, ""
    if kind_of(path) != "html":
        return False, f"{path} was drawn from the gallery and may name who is gone: delete it"
    from verify.plot_page import forget_in_page

    try:
        return forget_in_page(path, templates), ""
    except PlotUnusable as error:
        return False, str(error)
