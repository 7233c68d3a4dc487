"""The command that sorts a library of photos: cluster, and the answers to what it suggests."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from errno import EACCES
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from enroll.cli import jobs_option, quiet_option, site_option
from verify.cli import format_option, gallery_options
from verify.opening import Parts, Places
from verify.output import as_csv, as_json, as_table

if TYPE_CHECKING:
    from enroll.cluster import Clustering, ClusterRules, Suggestion
    from enroll.clustering_edits import Answer
    from enroll.clustering_names import Names

__all__ = ["cluster"]

_SHOWN = 20


class _Number(click.ParamType["int | str"]):
    """A number of clusters, or `auto`."""

    name = "N|auto"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - what click has read
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int | str:
        """A number from 1, or the word."""
        if value == "auto":
            return "auto"
        return int(click.IntRange(1).convert(value, param, ctx))


class _Answer(click.ParamType["tuple[str, Answer]"]):
    """The id of a suggestion and what somebody says to it."""

    name = "ID=same|different|skip"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - what click has read
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, Answer]:
        """Both halves of ID=ANSWER."""
        if isinstance(value, tuple):
            return value
        key, _, answer = str(value).partition("=")
        if answer not in {"same", "different", "skip"}:
            self.fail(f"{value!r} is not ID=same, ID=different or ID=skip.", param, ctx)
        return key, cast("Answer", answer)


@click.command(
    short_help="Sort a library of photos into people.",
    epilog="""\b
Examples:
  vultus cluster holiday/ --out sheet/        then open sheet/index.html
  vultus cluster holiday/ --out sheet/ --links
  vultus cluster holiday/ --plan              what new photos would change
  vultus cluster holiday/ --k auto --out sheet/
  vultus cluster products/ --detector whole
  vultus cluster holiday/ --format csv > people.csv
  vultus cluster holiday/ --xmp read --xmp write
  vultus cluster --suggest
  vultus cluster --answer 3f0c9a1be2d44710=same""",
)
@click.argument("library", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a contact sheet (index.html), its thumbnails and clusters.json there.",
)
@click.option(
    "--method",
    type=click.Choice(["link", "graph", "density", "kmeans"]),
    help="How; default: link. Pictures of things without a calibration: kmeans.",
)
@click.option(
    "--k",
    type=_Number(),
    help="k-means with this many clusters; auto: it chooses k and shows why. Default: a method "
    "that finds the number itself.",
)
@click.option(
    "--faces",
    type=click.Choice(["all", "largest", "centre"]),
    default="all",
    show_default=True,
    help="Which faces of a photo.",
)
@click.option(
    "--plan/--apply", default=False, help="Only tell what would change. Default: change it."
)
@click.option("--again", is_flag=True, help="Cluster all faces anew, not only the new ones.")
@click.option(
    "--bursts/--no-bursts",
    default=True,
    show_default=True,
    help="Photos of one folder taken within three seconds show mostly the same people.",
)
@click.option("--links", is_flag=True, help="Also make a folder of links a cluster in DIR/people.")
@click.option(
    "--xmp",
    type=click.Choice(["read", "write"]),
    multiple=True,
    help="read: take names from the XMP of photos and sidecars; write: names and face regions into "
    "PHOTO.xmp beside each photo. Both may be given.",
)
@site_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of k-means.")
@click.option("--suggest", is_flag=True, help="List the suggestions of the last clustering.")
@click.option(
    "--answer",
    type=_Answer(),
    multiple=True,
    help="Answer a suggestion of the last clustering; can be undone.",
)
@jobs_option
@quiet_option
@gallery_options
@format_option("table", "json", "csv")
def cluster(
    library: Path | None,
    out: Path | None,
    suggest: bool,
    answer: tuple[tuple[str, Answer], ...],
    quiet: bool,
    places: Places,
    form: str,
    **given: Any,  # noqa: ANN401 - the other options
) -> None:
    """Group all faces of a LIBRARY of photos into people.

    Faces are kept in the gallery without a name, so that running again is quick; nobody can be
    identified by them before `vultus name NUMBER NAME`. New photos join the clusters that are
    there; numbers stay. `vultus undo` brings the clustering before back.
    """
    if suggest or answer:
        _require_alone(library, out)
        with Parts(places) as parts:
            _answer(parts, answer, form, listed=suggest)
        return
    if library is None:
        raise click.UsageError("Say which LIBRARY: a folder of photos.")
    _require_fitting(out, given)
    if out is not None:
        _require_writable(out)
    with Parts(places) as parts:
        _cluster(parts, library, out, quiet, form, given)


def _require_alone(library: Path | None, out: Path | None) -> None:
    if library is not None or out is not None:
        raise click.UsageError(
            "--suggest and --answer are about the last clustering: without LIBRARY and --out."
        )


def _require_fitting(out: Path | None, given: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    wrong = {
        "--links needs --out DIR.": given["links"] and out is None,
        "--k goes with --method kmeans only.": given["k"] is not None
        and given["method"] not in {None, "kmeans"},
        "--plan writes nothing: it does not go with --out or --xmp.": given["plan"]
        and (out is not None or given["xmp"]),
    }
    for message, holds in wrong.items():
        if holds:
            raise click.UsageError(message)


def _require_writable(out: Path) -> None:
    """Refuse a folder for results before the long work, not after it."""
    from enroll.errors import OutputUnusable

    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OutputUnusable(f"{out} cannot be written ({why}): choose another --out.") from error


def _cluster(
    parts: Parts, library: Path, out: Path | None, quiet: bool, form: str, given: dict[str, Any]
) -> None:
    from enroll.cluster import ClusterRules, cluster_library
    from enroll.clustering_names import read_names
    from enroll.clustering_xmp import write_sidecars
    from enroll.sheet import write_sheet

    names = ("k", "faces", "seed", "jobs", "method", "bursts", "again")
    rules: ClusterRules = ClusterRules(**{name: given[name] for name in names})
    taken: list[Names] = []
    prepare = None
    if "read" in given["xmp"]:
        prepare = lambda files: taken.append(read_names(parts, files, given["site"]))  # noqa: E731
    with _bar(quiet) as told:
        found = cluster_library(
            parts, library, rules, out=out, progress=told, plan=given["plan"], prepare=prepare
        )
        page = None if out is None else write_sheet(parts, found, out, links=given["links"])
        written = write_sidecars(parts, found) if "write" in given["xmp"] else None
    more: dict[str, Any] = {"contact_sheet": None if page is None else str(page)}
    if taken:
        more["xmp_read"] = taken[0].to_dict()
    if written is not None:
        more["xmp_written"] = written.to_dict()
    if form == "json":
        click.echo(as_json(found.to_dict() | {"planned": given["plan"]} | more))
    elif form == "csv":
        click.echo(as_csv(found.rows()))
    else:
        _print(found, given["plan"], more)


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    with tqdm(
        disable=hidden, desc="clustering", unit=" photo", leave=False, file=sys.stderr
    ) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


def _print(found: Clustering, planned: bool, more: dict[str, Any]) -> None:
    several = [c for c in found.clusters if len(c.templates) > 1]
    rows = [(c.number, c.name, len(c.templates), c.files[0]) for c in several[:_SHOWN]]
    if rows and not planned:
        click.echo(as_table(rows, ("cluster", "name", "faces", "such as")))
    if len(several) > len(rows) and not planned:
        click.echo(f"… and {len(several) - len(rows)} more clusters of two faces or more")
    once = len(found.clusters) - len(several)
    would = "would be " if planned else ""
    click.echo(
        f"{would}{len(found.clusters)} people in {found.photos} photos, {found.faces} faces, "
        f"{once} of them seen once ({found.method})"
    )
    if found.unsorted:
        click.echo(f"{len(found.unsorted)} photos show no usable face")
    if found.curve is not None:
        click.echo(found.curve["explanation"])
    _print_changes(found, planned)
    _print_files(more)
    if found.suggestions:
        count = len(found.suggestions)
        click.echo(f"{count} suggestions to merge or split: vultus cluster --suggest")


def _print_changes(found: Clustering, planned: bool) -> None:
    if found.changes:
        rows = [
            (
                change.kind,
                ", ".join(map(str, change.before)),
                ", ".join(map(str, change.after)),
                change.added,
                change.moved,
            )
            for change in found.changes[:_SHOWN]
        ]
        click.echo(as_table(rows, ("change", "before", "after", "new faces", "moved faces")))
        if len(found.changes) > len(rows):
            click.echo(f"… and {len(found.changes) - len(rows)} more changes")
    elif planned:
        click.echo("Nothing would change.")


def _print_files(more: dict[str, Any]) -> None:
    if read := more.get("xmp_read"):
        click.echo(f"XMP: {read['named']} faces named, {read['known']} were named so before")
        for line in read["left"]:
            click.echo(f"XMP: {line['file']}: {line['reason']}", err=True)
    if written := more.get("xmp_written"):
        click.echo(f"XMP: {written['written']} sidecars written, {written['unchanged']} unchanged")
        for line in written["left"]:
            click.echo(f"XMP: {line['file']}: {line['reason']}", err=True)
    if more["contact_sheet"] is not None:
        click.echo(f"Contact sheet: {more['contact_sheet']}")


def _answer(
    parts: Parts, answers: tuple[tuple[str, Answer], ...], form: str, *, listed: bool
) -> None:
    from enroll.clustering_edits import answer_suggestion, pending_suggestions

    done = [
        {"id": key, "answer": answer} | answer_suggestion(parts, key, answer).to_dict()
        for key, answer in answers
    ]
    hints = pending_suggestions(parts) if listed else ()
    if form == "json":
        told: dict[str, Any] = {"answers": done} if done else {}
        if listed:
            told["suggestions"] = [hint.to_dict() for hint in hints]
        click.echo(as_json(told))
        return
    for one in done:
        undo = f"; undo it with: vultus undo {one['operation']}" if one["operation"] else ""
        click.echo(f"{one['id']}: {one['answer']}{undo}")
    if listed:
        _print_hints(hints)


def _print_hints(hints: tuple[Suggestion, ...]) -> None:
    if not hints:
        click.echo("Nothing is suggested.")
        return
    rows = [
        (
            hint.id,
            hint.kind,
            " and ".join(map(str, dict.fromkeys(hint.clusters))),
            f"{len(hint.one)} and {len(hint.other)}",
            f"{hint.probability:.0%}",
        )
        for hint in hints
    ]
    click.echo(as_table(rows, ("id", "change", "clusters", "faces", "probability")))
    click.echo("Answer with: vultus cluster --answer ID=same (or different, skip)")
