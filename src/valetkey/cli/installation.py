"""`valetkey installation`: who this database is to the outside, and a new epoch after a restore.

It reads `valetkey.yaml`; a new epoch also needs the owner's login, as `migrate` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from valetkey.cli.desk import DONE, REFUSED
from valetkey.cli.house import config_option, json_option, with_house
from valetkey.cli.screen import Screen

if TYPE_CHECKING:
    from valetkey.bootstrap import House
    from valetkey.flows.new_epoch import Epoch
    from valetkey.store.sql_store import SqlStore


@click.group()
def installation() -> None:
    """The name of this database at the back ends, and its epoch."""


@installation.command()
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Show our name, and whether any witness doubts that we are the original; exit 1 if so."""
    from valetkey.flows.witness import doubts

    screen = Screen(as_json)

    def run(house: House) -> int:
        found = {name: doubts(house.broker, name) for name in house.broker.witnesses}
        told = {"installation": house.broker.installation, "doubts": found}
        lines = {name: why or "agrees" for name, why in found.items()}
        screen.show(told, {"installation": house.broker.installation, **lines})
        return REFUSED if any(found.values()) else DONE

    ctx.exit(with_house(screen, config, run))


@installation.command("new-epoch")
@config_option
@json_option
@click.option("--by", required=True, help="Who begins it; goes on record.")
@click.option("--reason", required=True, help="Why; goes on record, and is the kill's reason.")
@click.option("--above", type=int, help="The highest epoch ever used, if it cannot be looked up.")
@click.pass_context
def begin(ctx: click.Context, /, config: Path | None, as_json: bool, **said: Any) -> None:
    """After a restore of our database: new marks, and a kill of everything until people agree.

    Stop every replica first. Back ends are asked for epochs used before.
    """
    from valetkey.flows.new_epoch import highest_epoch, new_epoch

    screen = Screen(as_json)

    def run(house: House) -> int:
        above = said["above"] or highest_epoch(house.broker)
        with _as_owner(house) as store:
            epoch = new_epoch(store, house.broker.new_id, said["by"], said["reason"], above)
        _tell(screen, epoch)
        return DONE

    ctx.exit(with_house(screen, config, run))


@contextmanager
def _as_owner(house: House) -> Iterator[SqlStore]:
    """The same database under its owner's login."""
    from valetkey.bootstrap import read_secret
    from valetkey.store.sql_store import open_store

    file = house.settings.database.migration_url_file
    if file is None:
        raise click.UsageError("database.migration_url_file is not set")
    store = open_store(read_secret(file), pool=2)
    try:
        yield store
    finally:
        store.close()


def _tell(screen: Screen, epoch: Epoch) -> None:
    told = {
        "installation": epoch.installation,
        "before": epoch.before,
        "kill": epoch.kill.id,
        "tasks_ending": epoch.tasks,
    }
    screen.show(told, told)
    screen.say(f"write pins: valetkey catalogue openbao-policy --installation {epoch.installation}")
    screen.say("delete the claim of each target at OpenBao, then start one replica")
    old = epoch.before.rpartition("e")[2]
    screen.say(f"end what was lost: valetkey reconcile --adopt-epoch {old} --by NAME --reason TEXT")
    screen.say("order again what the lost time had stopped, then release the kill")
