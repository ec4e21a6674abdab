"""What `valetkey agent` says of proposals: shown whole, accepted after a fresh login, refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from valetkey.cli.desk import DONE, REFUSED, Desk
from valetkey.cli.login import said_yes
from valetkey.cli.screen import clean

COLUMNS = ("id", "agent", "state", "current", "boundary", "bindings", "created_at")


def listed(desk: Desk) -> int:
    """All proposals that the person may see."""
    found = desk.get("/v1/proposals")
    desk.screen.listed(found, COLUMNS, found["items"])
    return DONE


def shown(desk: Desk, found: dict[str, Any]) -> int:
    """One proposal, whole."""
    desk.screen.show(found, found)
    return DONE


def looked_at(desk: Desk, proposal_id: str) -> dict[str, Any]:
    """One proposal by its id."""
    found: dict[str, Any] = desk.get(path_of(proposal_id))
    return found


def accepted(desk: Desk, proposal_id: str, yes: bool, device: bool | None) -> int:
    """Show what would change, log in freshly for exactly this proposal, and accept it."""
    found = looked_at(desk, proposal_id)
    for name in ("agent", "owner", "was", "boundary", "bindings", "rule", "created_by", "state"):
        desk.screen.aside(f"  {name}: {clean(found[name])}")
    answer = said_yes(desk, found, f"{path_of(proposal_id)}/accept", yes, device)
    return REFUSED if answer is None else shown(desk, answer)


def path_of(proposal_id: str) -> str:
    """Where a proposal is."""
    return f"/v1/proposals/{quote(proposal_id, safe='')}"
