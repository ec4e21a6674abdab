"""What the commands of an operator share: the configuration, and the house that it describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from valetkey.cli.desk import REFUSED, UNREACHABLE, USAGE
from valetkey.cli.next_actions import INSTEAD
from valetkey.cli.screen import Screen

if TYPE_CHECKING:
    from valetkey.bootstrap import House
    from valetkey.settings import Settings

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration; otherwise VALETKEY_CONFIG, ./valetkey.yaml, /etc/valetkey/.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def with_house(screen: Screen, config: Path | None, run: Callable[[House], int]) -> int:
    """Run with a house that is closed afterwards; the exit code."""
    from valetkey.bootstrap import open_house

    def opened(settings: Settings) -> int:
        house = open_house(settings)
        try:
            return run(house)
        finally:
            house.close()

    return with_settings(screen, config, opened)


def with_settings(screen: Screen, config: Path | None, run: Callable[[Settings], int]) -> int:
    """Run with the settings; what is wrong with them, or with what they name, is told."""
    from pydantic import ValidationError

    from valetkey.bootstrap import WrongDatabaseRole, config_path, load_settings
    from valetkey.core.errors import BrokerError, MinterUnavailable, NotReady, StoreUnavailable
    from valetkey.policy.problems import FilesInvalid

    outages = (MinterUnavailable, NotReady, StoreUnavailable)
    try:
        return run(load_settings(config or config_path()))
    except FilesInvalid as wrong:
        for problem in wrong.problems:
            screen.aside(str(problem))
        return USAGE
    except ValidationError as wrong:
        for error in wrong.errors(include_input=False, include_url=False, include_context=False):
            screen.aside(f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}")
        return USAGE
    except WrongDatabaseRole:
        screen.aside("serve must not be the owner of its tables: use the application role")
        return USAGE
    except (OSError, ValueError) as wrong:
        screen.aside(f"the configuration names something that cannot be used: {wrong}")
        return USAGE
    except BrokerError as away:
        now = INSTEAD.get(away.code, away.next_action)
        screen.refused({"code": away.code, "detail": away.detail, "next_action": now})
        return UNREACHABLE if isinstance(away, outages) else REFUSED
