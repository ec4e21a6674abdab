"""`valetkey catalogue`: what may be asked for; and the files themselves, checked and pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from valetkey.cli.desk import DONE, REFUSED, Desk, stands_at_desk
from valetkey.cli.screen import Screen

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
COLUMNS = ("scope", "parameters", "max_ttl", "mutates", "end_class", "summary")


@click.group()
def catalogue() -> None:
    """Show what may be asked for; check catalogue files."""


@catalogue.command()
@stands_at_desk("either")
def show(desk: Desk) -> int:
    """Show the targets and scopes that you may ask for."""
    found = desk.get("/v1/catalogue")
    desk.screen.listed(
        found, COLUMNS, [line for target in found["targets"] for line in _of(target)]
    )
    return DONE


@catalogue.command()
@_folder
@_json
@click.pass_context
def check(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Check catalogue files; exit 1 with file and line of everything wrong."""
    from valetkey.policy.checks import check_catalogue

    ctx.exit(problems_told(Screen(as_json), check_catalogue(folder)))


@catalogue.command("openbao-policy")
@_folder
@_json
@click.option("--installation", required=True, help="The mark's first part, from `migrate`.")
@click.option("--target", "targets", multiple=True, help="Only these targets.")
@click.pass_context
def openbao_policy(
    ctx: click.Context, folder: Path, as_json: bool, installation: str, targets: tuple[str, ...]
) -> None:
    """Print the OpenBao policies that pin the catalogue, for an administrator to write.

    The last one of each mount is a part of the ender's policy: the one way to drop a role that
    OpenBao forgot when it was killed.
    """
    from valetkey.minters import pins
    from valetkey.policy.catalogue import load_catalogue
    from valetkey.policy.problems import FilesInvalid

    screen = Screen(as_json)
    try:
        found = load_catalogue(folder)
    except FilesInvalid as wrong:
        ctx.exit(problems_told(screen, list(wrong.problems)))
    wanted = targets or pins.pinned_targets(found)
    if unknown := set(wanted) - set(found.targets):
        raise click.UsageError(f"no such target: {', '.join(sorted(unknown))}")
    texts = {
        pins.policy_name(name): pins.openbao_policy(found, (name,), installation) for name in wanted
    }
    for mount in sorted({found.targets[name].mount for name in wanted}):
        texts[f"part of the reader's, for {mount}"] = pins.renewal_policy(mount)
        texts[f"part of the ender's, for {mount}"] = pins.forgotten_policy(mount)
    if as_json:
        screen.document(texts)
        return
    for name, text in texts.items():
        click.echo(f"# policy {name}\n{text}")


def problems_told(screen: Screen, problems: list[Any]) -> int:
    """Print what is wrong with files; the exit code."""
    if screen.as_json:
        members = ("file", "line", "message")
        listed = [{name: getattr(problem, name) for name in members} for problem in problems]
        screen.document({"ok": not problems, "problems": listed})
    elif not problems:
        screen.say("All is well.")
    for problem in problems if not screen.as_json else ():
        screen.aside(str(problem))
    return REFUSED if problems else DONE


def _of(target: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **scope,
            "scope": f"{target['name']}:{scope['name']}",
            "parameters": [_parameter(one) for one in scope["parameters"]],
        }
        for scope in target["scopes"]
    ]


def _parameter(one: dict[str, Any]) -> str:
    if one["kind"] == "enum":
        return f"{one['name']}={'|'.join(one['values'])}"
    return f"{one['name']}={one['kind']}"
