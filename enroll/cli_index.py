"""The commands about the index: status, build, verify, benchmark."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from index.rules import KINDS
from verify.cli import format_option, gallery_options, leave
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from enroll.indexing import IndexStatus

OUT_OF_STEP = 3
_LABELS = (
    ("url", "index"), ("engine", "engine"), ("reason", "chosen because"), ("kind", "searches"),
    ("why", "because"), ("vectors", "vectors"), ("templates", "templates"), ("memory", "memory"),
    ("state", "state"), ("rev", "change"), ("missing", "missing"), ("extra", "extra"),
    ("different", "different"), ("recall", "recall"), ("queries_per_second", "queries/s"),
)  # fmt: skip

k_option = click.option(
    "--k", type=click.IntRange(1, 100), default=10, show_default=True, help="Neighbours asked for."
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar.")


def _recall(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0.0 < value < 1.0:
        raise click.BadParameter("give a number above 0 and below 1, or --kind flat for all.")
    return value


recall_option = click.option(
    "--recall",
    type=float,
    callback=_recall,
    metavar="PART",
    help="The part of the true neighbours that inverted lists must find, measured on the "
    "gallery's own vectors; default: the URL's, else 0.99.",
)


@click.group(
    short_help="Look at the index, make it anew, check and measure it.",
    epilog="""\b
Examples:
  vultus index status
  vultus index build --recall 0.999
  vultus index verify && echo in step
  vultus index benchmark --format json""",
)
def index() -> None:
    """The index finds the nearest templates; it is derived from the database and disposable."""


@index.command(epilog="\b\nExample:\n  vultus index status --format json")
@k_option
@gallery_options
@format_option("table", "json")
def status(k: int, places: Places, form: str) -> None:
    """Tell the engine and why, size, recall and speed, and whether it is in step.

    Exits with 3 when it is out of step with the database.
    """
    from enroll.indexing import index_status

    with Parts(places) as parts:
        _tell(index_status(parts, k), form)


@index.command(
    epilog="""\b
Examples:
  vultus index build
  vultus index build --kind ivf-sq8 --recall 0.999"""
)
@click.option("--kind", type=click.Choice(KINDS), help="Of FAISS; default: by the vectors' number.")
@recall_option
@quiet_option
@gallery_options
@format_option("table", "json")
def build(kind: str | None, recall: float | None, quiet: bool, places: Places, form: str) -> None:
    """Make the index anew from the database."""
    from enroll.indexing import build_index, template_count

    with Parts(places) as parts, _bar("building", template_count(parts), quiet) as told:
        _tell(build_index(parts, kind, recall, told), form)


@index.command(epilog="\b\nExample:\n  vultus index verify || vultus index build")
@quiet_option
@gallery_options
@format_option("table", "json")
def verify(quiet: bool, places: Places, form: str) -> None:
    """Compare every row of the index with the database.

    Exits with 3 when they differ, and names the command that mends it.
    """
    from enroll.indexing import template_count, verify_index

    with Parts(places) as parts, _bar("comparing", template_count(parts), quiet) as told:
        _tell(verify_index(parts, told), form)


@index.command(epilog="\b\nExample:\n  vultus index benchmark --k 1 --recall 0.95")
@k_option
@recall_option
@gallery_options
@format_option("table", "json")
def benchmark(k: int, recall: float | None, places: Places, form: str) -> None:
    """Measure every engine on the gallery's own vectors: recall@k, queries per second."""
    from enroll.indexing import benchmark_engines

    with Parts(places) as parts:
        found = benchmark_engines(parts, k, recall)
    if form == "json":
        click.echo(as_json({"k": k, "engines": [result.to_dict() for result in found]}))
        return
    rows: list[tuple[object, ...]] = []
    for result in found:
        m = result.measured
        speed = (None,) * 3 if m is None else (m.recall, m.queries_per_second, m.milliseconds)
        rows.append((result.engine, *speed, result.note))
    head = ("engine", f"recall@{k}", "queries/s", "ms for one", "")
    click.echo(as_table(rows, head))


@contextmanager
def _bar(title: str, total: int, quiet: bool) -> Iterator[Callable[[int], object]]:
    """A bar on stderr where somebody watches."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    with tqdm(
        desc=title, total=total, unit=" template", disable=hidden, leave=False, file=sys.stderr
    ) as bar:
        yield bar.update


def _tell(status: IndexStatus, form: str) -> None:
    if form == "json":
        click.echo(as_json(status.to_dict()))
    else:
        values: dict[str, Any] = status.to_dict()
        values["memory"] = f"{status.memory / 1e6:.1f} MB"
        values["rev"] = f"{'–' if status.rev is None else status.rev} of {status.gallery_rev}"
        for key, label in _LABELS:
            value = values[key]
            if value not in (None, ""):
                shown = f"{value:.4g}" if isinstance(value, float) else value
                click.echo(f"{label:15} {shown}")
    if status.mend is not None:
        click.echo(f"The index is out of step with the database: run {status.mend}.", err=True)
        leave(OUT_OF_STEP)
