"""Every command and option is documented, and the table of commands tells the truth."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import vultus


def walk(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from walk(inner, (*path, name))


def find(name: str) -> click.Command:
    command = vultus.cli.get_command(click.Context(vultus.cli), name)
    assert command is not None
    return command


ALL = [found for name in vultus.COMMANDS for found in walk(find(name), (name,))]
EACH = pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])


@pytest.mark.parametrize("name", vultus.COMMANDS)
def test_the_table_says_what_the_command_says(name: str):
    assert find(name).get_short_help_str(100) == vultus.COMMANDS[name][1]


@EACH
def test_help_is_shown(path: tuple[str, ...], command: click.Command):
    done = CliRunner().invoke(vultus.cli, [*path, "--help"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""
    assert "\\b" not in done.stdout
    assert command.help


@EACH
def test_there_are_examples_of_this_command(path: tuple[str, ...], command: click.Command):
    epilog = command.epilog or ""
    lines = epilog.removeprefix("\b\n").splitlines()
    assert epilog.startswith("\b\n"), "click would wrap the examples"
    assert lines[0] in {"Example:", "Examples:"}
    assert len(lines) > 1
    assert all(line.startswith(f"  vultus {' '.join(path)}") for line in lines[1:])


@EACH
def test_every_option_is_documented(path: tuple[str, ...], command: click.Command):
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [o.name for o in options if not o.help] == [], path


@EACH
def test_examples_name_real_options(path: tuple[str, ...], command: click.Command):
    known = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)} | {"--help"}
    for line in (command.epilog or "").splitlines()[1:]:
        if line.startswith(f"  vultus {' '.join(path)}") and not isinstance(command, click.Group):
            asked = {word for word in line.split() if word.startswith("-")}
            assert asked <= known, line


def test_public_names_resolve():
    assert vultus.__all__ == sorted(vultus.__all__, key=lambda name: (not name[0].isupper(), name))
    assert all(getattr(vultus, name) is not None for name in vultus.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        vultus.nothing  # noqa: B018 - the access is the test


def test_an_unknown_command_is_none():
    assert vultus.cli.get_command(click.Context(vultus.cli), "nothing") is None


def test_the_root_lists_every_command():
    said = CliRunner().invoke(vultus.cli, ["--help"]).stdout
    for name, (_, line) in vultus.COMMANDS.items():
        assert name in said
        assert line in said
