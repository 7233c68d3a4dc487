"""`vultus audit gallery`: what is wrong in a gallery; beside the audits of the log and scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from verify.cli import fmr_option, format_option, gallery_options, leave, profile_option
from verify.cli_audit import audit
from verify.decision import DEFAULT_FMR
from verify.opening import Parts, Places
from verify.output import as_json, as_table

if TYPE_CHECKING:
    from enroll.audit_gallery import GalleryAudit

__all__ = ["audit"]

_SERIOUS = 1
_YEARS = 10.0


@audit.command(
    epilog="""\b
Examples:
  vultus audit gallery
  vultus audit gallery --out audit/                  then open audit/audit.html
  vultus audit gallery --fmr 1e-5 --years 5 --format json""",
)
@fmr_option
@profile_option
@click.option(
    "--years",
    type=click.FloatRange(0, min_open=True),
    default=_YEARS,
    show_default=True,
    metavar="YEARS",
    help="Tell people whose newest photo is older.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write audit.html with the pictures of every finding, and audit.json, there.",
)
@gallery_options
@format_option("table", "json")
def gallery(
    fmr: float | None,
    profile: str | None,
    years: float,
    out: Path | None,
    places: Places,
    form: str,
) -> None:
    """Look for people enrolled twice, mixed names, outliers, lookalikes, old photos, a bad index.

    Every finding says what shows it and which command mends it; nothing is changed. Exits with 1
    where answers may be wrong until something is mended.
    """
    from enroll.audit_gallery import audit_gallery
    from enroll.audit_sheet import write_audit

    with Parts(places) as parts:
        rate = DEFAULT_FMR if fmr is None else fmr
        if profile is not None and fmr is None:
            rate = _rate_of(parts, profile)
        found = audit_gallery(parts, rate, years=years)
        page = None if out is None else write_audit(parts, found, out)
    if form == "json":
        click.echo(as_json(found.to_dict() | {"page": None if page is None else str(page)}))
    else:
        _print(found)
        if page is not None:
            click.echo(f"Page: {page}")
    leave(0 if found.clean else _SERIOUS)


def _rate_of(parts: Parts, profile: str) -> float:
    from verify.profiles import find_profile

    with parts.store.read() as session:
        return find_profile(session, profile).fmr


def _print(found: GalleryAudit) -> None:
    rows = [
        ("!" if one.serious else "", one.kind, " / ".join(one.people) or "–", one.evidence)
        for one in found.findings
    ]
    if rows:
        click.echo(as_table(rows, ("", "finding", "about", "evidence")))
    mends = dict.fromkeys(one.mend for one in found.findings if one.serious and one.mend)
    for mend in mends:
        click.echo(f"To mend: {mend}")
    for line in found.skipped:
        click.echo(f"Not looked at: {line}")
    counts = ", ".join(f"{count} {kind}" for kind, count in found.counts.items()) or "nothing"
    click.echo(f"{found.people} people, {found.templates} templates: found {counts}.")
