"""`valetkey history`: the record of what happened."""

from __future__ import annotations

import click

from valetkey.cli.desk import DONE, Desk, stands_at_desk
from valetkey.cli.values import INSTANT
from valetkey.core.facts import FactKind

KIND = click.Choice([kind.value for kind in FactKind])
COLUMNS = ("number", "at", "kind", "outcome", "by", "agent_id", "lease_id")


@click.group()
def history() -> None:
    """Search the record of what happened."""


@history.command()
@click.option("--agent", help="An agent's id or name.")
@click.option("--owner", help="An owner's email.")
@click.option("--task", help="A task's id.")
@click.option("--grant", help="A grant's id.")
@click.option("--lease", help="A lease's id.")
@click.option("--target", help="A target's name.")
@click.option("--outcome", help="For example done, verified or outside_task.")
@click.option(
    "--kind", type=KIND, metavar="KIND", help="The name of a fact, for example LeaseMinted."
)
@click.option("--since", type=INSTANT, help="From this time on, or how long ago, like 15m.")
@click.option("--until", type=INSTANT, help="Before this time, or how long ago.")
@click.option("--cursor", help="Where the page before ended (`next`).")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@stands_at_desk("person")
def search(desk: Desk, /, limit: int, **filters: str | None) -> int:
    """List facts, newest page by page; `next` in `--json` continues with `--cursor`."""
    found = desk.get("/v1/history", limit=limit, **filters)
    desk.screen.listed(found, COLUMNS, found["items"])
    if found.get("next") is not None:
        desk.screen.say(f"There is more: --cursor {found['next']}")
    return DONE
