"""Print docs/commands.md: the help of every command, as the commands print it."""

from __future__ import annotations

import click
from click.testing import CliRunner

import vultus

HEAD = """# Commands

Made by `make docs` from the commands' own help.

| exit code | meaning |
|---|---|
| 0 | yes, or done |
| 1 | no; identify: nobody known in any picture |
| 2 | unusable input, unknown person, or unsure (JSON says which) |
| 3 | our error, no calibration or an unsupported rate, schema behind, part of a folder failed |
| 64 | wrong usage |
| 130 | interrupted |
"""


def main() -> None:
    """Print the page."""
    print(HEAD)
    for name in vultus.COMMANDS:
        command = vultus.cli.get_command(click.Context(vultus.cli), name)
        _print([name])
        if isinstance(command, click.Group):
            for sub in sorted(command.commands):
                _print([name, sub])


def _print(words: list[str]) -> None:
    result = CliRunner().invoke(
        vultus.cli, [*words, "--help"], prog_name="vultus", terminal_width=100, env={"HOME": "~"}
    )
    print(f"## vultus {' '.join(words)}\n\n```text\n{result.output.rstrip()}\n```\n")


if __name__ == "__main__":
    main()
