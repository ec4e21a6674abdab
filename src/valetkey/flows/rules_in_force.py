"""Putting a version of the rules in force: what is read of it first, and the one way to do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from valetkey.core.errors import (
    ChangedMeanwhile,
    NotReady,
    RulesFromFiles,
    RulesInvalid,
    RulesNotProven,
)
from valetkey.core.facts import Fact, FactKind
from valetkey.core.proposal import ProposalState
from valetkey.core.rules import (
    Activation,
    Cause,
    RuleChange,
    RulesProposal,
    RulesVersion,
    rule_changes,
)
from valetkey.ports import Broker, CheckedRules, Rulebook, Transaction

SCOPE = "scope "
LOOKED_BACK = 1000
MOST_TOLD = 200


@dataclass(frozen=True)
class InForce:
    """The newest activation and its version."""

    activation: Activation
    version: RulesVersion


@dataclass(frozen=True)
class Step:
    """From one version to another: the version, why, and what would be different."""

    version: RulesVersion
    cause: Cause
    by: str
    reason: str = ""
    changes: tuple[RuleChange, ...] = ()

    @property
    def scopes_gone(self) -> tuple[str, ...]:
        """The scopes that nobody can ask for any more."""
        gone = (x.part for x in self.changes if x.what == "removed" and x.part.startswith(SCOPE))
        return tuple(part.removeprefix(SCOPE) for part in gone)


def rulebook_of(broker: Broker) -> Rulebook:
    """Who reads versions of the rules. Raises RulesFromFiles where there are none."""
    if broker.rulebook is None:
        raise RulesFromFiles()
    return broker.rulebook


def in_force(tx: Transaction) -> InForce:
    """What is in force. Raises NotReady before anything was."""
    newest = next(iter(tx.activations(1)), None)
    version = tx.rules_version(newest.digest) if newest else None
    if newest is None or version is None:
        raise NotReady("no rules were ever put in force: an operator runs `valetkey rules init`")
    return InForce(newest, version)


def was_in_force(tx: Transaction, digest: str) -> bool:
    """Whether a version is on the list of activations."""
    return any(one.digest == digest for one in tx.activations(LOOKED_BACK))


def readable(book: Rulebook, version: RulesVersion) -> CheckedRules | None:
    """A version as it is, untested; None for one that a newer broker cannot read any more."""
    try:
        return book.read(version.files, tested=False)
    except RulesInvalid:
        return None


def differences(was: CheckedRules | None, becomes: CheckedRules) -> tuple[RuleChange, ...]:
    """What a version would change; all of it is new where the one before cannot be read."""
    return rule_changes(was.outline() if was else {}, becomes.outline())


def must_be_proven(book: Rulebook, rules: CheckedRules) -> None:
    """Raise RulesNotProven with every target that keeps it from coming into force."""
    missing = book.unproven(rules)
    if missing:
        told = [{"file": target, "line": 0, "message": why} for target, why in missing]
        first = f"{missing[0][0]}: {missing[0][1]}"
        raise RulesNotProven(f"{len(missing)} faults, the first: {first}", extra={"problems": told})


def leases_losing_scope(tx: Transaction, scopes: Sequence[str]) -> dict[str, int]:
    """How many leases live of scopes that would be gone; they end as they would have."""
    live = tx.live_at(sorted({scope.partition(":")[0] for scope in scopes}))
    return {scope: live[scope] for scope in sorted(scopes) if live.get(scope)}


def put_in_force(tx: Transaction, step: Step, seen: int) -> Activation:
    """Write a version as the one in force; the rules are held, and were looked at under `seen`.

    Raises ChangedMeanwhile when another came into force since that activation (0: none).
    """
    newest = next(iter(tx.activations(1)), None)
    if (newest.number if newest else 0) != seen:
        raise ChangedMeanwhile("other rules came into force meanwhile; nothing was changed")
    tx.add_rules_version(step.version)
    made = Activation(seen + 1, step.version.digest, step.cause, step.by, tx.now(), step.reason)
    tx.add_activation(made)
    body: dict[str, object] = {
        "version": made.digest,
        "number": made.number,
        "cause": made.cause.value,
        "before": newest.digest if newest else None,
        "catalogue_digest": step.version.catalogue_digest,
        "policy_hash": step.version.policy_hash,
        "changes": [f"{x.what} {x.part}" for x in step.changes[:MOST_TOLD]],
        "leases_losing_scope": leases_losing_scope(tx, step.scopes_gone),
        "untrusted_reason": made.reason,
    }
    tx.record(Fact(kind=FactKind.RULES_ACTIVATED, by=step.by, body=body))
    return made


def proposal_fact(kind: FactKind, found: RulesProposal, by: str) -> Fact:
    """What happened to a proposal of rules."""
    body = {"proposal": found.id, "version": found.digest, "base": found.base, "rule": found.rule}
    outcome = ProposalState.WAITING.value if kind is FactKind.RULES_PROPOSED else "done"
    return Fact(kind=kind, by=by, outcome=outcome, body={**body, "shown_hash": found.shown_hash})
