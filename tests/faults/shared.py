"""The one ground of a run, however many folders try faults on it.

In a folder's conftest: `from tests.faults.shared import ground as ground`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from tests.faults.ground import REQUEST_LIMIT, SCALE, Ground, lay
from valetkey.devstack.stack import Options, Stack

_shared: list[Ground] = []


@pytest.fixture(scope="session")
def ground(pytestconfig: pytest.Config) -> Ground:
    """A stack of its own, with short times, and durable: what is committed outlives a kill."""
    if not _shared:
        _shared.append(_lay(pytestconfig))
    return _shared[0]


def _lay(config: pytest.Config) -> Ground:
    folder = Path(tempfile.mkdtemp(prefix="valetkey-faults-"))
    stack = Stack(folder / "data", Options(max_request_duration=REQUEST_LIMIT))
    stack.start()
    done = threading.Event()
    tending = threading.Thread(target=stack.tend_until, args=[done], daemon=True)
    tending.start()

    def end() -> None:
        done.set()
        tending.join(timeout=30)
        stack.stop()
        stack.destroy()
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(end)
    print(f"times: {dict(SCALE)}, OpenBao's request limit {REQUEST_LIMIT}")
    files = folder / "broker"
    files.mkdir()
    return lay(stack, files)
