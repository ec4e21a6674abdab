"""What the dev-stack tests share: the session's stack, and stacks run as real processes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devstack.foreground import Foreground
from tests.stack import stack as stack


@pytest.fixture
def foreground() -> Iterator[Foreground]:
    """A stack that can be run in the foreground, as `python -m valetkey.devstack.stack` does."""
    folder = Path(tempfile.mkdtemp(prefix="valetkey-fg-"))  # 0700
    running = Foreground(folder / "data")
    try:
        yield running
    finally:
        running.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def innocent() -> Iterator[int]:
    """The pid of a process that has nothing to do with any stack."""
    child = subprocess.Popen(["sleep", "300"])
    yield child.pid
    child.kill()
    child.wait()
