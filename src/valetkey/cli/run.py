"""`valetkey run`: a command with a credential in its environment, which ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

import click

from valetkey.cli.credential import renewable_option, told, waited
from valetkey.cli.desk import Desk, stands_at_desk
from valetkey.cli.screen import clean
from valetkey.cli.values import SECONDS

POSTGRES = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "database",
    "PGUSER": "username",
    "PGPASSWORD": "password",
    "PGSSLMODE": "sslmode",
}
AWS = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
    "AWS_ENDPOINT_URL": "endpoint_url",
}
NOT_FOUND = 127
NOBODY_DECIDED = (
    "People have not decided, and the task made here ends now with this ask: give them time by "
    "--wait, or ask in a task that stays open by --task."
)
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--scope", required=True, help="The scope to ask for.")
@click.option("--ttl", type=SECONDS, required=True, help="How long, like 5m.")
@renewable_option
@click.option("--task", "task_id", help="An open task; without it, one is made and ended.")
@click.option("--purpose", help="The purpose of the task that is made.")
@click.option("--reason", help="Why, told to people.")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long for people.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@stands_at_desk("workload")
def run(
    desk: Desk,
    scope: str,
    ttl: int,
    renewable_for: int | None,
    task_id: str | None,
    purpose: str | None,
    reason: str | None,
    wait: int,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND with the credential in its environment; end it when the command ends.

    A database credential is given as PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD and
    PGSSLMODE, a session of AWS as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
    AWS_REGION and AWS_ENDPOINT_URL, a token as VALETKEY_TOKEN. With --renewable-for it is renewed
    while the command runs. The exit code is the command's own.
    """
    from valetkey.agentside.client import Ask, Granted
    from valetkey.agentside.renewal import Renewals

    if (task_id is None) == (purpose is None):
        raise click.UsageError("give either --task or --purpose")
    made = task_id is None
    task = task_id or desk.broker.start_task(purpose, [scope], renewable_for or ttl)["id"]
    lease = None
    try:
        ask = Ask(task, scope, ttl, reason, renewable_for)
        got = waited(desk, desk.broker.request(ask), wait)
        if not isinstance(got, Granted):
            if made:
                desk.screen.aside(NOBODY_DECIDED)
            return told(desk, got)
        lease = got.lease["id"]
        with Renewals(desk.broker, got.lease) as renewals:
            code = _run(command, environment_of(got.credential))
        if renewals.lost:
            desk.screen.aside(f"the credential was not renewed to the end: {renewals.lost}")
        return code
    finally:
        _end(desk, task if made else None, lease)


def environment_of(credential: Mapping[str, Any]) -> dict[str, str]:
    """A credential as environment variables. Raises ValueError for a type not known here."""
    if credential["type"] == "postgresql":
        return {
            name: str(credential[part]) for name, part in POSTGRES.items() if part in credential
        }
    if credential["type"] == "aws":
        return {name: str(credential[part]) for name, part in AWS.items() if part in credential}
    if credential["type"] == "jwt":
        return {"VALETKEY_TOKEN": str(credential["token"])}
    raise ValueError("this type of credential cannot be put into an environment")


def _run(command: tuple[str, ...], more: dict[str, str]) -> int:
    """The command's exit code, as a shell would tell it; signals to us go to it."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **more})
    except OSError:
        click.echo(f"{clean(command[0])} cannot be run", err=True)
        return NOT_FOUND

    def forward(number: int, frame: object) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _end(desk: Desk, task: str | None, lease: str | None) -> None:
    """End the task that was made here, or the one lease in a task of somebody else's."""
    from valetkey.agentside.wire import Refusal, Unreachable

    try:
        if task is not None:
            desk.broker.end_task(task)
        elif lease is not None:
            desk.post(f"/v1/leases/{lease}/revoke")
    except (Refusal, Unreachable) as trouble:
        desk.screen.aside(f"the credential could not be ended now and ends by itself: {trouble}")
