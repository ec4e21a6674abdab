"""`valetkey request` and `valetkey explain`: one ask, in earnest or as a question."""

from __future__ import annotations

from typing import Any

import click

from valetkey.cli.desk import DONE, REFUSED, WAITING, Desk, stands_at_desk
from valetkey.cli.screen import instead
from valetkey.cli.values import SECONDS

LEASE = ("id", "scope", "state", "requested_ttl", "granted_ttl", "cut_by")
DECISION = ("outcome", "rules", "needs", *LEASE[3:], "renewable_for", "problem")
ONLY_HERE = (
    "What is collected of it could be opened by this command alone, which ends now: ask again with "
    "--wait."
)
TIMES = ("expires_at", "renew_by", "renewable_until", "backend_expires_at", "end_class")

_scope = click.argument("scope")
_task = click.option("--task", "task_id", required=True, help="The task it is for.")
_ttl = click.option("--ttl", type=SECONDS, required=True, help="How long, like 5m.")
renewable_option = click.option(
    "--renewable-for", type=SECONDS, help="How long renewals may keep it alive in all, like 1h."
)


@click.command()
@_scope
@_task
@_ttl
@renewable_option
@click.option("--reason", help="Why, told to people; it decides nothing.")
@click.option("--idempotency-key", help="The same for a repeated ask; made when not given.")
@click.option("--redeliver", metavar="LEASE", help="The lease whose answer was lost.")
@click.option("--seal", is_flag=True, help="Have it sealed: nothing on the way can read it.")
@click.option("--wait", type=SECONDS, default=0, help="Wait so long for people, then collect.")
@stands_at_desk("workload")
def request(
    desk: Desk,
    scope: str,
    task_id: str,
    ttl: int,
    renewable_for: int | None,
    reason: str | None,
    idempotency_key: str | None,
    redeliver: str | None,
    seal: bool,
    wait: int,
) -> int:
    """Ask for a credential like `orders-db:read{region=eu}` and print it, once.

    Exit 3 when people decide first: nothing is minted until the grant is collected. With --seal,
    and where the catalogue demands it, the answer is sealed to a key that only this command holds;
    then wait for people by --wait.
    """
    from valetkey.agentside.client import Ask

    ask = Ask(task_id, scope, ttl, reason, renewable_for)
    got = desk.broker.request(
        ask, idempotency_key=idempotency_key, redeliver=redeliver, seal=seal
    )
    return told(desk, waited(desk, got, wait))


@click.command()
@_scope
@_task
@_ttl
@renewable_option
@stands_at_desk("workload")
def explain(desk: Desk, scope: str, task_id: str, ttl: int, renewable_for: int | None) -> int:
    """Show the decision that `request` would get now; mint nothing. Exit 1 for a deny."""
    from valetkey.agentside.client import Ask

    found = desk.broker.explain(Ask(task_id, scope, ttl, None, renewable_for))
    rows = {name: found.get(name) for name in DECISION}
    desk.screen.show(found, rows | {"instead": instead(found.get("nearest"))})
    return {"allow": DONE, "needs_approval": WAITING}.get(found["outcome"], REFUSED)


def waited(desk: Desk, got: Any, wait: int) -> Any:
    """What was got; when that is waiting, so many seconds are waited and then collected."""
    from valetkey.agentside.client import Waiting

    if not isinstance(got, Waiting) or not wait:
        return got
    desk.screen.aside(f"Waiting for people to decide on {got.grant['id']}.")
    grant = desk.broker.await_decision(got.grant["id"], within=wait)
    return Waiting(grant) if grant["state"] == "waiting" else desk.broker.collect(grant["id"])


def told(desk: Desk, got: Any) -> int:
    """Print a credential with its lease, or the grant that people decide on."""
    from valetkey.agentside.client import Granted

    if isinstance(got, Granted):
        rows: dict[str, object] = {f"lease {name}": got.lease.get(name) for name in LEASE + TIMES}
        rows |= {f"credential {name}": value for name, value in got.credential.items()}
        desk.screen.show({"lease": got.lease, "credential": got.credential}, rows)
        return DONE
    if (got.grant.get("shown") or {}).get("sealed_to"):
        desk.screen.aside(ONLY_HERE)
    names = ("id", "state", "scope", "needs", "waits_until")
    rows = {f"grant {name}": got.grant.get(name) for name in names}
    desk.screen.show({"grant": got.grant}, rows)
    return WAITING
