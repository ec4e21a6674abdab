"""Replicas on one database: of the clock alone, and of the whole server on the faults' ground."""

from __future__ import annotations

from tests.contract.databases import databases as databases
from tests.faults.shared import ground as ground
from tests.stack import stack as stack
