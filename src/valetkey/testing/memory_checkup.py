"""The doctor's readings for MemoryStore: the same rules as the real store's, one loop each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise

from valetkey.core.decision import Decision, Outcome
from valetkey.core.facts import FactKind, RecordedFact
from valetkey.core.grant import Grant
from valetkey.core.invariants import Rule, Terms
from valetkey.core.kill import Height, Kill, Reach, stops
from valetkey.core.lease import LIVE, UNENDED, Lease, LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.core.task import Task, TaskState

GRACE = timedelta(seconds=5)
WRITTEN = (FactKind.LEASE_WRITTEN, FactKind.LEASE_ADOPTED)


class MemoryCheckup:
    """Dictionaries of rows, looked through for what breaks a rule."""

    def __init__(
        self,
        leases: list[Lease],
        facts: list[RecordedFact],
        rows: tuple[Mapping[str, Task], Mapping[str, Grant], Mapping[str, Decision]],
        kills: tuple[list[Kill], Callable[[Lease], Reach]],
    ) -> None:
        self.leases, self.facts = leases, facts
        self.tasks, self.grants, self.decisions = rows
        self.kills, self.reach = kills

    def broken(self, terms: Terms) -> Iterator[tuple[Rule, str]]:
        """Each broken rule with the id of what breaks it."""
        looked_at = [x for x in self.leases if x.ended_at is None or x.ended_at >= terms.since]
        for lease in looked_at:
            yield from ((rule, lease.id) for rule in self._of_lease(lease, terms))
            yield from ((rule, lease.id) for rule in self._of_history(lease))
        yield from self._of_grants()
        yield from self._of_facts(terms)
        yield from self._under_kills(terms)

    def _of_lease(self, lease: Lease, terms: Terms) -> Iterator[Rule]:
        if lease.state is LeaseState.ACTIVE:
            if lease.expires_at < terms.late:
                yield Rule.PAST_END
            if lease.expires_at > lease.backend_expires_at:
                yield Rule.OVERLONG
        task = self.tasks.get(lease.task_id or "")
        if task is not None:
            yield from self._of_task(lease, task)
        if lease.state in UNENDED:
            latest = max(terms.latest, lease.second_tap_at, lease.backend_expires_at)
            if lease.due_at is None or lease.due_at > latest:
                yield Rule.FORGOTTEN
            grant = self.grants.get(lease.grant_id or "")
            decision = self.decisions.get(grant.decision_id) if grant else None
            if decision is not None and decision.outcome is Outcome.DENY:
                yield Rule.DENIED
        nobody = not (lease.written_off_by and lease.written_off_reason)
        if lease.proof is Proof.WRITTEN_OFF and nobody:
            yield Rule.GIVEN_UP_BY_NOBODY

    def _of_task(self, lease: Lease, task: Task) -> Iterator[Rule]:
        if task.state is TaskState.ENDED and lease.state in LIVE:
            yield Rule.IN_ENDED_TASK
        if task.ended_at is not None and lease.created_at > task.ended_at + GRACE:
            yield Rule.BORN_LATE
        if lease.state in UNENDED:
            wanted = Scope.parse(lease.scope)
            if not any(wanted <= allowed for allowed in task.scopes):
                yield Rule.WIDER

    def _of_history(self, lease: Lease) -> Iterator[Rule]:
        bodies = [x.fact.body for x in self.facts if x.fact.lease_id == lease.id]
        states = [body["state"] for body in bodies if "state" in body]
        if states[-1:] != [lease.state.value]:
            yield Rule.UNTOLD
        fences = [int(str(body["fence"])) for body in bodies if "fence" in body]
        if any(a > b for a, b in pairwise([*fences, lease.fence])):
            yield Rule.FENCE_BACK

    def _of_grants(self) -> Iterator[tuple[Rule, str]]:
        live = Counter(x.grant_id for x in self.leases if x.state in LIVE and x.grant_id)
        yield from ((Rule.TWO_LIVE, grant_id) for grant_id, many in live.items() if many > 1)

    def _of_facts(self, terms: Terms) -> Iterator[tuple[Rule, str]]:
        known = {x.id for x in self.leases}
        stating = [x for x in self.facts if x.at >= terms.since and "fence" in x.fact.body]
        for lease_id in {x.fact.lease_id for x in stating} - known:
            yield Rule.FACT_OF_NOTHING, str(lease_id)
        written = Counter(x.fact.target for x in self.facts if x.fact.kind in WRITTEN)
        there = Counter(x.target for x in self.leases)
        for target in written.keys() | there.keys():
            if written[target] != there[target or ""]:
                yield Rule.UNCOUNTED, str(target)

    def _under_kills(self, terms: Terms) -> Iterator[tuple[Rule, str]]:
        for kill in self.kills:
            if kill.at >= terms.late:
                continue
            for lease in self.leases:
                if stops(kill, self.reach(lease)):
                    yield from ((rule, lease.id) for rule in _under(kill, lease, terms))


def _under(kill: Kill, lease: Lease, terms: Terms) -> Iterator[Rule]:
    if kill.released_at is None and lease.state in LIVE:
        yield Rule.UNDER_KILL
    until = kill.released_at or terms.latest
    begun = lease.activated_at
    lasting = kill.height not in {Height.VENDOR, Height.ISSUER}
    if lasting and begun is not None and kill.at + GRACE < begun < until:
        yield Rule.ACTIVATED_UNDER_KILL
