"""`valetkey keys`: the next signing key, and where each of them stands. Needs no server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from valetkey.cli.desk import DONE
from valetkey.cli.house import config_option, json_option, with_settings
from valetkey.cli.screen import Screen
from valetkey.cli.values import Seconds

if TYPE_CHECKING:
    from valetkey.identity.key_ring import Standing
    from valetkey.settings import Settings

_SOONEST = 600
_COLUMNS = ("file", "kid", "signs_from", "stage", "verifies_until")


@click.group()
def keys() -> None:
    """The keys that sign our tokens: one signs, the next is published, the last still verifies."""


@keys.command()
@json_option
@click.option(
    "--in",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The folder of keys (`signing_key_folder`), or one to make a Kubernetes secret of.",
)
@click.option(
    "--after", type=Seconds(), default="1h", show_default=True, help="When it begins to sign."
)
@click.option("--now", "at_once", is_flag=True, help="At once: the first key, or a theft.")
def new(folder: Path, after: int, at_once: bool, as_json: bool) -> None:
    """Make the next signing key; every replica must have its file before it begins to sign."""
    from joserfc.jwk import ECKey

    from valetkey.agentside.files import write_private_once
    from valetkey.identity.key_ring import file_name

    if not at_once and after < _SOONEST:
        raise click.UsageError("replicas need 10 minutes to see the file; or say --now")
    signs_from = datetime.now(UTC) + timedelta(seconds=0 if at_once else after)
    path = folder / file_name(signs_from)
    key = ECKey.generate_key("P-256")
    pem = key.as_pem(private=True).decode()
    write_private_once(path, pem)
    if path.read_text() != pem:
        raise click.UsageError(f"{path} is there already")
    told = {"file": str(path), "kid": key.thumbprint(), "signs_from": _shown(signs_from)}
    Screen(as_json).show(told, told)


@keys.command()
@config_option
@json_option
@click.pass_context
def status(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Show which key signs, which comes next, which still verify, and what to do now."""
    from valetkey.bootstrap.keys import key_files

    screen = Screen(as_json)

    def run(settings: Settings) -> int:
        files = key_files(settings)
        found = files.standing(files.read(), datetime.now(UTC))
        lines = [_line(one) for one in found]
        steps = _steps(found)
        screen.listed({"keys": lines, "to_do": steps}, _COLUMNS, lines)
        for step in steps:
            screen.say(step)
        return DONE

    ctx.exit(with_settings(screen, config, run))


def _line(one: Standing) -> dict[str, object]:
    return {
        "file": one.key.file,
        "kid": one.key.kid,
        "signs_from": _shown(one.key.signs_from),
        "stage": one.stage,
        "verifies_until": _shown(one.until),
    }


def _shown(at: datetime | None) -> str | None:
    """Whole seconds; None for an instant that nobody knows."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None and at.year > 1 else None


def _steps(found: tuple[Standing, ...]) -> list[str]:
    """What may be done now."""
    steps = [f"{one.key.file} may be deleted: all that it signed is over" for one in found
             if one.stage == "over"]
    if not any(one.stage == "signs" for one in found):
        steps.append("no key signs yet: replicas do not start before one does")
    if not any(one.stage == "next" for one in found):
        steps.append("to rotate: valetkey keys new --in FOLDER")
    return steps
