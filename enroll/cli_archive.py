"""The commands that take a whole gallery out into one file and in again: export, import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from enroll.cli import ask
from verify.cli import format_option, gallery_options
from verify.opening import Parts, Places
from verify.output import as_json

if TYPE_CHECKING:
    from tqdm import tqdm

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar.")


@click.command(
    name="export",
    short_help="Write the whole gallery into one file.",
    epilog="""\b
Examples:
  vultus export gallery.vultus
  vultus export /backup/monday.vultus --force --format json
  vultus export gallery.vultus --sealed --key-file ~/vultus.key
  vultus export gallery.vultus --plain          of a sealed gallery, for a script""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--sealed", is_flag=True, help="Encrypt FILE under the first key of the key file.")
@click.option("--plain", is_flag=True, help="Do not ask: write what is sealed here unsealed.")
@quiet_option
@gallery_options
@format_option("table", "json")
def export(
    file: Path, force: bool, sealed: bool, plain: bool, quiet: bool, places: Places, form: str
) -> None:
    """Write people, templates, crops, decisions and the log into one FILE.

    The file is written whole or not at all and readable by you only. It holds vectors and crops
    as they are before sealing: keep it like the gallery itself, or let --sealed encrypt it. A
    sealed gallery needs its key, and where its archive is not to be sealed the command asks first;
    --plain answers.
    """
    if sealed and plain:
        raise click.UsageError("--sealed and --plain exclude each other.")
    from enroll.archive import count_rows, export_gallery
    from enroll.rekey import status_of

    with Parts(places) as parts:
        store = parts.store
        if not (plain or sealed) and status_of(parts).sealed is not None:
            ask(f"The gallery is sealed, and {file} will hold its vectors and crops as they are "
                "without that. Write it (--plain; --sealed encrypts it)?")  # fmt: skip
        with _bar("exporting", count_rows(store), quiet) as bar:

            def tell(_table: str, rows: int) -> None:
                bar.update(rows)

            done = export_gallery(store, file, replace=force, sealed=sealed, progress=tell)
    if form == "json":
        click.echo(as_json(done.to_dict()))
        return
    for table, rows in done.rows.items():
        if rows:
            click.echo(f"{table:<18}{rows:>9}")
    click.echo(f"{done.file}: {done.size} bytes, sha256 {done.sha256}")


@click.command(
    name="import",
    short_help="Bring an exported gallery in.",
    epilog="""\b
Examples:
  vultus import gallery.vultus --database new.sqlite3
  vultus import sealed.vultus --key-file ~/vultus.key
  vultus import gallery.vultus --format json""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@quiet_option
@gallery_options
@format_option("table", "json")
def import_(file: Path, quiet: bool, places: Places, form: str) -> None:
    """Bring the gallery of FILE in: as it was into an empty one, else merged.

    The file is checked before anything is changed, and it comes in whole or not at all. Merging
    goes by what stays the same everywhere (uids, digests of photos); what is here stays as it is,
    and what does not go with it is listed.
    """
    from enroll.archive_import import count_lines, import_gallery

    with Parts(places) as parts:
        store = parts.store
        with _bar("importing", count_lines(store, file), quiet) as bar:

            def tell(_table: str, rows: int) -> None:
                bar.update(rows)

            done = import_gallery(store, file, tell)
    if form == "json":
        click.echo(as_json(done.to_dict()))
        return
    click.echo(f"{'':<18}{'added':>9}{'merged':>9}{'skipped':>9}{'conflicts':>10}")
    for table, n in done.tables.items():
        line = f"{n['added']:>9}{n['merged']:>9}{n['skipped']:>9}{n['conflicts']:>10}"
        click.echo(f"{table:<18}{line}")
    for words in done.conflicts:
        click.echo(words)
    if done.restored:
        click.echo("The gallery was empty and is now the one that was exported.")


def _bar(what: str, rows: int, quiet: bool) -> tqdm[NoReturn]:
    """A bar on stderr that is told how many rows were done."""
    from tqdm import tqdm

    shown = not quiet and sys.stderr.isatty()
    return tqdm(desc=what, unit=" rows", total=rows, leave=False, disable=not shown)
