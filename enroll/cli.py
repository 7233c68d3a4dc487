"""The commands that write: enroll, cluster, name, people; and doctor and demo.

`cli_corrections` and `cli_forget` add the commands of `people` that change them.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enroll.cli_consent import consent_options
from verify.cli import device_of, format_option, gallery_options, leave
from verify.opening import Parts, Places
from verify.output import as_csv, as_json, as_line, as_table
from verify.progress import progress

if TYPE_CHECKING:
    from enroll.folder import PeopleFolder
    from enroll.person import Outcome
    from enroll.ray_engine import RayEngine
    from store.consent import Consent

PART_FAILED, INTERRUPTED = 3, 130
_NEW_DAY = "%Y-%m-%d"
_SIZE = re.compile(r"(?P<number>\d{1,12}(\.\d{1,6})?) ?(?P<unit>([KMGT](iB|B)?|B)?)", re.IGNORECASE)

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar, no remarks.")
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Threads that decode and detect; default: one a core.",
)
site_option = click.option("--site", default="", help="The site the people belong to.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def _memory(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Bytes, or wrong usage."""
    if value is None:
        return None
    said = _SIZE.fullmatch(value.strip())
    if said is None:
        raise click.BadParameter(f"{value!r} is no size such as 600M, 1.5G or 512MiB.")
    unit = said["unit"].upper()
    base = 1024 if unit.endswith("IB") else 1000
    power = " KMGT".index(unit[:1]) if unit.rstrip("B") else 0
    return int(float(said["number"]) * base**power)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text, err=True)


def ask(question: str) -> None:
    """Go on after a yes; a no ends the command as an interruption does."""
    if not click.confirm(question, err=True):
        click.echo("Nothing was changed.", err=True)
        leave(INTERRUPTED)


@click.command(
    short_help="Enrol people from a folder of photos.",
    epilog="""\b
Examples:
  vultus enroll people/                       people/Name/*.jpg or people/Name.jpg
  vultus enroll ann1.jpg --name "Ann Lee"
  vultus enroll people/ --on-multiple largest --format jsonl
  vultus enroll people/ --consents forms.csv  name,basis,date,reference
  vultus enroll people/ --dry-run
  vultus enroll s3://bucket/people --engine ray --address auto
  vultus enroll --list photos.txt --engine ray""",
)
@click.argument("photos", required=False)
@click.option(
    "--list",
    "listing",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Instead of PHOTOS: a file of one path or s3:// address a line, with the person after a "
    "tab where the folder is not called so; - is standard input.",
)
@click.option("--name", help="Everything is of this person, whatever the files are called.")
@click.option(
    "--on-multiple",
    type=click.Choice(["reject", "largest", "centre", "all"]),
    default="reject",
    show_default=True,
    help="What to do with a photo of several faces of comparable size.",
)
@site_option
@click.option(
    "--expires",
    type=click.DateTime([_NEW_DAY]),
    help="The day after which vultus purge erases these people, also those enrolled before.",
)
@consent_options
@click.option(
    "--consents",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Consent of each person: a CSV file with the columns name,basis,date,reference. It goes "
    "before the options for all.",
)
@click.option("--dry-run", is_flag=True, help="Look at everything, store nothing.")
@click.option("--retry", is_flag=True, help="Look again at photos rejected before.")
@click.option(
    "--allow-lookalikes",
    is_flag=True,
    help="Enrol a face although it resembles somebody else as strangers never do.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where photos are encoded: in this process, or by the workers of a Ray cluster; the "
    "result is the same.",
)
@click.option(
    "--address",
    metavar="URL",
    envvar="RAY_ADDRESS",
    show_envvar=True,
    help="The Ray cluster this machine belongs to: auto, or HOST:6379 of its head. Without it "
    "--engine ray uses this machine alone.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Threads that decode and detect; default: one a core. With --engine ray: those of each "
    "worker; default: one worker a machine.",
)
@click.option(
    "--max-memory",
    callback=_memory,
    metavar="SIZE",
    help="Memory this process may take, such as 600M or 1.5GiB: fewer photos at once; one that "
    "does not fit alone is rejected as too_large. Not with --engine ray. [default: no limit]",
)
@quiet_option
@gallery_options
@format_option("table", "json", "jsonl", "csv")
def enroll(
    photos: str | None,
    listing: str | None,
    name: str | None,
    on_multiple: str,
    site: str,
    expires: datetime | None,
    consent: Consent,
    consents: Path | None,
    dry_run: bool,
    retry: bool,
    allow_lookalikes: bool,
    engine: str,
    address: str | None,
    jobs: int | None,
    max_memory: int | None,
    quiet: bool,
    places: Places,
    form: str,
) -> None:
    """Enrol the people of a folder of PHOTOS, or of a prefix s3://BUCKET/PREFIX.

    A photo counts as done when it is committed: an interrupted run is continued by running it
    again, and a second run does nothing. Exits with 3 when some files were rejected.
    """
    from enroll.consents import names_without_photos, read_consents
    from enroll.gallery import EnrolmentReport
    from enroll.pace import Pace
    from enroll.person import EnrolmentRules, enroll_people

    rules = EnrolmentRules(
        on_multiple=on_multiple,
        site=site,
        dry_run=dry_run,
        retry=retry,
        jobs=jobs,
        max_memory=max_memory,
        expires=None if expires is None else expires.replace(tzinfo=UTC),
        allow_lookalikes=allow_lookalikes,
        consent=consent,
        consents={} if consents is None else read_consents(consents),
    )
    where, folder = _listed(photos, listing, name)
    cluster = _engine(engine, address)
    if cluster is not None and max_memory is not None:
        raise click.UsageError("--max-memory is for --engine local: a cluster has its own limits.")
    _say(f"{where}: {folder.layout}", quiet)
    unused = names_without_photos(rules.consents, (photo.name for photo in folder.photos))
    if unused:
        _say(f"{consents}: no photo of {', '.join(unused[:5])} ({len(unused)} in all)", quiet)
    if folder.ignored:
        _say(f"{folder.ignored} other files ignored", quiet)
    outcomes: list[Outcome] = []
    with Parts(places) as parts:
        pace = Pace()
        steps = enroll_people(parts, folder, rules, cluster, pace)
        bar = progress(steps, "enrolling", "photo", len(folder.photos), quiet=quiet)
        with _remark(quiet, "Interrupted: what is committed is kept; run it again to go on."):
            for outcome in bar:
                outcomes.append(outcome)
                if form == "jsonl":
                    click.echo(as_line(outcome.to_dict()))
        device = device_of(parts) if cluster is None else cluster.describe()
    report = EnrolmentReport(tuple(outcomes), folder.layout)
    about = {"dry_run": dry_run, "device": device, "pace": pace.report()}
    _print_report(report.to_dict() | about, outcomes, form)
    _say(f"{device}: {pace.line()}", quiet)
    leave(PART_FAILED if report.counts["rejected"] else 0)


def _listed(place: str | None, listing: str | None, name: str | None) -> tuple[str, PeopleFolder]:
    """What the photos are listed in, and the photos; wrong usage unless one place is given."""
    from enroll.listing import read_list, read_photos

    if listing is not None and place is None:
        return listing, read_list(listing, name)
    if listing is not None or place is None:
        raise click.UsageError("Give PHOTOS or --list FILE, and not both.")
    return place.rstrip("/") or place, read_photos(place, name)


def _engine(kind: str, address: str | None) -> RayEngine | None:
    """The engine of that name; None: this process."""
    if kind == "ray":
        from enroll.ray_engine import RayEngine

        return RayEngine(address)
    given = click.get_current_context().get_parameter_source("address")
    if given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--address is for --engine ray.")
    return None


@contextlib.contextmanager
def _remark(quiet: bool, text: str) -> Iterator[None]:
    """Say something when the block is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        _say(text, quiet)
        raise


def _print_report(values: dict[str, Any], outcomes: list[Outcome], form: str) -> None:
    if form == "json":
        click.echo(as_json(values))
    elif form == "csv":
        click.echo(as_csv((o.file, o.person, o.status, o.reason or "") for o in outcomes))
    elif form == "table":
        rejected = [o for o in outcomes if o.status == "rejected"]
        if rejected:
            rows = [(o.file, o.person, o.reason, o.detail) for o in rejected]
            click.echo(as_table(rows, ("rejected", "person", "reason", "detail")))
        for outcome in outcomes:
            if outcome.status == "enrolled" and outcome.detail:
                click.echo(f"{outcome.file}: {outcome.detail}")
        done = "would be enrolled" if values["dry_run"] else "enrolled"
        click.echo(
            f"{values['enrolled']} photos {done}, {values['unchanged']} unchanged, "
            f"{values['rejected']} rejected ({values['device']})"
        )
        if outcomes and values["unchanged"] == len(outcomes):
            click.echo("Nothing to do: every photo was enrolled before.")


@click.command(
    short_help="Turn a cluster into an enrolled person.",
    epilog='\b\nExample:\n  vultus name 3 "Ann Lee"',
)
@click.argument("number", type=int, metavar="CLUSTER")
@click.argument("person", metavar="NAME")
@site_option
@consent_options
@gallery_options
@format_option("table", "json")
def name(number: int, person: str, site: str, consent: Consent, places: Places, form: str) -> None:
    """Give a CLUSTER of the last clustering a NAME: its faces become that person's templates."""
    from enroll.cluster import name_person

    with Parts(places) as parts:
        named = name_person(parts, number, person, site, consent)
    if form == "json":
        click.echo(as_json(named.to_dict()))
    else:
        kind = "is now enrolled" if named.added else "gained these"
        click.echo(f"Cluster {number}: {named.person} {kind}, {named.faces} faces.")


@click.group(
    short_help="List, show and correct people.",
    epilog='\b\nExamples:\n  vultus people list\n  vultus people show "Ann Lee"',
)
def people() -> None:
    """The people of the gallery; `vultus undo` takes corrections back."""


@people.command("list", epilog="\b\nExample:\n  vultus people list --format json")
@click.option("--site", help="Only this site.")
@gallery_options
@format_option("table", "json")
def list_command(site: str | None, places: Places, form: str) -> None:
    """List everybody with their photos and templates."""
    from store.people import list_people

    with Parts(places) as parts, parts.store.read() as session:
        found = list_people(session, site)
    if form == "json":
        click.echo(as_json({"people": [_person_values(person) for person in found]}))
        return
    rows = [(p.name, p.site or "–", p.photos, p.templates, p.uid) for p in found]
    click.echo(as_table(rows, ("name", "site", "photos", "templates", "uid")))
    click.echo(f"{len(found)} people")


def _person_values(person: Any) -> dict[str, Any]:  # noqa: ANN401 - a PersonSummary, loaded late
    return {
        "uid": person.uid,
        "name": person.name,
        "site": person.site,
        "created": person.created.isoformat(),
        "expires": None if person.expires is None else person.expires.isoformat(),
        "photos": person.photos,
        "templates": person.templates,
    }


@people.command(epilog='\b\nExample:\n  vultus people show "Ann Lee"')
@click.argument("person")
@click.option("--site", help="Look only in this site.")
@gallery_options
@format_option("table", "json")
def show(person: str, site: str | None, places: Places, form: str) -> None:
    """Show a PERSON and the photos their templates come from."""
    from store.people import find_person, list_people
    from store.photos import origins
    from store.templates import vectors_of

    with Parts(places) as parts, parts.store.read() as session:
        row = find_person(session, person, site)
        summary = next(p for p in list_people(session) if p.uid == row.uid)
        ids, _ = vectors_of(session, row.id, parts.card.space)
        photos = origins(session, ids.tolist())
    values = _person_values(summary)
    if form == "json":
        listed = [{"template": i, "photo": photos[i].source} for i in ids.tolist()]
        click.echo(as_json(values | {"photos_of_templates": listed}))
        return
    for key, value in values.items():
        click.echo(f"{key:10} {'–' if value in (None, '') else value}")
    click.echo(as_table([(i, photos[i].source) for i in ids.tolist()], ("template", "photo")))


@click.command(
    short_help="Check this installation and this gallery.",
    epilog="\b\nExample:\n  vultus doctor --format json",
)
@gallery_options
@format_option("table", "json")
def doctor(places: Places, form: str) -> None:
    """Tell versions, devices, weights, database and index, and what is wrong with them.

    Exits with 0 when everything works, 3 when something does not.
    """
    from enroll.doctor import examine

    findings = examine(places)
    if form == "json":
        click.echo(as_json([finding.to_dict() for finding in findings]))
    else:
        colour = {"ok": "green", "note": "yellow", "bad": "red"}
        for finding in findings:
            mark = click.style(f"{finding.state:4}", fg=colour[finding.state])
            click.echo(f"{mark}  {finding.what:22}  {finding.found}")
            if finding.advice:
                click.echo(f"{'':30}{finding.advice}")
    leave(PART_FAILED if any(finding.state == "bad" for finding in findings) else 0)


@click.command(
    short_help="Walk the whole way with people who do not exist.",
    epilog="\b\nExample:\n  vultus demo --out demo-output",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep gallery and contact sheet here; default: a temporary folder that stays.",
)
@quiet_option
def demo(out: Path | None, quiet: bool) -> None:
    """Enrol people who do not exist, verify, identify, cluster, and show what came of it.

    Needs no photo of anybody and leaves your own gallery alone.
    """
    from enroll.demo import run

    place = Path(tempfile.mkdtemp(prefix="vultus-demo-")) if out is None else out
    for line in run(place):
        if not quiet:
            click.echo(line)
