"""`valetkey serve`, `migrate`, `sweep`, `reconcile`, `doctor`: what runs beside the database.

These read `valetkey.yaml` and work on the store and the back ends directly; they need no login,
because who can read that file's secrets is the operator of this installation.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from valetkey.cli.desk import DONE, REFUSED
from valetkey.cli.house import config_option, json_option, with_house, with_settings
from valetkey.cli.screen import Screen

if TYPE_CHECKING:
    from valetkey.bootstrap import House
    from valetkey.core.comparison import Order
    from valetkey.settings import Settings

_COMPARED = ("minter", "seen", "unknown", "reappeared", "vanished", "held")
_STRANGE = ("foreign", "other_epochs", "problems", "unlooked")


@click.command()
@config_option
@click.pass_context
def serve(ctx: click.Context, config: Path | None) -> None:
    """Serve the API and end what is due, until SIGTERM."""
    from valetkey.bootstrap import serve as serve_until_told

    def run(settings: Settings) -> int:
        serve_until_told(settings)
        return DONE

    ctx.exit(with_settings(Screen(as_json=False), config, run))


@click.command()
@config_option
@json_option
@click.pass_context
def migrate(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Bring the database schema to this version, as its owner; show the installation's id."""
    from valetkey.bootstrap import read_secret
    from valetkey.store.migrations import migrate as bring_up
    from valetkey.store.sql_store import open_store

    screen = Screen(as_json)

    def run(settings: Settings) -> int:
        file = settings.database.migration_url_file
        if file is None:
            raise click.UsageError("database.migration_url_file is not set")
        url = read_secret(file)
        ours = bring_up(url, app_role=settings.database.app_role)
        store = open_store(url)
        installation = store.installation()
        store.close()
        stands = "is at this version" if ours else "is a newer version's, and left as it is"
        told = {"migrated": ours, "installation": installation}
        screen.show(told, {"schema": stands, "installation": installation})
        return DONE

    ctx.exit(with_settings(screen, config, run))


@click.command()
@config_option
@json_option
@click.pass_context
def sweep(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """End everything that is due now, once."""
    from valetkey.flows.sweep import sweep as sweep_once

    screen = Screen(as_json)

    def run(house: House) -> int:
        claimed = 0
        while found := sweep_once(house.broker):
            claimed += found
        screen.show({"claimed": claimed}, {"claimed": claimed})
        return DONE

    ctx.exit(with_house(screen, config, run))


@click.command()
@config_option
@json_option
@click.option("--act", is_flag=True, help="Act on a difference that was held for a human.")
@click.option("--adopt-epoch", type=int, help="Adopt and end what this epoch of ours has left.")
@click.option("--by", default="", help="Who orders either; goes on record.")
@click.option("--reason", default="", help="Why; goes on record.")
@click.pass_context
def reconcile(
    ctx: click.Context, /, config: Path | None, as_json: bool, **said: Any
) -> None:
    """Compare our leases with what exists at every back end, both ways; exit 1 if a human must."""
    from valetkey.flows.reconcile import reconcile as compare

    screen, order = Screen(as_json), _order(**said)

    def run(house: House) -> int:
        each = {name: compare(house.broker, name, order) for name in house.broker.minters}
        told = {name: vars(one) for name, one in each.items()}
        lines = [{"minter": name, **_counted(one)} for name, one in told.items()]
        screen.listed(told, _COMPARED + _STRANGE, lines)
        for one in each.values():
            for target, why in {**one.held, **one.problems}.items():
                screen.say(f"{target}: {why}")
        return REFUSED if any(one.waits for one in each.values()) else DONE

    ctx.exit(with_house(screen, config, run))


@click.command()
@config_option
@json_option
@click.option("--days", default=1.0, show_default=True, help="How far back history is looked at.")
@click.pass_context
def doctor(ctx: click.Context, config: Path | None, as_json: bool, days: float) -> None:
    """Look for broken invariants in the database and the back ends; exit 1 when there are any."""
    from valetkey.core.invariants import CHECKED, ELSEWHERE
    from valetkey.flows.doctor import doctor as look
    from valetkey.flows.doctor_outside import ends_asked

    screen = Screen(as_json)

    def run(house: House) -> int:
        broken = [vars(violation) for violation in look(house.broker, timedelta(days=days))]
        unready = [str(trouble) for trouble in house.troubles()]
        failing = _failing_probes(house) if house.settings.times.probe_every else {}
        asked, active = ends_asked(house.broker)
        told = {
            "checked": list(CHECKED),
            "ends_asked": {"asked": asked, "active": active},
            "not_checked_here": dict(ELSEWHERE),
            "violations": broken,
            "unready": unready,
            "failing_probes": failing,
        }
        if broken or as_json:
            screen.listed(told, ("invariant", "about", "detail"), broken)
        for reason in unready:
            screen.say(f"not ready: {reason}")
        for target, since in failing.items():
            screen.say(f"{target}: {since}")
        if not broken:
            screen.say(f"{len(CHECKED)} invariants hold: {', '.join(CHECKED)}")
        if asked < active:
            screen.say(f"I3: back ends were asked for the ends of the newest {asked} of {active}")
        for name, where in ELSEWHERE.items():
            screen.say(f"{name} is not checked here: {where}")
        return REFUSED if broken else DONE

    ctx.exit(with_house(screen, config, run))


def _failing_probes(house: House) -> dict[str, str]:
    """The targets at which the broker's own probe failed last, and what was wrong."""
    from valetkey.core.errors import BrokerError
    from valetkey.flows.probe import last_probes

    try:
        last = last_probes(house.broker)
    except BrokerError:
        return {}  # it is not ready then, which is told
    return {
        target: f"its probe failed at {told.at.isoformat()}: {told.fact.body.get('problem')}"
        for target, told in last.items()
        if told.fact.outcome != "ok"
    }


def _order(act: bool, adopt_epoch: int | None, by: str, reason: str) -> Order | None:
    """What an operator orders; usage is an order by nobody, or for no reason."""
    from valetkey.core.comparison import Order

    if not act and adopt_epoch is None:
        return None
    if not (by.strip() and reason.strip()):
        raise click.UsageError("--act and --adopt-epoch need --by and --reason")
    return Order(by, reason, adopt_epoch)


def _counted(one: dict[str, Any]) -> dict[str, int]:
    return {name: value if isinstance(value, int) else len(value) for name, value in one.items()}
