"""`valetkey leak`: report a credential that turned up where it should not."""

from __future__ import annotations

from typing import Any

import click

from valetkey.cli.desk import DONE, Desk, stands_at_desk
from valetkey.cli.values import read_secret


@click.group()
def leak() -> None:
    """Report leaked credentials."""


@leak.command()
@stands_at_desk("either")
def report(desk: Desk) -> int:
    """Read the leaked value from standard input and have whatever it opens ended.

    The answer is the same for every value; operators and auditors are told where it comes from.
    """
    value = read_secret(desk, "the leaked value")
    answer = desk.post("/v1/leaks", {"value": value})
    if desk.screen.as_json:
        desk.screen.document(answer)
        return DONE
    desk.screen.say(_sentence(answer))
    for found in answer.get("found") or ():
        desk.screen.show(found, _rows(found))
    return DONE


def _sentence(answer: dict[str, Any]) -> str:
    if "found" not in answer:
        return "reported; if it is one of ours it is being ended"
    count = len(answer["found"])
    return f"reported; {count} of our leases had it" if count else "reported; it is not one of ours"


def _rows(found: dict[str, Any]) -> dict[str, object]:
    """The lines a person reads first."""
    lease = found["lease"]
    agent, task, decision = (found.get(name) or {} for name in ("agent", "task", "decision"))
    return {
        "lease": lease["id"],
        "scope": lease["scope"],
        "agent": f"{agent.get('name', '')} ({lease.get('agent_id')})",
        "owner": lease.get("owner"),
        "task": f"{lease.get('task')}: {task.get('purpose', '')} (purpose as the agent says)",
        "rules": decision.get("rules"),
        "state": lease["state"],
        "proof": lease.get("proof"),
        "still valid until": lease.get("still_valid_until"),
    }
