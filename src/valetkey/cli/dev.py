"""`valetkey dev`: everything on this machine, for trying and for tests. Never a setting."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from valetkey.cli.desk import REFUSED
from valetkey.cli.profiles import profile_called
from valetkey.cli.screen import Screen

if TYPE_CHECKING:
    from valetkey.devstack.command import Command
    from valetkey.devstack.stack import Stack

PROFILE = "dev"
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"

_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".valetkey/dev"),
    show_default=True,
    help="Folder that holds everything of the stack.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def dev() -> None:
    """Run PostgreSQL, OpenBao, an issuer and Valetkey on this machine."""


@dev.command()
@_data
@_json
@click.option("--detach", is_flag=True, help="Return once it is up; `dev down` stops it.")
@click.option("--not-durable", is_flag=True, help="Without fsync: for tests only.")
@click.option("--no-profile", is_flag=True, help="Write no client profile.")
@click.pass_context
def up(
    ctx: click.Context,
    data: Path,
    as_json: bool,
    detach: bool,
    not_durable: bool,
    no_profile: bool,
) -> None:
    """Start it, in the foreground until Ctrl-C, and write the client profile `dev`."""
    if os.environ.get(IN_CLUSTER):
        raise click.UsageError("the dev stack is for one machine; it does not run in a cluster")
    from valetkey.devstack.stack import AlreadyUp
    from valetkey.devstack.supervisor import NotReady

    screen = Screen(as_json)
    screen.aside(f"Starting PostgreSQL, OpenBao, an issuer and Valetkey below {data} ...")
    options = [flag for flag, on in (("--not-durable", not_durable),) if on]
    try:
        if detach:
            _detach(screen, data, options, no_profile)
        else:
            _foreground(screen, data, not_durable, no_profile)
    except (AlreadyUp, NotReady) as refused:
        code = "already_up" if isinstance(refused, AlreadyUp) else "not_up"
        screen.refused({"code": code, "detail": str(refused)})
        ctx.exit(REFUSED)


@dev.command()
@_data
@_json
@click.option("--destroy", is_flag=True, help="Delete all its data, too.")
def down(data: Path, as_json: bool, destroy: bool) -> None:
    """Stop it, keeping its data."""
    from valetkey.devstack import stack

    was_up = stack.down(data)
    if destroy and (data / "secrets").is_dir():
        stack.Stack(data).destroy()
        shutil.rmtree(data)
    said = "The stack is down." if was_up else "No stack was up."
    Screen(as_json).show({"was_up": was_up, "destroyed": destroy}, {"": said})


@dev.command()
@_data
@_json
@click.pass_context
def status(ctx: click.Context, data: Path, as_json: bool) -> None:
    """Show what runs where; exit 1 when it is not up."""
    from valetkey.devstack import stack

    state = stack.status(data)
    screen = Screen(as_json)
    if state is None:
        screen.show({"up": False}, {"": "No stack is up."})
        ctx.exit(REFUSED)
    told = {"up": True, **about(state, data)}
    screen.show(told, {name: value for name, value in told.items() if name != "up"})


def _foreground(screen: Screen, data: Path, not_durable: bool, no_profile: bool) -> None:
    from valetkey.devstack import stack

    def announce(ready: Stack) -> None:
        _announce(screen, stack.status(data) or {}, data, no_profile)

    stack.up(data, stack.Options(durable=not not_durable), server_of, announce)


def _detach(screen: Screen, data: Path, options: list[str], no_profile: bool) -> None:
    from valetkey.devstack import stack

    argv = [sys.executable, "-m", "valetkey.cli", "dev", "up", "--no-profile"]
    state = stack.detached(data, [*argv, "--data", str(data.absolute()), *options])
    _announce(screen, state, data, no_profile)


def server_of(stack: Stack) -> list[Command]:
    """Make a provisioned stack ready for a Valetkey: configured, migrated, pinned; and the child.

    What the administrator of a real installation does by `valetkey migrate`, then `valetkey
    catalogue openbao-policy`, then `valetkey serve`.
    """
    from valetkey.cli.dev_config import driver_url, write_config
    from valetkey.devstack.command import Command
    from valetkey.minters.pins import openbao_policy, pinned_targets
    from valetkey.policy.catalogue import load_catalogue
    from valetkey.store.migrations import migrate
    from valetkey.store.sql_store import open_store

    server = write_config(stack)
    migrate(driver_url(stack.owner_dsn()))
    store = open_store(driver_url(stack.app_dsn()))
    installation = store.installation()
    store.close()
    catalogue = load_catalogue(server.catalogue)
    pins = {
        name: openbao_policy(catalogue, (name,), installation) for name in pinned_targets(catalogue)
    }
    stack.provision(pins)
    argv = [sys.executable, "-m", "valetkey.cli", "serve", "--config", str(server.file)]
    return [Command(stack.folder, "valetkey", argv, server.port, "/readyz", {})]


def about(state: dict[str, Any], data: Path) -> dict[str, Any]:
    """Where everything of a stack is, without secrets."""
    from valetkey.devstack.folders import read_json

    root = data.absolute()
    port = (read_json(root / "ports.json") or {}).get("valetkey")
    issuer = state["issuer"]
    return {
        "valetkey": f"http://127.0.0.1:{port}",
        "issuer": issuer["url"],
        "openbao": state["openbao"]["address"],
        "postgres": f"127.0.0.1:{state['postgres']['port']}",
        "config": str(root / "config" / "valetkey.yaml"),
        "people_file": issuer["people_file"],
        "ci_request_url": issuer["ci_request_url"],
        "ci_request_token_file": issuer["ci_request_token_file"],
        "workload_request_token_files": issuer["workload_request_token_files"],
        "logs": str(root / "logs"),
        "pids": state.get("pids", {}),
    }


def _announce(screen: Screen, state: dict[str, Any], data: Path, no_profile: bool) -> None:
    told = about(state, data)
    if not no_profile:
        profile_called(PROFILE).save(url=told["valetkey"])
    shown = ("valetkey", "issuer", "openbao", "postgres", "config", "people_file")
    screen.show(told, {name: told[name] for name in shown})
    if not no_profile:
        screen.say("")
        screen.say("Try next (passwords of the sample people are in people_file):")
        screen.say(f"  valetkey --profile {PROFILE} login --device")
        screen.say(f"  valetkey --profile {PROFILE} catalogue show")
        screen.say(f"  valetkey dev status --data {data}")
    sys.stdout.flush()
