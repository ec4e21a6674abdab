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


def _imported_by(*argv: str) -> set[str]:
    code = (
        "import sys; from valetkey.cli.tree import valetkey;"
        f"valetkey({list(argv)!r}, standalone_mode=False); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_imports_nothing_heavy() -> None:
    """`valetkey --help` is answered from the table of commands."""
    assert not _imported_by("--help") & set(HEAVY)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    """Libraries are imported when a command works, not when it is looked at."""
    assert not _imported_by(command, "--help") & set(HEAVY)


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_has_a_sentence_and_json(name: str, command: click.Command) -> None:
    """For people and for machines."""
    assert (command.help or "").strip().endswith(".") or "." in (command.help or "")
    options = {option for one in command.params for option in one.opts}
    assert "--json" in options or name in WITHOUT_JSON


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_no_command_takes_a_secret_in_argv(name: str, command: click.Command) -> None:
    """What smells of a secret can only be `-`, standard input."""
    for parameter in command.params:
        words = " ".join((parameter.name or "", *parameter.opts)).lower()
        if any(word in words for word in SECRET_WORDS):
            assert isinstance(parameter.type, click.Choice)
            assert list(parameter.type.choices) == ["-"]


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit 2."""
    done = subprocess.run(
        [sys.executable, "-m", "valetkey.cli", "frobnicate"], capture_output=True, check=False
    )
    assert done.returncode == 2
