"""The session-wide stack for every test that needs real servers.

In a folder's conftest: `from tests.stack import stack as stack`. However many folders do so,
there is one stack per run. It is not durable (fsync off) and starts in about three seconds.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from valetkey.devstack.stack import Options, Stack

_shared: list[Stack] = []


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Stack:
    """A running, provisioned stack whose children are started again when they die."""
    if not _shared:
        _shared.append(_start(pytestconfig))
    return _shared[0]


def _start(config: pytest.Config) -> Stack:
    folder = Path(tempfile.mkdtemp(prefix="valetkey-stack-"))
    running = Stack(folder / "data", Options(durable=False))
    running.start()
    done = threading.Event()
    tending = threading.Thread(target=running.tend_until, args=[done], daemon=True)
    tending.start()

    def end() -> None:
        done.set()
        tending.join(timeout=30)
        running.stop()
        running.destroy()
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(end)
    return running
