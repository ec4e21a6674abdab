"""Fail points: each step at which a process may die is named once, and died at in a test."""

from __future__ import annotations

import re

from tests.house.measure import ROOT, modules

NAMED = re.compile(r"failpoint\(\"([a-z._]+)\"\)")
KNOWN = {
    "issue.written": "the lease is committed, the minter not called",
    "issue.minted": "the credential exists, nothing says so yet",
    "issue.activated": "the lease is active, nothing was answered",
    "probe.written": "the probe's lease is committed, the minter not called",
    "probe.minted": "the probe's credential exists, nothing says so yet",
    "renew.written": "the record says the longest it may live, the back end is not asked",
    "renew.renewed": "the back end renewed it, nothing says so yet",
    "mint.role_written": "OpenBao knows the role, nobody has read a credential",
    "end.role_deleted": "the role is gone at OpenBao, its lease is not revoked yet",
    "sweep.claimed": "due leases are claimed, nothing was ended",
    "sweep.tapped": "the back end ended it, nothing says so yet",
    "sweep.recorded": "the end is committed",
    "kill.ordered": "the kill is committed, nothing is marked yet",
    "tally.written": "the next tally is committed, the witness does not hold it yet",
    "tally.noted": "the witness holds it, nothing says so yet",
}


def test_every_fail_point_is_known_here() -> None:
    """With what is true at that moment; none is listed that does not exist."""
    found = [name for _, text in modules() for name in NAMED.findall(text)]
    assert sorted(found) == sorted(KNOWN)


def test_a_process_dies_at_every_fail_point_in_some_test() -> None:
    """The fault tests name each of them."""
    told = "".join(path.read_text() for path in (ROOT / "tests" / "faults").rglob("*.py"))
    assert [name for name in KNOWN if f'"{name}"' not in told] == []
