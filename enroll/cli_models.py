"""`vultus models migrate`: moving a gallery to another encoder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from embedder.cli_train import export_command
from enroll.cli_encoders import models
from verify.cli import format_option, gallery_options, leave
from verify.decision import DEFAULT_FMR
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from enroll.migrate import Cleaned, Migrated
    from enroll.migrate_preview import Flip, Preview
    from store.transitions import TransitionSummary

__all__ = ["migrate", "models"]

INTERRUPTED = 130
_STEPS = ("dry_run", "prepare", "roll_back", "drop_old", "status")
_SHOWN = 10
_FLIP = (
    "kind", "template", "person", "and", "before", "similarity", "after", "similarity",
)  # fmt: skip


models.add_command(export_command)


@models.command(
    short_help="Move the gallery to another encoder.",
    epilog="""\b
Examples:
  vultus models migrate sface-mirror --dry-run     what would change; writes nothing
  vultus models migrate sface-mirror               encode every face, then cut over
  vultus models migrate --status
  vultus models migrate --roll-back                back to the encoder before
  vultus models migrate --drop-old                 delete the vectors no longer used""",
)
@click.argument("to", required=False, metavar="[TO]")
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@click.option("--prepare", is_flag=True, help="Encode, and cut over another time.")
@click.option("--roll-back", is_flag=True, help="Go back to the encoder before.")
@click.option("--drop-old", is_flag=True, help="Delete the vectors no longer used; asks.")
@click.option("--status", is_flag=True, help="Tell how far the last migration has come.")
@click.option(
    "--from",
    "origin",
    type=click.Choice(["crops", "photos"]),
    default="crops",
    show_default=True,
    help="photos: from the original photo where it still lies there unchanged, else the crop.",
)
@click.option("--leave-out", is_flag=True, help="Go on without faces whose crop does not open.")
@click.option(
    "--fmr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=DEFAULT_FMR,
    show_default=True,
    metavar="RATE",
    help="The false-match rate that --dry-run compares decisions at.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, no remarks.")
@gallery_options
@format_option("table", "json")
def migrate(
    to: str | None, origin: str, leave_out: bool, fmr: float, yes: bool, quiet: bool,
    places: Places, form: str, **steps: bool,
) -> None:  # fmt: skip
    """Move the gallery to the encoder TO without enrolling anybody again.

    Every face is encoded anew from its stored crop, beside the old vectors; then one transaction
    changes over. People, names, clusters and corrections stay. Interrupted or killed, run it
    again. Other programs that work with the old encoder get an error, and are started again.
    """
    step = _step(to, steps, places)
    if step == "drop_old" and not yes and not _sure():
        leave(INTERRUPTED)
    with Parts(places) as parts:
        if step == "status":
            _status(parts, form)
        elif step == "drop_old":
            _drop(parts, form)
        elif step == "dry_run":
            _preview(parts, str(to), fmr, origin, quiet, form)
        else:
            _move(parts, to, step, origin, leave_out, quiet, form)


def _step(to: str | None, steps: dict[str, bool], places: Places) -> str:
    """What is asked for, one thing at a time."""
    asked = [name for name in _STEPS if steps[name]]
    if len(asked) > 1:
        told = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise click.UsageError(f"{told} do not go together.")
    if places.model is not None:
        raise click.UsageError("Name the encoder without --model: vultus models migrate TO.")
    step = asked[0] if asked else "migrate"
    wants = step in {"migrate", "dry_run", "prepare"}
    if wants and to is None:
        raise click.UsageError("Name the encoder to move to; vultus models list shows them.")
    if not wants and to is not None:
        raise click.UsageError(f"--{step.replace('_', '-')} takes no encoder.")
    return step


def _sure() -> bool:
    question = "Delete the vectors of the space not in use? There is no way back"
    if click.confirm(question, err=True):
        return True
    click.echo("Nothing was changed.", err=True)
    return False


def _status(parts: Parts, form: str) -> None:
    from enroll.migrate import status_of

    found = status_of(parts)
    if form == "json":
        click.echo(as_json(None if found is None else found.to_dict()))
    elif found is None:
        click.echo("There was no migration.")
    else:
        _tell_status(found)


def _tell_status(found: TransitionSummary) -> None:
    for name, value in found.to_dict().items():
        click.echo(f"{name.replace('_', ' '):10} {value}")


def _drop(parts: Parts, form: str) -> None:
    from enroll.migrate import drop_old

    _tell_cleaned(drop_old(parts), form)


def _tell_cleaned(cleaned: Cleaned, form: str) -> None:
    if form == "json":
        click.echo(as_json(cleaned.to_dict()))
        return
    if cleaned.dropped is None:
        click.echo("The old vectors were dropped before; the files are clean.")
    else:
        click.echo(f"Dropped {cleaned.dropped.templates} vectors of {cleaned.dropped.space}.")
    for file in cleaned.removed:
        click.echo(f"Removed the index file {file}")
    for server in cleaned.servers:
        click.echo(f"Drop the collection of {server} in its server: it holds old vectors.")
    for remark in cleaned.remarks:
        click.echo(f"Remark: {remark}", err=True)


def _move(
    parts: Parts, to: str | None, step: str, origin: str, leave_out: bool, quiet: bool, form: str
) -> None:
    from enroll.migrate import migrate as move
    from enroll.migrate import roll_back

    with _bar("encoding", quiet) as told:
        if step == "roll_back":
            done = roll_back(parts, leave_out=leave_out, progress=told)
        else:
            done = move(
                parts, str(to), from_photos=origin == "photos", prepare=step == "prepare",
                leave_out=leave_out, progress=told,
            )  # fmt: skip
    _tell_moved(done, form)


def _tell_moved(done: Migrated, form: str) -> None:
    if form == "json":
        click.echo(as_json(done.to_dict()))
        return
    if done.encoded:
        photos = f", {done.from_photos} of them from photos" if done.from_photos else ""
        click.echo(f"Encoded {done.encoded} faces{photos}.")
    if done.left_out:
        click.echo(f"{done.left_out} faces cannot be encoded and have no vector there.")
    click.echo(f"The gallery is of the space {done.space}.")
    state = None if done.status is None else done.status.state
    after = {
        "ready": "Everything is encoded: the same command without --prepare cuts over.",
        "current": "The old vectors are still there: --roll-back, or --drop-old when you are sure.",
        "rolled_back": "The other vectors are still there: --drop-old deletes them.",
    }
    if state in after:
        click.echo(after[state])


def _preview(parts: Parts, to: str, fmr: float, origin: str, quiet: bool, form: str) -> None:
    from enroll.migrate_preview import preview

    with _bar("encoding", quiet) as told:
        found = preview(parts, to, fmr=fmr, from_photos=origin == "photos", progress=told)
    if form == "json":
        click.echo(as_json(found.to_dict()))
    else:
        _tell_preview(found)


def _tell_preview(found: Preview) -> None:
    click.echo(f"From {found.source} to {found.target}; nothing was changed.")
    click.echo(
        f"{found.faces} faces, {found.to_encode} to encode, {found.from_photos} from photos, "
        f"{found.unreadable} unreadable."
    )
    click.echo(
        f"At the false-match rate {found.fmr:g} the threshold goes from "
        f"{found.threshold_before:.3f} to {found.threshold_after:.3f}."
    )
    click.echo(
        f"Of {found.compared} named faces the closest other face changes for "
        f"{found.closest_template_changed}, to another person for {found.closest_person_changed}."
    )
    rows = [
        (kind, *change.split("→"), count)
        for kind, changes in found.decisions.items()
        for change, count in changes.items()
    ]
    click.echo(as_table(rows, ("comparison", "before", "after", "count")))
    _tell_examples(found)


def _tell_examples(found: Preview) -> None:
    if found.neighbours:
        click.echo("\nClosest to another person than before:")
        closest = [
            (n.template, n.person, n.before, n.similarity_before, n.after, n.similarity_after)
            for n in found.neighbours[:_SHOWN]
        ]
        head = ("template", "person", "before", "similarity", "after", "similarity")
        click.echo(as_table(closest, head))
    if found.flips:
        click.echo("\nDecided otherwise:")
        click.echo(as_table([_cells(flip) for flip in found.flips[:_SHOWN]], _FLIP))
    if max(len(found.neighbours), found.flipped) > _SHOWN:
        click.echo(f"\nThe first {_SHOWN} of each are shown; --format json has more.")


def _cells(flip: Flip) -> tuple[object, ...]:
    before, after = flip.similarity_before, flip.similarity_after
    who = (flip.kind, flip.template, flip.person, flip.other)
    return (*who, flip.before, before, flip.after, after)


@contextlib.contextmanager
def _bar(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    with tqdm(disable=hidden, desc=title, unit=" face", leave=False, file=sys.stderr) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told
