"""A healthy broker on the ground that all fault tests share, and what may come between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, end_everything
from tests.faults.proxy import BaoProxy, PostgresProxy, between_bao, between_postgres
from tests.faults.second import second_target
from tests.faults.shared import ground as ground
from valetkey.bootstrap import House


@pytest.fixture
def house(ground: Ground) -> Iterator[House]:
    """A healthy broker whose clock ticks; afterwards everything has ended and nothing is out."""
    with ground.house() as house:
        house.clockwork.start()
        yield house
        end_everything(house)
        ground.at_peace(house)


@pytest.fixture
def proxy(ground: Ground) -> Iterator[BaoProxy]:
    """Ours, between the broker and OpenBao."""
    with between_bao(ground.stack.openbao.port) as proxy:
        yield proxy


@pytest.fixture
def behind(ground: Ground, proxy: BaoProxy) -> Iterator[House]:
    """A ticking broker that reaches OpenBao through the proxy; at peace when we are done."""
    with ground.house(bao=proxy.address) as house:
        house.clockwork.start()
        yield house
        proxy.clear()
        end_everything(house)
        ground.at_peace(house)


@pytest.fixture
def wire(ground: Ground) -> Iterator[PostgresProxy]:
    """Ours, between one broker and Postgres."""
    with between_postgres(ground.stack.postgres.port) as wire:
        yield wire


@pytest.fixture(scope="module")
def both(
    ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ground, PostgresProxy]]:
    """Two targets on one stack, and the line to the second."""
    with second_target(ground, tmp_path_factory.mktemp("second") / "broker") as found:
        yield found
