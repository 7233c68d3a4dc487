"""Vultus: is this the same person? The commands, and the names to import.

    from vultus import open_gallery, open_encoder

Commands are loaded when they are used, by name from the table below, so that
`vultus --help` opens neither the database's nor the networks' libraries.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from embedder.transformer import PictureEncoder as open_encoder
    from enroll.gallery import Gallery, open_gallery
    from web.client import Client

__all__ = ["Client", "Gallery", "__version__", "main", "open_encoder", "open_gallery"]
__version__ = "0.1.0"

COMMANDS = {
    "enroll": ("enroll.cli:enroll", "Enrol people from a folder of photos."),
    "verify": ("verify.cli:verify", "Is this the person they claim to be?"),
    "identify": ("verify.cli:identify", "Who is in these photos? Nobody is an answer."),
    "compare": ("verify.cli:compare", "Do two photos show the same person?"),
    "cluster": ("enroll.cli_cluster:cluster", "Sort a library of photos into people."),
    "name": ("enroll.cli:name", "Turn a cluster into an enrolled person."),
    "people": ("enroll.cli_forget:people", "List, show and correct people."),
    "undo": ("enroll.cli_corrections:undo", "Take back a naming, rename, merge, split or not."),
    "forget": ("enroll.cli_forget:forget", "Erase a person or a photo."),
    "purge": ("enroll.cli_forget:purge", "Erase what may be kept no longer."),
    "receipts": ("enroll.cli_forget:receipts", "List and check receipts of erasures."),
    "sites": ("enroll.cli_forget:sites", "What holds for each site: retention, consent."),
    "seal": ("enroll.cli_seal:seal", "Encrypt templates and crops at rest."),
    "rekey": ("enroll.cli_seal:rekey", "Renew all templates without photos."),
    "calibrate": (
        "verify.cli_calibrate:calibrate",
        "Learn what a similarity means from your own people.",
    ),
    "train": ("embedder.cli_train:train", "Train or fine-tune an encoder on your own pictures."),
    "evaluate": ("verify.cli:evaluate", "Measure error rates on your own pictures."),
    "plot": (
        "verify.cli_plot:plot",
        "Draw vectors as a picture; see what a similarity rests on.",
    ),
    "profiles": ("verify.cli:profiles", "The error rates of sites, by name."),
    "audit": (
        "enroll.cli_audit:audit",
        "What was done, by whom; is the log whole, do the scores hold?",
    ),
    "serve": ("web.cli:serve", "Serve the gallery over HTTP, with a page."),
    "keys": ("web.cli_keys:keys", "Make, list and revoke keys of the HTTP interface."),
    "models": ("enroll.cli_models:models", "Show, fetch and change the encoders."),
    "index": (
        "enroll.cli_index:index",
        "Look at the index, make it anew, check and measure it.",
    ),
    "export": ("enroll.cli_archive:export", "Write the whole gallery into one file."),
    "import": ("enroll.cli_archive:import_", "Bring an exported gallery in."),
    "db": ("migrations.cli:db", "Check, upgrade, move and scrub the database."),
    "doctor": ("enroll.cli:doctor", "Check this installation and this gallery."),
    "demo": ("enroll.cli:demo", "Walk the whole way with people who do not exist."),
}
_PUBLIC = {
    "open_gallery": "enroll.gallery:open_gallery",
    "Gallery": "enroll.gallery:Gallery",
    "open_encoder": "embedder.transformer:PictureEncoder",
    "Client": "web.client:Client",
}
USAGE, FAILURE, INTERRUPTED = 64, 3, 130


def _load(place: str) -> Any:  # noqa: ANN401 - any public name
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name in _PUBLIC:
        return _load(_PUBLIC[name])
    raise AttributeError(f"module 'vultus' has no attribute {name!r}")


class _Commands(click.Group):
    """The root group: commands by string, help from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the interface of click
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - the interface of click
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = _load(COMMANDS[cmd_name][0])
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - the interface of click
        """Run the command; a reader that has gone (`| head`) ends it without a word.

        click itself would exit with 1, which says "no".
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - the interface of click
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: vultus demo. Exit codes: 0 yes/done, 1 no, 2 unusable input or unsure, "
    "3 our error or part of a folder failed, 64 wrong usage, 130 interrupted.",
)
@click.version_option(__version__, prog_name="vultus")
def cli() -> None:
    """Is this the same person? Enrol, verify, identify and cluster faces at a stated error rate."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command; every failure becomes one line on stderr and an exit code."""
    code = _run(arguments)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # a full disk: Python would try again at its end, and leave with 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or FAILURE
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        plain = False if os.environ.get("NO_COLOR") else None  # None: colour on terminals only
        result = cli.main(arguments, prog_name="vultus", standalone_mode=False, color=plain)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return USAGE if isinstance(error, click.UsageError) else FAILURE
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted; what was committed is kept.")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the one place where everything ends
        return _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    """One line for a failure; a traceback only where it is asked for."""
    code = getattr(error, "exit_code", None)
    if os.environ.get("VULTUS_DEBUG"):
        raise error
    if code is not None:
        _say(str(error))
        return int(code)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}.")
        return FAILURE
    _say(
        f"something unexpected went wrong ({type(error).__name__}: {error}). "
        "Please report it with the output of the same command under VULTUS_DEBUG=1."
    )
    return FAILURE


def _say(line: str) -> None:
    """A line on stderr; where that is on a full disk too, the exit code still holds."""
    with suppress(OSError):
        click.echo(f"vultus: {line}", err=True)


if __name__ == "__main__":
    main()
