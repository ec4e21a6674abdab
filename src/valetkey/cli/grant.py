"""`valetkey grant`: what people decide on, and what the agent collects afterwards."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.credential import told, waited
from valetkey.cli.desk import DONE, REFUSED, Desk, stands_at_desk
from valetkey.cli.login import said_yes, way_option
from valetkey.cli.values import SECONDS

COLUMNS = ("id", "state", "scope", "agent_id", "granted_ttl", "waits_until")
CLAIMED = "claimed by the asker, not checked"


@click.group()
def grant() -> None:
    """Look at grants; approve, deny, collect, withdraw them."""


@grant.command("list")
@click.option("--state", help="Only grants in this state, for example waiting.")
@click.option("--task", help="Only grants of this task.")
@stands_at_desk("either")
def list_(desk: Desk, state: str | None, task: str | None) -> int:
    """List the grants that you may see."""
    found = desk.get("/v1/grants", state=state, task=task)
    desk.screen.listed(found, COLUMNS, found["items"])
    return DONE


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@stands_at_desk("either")
def show(desk: Desk, grant_id: str) -> int:
    """Show one grant, with everything an approver is shown."""
    found = desk.get(_path(grant_id))
    desk.screen.show(found, _rows(found))
    return DONE


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@click.option("--yes", is_flag=True, help="Do not ask again after showing what it is.")
@way_option
@stands_at_desk("person")
def approve(desk: Desk, grant_id: str, yes: bool, device: bool | None) -> int:
    """Show what is asked for, log in freshly for exactly this grant, and approve it."""
    found = desk.get(_path(grant_id))
    for name, value in _rows(found).items():
        if value not in (None, "", [], {}):
            desk.screen.aside(f"  {name}: {_words(value)}")
    approved = said_yes(desk, found, f"{_path(grant_id)}/approve", yes, device)
    return REFUSED if approved is None else _brief(desk, approved)


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@stands_at_desk("person")
def deny(desk: Desk, grant_id: str) -> int:
    """Say no."""
    return _brief(desk, desk.post(f"{_path(grant_id)}/deny"))


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@stands_at_desk("workload")
def withdraw(desk: Desk, grant_id: str) -> int:
    """Take back an ask that still waits."""
    return _brief(desk, desk.post(f"{_path(grant_id)}/withdraw"))


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@click.option("--redeliver", metavar="LEASE", help="The lease whose answer was lost.")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long for people first.")
@stands_at_desk("workload")
def collect(desk: Desk, grant_id: str, redeliver: str | None, wait: int) -> int:
    """Collect the credential of an approved grant and print it, once."""
    from valetkey.agentside.client import Waiting

    if wait:
        return told(desk, waited(desk, Waiting({"id": grant_id}), wait))
    return told(desk, desk.broker.collect(grant_id, redeliver=redeliver))


def _path(grant_id: str) -> str:
    return f"/v1/grants/{quote(grant_id, safe='')}"


def _brief(desk: Desk, found: dict[str, Any]) -> int:
    names = ("id", "state", "scope", "granted_ttl", "needs", "waits_until")
    desk.screen.show(found, {name: found.get(name) for name in names})
    return DONE


def _rows(found: dict[str, Any]) -> dict[str, object]:
    names = ("id", "state", "scope", "agent_id", "task", "requested_ttl", "granted_ttl", "cut_by")
    rows: dict[str, object] = {name: found.get(name) for name in names}
    for name, value in (found.get("shown") or {}).items():
        plain = name.removeprefix("untrusted_")
        rows[f"{plain} ({CLAIMED})" if plain != name else name] = value
    rows |= {name: found.get(name) for name in ("needs", "waits_until", "shown_hash", "approvals")}
    return rows


def _words(value: object) -> str:
    from valetkey.cli.screen import clean

    return clean(value)
