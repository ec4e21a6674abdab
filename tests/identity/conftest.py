"""Fixtures of the identity tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.identity.place import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """An installation with running issuers."""
    with ExitStack() as stack:
        yield Place.opened(stack)
