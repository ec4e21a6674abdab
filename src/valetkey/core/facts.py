"""Facts: the entries of history, past tense, written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class FactKind(StrEnum):
    """Everything that can have happened."""

    INSTALLATION_CLAIMED = "InstallationClaimed"
    AGENT_REGISTERED = "AgentRegistered"
    AGENT_CHANGED = "AgentChanged"
    AGENT_ACCEPTED = "AgentAccepted"
    AGENT_DISABLED = "AgentDisabled"
    AGENT_BOUND = "AgentBound"
    AGENT_UNBOUND = "AgentUnbound"
    CHANGE_PROPOSED = "ChangeProposed"
    CHANGE_ACCEPTED = "ChangeAccepted"
    CHANGE_REFUSED = "ChangeRefused"
    CHANGE_SUPERSEDED = "ChangeSuperseded"
    TOKEN_EXCHANGED = "TokenExchanged"  # noqa: S105 - the name of a fact
    TOKEN_REVOKED = "TokenRevoked"  # noqa: S105 - the name of a fact
    IDENTITY_SEEN_TWICE = "IdentitySeenTwice"
    KNOCKED = "Knocked"
    REQUEST_REFUSED = "RequestRefused"
    DELEGATION_GIVEN = "DelegationGiven"
    DELEGATION_WITHDRAWN = "DelegationWithdrawn"
    TASK_STARTED = "TaskStarted"
    TASK_TAKEN = "TaskTaken"
    TASK_DENIED = "TaskDenied"
    TASK_ENDED = "TaskEnded"
    ASK_ALLOWED = "AskAllowed"
    ASK_DENIED = "AskDenied"
    ASK_WAITING = "AskWaiting"
    KEY_FORGOTTEN = "KeyForgotten"
    GRANT_APPROVED = "GrantApproved"
    GRANT_DENIED = "GrantDenied"
    GRANT_WITHDRAWN = "GrantWithdrawn"
    GRANT_TIMED_OUT = "GrantTimedOut"
    GRANT_VOIDED = "GrantVoided"
    GRANT_COLLECTED = "GrantCollected"
    LEASE_WRITTEN = "LeaseWritten"
    LEASE_MINTED = "LeaseMinted"
    LEASE_WITHHELD = "LeaseWithheld"
    MINT_FAILED = "MintFailed"
    LEASE_RENEWING = "LeaseRenewing"
    LEASE_RENEWED = "LeaseRenewed"
    RENEWAL_FAILED = "RenewalFailed"
    LEASE_ACKNOWLEDGED = "LeaseAcknowledged"
    SEALED_FETCHED = "SealedFetched"
    LEASE_ENDING = "LeaseEnding"
    LEASE_TAPPED = "LeaseTapped"
    LEASE_END_FAILED = "LeaseEndFailed"
    LEASE_STUCK = "LeaseStuck"
    LEASE_STILL_VALID = "LeaseStillValid"
    LEASE_DENIED = "LeaseDenied"
    DENIAL_LAPSED = "DenialLapsed"
    LEASE_ENDED = "LeaseEnded"
    LEASE_REAPPEARED = "LeaseReappeared"
    LEASE_VANISHED = "LeaseVanished"
    LEASE_ADOPTED = "LeaseAdopted"
    LEASE_TAKEN_AWAY = "LeaseTakenAway"
    LEASE_WRITTEN_OFF = "LeaseWrittenOff"
    FOREIGN_MARK_SEEN = "ForeignMarkSeen"
    RECONCILE_HELD = "ReconcileHeld"
    RECONCILE_ORDERED = "ReconcileOrdered"
    EPOCH_BEGUN = "EpochBegun"
    KILL_DRILLED = "KillDrilled"
    KILL_ORDERED = "KillOrdered"
    KILL_RELEASED = "KillReleased"
    LEAK_REPORTED = "LeakReported"
    TARGET_PROBED = "TargetProbed"
    CATALOGUE_ACTIVATED = "CatalogueActivated"
    RULES_REFUSED = "RulesRefused"
    SIGNING_KEY_TAKEN = "SigningKeyTaken"
    SIGNING_KEYS_REFUSED = "SigningKeysRefused"
    RULES_ACTIVATED = "RulesActivated"
    RULES_PROPOSED = "RulesProposed"
    RULES_DECLINED = "RulesDeclined"
    RULES_OVERTAKEN = "RulesOvertaken"


@dataclass(frozen=True)
class Fact:
    """One fact. `by` is who did it (`issuer subject`, or the name of our own clock).

    `body` holds plain JSON values and never a secret; texts that callers wrote stand under keys
    that begin with `untrusted_`.
    """

    kind: FactKind
    by: str
    outcome: str = "done"
    agent_id: str | None = None
    owner: str | None = None
    task_id: str | None = None
    grant_id: str | None = None
    lease_id: str | None = None
    target: str | None = None
    decision_id: str | None = None
    body: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedFact:
    """A fact as history holds it: with its number and the database's time."""

    number: int
    at: datetime
    fact: Fact


@dataclass(frozen=True)
class HistoryQuery:
    """What to look for in history; empty fields match all. Pages go back from `before`."""

    agent_id: str | None = None
    owner: str | None = None
    task_id: str | None = None
    grant_id: str | None = None
    lease_id: str | None = None
    target: str | None = None
    outcome: str | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 100
