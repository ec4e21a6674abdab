"""`valetkey kill`: the switch, at the height of a lease, task, agent, target, or everything."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.desk import DONE, WAITING, Desk, poll, stands_at_desk
from valetkey.cli.login import as_freshly_logged_in, way_option
from valetkey.cli.values import SECONDS

HEIGHTS = ("lease", "task", "agent", "target", "everything")


@click.group()
def kill() -> None:
    """Stop everything at one height until it is released."""


@kill.command()
@click.argument("height", type=click.Choice(HEIGHTS))
@click.argument("subject", default="")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long until all ends are proven.")
@stands_at_desk("person")
def order(desk: Desk, height: str, subject: str, reason: str, wait: int) -> int:
    """Kill now; SUBJECT is an id or name, and left out for everything. Exit 3 while ending."""
    if bool(subject) == (height == "everything"):
        raise click.UsageError("name what to kill, or nothing for everything")
    body = {"height": height, "subject": subject, "reason": reason}
    ordered = desk.post("/v1/kill", body)
    if wait:
        path = f"/v1/kill/{quote(ordered['id'], safe='')}"
        ordered = poll(lambda: desk.get(path), lambda seen: not seen["unended"], wait)
    return _shown(desk, ordered)


@kill.command()
@click.argument("kill_id", metavar="KILL")
@stands_at_desk("person")
def show(desk: Desk, kill_id: str) -> int:
    """Show how far a kill has come; exit 3 while anything has not ended."""
    return _shown(desk, desk.get(f"/v1/kill/{quote(kill_id, safe='')}"))


@kill.command()
@click.argument("kill_id", metavar="KILL")
@way_option
@stands_at_desk("person")
def release(desk: Desk, kill_id: str, device: bool | None) -> int:
    """Release a kill: another operator's act, with a login made for exactly this."""
    broker = as_freshly_logged_in(desk, f"release:{kill_id}", device)
    try:
        released = broker.call("POST", f"/v1/kill/{quote(kill_id, safe='')}/release").body
    finally:
        broker.close()
    desk.screen.show(released, released)
    return DONE


def _shown(desk: Desk, found: dict[str, Any]) -> int:
    desk.screen.show(found, found)
    return WAITING if found.get("unended") else DONE
