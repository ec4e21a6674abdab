"""`valetkey lease`: every credential that is out, and how it ends."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.desk import DONE, REFUSED, WAITING, Desk, poll, stands_at_desk
from valetkey.cli.login import freshly_posted, way_option
from valetkey.cli.values import SECONDS

COLUMNS = ("id", "state", "scope", "owner", "expires_at", "proof", "denied_at", "still_valid_until")
FACTS = ("number", "at", "kind", "by", "outcome")


@click.group()
def lease() -> None:
    """Look at leases, their lineage; renew, acknowledge, revoke, write off."""


@lease.command("list")
@click.option("--state", help="Only leases in this state, for example active.")
@click.option("--agent", help="Only leases of this agent's id.")
@click.option("--owner", help="Only leases of this owner.")
@click.option("--on-behalf-of", metavar="PERSON", help="Only what is done for `me`, or an address.")
@stands_at_desk("either")
def list_(desk: Desk, /, **wanted: str | None) -> int:
    """List the leases that you may see."""
    found = desk.get("/v1/leases", **wanted)
    desk.screen.listed(found, COLUMNS, found["items"])
    return DONE


@lease.command()
@click.argument("lease_id", metavar="LEASE")
@stands_at_desk("either")
def show(desk: Desk, lease_id: str) -> int:
    """Show one lease."""
    found = desk.get(_path(lease_id))
    desk.screen.show(found, found)
    return DONE


@lease.command()
@click.argument("lease_id", metavar="LEASE")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long until the end is proven.")
@stands_at_desk("either")
def revoke(desk: Desk, lease_id: str, wait: int) -> int:
    """End one lease; exit 3 while its end is not proven yet."""
    found = desk.post(f"{_path(lease_id)}/revoke")
    if wait:
        found = poll(lambda: desk.get(_path(lease_id)), lambda seen: seen["state"] == "ended", wait)
    desk.screen.show(found, found)
    return DONE if found["state"] == "ended" else WAITING


@lease.command()
@click.argument("lease_id", metavar="LEASE")
@stands_at_desk("workload")
def renew(desk: Desk, lease_id: str) -> int:
    """Let the same credential live for another TTL; `renew_by` says before when to renew again."""
    found = desk.broker.renew(lease_id)
    desk.screen.show(found, found)
    return DONE


@lease.command()
@click.argument("lease_id", metavar="LEASE")
@stands_at_desk("workload")
def ack(desk: Desk, lease_id: str) -> int:
    """Say that a credential came; exit 1 when it has ended meanwhile."""
    found = desk.broker.acknowledge(lease_id)
    desk.screen.show(found, found)
    return DONE if found["state"] == "active" else REFUSED


@lease.command("write-off")
@click.argument("lease_id", metavar="LEASE")
@click.option("--reason", required=True, help="Why nobody can end it; kept for ever.")
@way_option
@stands_at_desk("person")
def write_off(desk: Desk, lease_id: str, reason: str, device: bool | None) -> int:
    """Give up a stuck lease: an operator's act, with a login made for exactly this."""
    path, body = f"{_path(lease_id)}/write-off", {"reason": reason}
    found = freshly_posted(desk, f"write-off:{lease_id}", device, path, body)
    desk.screen.show(found, found)
    return DONE


@lease.command()
@click.argument("lease_id", metavar="LEASE")
@stands_at_desk("person")
def lineage(desk: Desk, lease_id: str) -> int:
    """Show where a lease comes from: who, for whom, which task, which rule, who approved."""
    found = desk.get(f"{_path(lease_id)}/lineage")
    if desk.screen.as_json:
        desk.screen.document(found)
        return DONE
    desk.screen.show(found, _rows(found))
    desk.screen.listed(found, FACTS, found["facts"])
    return DONE


def _rows(found: dict[str, Any]) -> dict[str, object]:
    """The lines a person reads first."""
    ended = found["lease"]
    agent, task, decision = (found.get(name) or {} for name in ("agent", "task", "decision"))
    yeses = [f"{one['verdict']} by {one['approver']}" for one in found.get("approvals") or ()]
    return {
        "lease": ended["id"],
        "scope": ended["scope"],
        "agent": f"{agent.get('name', '')} ({ended.get('agent_id')})",
        "owner": ended.get("owner"),
        "created by": agent.get("created_by"),
        "task": f"{ended.get('task')}: {task.get('purpose', '')} (purpose as the agent says)",
        "rules": decision.get("rules"),
        "approvals": yeses or "none needed",
        "state": ended["state"],
        "reason": ended.get("reason"),
        "proof": ended.get("proof"),
        "written off by": ended.get("written_off_by"),
        "written off because": ended.get("written_off_reason"),
        "ended at": ended.get("ended_at"),
    }


def _path(lease_id: str) -> str:
    return f"/v1/leases/{quote(lease_id, safe='')}"
