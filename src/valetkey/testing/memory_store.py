"""MemoryStore: the Store port in a dictionary; one transaction at a time, undone when it raises."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from valetkey.core.admission import Bucket, Ceilings, Rate, seconds_until_one
from valetkey.core.agent import Agent, Binding
from valetkey.core.comparison import Known
from valetkey.core.decision import Decision
from valetkey.core.facts import Fact, HistoryQuery, RecordedFact
from valetkey.core.grant import Approval, Grant
from valetkey.core.invariants import Rule, Terms
from valetkey.core.kill import Height, Kill, Reach, may_stop, stops
from valetkey.core.lease import LIVE, PROBE, UNENDED, Lease, LeaseState
from valetkey.ports import Duty, Mine
from valetkey.testing.memory_checkup import MemoryCheckup
from valetkey.testing.memory_delegations import MemoryDelegations
from valetkey.testing.memory_due import duties_due, is_of, is_unfinished
from valetkey.testing.memory_epochs import MemoryEpochs
from valetkey.testing.memory_proposals import MemoryProposals
from valetkey.testing.memory_readings import known, matches
from valetkey.testing.memory_rules import MemoryRules
from valetkey.testing.memory_sealed import MemorySealed
from valetkey.testing.memory_tasks import TaskQueries, _State, on_behalf


class MemoryStore:
    """A store whose clock is a variable: `store.time += timedelta(...)`."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.state = _State()
        self._uses: dict[tuple[str, str], str] = {}
        self._until: dict[tuple[str, str], datetime] = {}
        self._buckets: dict[str, Bucket] = {}
        self._one_at_a_time = threading.RLock()

    def urgent(self) -> AbstractContextManager[None]:
        """Nobody waits here."""
        return nullcontext()

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """Begin; keep everything when the block is left, nothing when it raises."""
        with self._one_at_a_time:
            before = self.state.copy()
            try:
                yield MemoryTransaction(self)
            except BaseException:
                self.state = before
                raise

    def due(self) -> frozenset[Duty]:
        """What there is to do."""
        with self.transaction() as tx:
            return duties_due(tx)

    def first_use(self, slot: str, key: str, until: datetime, unless: str = "") -> bool:
        """True the first time."""
        with self._one_at_a_time:
            if unless in self.state.revoked:
                return False
            known = (slot, key) in self._uses
            self._uses[slot, key] = ""
            self._until.setdefault((slot, key), until)
            return not known

    def used(self, slot: str) -> frozenset[str]:
        """The keys of a slot that are not past their time."""
        with self._one_at_a_time:
            live = [named for named, until in self._until.items() if until > self.time]
            return frozenset(key for of, key in live if of == slot)

    def pin(self, key: str, jkt: str, until: datetime) -> str:
        """The thumbprint first pinned."""
        with self._one_at_a_time:
            return self._uses.setdefault(("pin", key), jkt)

    def is_revoked(self, token_id: str) -> bool:
        """Whether a token was revoked."""
        return token_id in self.state.revoked

    def admit(self, principal: str, rate: Rate) -> float | None:
        """Take one request from a bucket."""
        with self._one_at_a_time:
            bucket = self._buckets.get(principal, Bucket(rate.burst, self.time))
            bucket = bucket.filled(rate, self.time)
            if bucket.left < 1:
                return seconds_until_one(bucket.left, rate)
            self._buckets[principal] = bucket.taken()
            return None

    def now(self) -> datetime:
        """The store's time."""
        return self.time


class MemoryTransaction(
    TaskQueries, MemoryEpochs, MemoryProposals, MemorySealed, MemoryDelegations, MemoryRules
):
    """The Transaction port over the store's dictionaries."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def _state(self) -> _State:
        return self._store.state

    def now(self) -> datetime:
        return self._store.time

    def hold_barrier(self) -> None:
        """One transaction at a time is barrier enough."""

    def close_barrier(self) -> None:
        """One transaction at a time is barrier enough."""

    def try_lead(self, duty: str) -> bool:
        return True

    def kills_over(self, reach: Reach) -> Sequence[Kill]:
        return [kill for kill in self.kills_in_force() if may_stop(kill, reach)]

    def kills_in_force(self) -> Sequence[Kill]:
        return [kill for kill in self._state.kills.values() if kill.released_at is None]

    def kills_unfinished(self) -> Sequence[Kill]:
        return [kill for kill in self.kills_in_force() if is_unfinished(self, kill)]

    def kill(self, kill_id: str) -> Kill | None:
        return self._state.kills.get(kill_id)

    def has_subject(self, height: Height, subject: str) -> bool:
        known = Kill("", height, subject, "", "", self.now())
        agents = (self._of_agent(agent) for agent in self._state.agents.values())
        tasks = (Reach(task_id=x.id, issuer=x.issuer) for x in self._state.tasks.values())
        bound = (Reach(issuer=x.issuer) for x in self._state.bindings.values())
        people = (on_behalf(x) for x in self._state.delegations.values())
        leases = (self._reach(lease) for lease in self._all())
        return any(stops(known, reach) for reach in (*agents, *tasks, *bound, *people, *leases))

    def add_kill(self, kill: Kill) -> None:
        self._state.kills[kill.id] = kill

    save_kill = add_kill

    def agent(self, agent_id: str, *, lock: bool = False) -> Agent | None:
        return self._state.agents.get(agent_id)

    def agent_named(self, name: str) -> Agent | None:
        return next((a for a in self._state.agents.values() if a.name == name), None)

    def agents(self) -> Sequence[Agent]:
        return sorted(self._state.agents.values(), key=lambda agent: agent.name)

    def add_agent(self, agent: Agent) -> bool:
        if self.agent_named(agent.name):
            return False
        self._state.agents[agent.id] = agent
        return True

    def save_agent(self, agent: Agent) -> None:
        self._state.agents[agent.id] = agent

    def bindings(self, agent_id: str) -> Sequence[Binding]:
        return [b for b in self._state.bindings.values() if b.agent_id == agent_id]

    def bindings_of_issuer(self, issuer: str) -> Sequence[Binding]:
        return [b for b in self._state.bindings.values() if b.issuer == issuer]

    def add_binding(self, binding: Binding) -> bool:
        same = [b for b in self.bindings_of_issuer(binding.issuer) if b.claims == binding.claims]
        if not same:
            self._state.bindings[binding.id] = binding
        return not same

    def revoke_token(self, token_id: str, until: datetime) -> bool:
        new = token_id not in self._state.revoked
        self._state.revoked[token_id] = token_id
        return new

    def record_decision(self, decision_id: str, decision: Decision) -> None:
        self._state.decisions[decision_id] = decision

    def decision(self, decision_id: str) -> Mapping[str, object] | None:
        decision = self._state.decisions.get(decision_id)
        if decision is None:
            return None
        return {
            "id": decision_id,
            "outcome": decision.outcome.value,
            "rules": list(decision.rules),
            "policy_hash": decision.policy_hash,
            "catalogue_digest": decision.catalogue_digest,
            "recorded_input": decision.recorded_input,
            "needs": [list(need) for need in decision.needs],
            "max_ttl_seconds": int(ttl.total_seconds()) if (ttl := decision.max_ttl) else None,
            "problem": decision.problem,
        }

    def grant(self, grant_id: str, *, lock: bool = False) -> Grant | None:
        return self._state.grants.get(grant_id)

    def grant_by_key(self, task_id: str, idempotency_key: str) -> Grant | None:
        wanted = (task_id, idempotency_key)
        grants = self._state.grants.values()
        return next((g for g in grants if (g.task_id, g.idempotency_key) == wanted), None)

    def grants(self, state: str | None, task_id: str | None) -> Sequence[Grant]:
        found = [
            grant
            for grant in self._state.grants.values()
            if state in (None, grant.state) and task_id in (None, grant.task_id)
        ]
        return sorted(found, key=lambda grant: grant.id, reverse=True)

    def grants_overdue(self, state: str, now: datetime) -> Sequence[Grant]:
        return [g for g in self.grants(state, None) if g.waits_until <= now]

    def add_grant(self, grant: Grant) -> None:
        self._state.grants[grant.id] = grant

    save_grant = add_grant

    def add_approval(self, approval: Approval) -> None:
        if all(a.approver != approval.approver for a in self.approvals(approval.grant_id)):
            self._state.approvals[approval.id] = approval

    def approvals(self, grant_id: str) -> Sequence[Approval]:
        return [a for a in self._state.approvals.values() if a.grant_id == grant_id]

    def lease(self, lease_id: str, *, lock: bool = False) -> Lease | None:
        return self._state.leases.get(lease_id)

    def add_lease(self, lease: Lease) -> None:
        self._state.leases[lease.id] = lease

    def save_lease(self, lease: Lease) -> bool:
        current = self._state.leases.get(lease.id)
        if current is None or current.fence != lease.fence:
            return False
        self._state.leases[lease.id] = replace(lease, fence=lease.fence + 1)
        return True

    def leases_of_task(self, task_id: str) -> Sequence[Lease]:
        return self._sorted(x for x in self._all() if x.task_id == task_id)

    def leases_of_grant(self, grant_id: str) -> Sequence[Lease]:
        return self._sorted(x for x in self._all() if x.grant_id == grant_id)

    def leases(self, state: str | None, agent_id: str | None, owner: str | None) -> Sequence[Lease]:
        found = (
            x
            for x in self._all()
            if state in (None, x.state)
            and agent_id in (None, x.agent_id)
            and owner in (None, x.owner)
        )
        return self._sorted(found)[::-1]

    def unended_leases(self) -> Sequence[Lease]:
        return self._sorted(x for x in self._all() if x.state is not LeaseState.ENDED)

    def unended_names(self, minter: str) -> Sequence[Known]:
        return [known(x) for x in self.unended_leases() if x.handle.minter == minter]

    def names_of(self, lease_ids: Sequence[str]) -> Sequence[Known]:
        return [known(x) for x in self._all() if x.id in lease_ids]

    def leases_of_secret(self, prints: Sequence[str]) -> Sequence[Lease]:
        wanted = set(prints)
        return self._sorted(x for x in self._all() if wanted & set(x.fingerprints))

    def ceiling_reached(self, reach: Reach, ceilings: Ceilings) -> str | None:
        unended = [x for x in self._all() if x.state is not LeaseState.ENDED]
        counts = (
            ("all", len(unended), ceilings.everything),
            ("target", sum(x.target == reach.target for x in unended), ceilings.target),
            ("agent", sum(x.agent_id == reach.agent_id for x in unended), ceilings.agent),
            ("task", sum(x.task_id == reach.task_id for x in unended), ceilings.task),
        )
        return next((name for name, count, most in counts if count >= most), None)

    def unended_at(self, place: str) -> Sequence[Lease]:
        return self._sorted(x for x in self._all() if x.state in UNENDED and x.place == place)

    def unended_probes(self, target: str) -> Sequence[Lease]:
        probes = (x for x in self._all() if x.target == target and x.cut_by == PROBE)
        return self._sorted(x for x in probes if x.state in UNENDED)

    def live_leases(self, kill: Kill, limit: int) -> Sequence[Lease]:
        live = (x for x in self._all() if x.state in LIVE and self._is_under(kill, x))
        return self._sorted(live)[:limit]

    def leases_under(self, kill: Kill) -> Sequence[Lease]:
        return self._sorted(
            x
            for x in self._all()
            if self._is_under(kill, x)
            and (x.ended_at is None or x.ended_at >= kill.at)
            and x.created_at <= (kill.released_at or self.now())
        )

    def left_alone(self, minters: Collection[str], limit: int) -> Sequence[Lease]:
        unended = (x for x in self._all() if x.state is not LeaseState.ENDED)
        strange = (x for x in unended if x.state not in UNENDED or x.handle.minter not in minters)
        return self._sorted(strange)[:limit]

    def recent_ends(self, limit: int) -> Sequence[Lease]:
        ended = [(x.ended_at, x.id, x) for x in self._all() if x.ended_at is not None]
        return [x for _, _, x in sorted(ended, reverse=True)[:limit]]

    def claim_due(
        self,
        limit: int,
        claim: timedelta,
        only: Sequence[str],
        but_targets: Sequence[str],
        mine: Mine | None = None,
    ) -> Sequence[Lease]:
        due = [
            x
            for x in self._all()
            if x.state in UNENDED
            and x.due_at is not None
            and x.due_at <= self.now()
            and (not only or x.id in only)
            and x.target not in but_targets
            and (mine is None or is_of(mine, x, self.now()))
        ]
        due.sort(key=lambda x: (x.due_at, x.id))
        claimed = [
            replace(x, due_at=self.now() + claim, tries=x.tries + 1, fence=x.fence + 1)
            for x in due[:limit]
        ]
        self._state.leases.update({x.id: x for x in claimed})
        return claimed

    def broken(self, terms: Terms) -> Sequence[tuple[Rule, str]]:
        state, kills = self._state, list(self._state.kills.values())
        rows = (state.tasks, state.grants, state.decisions)
        checkup = MemoryCheckup(self._all(), state.facts, rows, (kills, self._reach))
        return list(checkup.broken(terms))

    def record(self, fact: Fact) -> None:
        number = len(self._state.facts) + 1
        self._state.facts.append(RecordedFact(number, self.now(), fact))

    def history(self, query: HistoryQuery) -> Sequence[RecordedFact]:
        found = [x for x in reversed(self._state.facts) if matches(x, query)]
        return found[: query.limit]

    def _all(self) -> list[Lease]:
        return list(self._state.leases.values())

    @staticmethod
    def _sorted(found: Iterator[Lease]) -> list[Lease]:
        return sorted(found, key=lambda x: x.id)
