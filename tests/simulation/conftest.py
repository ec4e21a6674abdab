"""The session's real PostgreSQL, for the state machine's run on the real store."""

from __future__ import annotations

from tests.contract.databases import databases as databases
from tests.stack import stack as stack
