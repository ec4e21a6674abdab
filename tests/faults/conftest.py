"""One short-timed stack for all fault tests, its ground, and a healthy broker on it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ground import REQUEST_LIMIT, SCALE, Ground, end_everything, lay
from valetkey.bootstrap import House
from valetkey.devstack.stack import Options, Stack


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """A stack of its own, with short times, and durable: what is committed outlives a kill."""
    folder = Path(tempfile.mkdtemp(prefix="valetkey-faults-"))
    stack = Stack(folder / "data", Options(max_request_duration=REQUEST_LIMIT))
    stack.start()
    done = threading.Event()
    tending = threading.Thread(target=stack.tend_until, args=[done], daemon=True)
    tending.start()
    print(f"times: {dict(SCALE)}, OpenBao's request limit {REQUEST_LIMIT}")
    try:
        files = folder / "broker"
        files.mkdir()
        yield lay(stack, files)
    finally:
        done.set()
        tending.join(timeout=30)
        stack.stop()
        stack.destroy()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def house(ground: Ground) -> Iterator[House]:
    """A healthy broker whose clock ticks; afterwards everything has ended and nothing is out."""
    with ground.house() as house:
        house.clockwork.start()
        yield house
        end_everything(house)
        ground.at_peace(house)
