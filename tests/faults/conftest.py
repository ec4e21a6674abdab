"""A healthy broker on the ground that all fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, end_everything
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
