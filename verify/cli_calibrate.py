"""`vultus calibrate`: make calibrations, look at them, choose the one in force, pass them on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from verify.cli import format_option, gallery_options
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from verify.calibration import Calibration

DEFAULT = "fit"


class _DefaultGroup(click.Group):
    """A group whose commands may be left out: what is none of them goes to `fit`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


class _Number(click.ParamType[str]):
    """The number of a calibration, or the word `shipped`."""

    name = "number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "shipped" and not (value.isdecimal() and int(value) < 2**31):
            self.fail(f"{value!r} is neither a number nor the word shipped.", param, ctx)
        return value


number = click.argument("number", metavar="NUMBER|shipped", type=_Number())


@click.group(
    cls=_DefaultGroup,
    short_help="Learn what a similarity means from your own people.",
    epilog="""\b
Examples:
  vultus calibrate people/                      (short for: vultus calibrate fit people/)
  vultus calibrate --gallery
  vultus calibrate list
  vultus calibrate use 3""",
)
def calibrate() -> None:
    """Calibrations say how often which similarity errs. Several are kept, one is in force.

    Without a command's name this is `fit`; a folder called like a command is given as ./list.
    """


@calibrate.command(
    epilog="""\b
Examples:
  vultus calibrate fit people/
  vultus calibrate fit people/ --gallery
  vultus calibrate fit people/ --format json""",
)
@click.argument("people", type=click.Path(path_type=Path), required=False)
@click.option(
    "--gallery",
    is_flag=True,
    help="Use the people enrolled; with PEOPLE, add the counts of both.",
)
@click.option(
    "--on-multiple",
    type=click.Choice(["centre", "largest"]),
    default="centre",
    show_default=True,
    help="Which face of a photo with several.",
)
@gallery_options
@format_option("table", "json")
def fit(people: Path | None, gallery: bool, on_multiple: str, places: Places, form: str) -> None:
    """Fit on a folder of PEOPLE (a folder a person), on the gallery, or on both.

    The new calibration is in force at once; earlier ones stay on record, and decisions keep
    pointing at the one they used. The smallest rate it can support is 3 / (pairs of people): 100
    people give 6e-4, 450 give 3e-5. The photos are not enrolled.
    """
    from verify.calibrating import calibrate as make

    if people is None and not gallery:
        raise click.UsageError("Name a folder of PEOPLE, or ask for those enrolled: --gallery.")
    with Parts(places) as parts:
        fitted = make(parts, people, gallery=gallery, on_multiple=on_multiple)
        space = parts.card.space
    if form == "json":
        click.echo(as_json(fitted.calibration.to_dict()))
        return
    click.echo(_curve(fitted.calibration))
    click.echo(_told(fitted.calibration, f"Now in force for {space}, as number {fitted.number}."))
    if fitted.known:
        click.echo(f"{fitted.known} photos of the folder are in the gallery and count there.")
    if fitted.missed:
        count, first = len(fitted.missed), fitted.missed[0]
        click.echo(f"{count} photos without a usable face, the first {first}", err=True)


def _curve(calibration: Calibration) -> str:
    rows = []
    for rate, (low, high) in calibration.intervals.items():
        threshold = calibration.threshold(rate)
        interval = f"{low:.1e} – {high:.1e}"
        probability = calibration.probability_at(threshold)
        rows.append(
            (f"{rate:.0e}", threshold, interval, calibration.fnmr_at(threshold), probability)
        )
    return as_table(rows, ("FMR", "threshold", "95 % interval", "FNMR", "probability"))


def _told(calibration: Calibration, last: str) -> str:
    check = None if calibration.probability is None else calibration.probability.reliability
    held_out = (
        "."
        if check is None
        else f"; probabilities on held-out people: Brier {check.brier:.3f}, ECE {check.ece:.3f}."
    )
    return (
        f"{calibration.people} people, {calibration.photos} photos; smallest supported rate "
        f"{calibration.smallest_fmr:.1e}{held_out} {last}"
    )


@calibrate.command(
    "list",
    epilog="\b\nExamples:\n  vultus calibrate list\n  vultus calibrate list --format json",
)
@gallery_options
@format_option("table", "json")
def list_(places: Places, form: str) -> None:
    """List the calibrations kept, and the one that came with the encoder."""
    from verify.calibrating import listing

    with Parts(places) as parts:
        rows = listing(parts)
    if form == "json":
        click.echo(as_json([row.to_dict() for row in rows]))
        return
    cells = [
        (
            row.number,
            "in force" if row.in_force else "",
            row.source,
            row.people,
            f"{row.smallest_fmr:.1e}",
            row.created,
            row.decisions,
            row.space,
        )
        for row in rows
    ]
    head = ("number", "", "source", "people", "smallest FMR", "made", "decisions", "space")
    click.echo(as_table(cells, head))


@calibrate.command(
    epilog="\b\nExamples:\n  vultus calibrate show 3\n"
    "  vultus calibrate show shipped --format json",
)
@number
@gallery_options
@format_option("table", "json")
def show(number: str, places: Places, form: str) -> None:
    """Show the curve of a calibration."""
    from verify.calibrating import find

    with Parts(places) as parts:
        calibration, _ = find(parts, number)
    if form == "json":
        click.echo(as_json(calibration.to_dict()))
        return
    click.echo(_curve(calibration))
    click.echo(_told(calibration, f"Fitted on {calibration.source} for {calibration.space}."))


@calibrate.command(
    epilog="\b\nExamples:\n  vultus calibrate use 3\n  vultus calibrate use shipped",
)
@number
@gallery_options
def use(number: str, places: Places) -> None:
    """Put a calibration in force for its space, or the one that came with the encoder."""
    from verify.calibrating import put_in_force

    with Parts(places) as parts:
        calibration = put_in_force(parts, number)
    click.echo(f"In force for {calibration.space}: the calibration on {calibration.source}.")


@calibrate.command(
    epilog="\b\nExamples:\n  vultus calibrate export 3 curve.json\n"
    "  vultus calibrate export shipped curve.json",
)
@number
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@gallery_options
def export(number: str, file: Path, places: Places) -> None:
    """Write a calibration to a FILE as JSON: counts a bin, no vectors, no names of people."""
    from verify.calibrating import find

    with Parts(places) as parts:
        calibration, _ = find(parts, number)
    file.write_text(as_json(calibration.to_dict()) + "\n", encoding="utf-8")
    click.echo(f"{file}: the calibration on {calibration.source}, digest {calibration.digest}.")


@calibrate.command(
    "import",
    epilog="\b\nExamples:\n  vultus calibrate import curve.json\n"
    "  vultus calibrate import curve.json --use",
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--use", "in_force", is_flag=True, help="Put it in force for its space at once.")
@gallery_options
def import_(file: Path, in_force: bool, places: Places) -> None:
    """Keep a calibration from a FILE; it decides nothing before it is put in force."""
    from verify.calibrating import read_file

    with Parts(places) as parts:
        calibration, row = read_file(parts, file, in_force=in_force)
    then = "and is in force" if in_force else f"; put it in force with: vultus calibrate use {row}"
    click.echo(f"The calibration on {calibration.source} is kept as number {row} {then}.")


@calibrate.command(
    epilog="\b\nExamples:\n  vultus calibrate combine 2 shipped\n"
    "  vultus calibrate combine 2 3 5 --database faces.sqlite3",
)
@click.argument("numbers", metavar="NUMBER|shipped...", type=_Number(), nargs=-1, required=True)
@gallery_options
def combine(numbers: tuple[str, ...], places: Places) -> None:
    """Add the counts of calibrations of one space; the sum is kept and put in force.

    They should be of different people: whoever is in two of them counts twice.
    """
    from verify.calibrating import combine_kept

    with Parts(places) as parts:
        calibration, row = combine_kept(parts, numbers)
    click.echo(_curve(calibration))
    click.echo(_told(calibration, f"Now in force for {calibration.space}, as number {row}."))
