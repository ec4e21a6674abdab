"""`valetkey leak`: report a credential that turned up where it should not."""

from __future__ import annotations

import sys
from typing import Any

import click

from valetkey.cli.desk import DONE, Desk, stands_at_desk

LONGEST = 16 * 1024


@click.group()
def leak() -> None:
    """Report leaked credentials."""


@leak.command()
@stands_at_desk("either")
def report(desk: Desk) -> int:
    """Read the leaked value from standard input and have whatever it opens ended.

    The answer is the same for every value; operators and auditors are told where it comes from.
    """
    value = _read(desk)
    answer = desk.post("/v1/leaks", {"value": value})
    if desk.screen.as_json:
        desk.screen.document(answer)
        return DONE
    desk.screen.say(_sentence(answer))
    for found in answer.get("found") or ():
        desk.screen.show(found, _rows(found))
    return DONE


def _read(desk: Desk) -> str:
    """The value: a text of one line or more, never an argument, never shown."""
    if desk.token_file:
        raise click.UsageError("standard input is for the leaked value, not for an identity token")
    if sys.stdin.isatty():
        return str(click.prompt("Leaked value", hide_input=True, err=True))
    value = sys.stdin.read(LONGEST + 1).rstrip("\r\n")
    if not value:
        raise click.UsageError("give the leaked value on standard input")
    if len(value) > LONGEST:
        raise click.UsageError("that is longer than any credential of ours")
    return value


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
