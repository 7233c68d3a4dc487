"""The commands that correct who is who: people rename, merge, split and not; and undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from enroll.cli import ask, people, yes_option
from verify.cli import format_option, gallery_options
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from enroll.corrections import Corrected
    from store.operations import OperationSummary

__all__ = ["people", "undo"]

_site = click.option("--site", help="Look only in this site.")


def _print(done: Corrected, text: str, form: str) -> None:
    if form == "json":
        click.echo(as_json(done.to_dict()))
        return
    click.echo(text)
    if done.operation is not None:
        click.echo(f"Undo it with: vultus undo {done.operation}")


@people.command(epilog='\b\nExample:\n  vultus people rename "ann" "Ann Lee"')
@click.argument("person")
@click.argument("new_name", metavar="NAME")
@_site
@gallery_options
@format_option("table", "json")
def rename(person: str, new_name: str, site: str | None, places: Places, form: str) -> None:
    """Give a PERSON another NAME."""
    from enroll.corrections import rename as change

    with Parts(places) as parts:
        done = change(parts, person, new_name, site)
    _print(done, f"{done.person} is now {done.other}.", form)


@people.command(epilog='\b\nExample:\n  vultus people merge "Ann L." "Ann Lee"')
@click.argument("source")
@click.argument("target")
@_site
@yes_option
@gallery_options
@format_option("table", "json")
def merge(source: str, target: str, site: str | None, yes: bool, places: Places, form: str) -> None:
    """Make two people one: what SOURCE has moves to TARGET, and SOURCE is gone."""
    from enroll.corrections import merge as change
    from store.people import find_person

    with Parts(places) as parts:
        with parts.store.read() as session:
            names = [find_person(session, who, site).name for who in (source, target)]
        if not yes:
            ask(f"Move everything of {names[0]} to {names[1]}?")
        done = change(parts, source, target, site)
    _print(done, f"{done.templates} templates of {done.person} are now {done.other}'s.", form)


@people.command(
    epilog="""\b
Examples:
  vultus people split "Ann Lee" "Bea Ott" people/Ann/3.jpg people/Ann/4.jpg
  vultus people split "Ann Lee" "Bea Ott" 17 18          (templates, see people show)""",
)
@click.argument("person")
@click.argument("new_name", metavar="NAME")
@click.argument("which", metavar="TEMPLATE|PHOTO...", nargs=-1, required=True)
@_site
@gallery_options
@format_option("table", "json")
def split(
    person: str,
    new_name: str,
    which: tuple[str, ...],
    site: str | None,
    places: Places,
    form: str,
) -> None:
    """Make some faces of a PERSON a new person called NAME.

    It is kept that those faces are not PERSON: clustering keeps them apart.
    """
    from enroll.corrections import split as change

    with Parts(places) as parts:
        done = change(parts, person, new_name, which, site)
    _print(done, f"{done.templates} templates of {done.person} are now {done.other}'s.", form)


@people.command(
    "not",
    epilog="""\b
Examples:
  vultus people not "Ann Lee" people/Ann/3.jpg
  vultus people not "Ann Lee" 17                         (a template, see people show)""",
)
@click.argument("person")
@click.argument("which", metavar="TEMPLATE|PHOTO...", nargs=-1, required=True)
@_site
@gallery_options
@format_option("table", "json")
def not_(person: str, which: tuple[str, ...], site: str | None, places: Places, form: str) -> None:
    """Say that some faces of a PERSON are somebody else's.

    They are nobody's then. Enrolling the same photo for PERSON again is refused
    (not_this_person), and identifying that very photo never answers PERSON.
    """
    from enroll.corrections import deny

    with Parts(places) as parts:
        done = deny(parts, person, which, site)
    _print(done, f"{done.templates} templates are no longer {done.person}'s.", form)


@click.command(
    short_help="Take back a naming, rename, merge, split or not.",
    epilog="""\b
Examples:
  vultus undo                (the latest)
  vultus undo 12
  vultus undo --list""",
)
@click.argument("number", type=click.IntRange(1, 2**31 - 1), required=False)
@click.option("--list", "listing", is_flag=True, help="Show what was done, the latest first.")
@click.option(
    "--last",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="With --list: how many.",
)
@gallery_options
@format_option("table", "json")
def undo(number: int | None, listing: bool, last: int, places: Places, form: str) -> None:
    """Undo operation NUMBER, or the latest: everybody is again as they were before it.

    Where a later operation stands in the way, it is named and nothing is changed.
    """
    from enroll.corrections import operations
    from enroll.corrections import undo as take_back

    if listing and number is not None:
        raise click.UsageError("--list takes no NUMBER.")
    with Parts(places) as parts:
        if listing:
            _print_operations(operations(parts, last), form)
            return
        undone = take_back(parts, number)
    if form == "json":
        click.echo(as_json(undone.to_dict()))
    else:
        about = f" ({', '.join(undone.people)})" if undone.people else ""
        click.echo(f"Operation {undone.number}, {undone.kind}{about}, is undone.")


def _print_operations(found: list[OperationSummary], form: str) -> None:
    if form == "json":
        click.echo(as_json([operation.to_dict() for operation in found]))
        return
    rows = [
        (
            o.number,
            o.time.isoformat(sep=" ", timespec="seconds"),
            o.actor,
            o.kind,
            ", ".join(o.people),
            "undone" if o.undone is not None else "" if o.undoable else "forgotten",
        )
        for o in found
    ]
    click.echo(as_table(rows, ("number", "time", "by", "kind", "people", "")))
