"""`vultus models`, and fetching weights; `enroll.cli_encoders` and others add to the group."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NoReturn

import click

from embedder.weights import KNOWN, fetch

if TYPE_CHECKING:
    from tqdm import tqdm


@click.group(
    short_help="Show, fetch and change the encoders.",
    epilog="\b\nExamples:\n  vultus models list\n  vultus models fetch\n"
    "  vultus models import model/",
)
def models() -> None:
    """The encoders: what they are, where their weights are, and fetching them."""


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
