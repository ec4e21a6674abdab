"""`valetkey delegation`: let an agent act for you, see what you let whom do, take it back."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.desk import DONE, REFUSED, Desk, stands_at_desk
from valetkey.cli.login import freshly_posted, way_option
from valetkey.cli.screen import clean
from valetkey.cli.values import SECONDS

COLUMNS = ("id", "agent", "person", "live", "scopes", "until", "source")
FRESH = "fresh_login_required"


@click.group()
def delegation() -> None:
    """Let an agent act for you; take it back."""


@delegation.command()
@click.argument("agent")
@click.option("--scope", "scopes", multiple=True, required=True, help="What it may do for you.")
@click.option("--for", "lasts", type=SECONDS, required=True, help="How long, like 8h.")
@click.option("--yes", is_flag=True, help="Do not ask again after showing what it is.")
@way_option
@stands_at_desk("person")
def give(
    desk: Desk, agent: str, scopes: tuple[str, ...], lasts: int, yes: bool, device: bool | None
) -> int:
    """Let AGENT act for you, after a fresh login for exactly this."""
    body = {"agent": agent, "scopes": list(scopes), "ttl": lasts}
    shown = _what_it_takes(desk, body)
    for name, value in {**body, **shown}.items():
        desk.screen.aside(f"  {name}: {clean(value)}")
    if not yes and not click.confirm("Let it act for you within exactly this?", err=True):
        desk.screen.refused({"code": "not_given", "detail": "You did not let it."})
        return REFUSED
    fresh_for, path = str(shown["fresh_for"]), "/v1/delegations"
    return _shown(desk, freshly_posted(desk, fresh_for, device, path, body))


@delegation.command("list")
@stands_at_desk("either")
def list_(desk: Desk) -> int:
    """List what you let agents do for you, or what people let this agent do."""
    found = desk.get("/v1/delegations")
    lines = [{**one, "person": one["on_behalf_of"]["email"]} for one in found["items"]]
    desk.screen.listed(found, COLUMNS, lines)
    return DONE


@delegation.command()
@click.argument("delegation_id", metavar="DELEGATION")
@stands_at_desk("either")
def show(desk: Desk, delegation_id: str) -> int:
    """Show one delegation."""
    return _shown(desk, desk.get(_path(delegation_id)))


@delegation.command()
@click.argument("delegation_id", metavar="DELEGATION")
@stands_at_desk("person")
def withdraw(desk: Desk, delegation_id: str) -> int:
    """Take it back: all that is done under it ends."""
    return _shown(desk, desk.post(f"{_path(delegation_id)}/withdraw"))


def _what_it_takes(desk: Desk, body: dict[str, object]) -> dict[str, Any]:
    """Which agent that is, and what a login must be made for; any other refusal is raised."""
    from valetkey.agentside.wire import Refusal

    try:
        desk.post("/v1/delegations", body)
    except Refusal as no:
        if no.code != FRESH:
            raise
        return {name: no.extra[name] for name in ("agent", "agent_id", "fresh_for")}
    raise ValueError("it was given without a fresh login")


def _path(delegation_id: str) -> str:
    return f"/v1/delegations/{quote(delegation_id, safe='')}"


def _shown(desk: Desk, found: dict[str, Any]) -> int:
    desk.screen.show(found, found)
    return DONE
