"""The contact sheet of a clustering: a page, its thumbnails, a JSON file, folders of links."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.weights import write_atomically
from enroll.errors import OutputUnusable
from enroll.folder import SHEET_FILES, SHEET_FOLDERS
from enroll.pages import page
from store.photos import crops
from verify.opening import Parts

if TYPE_CHECKING:
    from enroll.cluster import Clustering, Suggestion

PAGE, CLUSTERS = "index.html", "clusters.json"
THUMBNAILS, LINKS = SHEET_FOLDERS
_CHUNK = 500
_HINTS, _LEAST_POINTS = 30, 2  # suggestions a page shows, and points that make a line


def write_sheet(parts: Parts, clustering: Clustering, out: Path, *, links: bool = False) -> Path:
    """Write the contact sheet into a folder; files of an earlier sheet there are replaced.

    Args:
        parts: the gallery, which has the crops.
        clustering: what was found.
        out: the folder, made where it is missing.
        links: also make `people/NUMBER name/` folders of links to the photos.

    Returns:
        The path of the page.

    Raises:
        OutputUnusable: the folder cannot be written, or holds something else of those names.
    """
    require_place(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(clustering.to_dict(), indent=1, ensure_ascii=False)
        write_atomically(out / CLUSTERS, text.encode())
        write_atomically(out / PAGE, _page(clustering).encode())
        _thumbnails(parts, clustering, out / THUMBNAILS)
        if links:
            _links(clustering, out / LINKS)
    except OSError as error:
        raise _unusable(out, error) from error
    return out / PAGE


def require_place(out: Path) -> None:
    """Make sure that a sheet may be written into a folder: nothing that is not ours is replaced.

    Raises:
        OutputUnusable: something there has a name that the sheet needs, and is no earlier sheet's.
    """
    try:
        ours = is_sheet(out)
        there = [name for name in (PAGE, THUMBNAILS, LINKS) if (out / name).exists()]
    except OSError as error:
        raise _unusable(out, error) from error
    if there and not ours:
        raise OutputUnusable(
            f"{out} holds another {there[0]!r}, which a contact sheet would replace: choose "
            "another --out."
        )


def _unusable(out: Path, error: OSError) -> OutputUnusable:
    why = error.strerror or str(error)
    return OutputUnusable(f"{out} cannot be written ({why}): choose another --out.")


def is_sheet(folder: Path) -> bool:
    """Whether a folder holds a contact sheet."""
    return all((folder / name).is_file() for name in SHEET_FILES)


def remove_thumbnails(out: Path, template_ids: list[int]) -> int:
    """Delete the thumbnails of templates from a sheet; how many there were."""
    if not is_sheet(out):
        return 0
    files = [out / THUMBNAILS / f"{template}.jpg" for template in template_ids]
    there = [file for file in files if file.is_file()]
    for file in there:
        file.unlink()
    return len(there)


def forget_in_sheet(
    out: Path, template_ids: Collection[int], names: Collection[str], files: Collection[str]
) -> int | None:
    """Write a contact sheet anew without some faces: page, list, thumbnails and links.

    Args:
        out: the folder of the sheet.
        template_ids: the faces.
        names: names that clusters must not be called by any more.
        files: photos that must not be listed any more.

    Returns:
        How many thumbnails were deleted; None where the folder holds no sheet.

    Raises:
        OutputUnusable: the folder cannot be written.
    """
    from enroll.cluster import Clustering

    if not is_sheet(out):
        return None
    try:
        told = Clustering.from_dict(json.loads((out / CLUSTERS).read_text(encoding="utf-8")))
        left = told.without(template_ids, names, files)
        if left != told:
            text = json.dumps(left.to_dict(), indent=1, ensure_ascii=False)
            write_atomically(out / CLUSTERS, text.encode())
            write_atomically(out / PAGE, _page(left).encode())
            if (out / LINKS).is_dir():
                _links(left, out / LINKS)
        return remove_thumbnails(out, list(template_ids))
    except OSError as error:
        raise _unusable(out, error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise OutputUnusable(
            f"{out / CLUSTERS} is not as Vultus wrote it ({error}): delete this contact sheet."
        ) from error


def renumber_sheet(out: Path, renumbered: Mapping[int, int]) -> None:
    """Write a contact sheet anew after its templates got other numbers.

    Args:
        out: the folder of the sheet; one that holds none is left alone.
        renumbered: number of a template before → now; no number is in both.

    Raises:
        OutputUnusable: the folder cannot be written.
    """
    from enroll.cluster import Clustering

    if not is_sheet(out):
        return
    try:
        for before, after in renumbered.items():
            file = out / THUMBNAILS / f"{before}.jpg"
            if file.is_file():
                file.rename(file.with_name(f"{after}.jpg"))
        told = Clustering.from_dict(json.loads((out / CLUSTERS).read_text(encoding="utf-8")))
        left = told.renumbered(renumbered)
        text = json.dumps(left.to_dict(), indent=1, ensure_ascii=False)
        write_atomically(out / CLUSTERS, text.encode())
        write_atomically(out / PAGE, _page(left).encode())
    except OSError as error:
        raise _unusable(out, error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise OutputUnusable(
            f"{out / CLUSTERS} is not as Vultus wrote it ({error}): delete this contact sheet."
        ) from error


def _thumbnails(parts: Parts, clustering: Clustering, folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    ids = (template for cluster in clustering.clusters for template in cluster.templates)
    for some in _chunks(ids):
        with parts.store.read() as session:
            for template, jpeg in crops(session, some).items():
                (folder / f"{template}.jpg").write_bytes(jpeg)


def _page(clustering: Clustering) -> str:
    several = [c for c in clustering.clusters if len(c.templates) > 1]
    once = [c for c in clustering.clusters if len(c.templates) == 1]
    hints = [_typical_first(hint, clustering) for hint in clustering.suggestions[:_HINTS]]
    chart = None if clustering.curve is None else chart_of(clustering.curve)
    return page(
        "sheet.html", clustering=clustering, several=several, once=once, hints=hints, chart=chart
    )


def _typical_first(hint: Suggestion, clustering: Clustering) -> Suggestion:
    """A suggestion with the most typical faces of each part first."""
    wanted = set(hint.clusters)
    some = (one.templates for one in clustering.clusters if one.number in wanted)
    rank = {template: place for templates in some for place, template in enumerate(templates)}

    def ranked(templates: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(templates, key=lambda one: rank.get(one, len(rank))))

    return replace(hint, one=ranked(hint.one), other=ranked(hint.other))


def chart_of(curve: Mapping[str, Any]) -> dict[str, Any] | None:
    """The points of the chart that shows how k was chosen, in a frame of 640 × 220.

    Args:
        curve: as `index.choose_k.ChosenK.to_dict` tells it.

    Returns:
        Lines as SVG has them (the measure that decided, and the silhouette beside it), the chosen
        point and the ticks; None where fewer than two numbers were tried.
    """
    tried = [one for one in curve["candidates"] if one[curve["criterion"]] is not None]
    if len(tried) < _LEAST_POINTS:
        return None
    first, last = math.log(tried[0]["k"]), math.log(tried[-1]["k"])
    beside = "silhouette" if curve["criterion"] != "silhouette" else None
    names = [curve["criterion"], *([beside] if beside else [])]
    values = [one[name] for one in tried for name in names]
    low, high = min(values), max(values)

    def place(k: int, value: float) -> tuple[float, float]:
        across = (math.log(k) - first) / ((last - first) or 1)
        up = (value - low) / ((high - low) or 1)
        return round(40 + 590 * across, 1), round(180 - 165 * up, 1)

    def line(name: str) -> str:
        return " ".join("{},{}".format(*place(one["k"], one[name])) for one in tried)

    chosen = next(one for one in tried if one["k"] == curve["k"])
    numbers = sorted({tried[0]["k"], tried[-1]["k"], curve["k"]})
    return {
        "line": line(curve["criterion"]),
        "other": line(beside) if beside else "",
        "best": place(chosen["k"], chosen[curve["criterion"]]),
        "ticks": [(place(number, low)[0], number) for number in numbers],
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
    }


def _links(clustering: Clustering, folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    for cluster in clustering.clusters:
        label = re.sub(r"[^\w .-]+", "_", cluster.name or "").strip(". ")
        place = folder / f"{cluster.number:04} {label}".strip()
        place.mkdir(parents=True)
        for file in dict.fromkeys(cluster.files):
            target = Path(file).resolve()
            links = (place / f"{prefix}{target.name}" for prefix in _prefixes(target))
            next(link for link in links if not link.is_symlink()).symlink_to(target)


def _prefixes(target: Path) -> Iterator[str]:
    """What goes before a photo's name where others of its cluster are named alike."""
    yield from ("", f"{target.parent.name} ")
    yield from (f"{target.parent.name} {number} " for number in count(2))


def _chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while some := list(islice(rest, _CHUNK)):
        yield some
