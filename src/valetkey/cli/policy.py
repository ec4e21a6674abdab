"""`valetkey policy`: policy files, checked and tested on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from valetkey.cli.catalogue import problems_told
from valetkey.cli.desk import DONE, REFUSED
from valetkey.cli.screen import Screen

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_folder = click.Path(exists=True, file_okay=False, path_type=Path)


def _files(command: Any) -> Any:
    for option in (
        click.option("--catalogue", type=_folder, default="catalogue", show_default=True),
        click.option("--policies", type=_folder, default="policies", show_default=True),
        click.option("--group", "groups", multiple=True, help="A group that may approve."),
        _json,
    ):
        command = option(command)
    return command


@click.group()
def policy() -> None:
    """Check and test policy files."""


@policy.command()
@_files
@click.pass_context
def check(
    ctx: click.Context, catalogue: Path, policies: Path, groups: tuple[str, ...], as_json: bool
) -> None:
    """Check catalogue, policies and policy tests; exit 1 with file and line of what is wrong."""
    from valetkey.policy.checks import check as check_files

    ctx.exit(problems_told(Screen(as_json), check_files(catalogue, policies, groups)))


@policy.command()
@_files
@click.pass_context
def test(
    ctx: click.Context, catalogue: Path, policies: Path, groups: tuple[str, ...], as_json: bool
) -> None:
    """Decide every case of `policies/tests/*.yaml`; exit 1 when one is not as it says."""
    from valetkey.policy.checks import run_policy_tests
    from valetkey.policy.problems import FilesInvalid

    screen = Screen(as_json)
    try:
        results = run_policy_tests(catalogue, policies, groups)
    except FilesInvalid as wrong:
        ctx.exit(problems_told(screen, list(wrong.problems)))
    lines = [
        {
            "result": "passed" if one.passed else "FAILED",
            "name": one.name,
            "failure": one.failure,
            "at": f"{one.file}:{one.line}",
        }
        for one in results
    ]
    good = all(one.passed for one in results)
    screen.listed({"ok": good, "tests": lines}, ("result", "name", "failure", "at"), lines)
    ctx.exit(DONE if good else REFUSED)
