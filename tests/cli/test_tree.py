"""The command tree as a whole: help, speed of start, and no secret anywhere in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from valetkey.cli.tree import COMMANDS, valetkey

HEAVY = ("httpx2", "rich", "joserfc", "sqlalchemy", "fastapi", "hvac", "psycopg", "cedarpy")
WITHOUT_JSON = {"serve"}
SECRET_WORDS = ("token", "secret", "password", "credential")


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


ALL = list(leaves(valetkey))


def test_help_imports_nothing_heavy() -> None:
    """`valetkey --help` and every command's are answered before any library is imported."""
    asked = [["--help"], *([command, "--help"] for command in sorted(COMMANDS))]
    code = (
        "import sys; from valetkey.cli.tree import valetkey\n"
        f"for argv in {asked!r}: valetkey(argv, standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "click" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_has_a_sentence_and_json(name: str, command: click.Command) -> None:
    """For people and for machines."""
    assert (command.help or "").strip().endswith(".") or "." in (command.help or "")
    options = {option for one in command.params for option in one.opts}
    assert "--json" in options or name in WITHOUT_JSON


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_no_command_takes_a_secret_in_argv(name: str, command: click.Command) -> None:
    """What smells of a secret can only be `-`, standard input, or a number."""
    for parameter in command.params:
        words = " ".join((parameter.name or "", *parameter.opts)).lower()
        if any(word in words for word in SECRET_WORDS) and parameter.type != click.INT:
            assert isinstance(parameter.type, click.Choice)
            assert list(parameter.type.choices) == ["-"]


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit 2."""
    done = subprocess.run(
        [sys.executable, "-m", "valetkey.cli", "frobnicate"], capture_output=True, check=False
    )
    assert done.returncode == 2
