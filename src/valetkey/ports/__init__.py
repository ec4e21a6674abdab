"""What the flows need from outside, as small protocols, and the bundle that carries them.

Adapters never commit and never decide. Foreign exceptions never cross a port: each adapter maps
them to `valetkey.core.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from valetkey.core.admission import Ceilings, Rate
from valetkey.core.agent import Agent, Binding
from valetkey.core.comparison import Known
from valetkey.core.decision import Decision
from valetkey.core.delegation import Link
from valetkey.core.facts import Fact, HistoryQuery, RecordedFact
from valetkey.core.grant import Approval, Grant
from valetkey.core.ids import LeaseId
from valetkey.core.invariants import Rule, Terms
from valetkey.core.kill import Height, Kill, Reach
from valetkey.core.lease import Handle, Lease, Patience
from valetkey.core.on_behalf import Delegation
from valetkey.core.outside import Denied as Denied
from valetkey.core.outside import Ending as Ending
from valetkey.core.outside import Found as Found
from valetkey.core.outside import Gone as Gone
from valetkey.core.outside import Lapse as Lapse
from valetkey.core.outside import LivesUntil as LivesUntil
from valetkey.core.outside import Minted as Minted
from valetkey.core.outside import Presence as Presence
from valetkey.core.outside import Renewed as Renewed
from valetkey.core.pins import Platform
from valetkey.core.sealing import SealTo
from valetkey.core.secret import Secret
from valetkey.core.tally import Tallies
from valetkey.core.task import Task
from valetkey.ports.delegations import Delegations as Delegations
from valetkey.ports.minter import Minter as Minter
from valetkey.ports.outside import Clock as Clock
from valetkey.ports.outside import Deadline as Deadline
from valetkey.ports.outside import Lanes as Lanes
from valetkey.ports.outside import Notifier as Notifier
from valetkey.ports.outside import PolicyEngine as PolicyEngine
from valetkey.ports.outside import RuleSet as RuleSet
from valetkey.ports.outside import Trouble as Trouble
from valetkey.ports.outside import Witness as Witness
from valetkey.ports.proposals import Proposals as Proposals
from valetkey.ports.rules import CheckedRules as CheckedRules
from valetkey.ports.rules import Rulebook as Rulebook
from valetkey.ports.rules import RulesKept as RulesKept
from valetkey.ports.sealing import SealedAnswers as SealedAnswers
from valetkey.ports.uses import Uses as Uses


@dataclass(frozen=True)
class Standing:
    """A task held against ending meanwhile, its agent, and the kills in force over all of it.

    `above` are the tasks that it was opened under, from the root down; kills over any of them are
    among the kills. `delegation` is that of a root which acts for a person.
    """

    task: Task
    agent: Agent
    kills: tuple[Kill, ...]
    above: tuple[Link, ...] = ()
    delegation: Delegation | None = None

    @property
    def line(self) -> tuple[Link, ...]:
        """The tasks from the root down to this one."""
        return (*self.above, Link(self.task, self.agent, self.delegation))

    def holds(self, now: datetime) -> None:
        """Raise TaskEnded, DelegationEnded, AgentNotAccepted or AgentDisabled when it gives no
        authority now.

        That of everybody above must hold too. Kills are left to the caller.
        """
        for link in self.line:
            link.holds(now)


@dataclass(frozen=True)
class Mine:
    """Whose leases a replica ends: those of its own minters, and what nobody took for so long.

    A minter that it does not have may be a newer version's, or may be configured nowhere any more.
    With a `target` only what is of it.
    """

    minters: Collection[str]
    forsaken: timedelta
    target: str | None = None


class Duty(StrEnum):
    """What the clock does in every replica when something is due for it, in this order."""

    GRANTS = "time_out_grants"
    TASKS = "end_overdue_tasks"
    KILLS = "enforce_kills"
    LEASES = "sweep"


class Transaction(Proposals, SealedAnswers, Delegations, RulesKept, Protocol):
    """One unit of change. Leaving the block commits; an exception rolls back.

    Methods that take `lock` lock the row until the end. `save_lease` refuses (returns False) when
    the fence has moved since the lease was read; the saved lease has the next fence.
    """

    def now(self) -> datetime: ...
    def hold_barrier(self) -> None:
        """Take the kill barrier shared; must come before reading kills."""

    def close_barrier(self) -> None:
        """Take the kill barrier exclusive: no authority is being made while we hold it."""

    def kills_over(self, reach: Reach) -> Sequence[Kill]:
        """The kills in force that cover exactly this reach, at any height."""

    def kills_in_force(self) -> Sequence[Kill]: ...
    def kills_unfinished(self) -> Sequence[Kill]:
        """The kills in force under which something lives: a live lease, or the killed task."""

    def kill(self, kill_id: str) -> Kill | None: ...
    def has_subject(self, height: Height, subject: str) -> bool:
        """Whether anything of ours has this as its id, owner, vendor, issuer, scope or target."""

    def add_kill(self, kill: Kill) -> None: ...
    def save_kill(self, kill: Kill) -> None: ...

    def agent(self, agent_id: str, *, lock: bool = False) -> Agent | None: ...
    def agent_named(self, name: str) -> Agent | None: ...
    def agents(self) -> Sequence[Agent]: ...
    def add_agent(self, agent: Agent) -> bool:
        """False when the name is taken."""

    def save_agent(self, agent: Agent) -> None: ...
    def bindings(self, agent_id: str) -> Sequence[Binding]: ...
    def bindings_of_issuer(self, issuer: str) -> Sequence[Binding]: ...
    def add_binding(self, binding: Binding) -> bool:
        """False when the same identity is bound already."""

    def task(self, task_id: str, *, lock: bool = False, share: bool = False) -> Task | None: ...
    def standing(
        self, task_id: str, scope: str | None = None, lease_id: str | None = None
    ) -> Standing | None:
        """How a piece of authority stands now, in one look; hold the barrier before.

        `scope` is the text of what is asked for or held, if anything is.
        """

    def tasks(self, agent_id: str | None, owner: str | None) -> Sequence[Task]: ...
    def tasks_overdue(self, limit: int) -> Sequence[Task]:
        """Open tasks past their deadline, fallen silent or left by their parent, locked.

        Those locked by others are left out.
        """

    def tasks_below(self, task_id: str) -> Sequence[Task]:
        """Every task that was opened under this one, at any depth, oldest first."""

    def open_tasks_of(self, agent_id: str) -> Sequence[Task]:
        """The open tasks of an agent, oldest first."""

    def opened_by(self, agent_id: str, most: int) -> int:
        """How many open tasks an agent opened, for itself or another one; counted up to `most`.

        Whoever else counts them waits until this transaction ends.
        """

    def spend(self, task_ids: Sequence[str]) -> bool:
        """Count one credential against each of these tasks that has a limit.

        False, with nothing counted, when one of them has none left.
        """

    def add_task(self, task: Task) -> None: ...
    def save_task(self, task: Task) -> None: ...

    def record_decision(self, decision_id: str, decision: Decision) -> None: ...
    def decision(self, decision_id: str) -> Mapping[str, object] | None: ...

    def grant(self, grant_id: str, *, lock: bool = False) -> Grant | None: ...
    def grant_by_key(self, task_id: str, idempotency_key: str) -> Grant | None:
        """The grant of this key, locked; concurrent askers of one key wait for each other."""

    def grants(self, state: str | None, task_id: str | None) -> Sequence[Grant]: ...
    def grants_overdue(self, state: str, now: datetime) -> Sequence[Grant]:
        """Grants of that state that waited too long, locked, skipping those locked by others."""

    def add_grant(self, grant: Grant) -> None: ...
    def save_grant(self, grant: Grant) -> None: ...
    def add_approval(self, approval: Approval) -> None: ...
    def approvals(self, grant_id: str) -> Sequence[Approval]: ...

    def lease(self, lease_id: str, *, lock: bool = False) -> Lease | None: ...
    def add_lease(self, lease: Lease) -> None: ...
    def save_lease(self, lease: Lease) -> bool: ...
    def leases_of_task(self, task_id: str) -> Sequence[Lease]: ...
    def leases_of_grant(self, grant_id: str) -> Sequence[Lease]: ...
    def leases(
        self, state: str | None, agent_id: str | None, owner: str | None
    ) -> Sequence[Lease]: ...
    def leases_of_secret(self, prints: Sequence[str]) -> Sequence[Lease]:
        """The leases, ended ones too, of a secret with one of these fingerprints, oldest first."""

    def ceiling_reached(self, reach: Reach, ceilings: Ceilings) -> str | None:
        """The ceiling that one more lease there would go beyond: task, agent, target or all.

        None when there is room, which nobody else takes before this transaction ends.
        """

    def unended_at(self, place: str) -> Sequence[Lease]:
        """What has not ended of what its place may be told to refuse, locked, oldest first."""

    def unended_probes(self, target: str) -> Sequence[Lease]:
        """What has not ended of the broker's own probes of a target, oldest first."""

    def live_leases(self, kill: Kill, limit: int) -> Sequence[Lease]:
        """Minting or active leases that the kill covers, locked, oldest first."""

    def leases_under(self, kill: Kill) -> Sequence[Lease]:
        """All leases that a kill covers and that were not ended when it was ordered."""

    def claim_due(
        self,
        limit: int,
        claim: timedelta,
        only: Sequence[str],
        but_targets: Sequence[str],
        mine: Mine | None = None,
    ) -> Sequence[Lease]:
        """Claim due leases (of `only` these, if any are named) by pushing `due_at`.

        Raises the fence and counts a try; rows locked by others, leases of `but_targets`, those of
        minters that are not `mine`, and those in a state that only a newer version knows, are
        skipped.
        """

    def left_alone(self, minters: Collection[str], limit: int) -> Sequence[Lease]:
        """Unended leases of other minters than these, or in a state only a newer version knows."""

    def recent_ends(self, limit: int) -> Sequence[Lease]:
        """The leases that ended last, newest first."""

    def unended_leases(self) -> Sequence[Lease]: ...
    def installation(self) -> str:
        """The name and epoch of this database, as marks carry it."""

    def begin_epoch(self, least: int) -> str:
        """Raise the epoch by one, or to `least`; the new name. Only its owner's login may."""

    def hurry_tasks(self) -> int:
        """Make every open task due to end now; how many there are."""

    def tallies(self, name: str) -> Tallies: ...
    def save_tallies(self, name: str, tallies: Tallies) -> None: ...

    def unended_names(self, minter: str) -> Sequence[Known]:
        """What every lease of a minter that is not ended is called outside."""

    def names_of(self, lease_ids: Sequence[str]) -> Sequence[Known]:
        """The same of these leases, ended or not; of those that there are."""

    def broken(self, terms: Terms) -> Sequence[tuple[Rule, str]]:
        """Each rule that our own records break, with the id of what breaks it."""

    def revoke_token(self, token_id: str, until: datetime) -> bool:
        """Refuse the token with this `jti` from the commit until its end; False the next time."""

    def record(self, fact: Fact) -> None: ...
    def history(self, query: HistoryQuery) -> Sequence[RecordedFact]: ...

    def try_lead(self, duty: str) -> bool:
        """Be the only replica doing this duty until the transaction ends."""


class Store(Uses, Protocol):
    """Our own database."""

    def urgent(self) -> AbstractContextManager[None]:
        """What is done in the block, and started from it, does not wait behind what asks do."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin; raises StoreUnavailable when the database cannot be reached."""

    def due(self) -> frozenset[Duty]:
        """The duties that have something to do now, in one look; its own commit."""

    def used(self, slot: str) -> frozenset[str]:
        """The keys of a slot whose first use is still remembered; for slots of a few keys."""

    def admit(self, principal: str, rate: Rate) -> float | None:
        """Take one request from a principal's bucket, across replicas; its own commit.

        None when there was one, else the seconds until there is; nothing is taken then.
        """

    def now(self) -> datetime:
        """The database's time."""


@dataclass(frozen=True)
class Limits:
    """What may be asked at most, and how long people may think.

    Without `ceilings` there are none, without a `rate` nobody is too fast. A report of a leak is
    answered at a multiple of `leak_step`, so that the time it took tells nothing.
    `ends_at_once` is how many credentials of one target are ended at the same time (the width of
    its lane); only estimates are made of it. `deepest_task` is how many tasks may stand above one,
    `open_tasks` how many an agent may have opened that are open: ending them is one transaction.
    `issuer_rates` are of tokens given, by the issuer's name, to all its identities together.
    """

    longest_task: timedelta = timedelta(hours=8)
    longest_delegation: timedelta = timedelta(hours=12)
    approval_wait: timedelta = timedelta(minutes=15)
    redeliveries: int = 3
    answered_moments_ago: timedelta = timedelta(seconds=30)
    settle: timedelta = timedelta(seconds=5)
    fresh_login: timedelta = timedelta(minutes=5)
    ceilings: Ceilings | None = None
    rate: Rate | None = None
    leak_step: timedelta = timedelta(seconds=0.25)
    leak_ends_siblings: bool = False
    reconcile_share: float = 0.5
    reconcile_floor: int = 5
    missed_beats: int = 3
    ends_at_once: int = 8
    deepest_task: int = 3
    open_tasks: int = 500
    issuer_rates: Mapping[str, Rate] = field(default_factory=dict)


@dataclass(frozen=True)
class Broker:
    """Everything the flows work with, in one frozen bundle.

    Witnesses are found by their minter's name, platforms by their issuer's. `seal` makes the
    ciphertext of a credential that only this key opens, which names its lease. Without a
    `rulebook` the rules come from files.
    """

    store: Store
    minters: Mapping[str, Minter]
    rules: Callable[[], RuleSet]
    clock: Clock
    lanes: Lanes
    notifier: Notifier
    new_id: Callable[[str], str]
    fingerprint: Callable[[str], str]
    seal: Callable[[SealTo, LeaseId, Secret], str]
    jitter: Callable[[], float]
    installation: str
    witnesses: Mapping[str, Witness] = field(default_factory=dict)
    older_fingerprints: tuple[Callable[[str], str], ...] = ()
    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
    platforms: Mapping[str, Platform] = field(default_factory=dict)
    rulebook: Rulebook | None = None
    failpoint: Callable[[str], None] = lambda step: None

    def minter_of(self, handle: Handle) -> Minter:
        """The minter that knows this handle; raises KeyError for one that is not configured."""
        return self.minters[handle.minter]
