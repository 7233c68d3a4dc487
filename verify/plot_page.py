"""Plots as one HTML file that needs nothing but itself.

The page runs one script, which its Content-Security-Policy names by its sha256; pictures are data
URIs, and it can ask the network for nothing. Names come from people: they go into the page escaped
by Jinja, or as JSON in which every angle bracket is written as its number.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.weights import write_atomically
from verify.errors import PlotUnusable
from verify.occlusion import OcclusionMap
from verify.plot import LEGEND, Plot
from verify.plot_colours import AGAINST, FOR, UNNAMED, colour, heat_layer, mark
from verify.plot_why import Why

GENERATOR = "vultus plot"
_START = '<script type="application/json" id="data">'
_END = "</script>"
_SCALE = 3  # how much larger a crop is shown
_READING = (
    "Orange: the similarity falls where a grey patch covers the place, so the network took it as a "
    "sign of sameness. Blue: it rises."
)
_LIMITS = "It shows what this network used for this pair, and is no proof of who is who."


def plot_page(plot: Plot) -> str:
    """The page of a plot."""
    cloud = plot.cloud
    counts = Counter(cloud.labels)
    labels = [
        {
            "name": name, "count": counts[name], "mark": mark(number),
            "colour": colour(number) if name else UNNAMED,
        }
        for number, name in enumerate(plot.names)
    ]  # fmt: skip
    thumbs = (None if one is None else _base64(one) for one in cloud.thumbnails)
    values = {
        "dims": plot.dims,
        "points": [[round(float(v), 5) for v in row] for row in plot.projection.places],
        "label": plot.numbers.tolist(),
        "labels": labels,
        "files": list(cloud.files),
        "thumbs": list(thumbs),
        "templates": list(cloud.templates),
        "title": cloud.source,
        "lines": plot.lines(),
    }
    return _of_values(values)


def _of_values(values: Mapping[str, Any]) -> str:
    """The page of a plot from what its script reads, which is all there is to it."""
    script = (resources.files("verify") / "data" / "plot.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _render(
        kicker="Vultus plot",
        title=values["title"],
        lines=values["lines"],
        says=f"{len(values['label'])} points of {len(values['labels'])} labels",
        few=len(values["labels"]) <= LEGEND,
        labels=values["labels"],
        solid=values["dims"] == 3,
        data=_safe_json(values),
        script=script,
        allowed=f"sha256-{digest}",
    )


def _safe_json(values: Mapping[str, Any]) -> str:
    """JSON that no text of it can end before its time, ASCII alone."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _render(**values: Any) -> str:  # noqa: ANN401 - what the template shows
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("verify") / "data" / "plot.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.from_string(text).render(generator=GENERATOR, **values)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def why_page(found: Why) -> str:
    """The page of a pair: its crops, with what their similarity rests on over them."""
    largest = found.largest
    pair = [
        {"file": file, "crop": _png(one.pixels), "heat": _png(heat_layer(one.heat(), largest)),
         "words": _words(one)}
        for file, one in zip(found.files, found.maps, strict=True)
    ]  # fmt: skip
    side, patch = len(found.maps[0].pixels), found.maps[0].patch
    lines = [_READING, f"Patch {patch} of {side} pixels; {found.space}. {_LIMITS}"]
    if found.threshold is not None and found.doubt:
        lines.append(f"Beware: {found.doubt}.")
    colours = [f"rgb{AGAINST}", f"rgb{FOR}"]
    return _render(
        kicker="Vultus plot --why", title=found.title, lines=lines, script="", pair=pair,
        colours=colours, largest=f"{largest:.3f}",
    )  # fmt: skip


def _words(one: OcclusionMap) -> str:
    """Where the similarity falls most, in words."""
    heat = one.heat()
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    third = len(heat) / 3
    where = (("top", "middle", "bottom")[int(row / third)], ("left", "centre", "right"))
    place = f"{where[0]} {where[1][int(column / third)]}"
    return f"falls by up to {float(one.drops.max()):.3f}, most at the {place}"


def _png(pixels: NDArray[np.uint8]) -> str:
    """A picture, uint8 (S, S, 3 or 4), as the data URI of a larger PNG."""
    from PIL import Image

    side = len(pixels) * _SCALE
    large = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    large.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{_base64(file.getvalue())}"


def forget_in_page(path: Path, templates: Collection[int]) -> bool:
    """Write the page of a gallery's plot anew without some templates.

    Args:
        path: the page.
        templates: ids of the templates that are gone.

    Returns:
        Whether something was changed; False too where it is no page of ours, or is not there.

    Raises:
        PlotUnusable: it is ours, and cannot be read or written.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError) as error:
        raise PlotUnusable(f"{path} cannot be read ({error}): delete this plot.") from error
    if f'content="{GENERATOR}"' not in page or _START not in page:
        return False
    try:
        values = json.loads(page.partition(_START)[2].partition(_END)[0])
        left = _without(values, set(templates))
        if left is None:
            return False
        write_atomically(path, _of_values(left).encode())
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PlotUnusable(f"{path} is not as Vultus wrote it: delete this plot.") from error
    except OSError as error:
        raise PlotUnusable(f"{path} cannot be written ({error}): delete this plot.") from error
    return True


def _without(values: dict[str, Any], gone: set[int]) -> dict[str, Any] | None:
    """The values of a page without points, and without labels that only they had; None: all stay.

    Marks and colours of the others stay as they were.
    """
    kept = [i for i, template in enumerate(values["templates"]) if template not in gone]
    if len(kept) == len(values["templates"]):
        return None
    values |= {
        key: [values[key][i] for i in kept]
        for key in ("points", "label", "files", "thumbs", "templates")
    }
    used = sorted(set(values["label"]))
    counts = Counter(values["label"])
    place = {number: i for i, number in enumerate(used)}
    values["labels"] = [{**values["labels"][n], "count": counts[n]} for n in used]
    values["label"] = [place[number] for number in values["label"]]
    values["lines"] = [f"{len(kept)} vectors of {len(used)} labels", *values["lines"][1:]]
    return values
