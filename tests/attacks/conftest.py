"""Fixtures of the attacks: a stage of fakes, the hall behind HTTP, and real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.api.hall import Hall
from tests.faults.conftest import house as house
from tests.faults.shared import ground as ground
from valetkey.testing.brokers import Stage


@pytest.fixture
def stage() -> Stage:
    """A fresh stage: an agent, its owner, an approver, an operator, two scopes."""
    return Stage()


@pytest.fixture
def hall() -> Iterator[Hall]:
    """A hall whose store is in memory."""
    with ExitStack() as resources:
        yield Hall(resources)
