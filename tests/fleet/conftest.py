"""Replicas of the clock on one database of the run's PostgreSQL."""

from __future__ import annotations

from tests.contract.databases import databases as databases
from tests.stack import stack as stack
