"""`vultus models`: the encoders, their cards and their weights."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, NoReturn

import click

from embedder.encoder import card_of, known_models
from embedder.errors import WeightsError, WeightsMissing
from embedder.weights import KNOWN, fetch, where

if TYPE_CHECKING:
    from tqdm import tqdm


@click.group(
    short_help="Show, fetch and change the encoders.",
    epilog="\b\nExamples:\n  vultus models list\n  vultus models fetch",
)
def models() -> None:
    """The encoders: what they are, where their weights are, and fetching them."""


@models.command("list", epilog="\b\nExample:\n  vultus models list --format json")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How results are printed.",
)
def list_command(form: str) -> None:
    """List the encoders, the default first."""
    cards = known_models()
    if form == "json":
        click.echo(json.dumps([card.to_dict() for card in cards], indent=1, ensure_ascii=False))
        return
    for card in cards:
        passes = "two passes" if card.mirror else "one pass"
        click.echo(f"{card.name:14} {card.dim}-d, {passes}, {card.weights_licence}  {card.space}")


@models.command(epilog="\b\nExamples:\n  vultus models show sface\n  vultus models show picture")
@click.argument("name")
def show(name: str) -> None:
    """Show the card of an encoder as JSON."""
    click.echo(json.dumps(card_of(name).to_dict(), indent=1, ensure_ascii=False))


@models.command(epilog="\b\nExample:\n  vultus models verify")
def verify() -> None:
    """Check that the weights are there and are what they should be.

    Those of the encoder `picture` need not be there.
    """
    faults: list[WeightsError] = []
    for file in KNOWN:
        try:
            click.echo(f"ok   {file.name}  {file.sha256[:16]}…  from {where(file)}")
        except WeightsError as error:
            if file.optional and isinstance(error, WeightsMissing):
                click.echo(f"none {file.name}  not installed; {file.remedy}")
                continue
            click.echo(f"bad  {file.name}")
            faults.append(error)
    if faults:
        raise faults[0]


@models.command("fetch", epilog="\b\nExample:\n  vultus models fetch")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def fetch_command(quiet: bool) -> None:
    """Download the official weights into the cache and verify their sha256.

    The only command that ever uses the network. It is not needed where the extra `faces` is
    installed.
    """
    import sys

    from tqdm import tqdm

    for file in KNOWN:
        if file.url is None:
            click.echo(f"{file.name} has no official download: {file.remedy}", err=True)
            continue
        hidden = quiet or not sys.stderr.isatty()
        with tqdm(total=file.size, unit="B", unit_scale=True, desc=file.name, disable=hidden,
                  file=sys.stderr) as bar:  # fmt: skip
            path = fetch(file, functools.partial(_advance, bar))
        click.echo(f"{path}")


def _advance(bar: tqdm[NoReturn], count: int) -> None:
    bar.update(count)
