"""The session's real PostgreSQL, for the state machine's run on the real store."""

from __future__ import annotations

import pytest

from tests.contract.databases import Databases
from tests.stack import stack as stack
from valetkey.devstack.stack import Stack


@pytest.fixture(scope="session")
def databases(stack: Stack) -> Databases:
    """Databases on the real PostgreSQL of the session."""
    return Databases(stack)
