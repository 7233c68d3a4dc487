"""Plots as PNG or SVG, drawn by matplotlib: no window, no state outside the figure.

The same plot gives the same bytes: no dates and no random ids are written.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.errors import PlotToolMissing
from verify.plot import LEGEND, Plot
from verify.plot_colours import AGAINST, FOR, UNNAMED, colour, heat_layer, mark
from verify.plot_why import Why

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_MARKS = {"disc": "o", "square": "s", "triangle": "^", "cross": "X"}
_INCHES, _DPI = (8.0, 6.4), 150
_LUMA = (0.299, 0.587, 0.114)  # grey under the heat: its colours are then the only ones
_LONGEST = 32  # letters of a label in the legend


def draw_plot(plot: Plot, kind: str) -> bytes:
    """A plot as a file.

    Args:
        plot: what to draw.
        kind: `png` or `svg`.

    Raises:
        PlotToolMissing: matplotlib is not installed.
    """
    figure = _figure(_INCHES)
    axes: Any = figure.add_subplot(projection="3d" if plot.dims == 3 else None)
    places, numbers = plot.projection.places, plot.numbers
    size = float(np.clip(6000 / max(len(numbers), 1), 4, 36))
    for number, name in enumerate(plot.names):
        rows = places[numbers == number]
        hue = colour(number) if name else UNNAMED
        axes.scatter(
            *rows.T, s=size, c=hue, marker=_MARKS[mark(number)], linewidths=0, alpha=0.8,
        )  # fmt: skip
    _bare(axes, plot.dims)
    _title(figure, "\n".join(plot.lines()))
    _legend(axes, plot)
    return _file(figure, kind)


def _figure(inches: tuple[float, float]) -> Figure:
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotToolMissing(
            'matplotlib is not installed: pip install "vultus[plot]", or write --out plot.html.'
        )
    from matplotlib.figure import Figure

    return Figure(figsize=inches, layout="constrained")


def _bare(axes: Any, dims: int) -> None:  # noqa: ANN401 - flat and solid axes share no type
    """No ticks: the axes of a projection have no unit."""
    axes.set_xticks([])
    axes.set_yticks([])
    if dims == 3:
        axes.set_zticks([])
    else:
        axes.set_aspect("equal", adjustable="datalim")


def _title(figure: Figure, words: str) -> None:
    _plain(figure.suptitle(words, fontsize=9, x=0.02, ha="left"))


def _plain(text: Text) -> None:
    """Words as they stand: a dollar sign begins no formula."""
    text.set_parse_math(False)


def _legend(axes: Axes, plot: Plot) -> None:
    """The labels, where they are few; the words are set afterwards: some begin with `_`."""
    from matplotlib.lines import Line2D

    names = plot.names
    if names == ("",):
        return
    if len(names) > LEGEND:
        note = axes.annotate(
            f"{len(names)} labels: the HTML page names each point", (0.01, 0.01),
            xycoords="axes fraction", fontsize=8, color="#5b6570",
        )  # fmt: skip
        _plain(note)
        return
    handles = [
        Line2D(
            [], [], linestyle="", marker=_MARKS[mark(number)], markeredgewidth=0,
            color=colour(number) if name else UNNAMED,
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    legend = axes.legend(
        handles, ["label"] * len(handles), fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(_short(name or "(no label)"))
        _plain(text)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def draw_why(found: Why, kind: str) -> bytes:
    """Two crops side by side with what their similarity rests on.

    Args:
        found: the pair.
        kind: `png` or `svg`.

    Raises:
        PlotToolMissing: matplotlib is not installed.
    """
    figure = _figure((7.6, 4.6))
    largest = found.largest
    for place, (one, file) in enumerate(zip(found.maps, found.files, strict=True)):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.imshow(one.pixels @ _LUMA, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        axes.imshow(heat_layer(one.heat(), largest), interpolation="bilinear")
        axes.set_xticks([])
        axes.set_yticks([])
        _plain(axes.set_xlabel(_short(file), fontsize=9))
    _title(figure, found.title)
    _scale(figure, largest)
    return _file(figure, kind)


def _scale(figure: Figure, largest: float) -> None:
    """The colour bar: what is against sameness on the left, what is for it on the right."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    ends = [tuple(v / 255 for v in end) for end in (AGAINST, (255, 255, 255), FOR)]
    colours = LinearSegmentedColormap.from_list("why", ends)
    scale = ScalarMappable(Normalize(-max(largest, 1e-12), max(largest, 1e-12)), colours)
    bar = figure.colorbar(scale, ax=figure.axes, orientation="horizontal", shrink=0.7, aspect=40)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(
        "fall of the similarity where a patch covers the place (blue: it rises)", fontsize=8
    )


def _file(figure: Figure, kind: str) -> bytes:
    from matplotlib import rc_context

    file = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "vultus"}):
        warnings.simplefilter("ignore")  # letters that its font lacks are drawn as boxes
        figure.savefig(file, format=kind, dpi=_DPI, metadata=metadata)
    return file.getvalue()
