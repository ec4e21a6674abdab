"""People decide on versions of the rules: begin, accept, refuse, go back to an earlier one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from valetkey.core.errors import (
    AlreadyDecided,
    ApprovalVoid,
    InvalidRequest,
    NotFound,
    OutsideTrustRule,
    RoleRequired,
)
from valetkey.core.facts import FactKind
from valetkey.core.principal import Caller
from valetkey.core.proposal import OPEN, ProposalState
from valetkey.core.rules import (
    PARTS,
    Activation,
    Cause,
    RulesProposal,
    RulesVersion,
    changed_parts,
    check_files,
    version_digest,
)
from valetkey.core.trust import TrustRule
from valetkey.flows.fresh import logged_in_for
from valetkey.flows.look import SEES_ALL
from valetkey.flows.rules_in_force import (
    InForce,
    Step,
    differences,
    in_force,
    must_be_proven,
    proposal_fact,
    put_in_force,
    readable,
    rulebook_of,
    was_in_force,
)
from valetkey.ports import Broker, Transaction

SHOWN = 100


@dataclass(frozen=True)
class RulesSeen:
    """What is in force and was, newest first; what is proposed; and what this replica serves."""

    activations: Sequence[Activation]
    proposals: Sequence[RulesProposal]
    serves: int | None


@dataclass(frozen=True)
class VersionSeen:
    """A version, and what a login must be made for to go back to it (None: it is in force)."""

    version: RulesVersion
    fresh_for: str | None


def look_at_rules(broker: Broker, caller: Caller, rule: TrustRule | None) -> RulesSeen:
    """The list of activations and the proposals: for operators, auditors, and jobs that push.

    Raises RoleRequired, RulesFromFiles.
    """
    book = rulebook_of(broker)
    _may_look(caller, rule)
    with broker.store.transaction() as tx:
        listed = tx.rules_proposals()
        own = [x for x in listed if rule is None or x.rule == rule.name]
        return RulesSeen(tx.activations(SHOWN), own[:SHOWN], book.serves())


def look_at_version(broker: Broker, caller: Caller, digest: str) -> VersionSeen:
    """One version, with its files. Raises RoleRequired, RulesFromFiles, NotFound."""
    rulebook_of(broker)
    _may_look(caller, None)
    with broker.store.transaction() as tx:
        version, now = tx.rules_version(digest), in_force(tx)
    if version is None:
        raise NotFound()
    same = digest == now.version.digest
    return VersionSeen(version, None if same else fresh_for_return(digest, now))


def begin_rules(broker: Broker, files: Mapping[str, str], by: str, reason: str) -> Activation:
    """The first version, from the operator's own files.

    Raises RulesFromFiles, InvalidRequest when there is one already, RulesInvalid, RulesNotProven.
    """
    book = rulebook_of(broker)
    check_files(files)
    becomes = book.read(files)
    must_be_proven(book, becomes)
    with broker.store.transaction() as tx:
        tx.hold_rules()
        if tx.activations(1):
            raise InvalidRequest("rules are in force already; `valetkey apply` changes them")
        version = RulesVersion(version_digest(files), files, *becomes.version, by, None, tx.now())
        made = put_in_force(tx, Step(version, Cause.BEGUN, by, reason), 0)
    book.follow()
    return made


def accept_rules(
    broker: Broker,
    caller: Caller,
    rules: Mapping[str, TrustRule],
    proposal_id: str,
    shown_hash: str,
) -> Activation:
    """An operator says yes to exactly what was shown; it is in force then.

    Raises NotFound, RoleRequired, FreshLoginRequired, AlreadyDecided, ApprovalVoid when the hash
    or what is in force is another, OutsideTrustRule, RulesInvalid, RulesNotProven.
    """
    book, by = rulebook_of(broker), str(caller.principal)
    with broker.store.transaction() as tx:
        found = _open(tx, caller, proposal_id)
        logged_in_for(broker, tx, caller, fresh_for_yes(found))
        now, version = in_force(tx), tx.rules_version(found.digest)
    if version is None or shown_hash != found.shown_hash or found.base != now.version.digest:
        raise ApprovalVoid("what you saw is not what would come into force now")
    _still_allowed(rules.get(found.rule), now, version)
    becomes = book.read(version.files)
    must_be_proven(book, becomes)
    changes = differences(readable(book, now.version), becomes)
    step = Step(version, Cause.ACCEPTED, by, changes=changes)
    with broker.store.transaction() as tx:
        tx.hold_rules()
        found = _open(tx, caller, proposal_id)
        made = put_in_force(tx, step, now.activation.number)
        tx.save_rules_proposal(found.decided(ProposalState.ACCEPTED, by, tx.now()))
    book.follow()
    return made


def refuse_rules(broker: Broker, caller: Caller, proposal_id: str) -> RulesProposal:
    """An operator says no; a cached session may, and may think better of it later.

    Raises NotFound, RoleRequired, AlreadyDecided, RulesFromFiles.
    """
    rulebook_of(broker)
    with broker.store.transaction() as tx:
        tx.hold_rules()
        found = _open(tx, caller, proposal_id)
        if found.state is ProposalState.REFUSED:
            return found
        by = str(caller.principal)
        refused = found.decided(ProposalState.REFUSED, by, tx.now())
        tx.save_rules_proposal(refused)
        tx.record(proposal_fact(FactKind.RULES_DECLINED, refused, by))
        return refused


def roll_back(broker: Broker, caller: Caller, digest: str, reason: str) -> Activation:
    """An operator puts a version that was in force before in force again, as today's gate allows.

    Raises RoleRequired, NotFound for one that never was, InvalidRequest for the one that is,
    FreshLoginRequired, RulesInvalid, RulesNotProven, ChangedMeanwhile.
    """
    book, by = rulebook_of(broker), str(caller.principal)
    _decides(caller)
    with broker.store.transaction() as tx:
        now, version = in_force(tx), tx.rules_version(digest)
        if version is None or not was_in_force(tx, digest):
            raise NotFound()
        if digest == now.version.digest:
            raise InvalidRequest("this version is in force")
        logged_in_for(broker, tx, caller, fresh_for_return(digest, now))
    becomes = book.read(version.files)
    must_be_proven(book, becomes)
    changes = differences(readable(book, now.version), becomes)
    step = Step(version, Cause.ROLLED_BACK, by, reason, changes)
    with broker.store.transaction() as tx:
        tx.hold_rules()
        made = put_in_force(tx, step, now.activation.number)
    book.follow()
    return made


def fresh_for_yes(found: RulesProposal) -> str:
    """What a login must have been made for, to accept it."""
    return f"rules:{found.id}:{found.shown_hash}"


def fresh_for_return(digest: str, now: InForce) -> str:
    """The same, to go back to a version from what is in force now."""
    return f"rules:{now.activation.number}:{digest}"


def _may_look(caller: Caller, rule: TrustRule | None) -> None:
    pushes = rule is not None and not rule.may_apply.isdisjoint(PARTS)
    if not (pushes or caller.roles & SEES_ALL):
        raise RoleRequired("operators, auditors and jobs that push rules see them")


def _decides(caller: Caller) -> None:
    if "operator" not in caller.roles:
        raise RoleRequired("an operator decides on rules")


def _open(tx: Transaction, caller: Caller, proposal_id: str) -> RulesProposal:
    """A proposal that may be decided."""
    found = tx.rules_proposal(proposal_id)
    if found is None or not caller.roles & SEES_ALL:
        raise NotFound()
    _decides(caller)
    if found.state not in OPEN:
        raise AlreadyDecided()
    return found


def _still_allowed(rule: TrustRule | None, now: InForce, version: RulesVersion) -> None:
    """Raise OutsideTrustRule when the rule of today does not bring these parts any more."""
    if rule is None:
        raise OutsideTrustRule("the trust rule that this was proposed under is gone")
    changed = changed_parts(now.version.files, version.files)
    for part in PARTS:
        if part in changed:
            rule.admits(part)
