"""docs/reference/cli.md lists every command with its arguments and options."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tests.house.pages import complaint, told_rows
from valetkey.cli.tree import valetkey

EVERYWHERE = {"--json", "--identity-token-file"}


def commands(
    command: click.Command = valetkey, above: click.Context | None = None, name: str = "valetkey"
) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, with its whole name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command, parent=above, info_name=name.split()[-1])
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        assert found is not None, inner
        yield from commands(found, context, f"{name} {inner}")


def row_of(name: str, command: click.Command) -> tuple[str, ...]:
    """What the page must say of a command: its name, and what it takes."""
    arguments = [
        parameter.human_readable_name
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    options = sorted(
        max(parameter.opts, key=len)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    )
    shown = [f"`{word}`" for word in arguments + [o for o in options if o not in EVERYWHERE]]
    return f"`{name}`", " ".join(shown) or "nothing"


def test_every_command_is_documented() -> None:
    """A command, argument or option changed without the page fails here."""
    meant = {row_of(name, command) for name, command in commands()}
    trouble = complaint("cli.md", meant, told_rows("cli.md", 3, 2))
    assert not trouble, trouble


def test_every_command_takes_json() -> None:
    """What a person can read a machine can read too."""
    for name, command in commands():
        options = {opt for parameter in command.params for opt in parameter.opts}
        assert "--json" in options or name in {"valetkey serve"}, name
