"""The one ground of a run, however many folders try faults on it.

In a folder's conftest: `from tests.faults.shared import ground as ground`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.ground import REQUEST_LIMIT, SCALE, SHORTENED, Ground, lay
from valetkey.devstack.stack import Options, Stack

_shared: list[Ground] = []


@pytest.fixture(scope="session")
def ground(pytestconfig: pytest.Config) -> Ground:
    """A stack of its own, with short times, and durable: what is committed outlives a kill."""
    if not _shared:
        _shared.append(_lay(pytestconfig))
    return _shared[0]


@contextmanager
def a_ground_of_ones_own() -> Iterator[Ground]:
    """Another stack beside it, for what would be in everybody's way."""
    folder = Path(tempfile.mkdtemp(prefix="valetkey-faults-"))
    stack = Stack(folder / "data", Options(max_request_duration=_limit()))
    stack.start()
    done = threading.Event()
    tending = threading.Thread(target=stack.tend_until, args=[done], daemon=True)
    tending.start()
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


def _lay(config: pytest.Config) -> Ground:
    resources = ExitStack()
    ground = resources.enter_context(a_ground_of_ones_own())
    config.add_cleanup(resources.close)
    times = dict(SCALE) if SHORTENED else "the defaults"
    print(f"times: {times}, OpenBao's request limit {_limit()}")
    return ground


def _limit() -> str:
    """How long OpenBao works on one request."""
    return REQUEST_LIMIT if SHORTENED else "90s"
