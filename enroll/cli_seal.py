"""The commands that seal a gallery and renew its templates: seal, rekey."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from verify.cli import format_option, gallery_options, leave
from verify.opening import Parts, Places
from verify.output import as_json

if TYPE_CHECKING:
    from enroll.rekey import Kept

INTERRUPTED = 130

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar, no remarks.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
renewable_option = click.option(
    "--renewable",
    type=click.Choice(["gallery", "person"]),
    help="Turn the vectors by a secret transform that vultus rekey replaces: one for the gallery, "
    "or one a person, which allows verify only.",
)


@click.group(
    short_help="Encrypt templates and crops at rest.",
    epilog="""\b
Examples:
  vultus seal new-key ~/vultus.key            make a key; keep a copy elsewhere
  vultus seal on --key-file ~/vultus.key
  vultus seal status""",
)
def seal() -> None:
    """Keep templates and crops encrypted at rest, under a key that is not in the database.

    Afterwards every command that reads or writes them needs the key: --key-file PATH,
    VULTUS_KEY_FILE, or the key itself in VULTUS_KEY. A lost key cannot be replaced.
    """


@seal.command("on", epilog="\b\nExample:\n  vultus seal on --key-file ~/vultus.key")
@renewable_option
@quiet_option
@gallery_options
@format_option("table", "json")
def on_command(renewable: str | None, quiet: bool, places: Places, form: str) -> None:
    """Seal all rows of the gallery in one transaction and remove its index file.

    Killed half-way, the gallery is as before.
    """
    from enroll.rekey import seal as seal_gallery

    with Parts(places) as parts, _bar("sealing", quiet) as told:
        kept = seal_gallery(parts, renewable, told)  # type: ignore[arg-type]  # click checked it
    _tell(kept, form, "Sealed" if kept.rows else "Was sealed already")


@seal.command("off", epilog="\b\nExample:\n  vultus seal off --key-file ~/vultus.key --yes")
@yes_option
@quiet_option
@gallery_options
@format_option("table", "json")
def off_command(yes: bool, quiet: bool, places: Places, form: str) -> None:
    """Store templates and crops unencrypted again."""
    from enroll.rekey import unseal

    if not yes and not click.confirm("Store templates and crops unencrypted?", err=True):
        click.echo("Nothing was changed.", err=True)
        leave(INTERRUPTED)
    with Parts(places) as parts, _bar("unsealing", quiet) as told:
        kept = unseal(parts, told)
    _tell(kept, form, "Unsealed")


@seal.command(
    epilog="\b\nExample:\n  vultus seal rotate --key-file ~/vultus.key",
)
@gallery_options
@format_option("table", "json")
def rotate(places: Places, form: str) -> None:
    """Put the data keys under the first key of the key file; the old key must be in it too.

    `vultus seal new-key PATH` puts a new key first; the old ones still open.
    Rows are not touched, so that other programs go on working meanwhile.
    """
    from enroll.rekey import rotate as rotate_keys
    from enroll.rekey import status_of, status_values

    with Parts(places) as parts:
        count = rotate_keys(parts)
        status = status_of(parts)
    if form == "json":
        click.echo(as_json(status_values(status) | {"rewrapped": count or 0}))
    elif count is None:
        click.echo(
            f"Nothing to do: {status.sealed} is the first key given and wraps all data keys. "
            "Put a new one before it with: vultus seal new-key PATH"
        )
    else:
        click.echo(f"{count} data keys are under the key {status.sealed} now.")


@seal.command(epilog="\b\nExample:\n  vultus seal status --format json")
@gallery_options
@format_option("table", "json")
def status(places: Places, form: str) -> None:
    """Tell how the gallery is kept; needs no key."""
    from enroll.rekey import status_of, status_values

    with Parts(places) as parts:
        found = status_of(parts)
    if form == "json":
        click.echo(as_json(status_values(found)))
        return
    for name, value in status_values(found).items():
        shown = {"True": "yes", "False": "no", "None": "no"}.get(str(value), value)
        click.echo(f"{name:11} {shown}")


@seal.command("new-key", epilog="\b\nExample:\n  vultus seal new-key ~/vultus.key")
@click.argument("place", metavar="PATH")
def new_key_command(place: str) -> None:
    """Make a random key, first in the key file PATH (mode 0600) or in keyring:NAME.

    Keys that are there already stay, and still open.
    """
    from store.vault import new_key

    fingerprint, older = new_key(place)
    more = f", before {older} older" if older else ""
    click.echo(f"Key {fingerprint} is in {place}{more}. Keep a copy: without it nothing opens.")


@click.command(
    short_help="Renew all templates without photos.",
    epilog="""\b
Examples:
  vultus rekey                                new transform, new data keys
  vultus rekey --renewable person             from now on one transform a person""",
)
@renewable_option
@quiet_option
@gallery_options
@format_option("table", "json")
def rekey(renewable: str | None, quiet: bool, places: Places, form: str) -> None:
    """Turn all templates by a new secret transform and seal them under new data keys.

    Needs no photo. Answers stay the same; what leaked before matches nothing that is stored
    now. One transaction: killed half-way, the gallery is as before. See docs/privacy.md.
    """
    from enroll.rekey import renew

    with Parts(places) as parts, _bar("renewing", quiet) as told:
        kept = renew(parts, renewable, told)  # type: ignore[arg-type]  # click checked it
    _tell(kept, form, "Renewed")


@contextlib.contextmanager
def _bar(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    with tqdm(disable=hidden, desc=title, unit=" row", leave=False, file=sys.stderr) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


def _tell(kept: Kept, form: str, done: str) -> None:
    if form == "json":
        click.echo(as_json(kept.to_dict()))
        return
    status = kept.status
    rows = (
        "" if kept.rows is None else f": {kept.rows.templates} templates, {kept.rows.crops} crops"
    )
    how = (
        ""
        if status.sealed is None
        else f" under {status.keys} data keys and the key {status.sealed}"
    )
    click.echo(f"{done}{rows}{how}.")
    if status.renewal is not None:
        whose = "one a person" if status.renewal == "person" else "one for the gallery"
        click.echo(f"Renewable: a secret transform, {whose} (number {status.epoch}).")
    if status.sealed is not None:
        click.echo("The index is kept in memory only.")
    for file in kept.removed:
        click.echo(f"Removed the index file {file}")
    for server in kept.servers:
        click.echo(f"{server} still holds plain vectors: drop its collection there.")
    if kept.remark:
        click.echo(kept.remark, err=True)
