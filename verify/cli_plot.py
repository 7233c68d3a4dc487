"""`vultus plot`: vectors as a picture, and what the similarity of a pair rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verify.cli import fmr_option, format_option, gallery_options
from verify.decision import DEFAULT_FMR
from verify.opening import Parts, Places
from verify.output import as_csv, as_json

if TYPE_CHECKING:
    from verify.plot import Cloud, Plot
    from verify.plot_why import Why

_DEFAULT = Path("plot.html")
_OF_VECTORS = ("dims", "method", "neighbours", "spread", "limit", "site", "thumbnails")
_OF_PAIRS = ("fmr", "patch", "step")


@dataclass(frozen=True, slots=True)
class Wish:
    """How vectors are to be drawn.

    Attributes:
        dims: 2 or 3.
        method: `auto`, `umap` or `pca`.
        seed: of the projection and of a draw.
        neighbours: of UMAP.
        spread: of UMAP.
        limit: how many vectors at most.
        site: of a gallery, only its people.
        thumbnails: whether pictures go into the page.
    """

    dims: int
    method: str
    seed: int
    neighbours: int
    spread: float
    limit: int
    site: str | None
    thumbnails: bool


def _outs(
    _context: click.Context, _option: click.Parameter, value: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Wrong usage where a name asks for a kind of file that cannot be written."""
    from verify.plot_files import KINDS, kind_of

    for path in value:
        if kind_of(path) is None:
            known = ", ".join(f".{kind}" for kind in KINDS)
            raise click.BadParameter(f"{path} has none of the endings {known}.")
    return value


_OPTIONS = (
    click.option(
        "--why",
        nargs=2,
        metavar="A B",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Instead: what the similarity of two photos rests on.",
    ),
    click.option(
        "--out",
        "-o",
        "outs",
        multiple=True,
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_outs,
        help="File to write: .html, .png, .svg, .json or .csv; may be repeated. [default: "
        "plot.html, unless --format prints the numbers]",
    ),
    click.option(
        "--dims", type=click.IntRange(2, 3), default=2, show_default=True,
        help="Of the picture; 3 can be turned in the page.",
    ),
    click.option(
        "--method", type=click.Choice(["auto", "umap", "pca"]), default="auto", show_default=True,
        help="auto: UMAP where it is installed, else principal components; the output says which.",
    ),
    click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
        help="Of UMAP and of the draw.",
    ),
    click.option(
        "--neighbours", type=click.IntRange(2, 1000), default=15, show_default=True,
        help="UMAP keeps so many neighbours together.",
    ),
    click.option(
        "--spread", type=click.FloatRange(0, 1), default=0.1, show_default=True,
        help="UMAP's min_dist: how closely points are packed.",
    ),
    click.option(
        "--limit", type=click.IntRange(3), default=3000, show_default=True, metavar="N",
        help="Draw at most so many vectors, by lot.",
    ),
    click.option("--site", help="Of a gallery: only people of this site."),
    click.option(
        "--thumbnails/--no-thumbnails", default=True, show_default=True,
        help="Pictures in the page.",
    ),
    click.option(
        "--on-multiple", type=click.Choice(["centre", "largest"]), default="centre",
        show_default=True, help="Which face of a photo with several.",
    ),
    fmr_option,
    click.option(
        "--patch", type=click.FloatRange(0.02, 0.9), default=0.2, show_default=True,
        metavar="SHARE", help="With --why: side of the patch, of the crop's side.",
    ),
    click.option(
        "--step", type=click.FloatRange(0.01, 0.5), default=0.07, show_default=True,
        metavar="SHARE", help="With --why: how far it moves.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="No progress bar."),
)  # fmt: skip


def _all_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    short_help="Draw vectors as a picture; see what a similarity rests on.",
    epilog="""\b
Examples:
  vultus plot                                      the gallery, into plot.html
  vultus plot people/ --out people.png --out people.html
  vultus plot shoes/ --model picture --dims 3
  vultus plot vectors.npz --method pca --format csv
  vultus plot --why ann-1.jpg ann-2.jpg --out why.png""",
)
@click.argument(
    "source", required=False, metavar="[DIR|NPZ]", type=click.Path(path_type=Path, exists=True)
)
@_all_options
@gallery_options
@format_option("table", "json", "csv")
def plot(
    source: Path | None, why: tuple[Path, Path] | None, outs: tuple[Path, ...], on_multiple: str,
    quiet: bool, places: Places, form: str, fmr: float | None, patch: float, step: float,
    **wish: Any,  # noqa: ANN401 - the fields of `Wish`
) -> None:  # fmt: skip
    """Draw vectors so that alike ones lie close: of the gallery, a folder per class, or an .npz.

    Coloured by label. The page is one file that asks the network for nothing: pointing at a mark
    shows its picture and name. An .npz holds `vectors` (N, D), and where they are there `labels`,
    `names` and `pictures`.

    With --why A B: a grey patch slides over each photo, and colours show where the similarity
    falls.
    """
    _together(why is not None, source)
    files = outs or (() if form != "table" else (_DEFAULT,))
    with Parts(places) as parts:
        if why is not None:
            from verify.plot_why import why as explain

            rate = DEFAULT_FMR if fmr is None else fmr
            found = explain(parts, *why, fmr=rate, rule=on_multiple, patch=patch, step=step)
            _finish(found, files, form)
            return
        asked = Wish(**wish)
        cloud = _cloud(parts, source, asked, on_multiple, quiet)
        drawn = _drawn(cloud, asked)
        if source is None:
            from verify.plot_files import keep_in_mind

            keep_in_mind(parts, files)
        _finish(drawn, files, form)


def _together(pair: bool, source: Path | None) -> None:
    """Wrong usage where options of the two kinds of plot are mixed."""
    context = click.get_current_context()
    if pair and source is not None:
        raise click.UsageError("--why takes two photos and nothing else: leave the folder out.")
    for name in _OF_VECTORS if pair else _OF_PAIRS:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            goes = "does not go with" if pair else "goes with"
            raise click.UsageError(f"--{name} {goes} --why A B.")
    if context.params["site"] is not None and source is not None:
        raise click.UsageError("--site is of a gallery: leave the folder or file out.")


def _cloud(parts: Parts, source: Path | None, asked: Wish, on_multiple: str, quiet: bool) -> Cloud:
    """The vectors asked for."""
    from verify import plot_sources

    how: dict[str, Any] = {"limit": asked.limit, "seed": asked.seed, "pictures": asked.thumbnails}
    if source is None:
        return plot_sources.of_gallery(parts, site=asked.site, **how)
    if source.is_dir():
        return plot_sources.of_folder(parts.embedder, source, rule=on_multiple, quiet=quiet, **how)
    return plot_sources.of_npz(source, **how)


def _drawn(cloud: Cloud, asked: Wish) -> Plot:
    from verify.plot import Plot
    from verify.plot_project import project

    found = project(
        cloud.vectors, asked.dims, asked.method, seed=asked.seed, neighbours=asked.neighbours,
        spread=asked.spread,
    )  # fmt: skip
    return Plot(cloud, found, asked.seed)


def _finish(result: Plot | Why, files: tuple[Path, ...], form: str) -> None:
    """Write the files; print what was asked for, and say on stderr what else is to be known."""
    from verify.plot import Plot
    from verify.plot_files import write_plot

    write_plot(result, files)
    lines = result.lines() if isinstance(result, Plot) else [result.title]
    if form == "json":
        click.echo(as_json(result.to_dict()))
    elif form == "csv":
        click.echo(as_csv(result.rows()))
    for line in lines:
        click.echo(line, err=form != "table")
    for file in files:
        click.echo(f"Wrote {file}", err=form != "table")
