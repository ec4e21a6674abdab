"""An empty database of its own for each test of the migrations."""

from __future__ import annotations

import pytest

from tests.contract.databases import Databases
from tests.contract.databases import databases as databases
from tests.stack import stack as stack


@pytest.fixture
def empty(databases: Databases) -> str:
    """The owner's address of a database without any table."""
    return databases.owner(databases.fresh("template1"))
