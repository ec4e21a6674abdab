"""The session-wide stack for every test that needs real servers.

Use it in a folder's conftest by `from tests.stack import stack  # noqa: F401`, or by
`pytest_plugins`. It is not durable (fsync off) and starts in a few seconds.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from valetkey.devstack.stack import Options, Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Yield a running, provisioned stack whose children are started again when they die."""
    folder = Path(tempfile.mkdtemp(prefix="valetkey-stack-"))
    running = Stack(folder / "data", Options(durable=False))
    running.start()
    done = threading.Event()
    tending = threading.Thread(target=running.tend_until, args=[done], daemon=True)
    tending.start()
    try:
        yield running
    finally:
        done.set()
        tending.join(timeout=30)
        running.stop()
        running.destroy()
        shutil.rmtree(folder, ignore_errors=True)
