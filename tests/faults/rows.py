"""The rows of the fault matrix: what goes wrong, when, and what it must end as.

A test says which rows it is the test of: `@row("F11")`. `docs/reference/fault-matrix.md` is made
from these and from the tests by `python -m tests.house.fault_matrix`.

Steps: S1 before commit 1, S2 committed and nothing outside, S3 role written, S5a the credential's
read is in flight, S5b it exists and its answer was not read, S5c read and not recorded, S6 recorded
and not answered, S7 answered; R1 an ending is recorded, R2 it is in flight, R3 done and not
recorded; N1 a renewal is recorded, N2 done and not answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest


def row(*ids: str) -> pytest.MarkDecorator:
    """The test is the test of these rows (F01 to F45) or invariants (I1 to I20)."""
    return pytest.mark.row(*ids)


@dataclass(frozen=True)
class Row:
    """One fault: what happens, at which step, and what all of it must end as."""

    fault: str
    at: str
    ends: str


ROWS: Mapping[str, Row] = {
    "F01": Row("broker killed", "S1", "nothing"),
    "F02": Row("broker killed", "S2", "ended, `never_existed`, after the second tap"),
    "F03": Row("broker killed", "S3", "ended; the role nobody read is gone at OpenBao"),
    "F04": Row("broker killed", "S5c", "ended, `verified`, by two taps; the role is gone"),
    "F05": Row("broker killed", "S6", "active and undelivered; the same key redelivers, old one dead"),
    "F06": Row("broker killed", "R1 R2 R3", "ended, `verified`, by another replica"),
    "F07": Row("broker killed", "N1 N2", "the recorded end is late, never early"),
    "F08": Row("broker stopped, then resumed", "S5c", "its commit finds it overtaken; withheld"),
    "F09": Row("client hangs up", "S2 to S6", "the mint runs to its end; a lease like any other"),
    "F10": Row("Postgres down", "S1", "`store_unavailable`, nothing minted"),
    "F11": Row("Postgres dies", "S5c", "withheld; the row that remembers ends it"),
    "F12": Row("answer to a COMMIT lost", "S1 S5c", "unknown, and never handed out on a guess"),
    "F13": Row("Postgres's disk full", "any commit", "nothing unrecorded; all ends when there is room"),
    "F14": Row("Postgres slow at each commit", "all", "given up past its deadline; the pool recovers"),
    "F15": Row("history not writable", "S1", "refused, nothing alive; what was ending ends"),
    "F16": Row("OpenBao down", "S2 S3 R2", "`minter_unavailable`; ended when it is back"),
    "F17": Row("OpenBao killed", "S5a", "a role without lease is found and dropped"),
    "F18": Row("OpenBao answers 500 after the effect", "S5b R2", "unknown: two taps"),
    "F19": Row("answer of OpenBao lost", "S3 S5b R2", "unknown: two taps; endings repeated"),
    "F20": Row("OpenBao hangs", "S5a R2", "the mint is not cancelled; requests are shed"),
    "F21": Row("OpenBao sealed", "S2 R2", "`minter_unavailable`; ended at the unseal"),
    "F22": Row("OpenBao restored from an older copy", "idle", "a report; nothing ended in the mass"),
    "F23": Row("OpenBao's disk full", "S3 R2", "unknown: two taps; endings wait"),
    "F24": Row("prefix revoked and role deleted", "S5a", "the second tap removes what the read made"),
    "F25": Row("our own token revoked", "any", "unready, nothing issued; endings use another token"),
    "F26": Row("target down", "R2", "tried for ever; gone soon after its return"),
    "F27": Row("target hangs", "R2", "healthy targets are not slowed"),
    "F28": Row("the role owns an object", "R2", "`stuck` with the reason; refused; others end"),
    "F29": Row("session open", "R2", "the session drops"),
    "F30": Row("ending fails for ever", "R2", "`stuck`, alarmed, retried, never lost"),
    "F31": Row("broker's clock wrong by an hour, or jumping", "all", "no effect on any end"),
    "F32": Row("Postgres's clock wrong by an hour", "all", "unready; nothing lives longer"),
    "F33": Row("target's clock behind", "idle", "ended by us at its time all the same"),
    "F34": Row("many sweepers", "R1", "each ended once, none lost"),
    "F35": Row("renew, revoke, task end and kill at once", "S7", "ended; no resurrection"),
    "F36": Row("kill among 200 issues at once", "S1 to S7", "none active, none handed out after it"),
    "F37": Row("broker cut off from OpenBao", "S7", "issue stops; the target's own bound holds"),
    "F38": Row("broker cut off from Postgres", "S7", "it stops acting: no authority is cached"),
    "F39": Row("connections half open", "all", "every wait has a bound; the pool recovers"),
    "F40": Row("an older version beside a newer schema", "all", "unknown states are left alone"),
    "F41": Row("a long snapshot held", "all", "claims stay fast"),
    "F42": Row("history edited by a superuser", "idle", "the verifier names the range"),
    "F43": Row("back end grants longer than asked", "S5c", "withheld and ended"),
    "F44": Row("AWS session ended early", "S7", "denied, `still_valid_until` told, re-asserted"),
    "F45": Row("a burst of requests", "S1", "shed before the mint; ceilings hold"),
}

NOT_RUN: Mapping[str, str] = {
    "F23": "not written yet",
    "F41": "at scale only: 32,000 endings under one snapshot made claims three times slower",
    "F42": "history is not sealed yet, so no verifier could name an edited range",
}
"""Rows that no test runs, and why. A row has either a test or a line here."""
