"""Queries over versions of the rules, their activations and proposals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb
from sqlalchemy import bindparam, or_, select

from valetkey.core.proposal import OPEN, ProposalState
from valetkey.core.rules import Activation, Cause, RulesProposal, RulesVersion
from valetkey.core.words import read_word
from valetkey.store.session import RULES, Session, by_id
from valetkey.store.tables import decisions, rules_activations, rules_proposals, rules_versions

NEWEST = 200
_LIVE = """
SELECT split_part(scope, '{', 1), count(*) FROM leases
WHERE state <> 'ended' AND target = ANY(%(targets)s) GROUP BY 1
"""
_ADD = """
INSERT INTO rules_versions
    (digest, files, catalogue_digest, policy_hash, pushed_by, rule, pushed_at)
VALUES (%(digest)s, %(files)s, %(catalogue_digest)s, %(policy_hash)s, %(pushed_by)s, %(rule)s,
    %(pushed_at)s)
ON CONFLICT DO NOTHING
"""
_FORGET = """
DELETE FROM rules_versions WHERE digest = %(digest)s
    AND NOT EXISTS (SELECT FROM rules_activations x WHERE x.digest = %(digest)s)
    AND NOT EXISTS (SELECT FROM rules_proposals x
        WHERE x.digest = %(digest)s AND x.state IN ('refused', 'waiting'))
"""


class KeptRules(Session):
    """Which rules there are, and which are in force."""

    def hold_rules(self) -> None:
        """Wait for whoever changes them now."""
        self._run(tuple_row, "SELECT pg_advisory_xact_lock(%(rules)s)", {"rules": RULES})

    def rules_version(self, digest: str) -> RulesVersion | None:
        """One version."""
        row = self._one(_VERSION, {"digest": digest})
        return RulesVersion(**row) if row else None

    def add_rules_version(self, version: RulesVersion) -> None:
        """Keep it, unless it is kept."""
        self._run(tuple_row, _ADD, {**vars(version), "files": Jsonb(dict(version.files))})

    def forget_rules_version(self, digest: str) -> None:
        """Drop it, if nothing needs it."""
        self._run(tuple_row, _FORGET, {"digest": digest})

    def activations(self, limit: int) -> Sequence[Activation]:
        """The newest."""
        newest = select(rules_activations).order_by(rules_activations.c.number.desc())
        rows = self._many(newest.limit(limit))
        return [Activation(**{**x, "cause": read_word(Cause, x["cause"])}) for x in rows]

    def add_activation(self, activation: Activation) -> None:
        """Add to the list."""
        row = {**vars(activation), "cause": activation.cause.value}
        self._insert(rules_activations, row)

    def rules_proposal(self, proposal_id: str) -> RulesProposal | None:
        """One proposal."""
        row = self._one(by_id(rules_proposals), {"id": proposal_id})
        return _proposal(row) if row else None

    def open_rules_proposal(self, rule: str) -> RulesProposal | None:
        """The one of a rule that a person may accept."""
        row = self._one(_OPEN, {"of": rule})
        return _proposal(row) if row else None

    def rules_proposals(self) -> Sequence[RulesProposal]:
        """The newest."""
        newest = select(rules_proposals).order_by(rules_proposals.c.id.desc()).limit(NEWEST)
        return [_proposal(row) for row in self._many(newest)]

    def add_rules_proposal(self, proposal: RulesProposal) -> None:
        """Write a new one."""
        self._insert(rules_proposals, _row(proposal))

    def save_rules_proposal(self, proposal: RulesProposal) -> None:
        """Write it as it is now."""
        self._update(rules_proposals, _row(proposal))

    def live_at(self, targets: Collection[str]) -> Mapping[str, int]:
        """How many leases of each scope have not ended."""
        return dict(self._run(tuple_row, _LIVE, {"targets": list(targets)}).fetchall())

    def recent_inputs(self, limit: int) -> Sequence[Mapping[str, object]]:
        """What the newest decisions were made on."""
        newest = select(decisions.c.recorded_input).order_by(decisions.c.id.desc()).limit(limit)
        return [row["recorded_input"] for row in self._many(newest)]


def _row(proposal: RulesProposal) -> dict[str, Any]:
    return {**vars(proposal), "state": proposal.state.value}


def _proposal(row: Mapping[str, Any]) -> RulesProposal:
    return RulesProposal(**{**row, "state": read_word(ProposalState, row["state"])})


_VERSION = select(rules_versions).where(rules_versions.c.digest == bindparam("digest"))
_OPEN = select(rules_proposals).where(
    rules_proposals.c.rule == bindparam("of"),
    or_(*(rules_proposals.c.state == state.value for state in sorted(OPEN))),
)
