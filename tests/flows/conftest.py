"""One stage for each story: fakes behind every port, and a clock that is a variable."""

from __future__ import annotations

import pytest

from valetkey.testing.brokers import Stage


@pytest.fixture
def stage() -> Stage:
    """A fresh stage: an agent, its owner, an approver, an operator, two scopes."""
    return Stage()
