"""Rules from reviewed files: what a push would change, and a push, in force or proposed.

A job says what its files say and which version it saw. Everything is read, checked and tested
here again. A version comes into force at once only where the trust rule says so; otherwise an
operator accepts it (`flows.decide_rules`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from valetkey.core.decision import Decision
from valetkey.core.errors import ChangedMeanwhile, InvalidRequest, WrongDoor
from valetkey.core.facts import FactKind
from valetkey.core.principal import Caller
from valetkey.core.proposal import ProposalState
from valetkey.core.rules import (
    PARTS,
    Activation,
    Cause,
    RuleChange,
    RulesProposal,
    RulesVersion,
    check_files,
    folder_of,
    rolled_back_from,
    version_digest,
    with_parts,
)
from valetkey.core.trust import TrustRule
from valetkey.flows.rules_in_force import (
    LOOKED_BACK,
    InForce,
    Step,
    differences,
    in_force,
    leases_losing_scope,
    must_be_proven,
    proposal_fact,
    put_in_force,
    readable,
    rulebook_of,
)
from valetkey.ports import Broker, CheckedRules, Transaction

REPLAYED = 200
MOST_VERDICTS = 50
UNKNOWN = "unknown_scope"


@dataclass(frozen=True, order=True)
class Verdict:
    """Asks of one kind that would be answered otherwise, and how many of those replayed."""

    ask: str
    was: str
    becomes: str
    count: int


@dataclass(frozen=True)
class RulesPlan:
    """What a push would do; `digest` is what is in force, `version` what was pushed.

    `unproven` are targets that keep it from coming into force now, `leases` counts those of scopes
    that would be gone, `verdicts` are told of the `replayed` newest decisions. `proposal` waits for
    just this already, or was refused.
    """

    digest: str
    version: str
    changes: tuple[RuleChange, ...] = ()
    unproven: tuple[tuple[str, str], ...] = ()
    leases: Mapping[str, int] | None = None
    replayed: int = 0
    verdicts: tuple[Verdict, ...] = ()
    proposal: RulesProposal | None = None
    waits: bool = False


@dataclass(frozen=True)
class Pushed:
    """What came of a push: in force, waiting as a proposal, or (neither) nothing to do."""

    version: str
    activation: Activation | None = None
    proposal: RulesProposal | None = None


def plan_rules(
    broker: Broker, caller: Caller, rule: TrustRule | None, files: Mapping[str, str]
) -> RulesPlan:
    """What a push would change, and everything that stands against it; nothing is written.

    Raises WrongDoor, OutsideTrustRule, InvalidRequest, RulesFromFiles, NotReady, RulesInvalid, and
    what the gate raises when a back end cannot be asked.
    """
    rule, book = _allowed(rule, files), rulebook_of(broker)
    with broker.store.transaction() as tx:
        now, recorded = in_force(tx), tx.recent_inputs(REPLAYED)
        proposal, waits = tx.open_rules_proposal(rule.name), _waits(tx, rule, now, files)
    whole = with_parts(now.version.files, files)
    digest = version_digest(whole)
    if digest == now.version.digest:
        return RulesPlan(digest, digest)
    was, becomes = readable(book, now.version), book.read(whole)
    changes = differences(was, becomes)
    gone = Step(now.version, Cause.APPLIED, "", changes=changes).scopes_gone
    with broker.store.transaction() as tx:
        leases = leases_losing_scope(tx, gone)
    return RulesPlan(
        digest=now.version.digest,
        version=digest,
        changes=changes,
        unproven=tuple(book.unproven(becomes)),
        leases=leases,
        replayed=len(recorded),
        verdicts=_verdicts(was, becomes, recorded) if was else (),
        proposal=proposal if proposal and _stands(proposal, digest, now) else None,
        waits=waits,
    )


def push_rules(
    broker: Broker, caller: Caller, rule: TrustRule | None, files: Mapping[str, str], seen: str
) -> Pushed:
    """Put a version in force, or propose it; `seen` is the digest that the plan was made for.

    Raises what `plan_rules` does, ChangedMeanwhile, and RulesNotProven when it may not come into
    force yet. The same again finds nothing to do.
    """
    rule, book = _allowed(rule, files), rulebook_of(broker)
    by = str(caller.principal)
    with broker.store.transaction() as tx:
        now = in_force(tx)
        waits = _waits(tx, rule, now, files)
    whole = with_parts(now.version.files, files)
    digest = version_digest(whole)
    if digest == now.version.digest:
        with broker.store.transaction() as tx:
            tx.hold_rules()
            _overtake(tx, rule, by)
        return Pushed(digest)
    if seen != now.version.digest:
        raise ChangedMeanwhile("other rules are in force than the plan was made for")
    becomes = book.read(whole)
    if not waits:
        must_be_proven(book, becomes)
    changes = differences(readable(book, now.version), becomes)
    with broker.store.transaction() as tx:
        tx.hold_rules()
        version = RulesVersion(digest, whole, *becomes.version, by, rule.name, tx.now())
        if waits:
            return Pushed(digest, proposal=_propose(broker, tx, rule, version, now))
        step = Step(version, Cause.APPLIED, by, changes=changes)
        made = put_in_force(tx, step, now.activation.number)
        _overtake(tx, rule, by)
    book.follow()
    return Pushed(digest, activation=made)


def _allowed(rule: TrustRule | None, files: Mapping[str, str]) -> TrustRule:
    if rule is None:
        raise WrongDoor("rules are pushed by CI, under a trust rule")
    check_files(files)
    if not files:
        raise InvalidRequest("files: none are given")
    for part in PARTS:
        if part in {folder_of(name) for name in files}:
            rule.admits(part)
    return rule


def _waits(tx: Transaction, rule: TrustRule, now: InForce, files: Mapping[str, str]) -> bool:
    """Whether a person must accept it: unless the rule says otherwise, and after a way back."""
    digest = version_digest(with_parts(now.version.files, files))
    return not rule.activate or rolled_back_from(tx.activations(LOOKED_BACK), digest)


def _propose(
    broker: Broker, tx: Transaction, rule: TrustRule, version: RulesVersion, now: InForce
) -> RulesProposal:
    """The proposal that asks for it already, or a new one in the place of the rule's last."""
    if in_force(tx).activation.number != now.activation.number:
        raise ChangedMeanwhile("other rules came into force meanwhile; nothing was changed")
    earlier, by = tx.open_rules_proposal(rule.name), version.pushed_by
    if earlier is not None and _stands(earlier, version.digest, now):
        return earlier
    _overtake(tx, rule, by)
    tx.add_rules_version(version)
    name = broker.new_id("proposal")
    base = now.version.digest
    made = RulesProposal(name, version.digest, base, rule.name, by, tx.now())
    tx.add_rules_proposal(made)
    tx.record(proposal_fact(FactKind.RULES_PROPOSED, made, by))
    return made


def _stands(earlier: RulesProposal, digest: str, now: InForce) -> bool:
    """A refusal of the same stands; what waits was shown for just what is in force."""
    unmoved = earlier.state is ProposalState.REFUSED or earlier.base == now.version.digest
    return earlier.digest == digest and unmoved


def _overtake(tx: Transaction, rule: TrustRule, by: str) -> None:
    """What the rule's jobs wanted before, they want no more."""
    earlier = tx.open_rules_proposal(rule.name)
    if earlier is None:
        return
    tx.save_rules_proposal(earlier.decided(ProposalState.SUPERSEDED, by, tx.now()))
    tx.record(proposal_fact(FactKind.RULES_OVERTAKEN, earlier, by))
    tx.forget_rules_version(earlier.digest)


def _verdicts(
    was: CheckedRules, becomes: CheckedRules, recorded: Sequence[Mapping[str, object]]
) -> tuple[Verdict, ...]:
    """How the recorded asks would be answered otherwise than now; the most frequent first."""
    found: Counter[tuple[str, str, str]] = Counter()
    for asked in recorded:
        before, after = _said(was.again(asked)), _said(becomes.again(asked))
        if before != after:
            found[_ask(asked), before, after] += 1
    told = [Verdict(*key, count) for key, count in found.items()]
    return tuple(sorted(told, key=lambda one: (-one.count, one)))[:MOST_VERDICTS]


def _said(decision: Decision | None) -> str:
    """An answer as one word, with what it needs and the longest time."""
    if decision is None:
        return UNKNOWN
    needs = "".join(f" {count} of {group}" for group, count in decision.needs)
    limit = decision.max_ttl
    longest = f" for at most {int(limit.total_seconds())} s" if limit else ""
    return f"{decision.outcome.value}{needs}{longest}"


def _ask(recorded: Mapping[str, object]) -> str:
    """What was asked for, without who asked."""
    action = recorded.get("action")
    return str(action.get("id", "")) if isinstance(action, Mapping) else ""
