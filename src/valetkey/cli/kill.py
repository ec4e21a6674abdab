"""`valetkey kill`: the switch, at heights from one lease to everything, and its drill."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.desk import DONE, WAITING, Desk, poll, stands_at_desk
from valetkey.cli.login import freshly_posted, way_option
from valetkey.cli.values import SECONDS

HEIGHTS = (
    *("lease", "task", "agent", "owner", "person", "vendor", "issuer", "scope", "target"),
    "everything",
)
COLUMNS = ("id", "height", "subject", "by", "at", "unended", "ended")

wait_option = click.option(
    "--wait", type=SECONDS, default=0, help="Wait so long until all ends are proven."
)


@click.group()
def kill() -> None:
    """Stop everything at one height until it is released."""


@kill.command()
@click.argument("height", type=click.Choice(HEIGHTS))
@click.argument("subject", default="")
@click.option("--reason", required=True, help="Why, for the record.")
@wait_option
@click.option("--drill", is_flag=True, help="Only say what would end, and how long it would take.")
@stands_at_desk("person")
def order(desk: Desk, height: str, subject: str, reason: str, wait: int, drill: bool) -> int:
    """Kill now; SUBJECT is an id or name, and left out for everything. Exit 3 while ending."""
    if bool(subject) == (height == "everything"):
        raise click.UsageError("name what to kill, or nothing for everything")
    body = {"height": height, "subject": subject, "reason": reason}
    if drill:
        drilled = desk.post("/v1/kill", {**body, "drill": True})
        desk.screen.show(drilled, drilled)
        return DONE
    return _shown(desk, desk.post("/v1/kill", body), wait)


@kill.command("list")
@stands_at_desk("person")
def list_(desk: Desk) -> int:
    """List the kills in force and how far each is."""
    found = desk.get("/v1/kill")
    desk.screen.listed(found, COLUMNS, found["items"])
    return DONE


@kill.command()
@click.argument("kill_id", metavar="KILL")
@wait_option
@stands_at_desk("person")
def show(desk: Desk, kill_id: str, wait: int) -> int:
    """Show how far a kill has come; exit 3 while anything has not ended."""
    return _shown(desk, desk.get(f"/v1/kill/{quote(kill_id, safe='')}"), wait)


@kill.command()
@click.argument("kill_id", metavar="KILL")
@way_option
@stands_at_desk("person")
def release(desk: Desk, kill_id: str, device: bool | None) -> int:
    """Release a kill: another operator's act, with a login made for exactly this."""
    path = f"/v1/kill/{quote(kill_id, safe='')}/release"
    released = freshly_posted(desk, f"release:{kill_id}", device, path)
    desk.screen.show(released, released)
    return DONE


def _shown(desk: Desk, found: dict[str, Any], wait: int) -> int:
    """Wait with a bar that fills as ends are proven, then show how far it is."""
    path = f"/v1/kill/{quote(found['id'], safe='')}"
    with desk.screen.bar("ends proven") as fill:

        def look() -> dict[str, Any]:
            seen: dict[str, Any] = desk.get(path)
            fill(seen["ended"], seen["ended"] + seen["unended"])
            return seen

        fill(found["ended"], found["ended"] + found["unended"])
        if found["unended"] and wait:
            found = poll(look, lambda seen: not seen["unended"], wait)
    desk.screen.show(found, found)
    return WAITING if found["unended"] else DONE
