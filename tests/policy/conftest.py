"""The sample files, and one real OpenBao with PostgreSQL behind it, for the policy tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import valetkey.devstack
from tests.policy.outside import Outside
from tests.stack import stack  # noqa: F401
from valetkey.core.catalogue import Catalogue
from valetkey.devstack.stack import Stack
from valetkey.policy.catalogue import load_catalogue
from valetkey.policy.rules import Rules, load_rules

SAMPLE = Path(valetkey.devstack.__file__).parent / "sample"
GROUPS = ("valetkey-approvers", "second-group")


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The sample catalogue."""
    return load_catalogue(SAMPLE / "catalogue")


@pytest.fixture(scope="session")
def rules() -> Rules:
    """The sample catalogue and policies."""
    return load_rules(SAMPLE / "catalogue", SAMPLE / "policies", GROUPS)


@pytest.fixture(scope="session")
def outside(stack: Stack) -> Outside:  # noqa: F811
    """The real target database and OpenBao."""
    return Outside(stack)
