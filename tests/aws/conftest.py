"""What the tests of this folder share: one running emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from valetkey.devstack.aws.service import Aws
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.supervisor import Supervisor


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The emulator with the sample target laid out."""
    folder = DataFolder.at(tmp_path_factory.mktemp("aws") / "data")
    supervisor = Supervisor(folder)
    aws = Aws(folder)
    try:
        supervisor.start_all([aws])
        yield aws
    finally:
        supervisor.stop_all()


@pytest.fixture
def aws(emulator: Aws) -> Iterator[Aws]:
    """The emulator; its knobs stand as they stood when the test is over."""
    yield emulator
    emulator.turn(ahead=0, lag=0, faults=[])
