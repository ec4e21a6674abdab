"""`valetkey task`: bounded pieces of work; their end ends every credential."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from valetkey.cli.desk import DONE, WAITING, Desk, poll, stands_at_desk
from valetkey.cli.screen import Twig
from valetkey.cli.values import SECONDS

COLUMNS = ("id", "state", "purpose", "scopes", "owner", "deadline_at")
LEASES = ("id", "scope", "state", "reason", "proof", "ended_at", "denied_at", "still_valid_until")


@click.group()
def task() -> None:
    """Start, end and look at tasks."""


@task.command()
@click.option("--purpose", required=True, help="What it is for, told to people.")
@click.option("--scope", "scopes", multiple=True, required=True, help="A scope it may need.")
@click.option("--ttl", type=SECONDS, required=True, help="How long it may last, like 30m.")
@click.option("--heartbeat", type=SECONDS, help="End it unless it beats so often, like 30s.")
@click.option("--parent", metavar="TASK", help="Open it under this task: no wider, no longer.")
@click.option("--agent", help="Open it for this agent, which takes it.")
@click.option("--on-behalf-of", metavar="DELEGATION", help="Act for the person who gave it.")
@click.option("--max-credentials", type=int, help="How many may be given for it in all.")
@stands_at_desk("workload")
def start(
    desk: Desk, /, purpose: str, scopes: tuple[str, ...], ttl: int, **more: str | int | None
) -> int:
    """Start a task that declares what it may need."""
    return _shown(desk, desk.broker.start_task(purpose, scopes, ttl, **more))


@task.command()
@click.argument("task_id", metavar="TASK")
@stands_at_desk("workload")
def take(desk: Desk, task_id: str) -> int:
    """Take a task that another agent opened for this one."""
    return _shown(desk, desk.broker.take_task(task_id))


@task.command()
@click.argument("task_id", metavar="TASK")
@stands_at_desk("either")
def tree(desk: Desk, task_id: str) -> int:
    """Draw a task with all that was opened under it, and every credential of theirs."""
    found = desk.get(f"/v1/tasks/{quote(task_id, safe='')}/tree")
    desk.screen.drawn(found, _branch(found))
    return DONE


@task.command()
@click.argument("task_id", metavar="TASK")
@click.option("--fence", type=int, required=True, help="As the last beat, or the start, showed.")
@stands_at_desk("workload")
def heartbeat(desk: Desk, task_id: str, fence: int) -> int:
    """Say that a task lives; `fence` in the answer is for the next beat."""
    return _shown(desk, desk.broker.heartbeat(task_id, fence))


@task.command()
@click.argument("task_id", metavar="TASK")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long until all ends are proven.")
@stands_at_desk("either")
def end(desk: Desk, task_id: str, wait: int) -> int:
    """End a task with all its credentials; exit 3 while an end is not proven yet."""
    receipt = desk.broker.end_task(task_id)
    if receipt["status"] != "complete" and wait:
        receipt = desk.broker.settled(task_id, within=wait)
    return _receipt(desk, receipt)


@task.command()
@click.argument("task_id", metavar="TASK")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long until all ends are proven.")
@stands_at_desk("either")
def receipt(desk: Desk, task_id: str, wait: int) -> int:
    """Show what became of every credential of an ended task; exit 3 while it is settling."""
    found = poll(
        lambda: desk.broker.receipt(task_id), lambda seen: seen["status"] == "complete", wait
    )
    return _receipt(desk, found)


@task.command()
@click.argument("task_id", metavar="TASK")
@stands_at_desk("either")
def show(desk: Desk, task_id: str) -> int:
    """Show one task."""
    return _shown(desk, desk.get(f"/v1/tasks/{quote(task_id, safe='')}"))


@task.command("list")
@click.option("--on-behalf-of", metavar="PERSON", help="Only what is done for `me`, or an address.")
@stands_at_desk("either")
def list_(desk: Desk, on_behalf_of: str | None) -> int:
    """List the tasks that you may see."""
    found = desk.get("/v1/tasks", on_behalf_of=on_behalf_of)
    desk.screen.listed(found, COLUMNS, found["items"])
    return DONE


def _shown(desk: Desk, found: dict[str, Any]) -> int:
    names = ("id", "state", "agent_id", "owner", "purpose", "scopes", "started_at", "deadline_at")
    some = ("heartbeat", "silent_at", "fence", "ended_at", "end_reason", "receipt_id")
    perhaps = (*some, "parent", "max_credentials", "on_behalf_of", "delegation")
    rows = {name: found.get(name) for name in names}
    desk.screen.show(found, rows | {name: found[name] for name in perhaps if found.get(name)})
    return DONE


def _branch(found: dict[str, Any]) -> Twig:
    """A task, its credentials, and the branches under it."""
    about = found["task"]
    taken = "" if about["taken"] else ", not taken yet"
    whose = f"  for {about['on_behalf_of']}" if about.get("delegation") else ""
    who = f"{found['agent']}{whose}"
    line = f"{about['id']}  {about['state']}{taken}  {who}  {' '.join(about['scopes'])}"
    twigs: list[Twig] = [
        (f"{one['id']}  {one['state']}  {one['scope']}", []) for one in found["leases"]
    ]
    return line, [*twigs, *(_branch(child) for child in found["children"])]


def _receipt(desk: Desk, receipt: dict[str, Any]) -> int:
    about = {name: receipt[name] for name in ("id", "task", "status", "reason", "ended_at")}
    if desk.screen.as_json:
        desk.screen.document(receipt)
    else:
        desk.screen.show(receipt, about)
        desk.screen.listed(receipt, LEASES, receipt["leases"])
    return DONE if receipt["status"] == "complete" else WAITING
