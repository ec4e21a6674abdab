"""The invariants, held against every commit, every thing made, every secret handed out, and the end.

The names are those of the reliability reference: I1 to I18.
"""

from __future__ import annotations

from datetime import datetime

from tests.simulation.scheduler import Violation
from valetkey.core.agent import AgentState
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import Reach, stops
from valetkey.core.lease import LIVE, Handle, Lease, LeaseState, Proof
from valetkey.core.task import TaskState
from valetkey.testing.sim_minter import SimBackEnd, Thing
from valetkey.testing.sim_session import SimSession
from valetkey.testing.sim_store import SimStore

MINTING, ACTIVE, ENDING, STUCK, ENDED = LeaseState
MOVES = {
    MINTING: {MINTING, ACTIVE, ENDING, ENDED},
    ACTIVE: {ACTIVE, ENDING, ENDED},
    ENDING: {ENDING, STUCK, ENDED},
    STUCK: {STUCK, ENDED},
    ENDED: {ENDED, ENDING},
}


class Watch:
    """Sees everything that counts; raises Violation at the first thing that is not as promised."""

    def __init__(self, store: SimStore, back_end: SimBackEnd) -> None:
        self.store, self.back_end = store, back_end
        self.activated: set[str] = set()
        self.delivered: dict[str, list[str]] = {}
        self.ever: set[str] = set()
        store.watch = self.commits
        back_end.asked = self.asks
        back_end.made = self.makes
        back_end.prolonged = self.prolongs

    # --- at every commit -------------------------------------------------------------------

    def commits(self, tx: SimSession) -> None:
        """Just before a transaction counts."""
        for fact in tx.facts:
            if fact.kind is FactKind.SEALED_FETCHED:
                self._given_again(tx, fact.lease_id or "")
        for lease in tx.own.get("leases", {}).values():
            before: Lease | None = self.store.state.leases.get(lease.id)
            facts = [x for x in tx.facts if x.lease_id == lease.id]
            self._row(before, lease, facts)
            if lease.state in LIVE and (before is None or before.state is not lease.state):
                self._wanted(lease)
            if lease.state is ACTIVE:
                self.activated.add(lease.id)
                self._within_its_ends(lease)
            if lease.state is not ENDED:
                self._long_enough(lease)
            if lease.state is ENDED and (before is None or before.state is not ENDED):
                self._over(lease, self.store.time)

    def _row(self, before: Lease | None, lease: Lease, facts: list[Fact]) -> None:
        """I11: the fence only rises. I9: each change of state is told in the same transaction."""
        if before is not None and lease.fence <= before.fence:
            raise Violation(f"I11 {lease.id}: fence {before.fence} -> {lease.fence}")
        if before is not None and lease.state not in MOVES[before.state]:
            raise Violation(f"I4 {lease.id}: {before.state} -> {lease.state}")
        never_made = lease.proof is Proof.NEVER_EXISTED
        if before is not None and (before.state, lease.state, never_made) == (MINTING, ENDED, False):
            raise Violation(f"I4 {lease.id}: ended as {lease.proof} while it is minted")
        told = [x.body["state"] for x in facts if "state" in x.body]
        if before is None or before.state is not lease.state:
            if not told or told[-1] != lease.state:
                raise Violation(f"I9 {lease.id}: {lease.state} is not told, but {told}")
        elif told and told[-1] != lease.state:
            raise Violation(f"I9 {lease.id}: told {told} of {lease.state}")
        reopened = before is not None and before.state is ENDED and lease.state is ENDING
        if reopened and FactKind.LEASE_REAPPEARED not in {x.kind for x in facts}:
            raise Violation(f"I4 {lease.id}: left its end without a word")

    def _wanted(self, lease: Lease) -> None:
        """I6, I7, I8: one at a time per grant, in an open task, under no kill, for an agent."""
        self._nothing_over(lease, f"becomes {lease.state}")
        others = [x for x in self.store.state.leases.values() if x.grant_id == lease.grant_id]
        if [x for x in others if x.id != lease.id and x.state in LIVE]:
            raise Violation(f"I6 {lease.grant_id} has two live leases")

    def _given_again(self, tx: SimSession, lease_id: str) -> None:
        """I5, I7, I8: a sealed answer is given again while its lease lives and nothing is over it."""
        lease = tx.own.get("leases", {}).get(lease_id) or self.store.state.leases[lease_id]
        if lease.state is not ACTIVE:
            raise Violation(f"I5 {lease_id} is given again, and is {lease.state}")
        self._nothing_over(lease, "is given again")

    def _nothing_over(self, lease: Lease, what: str) -> None:
        """I7, I8: in an open task, under no kill, for an agent."""
        state = self.store.state
        task, agent = state.tasks[lease.task_id or ""], state.agents[lease.agent_id or ""]
        if task.state is TaskState.ENDED:
            raise Violation(f"I7 {lease.id} {what} in an ended task")
        if lease.state is ACTIVE and agent.state is not AgentState.ACCEPTED:
            raise Violation(f"I7 {lease.id} {what} for an agent that is disabled")
        reach = Reach(lease.agent_id, lease.task_id, lease.target, lease.id)
        for kill in state.kills.values():
            if kill.released_at is None and stops(kill, reach):
                raise Violation(f"I8 {lease.id} {what} under {kill.id}")

    def _within_its_ends(self, lease: Lease) -> None:
        """I7: an active lease is acted on before its task's end and that of its renewals."""
        task = self.store.state.tasks[lease.task_id or ""]
        ends = [task.deadline_at, lease.renewable_until or task.deadline_at]
        if lease.expires_at > min(ends):
            raise Violation(f"I7 {lease.id} is to live beyond its ends")

    def _long_enough(self, lease: Lease) -> None:
        """I3: what stands in the record is never sooner than the end of what is out there."""
        thing = self.back_end.there.get(lease.handle.name)
        if thing is None or not thing.as_asked or not in_time(thing, lease):
            return
        if lease.backend_expires_at < thing.lives_until:
            raise Violation(f"I3 {lease.id} lives longer than its record says")

    def _over(self, lease: Lease, now: datetime) -> None:
        """I4: the proof is true, but for what was made after its time by somebody frozen."""
        thing = self.back_end.there.get(lease.handle.name)
        if lease.proof is Proof.NEVER_EXISTED and lease.id in self.activated:
            raise Violation(f"I4 {lease.id} was active, and is said to have never existed")
        if lease.proof is Proof.NEVER_EXISTED and lease.id in self.ever - self.back_end.unseen:
            raise Violation(f"I4 {lease.id} was there, and is said to have never existed")
        if lease.proof is Proof.EXPIRED and now < lease.backend_expires_at:
            raise Violation(f"I3 {lease.id} is said to have expired before its time")
        if thing is not None and thing.lives_until > now and in_time(thing, lease):
            raise Violation(f"I4 {lease.id} is there, and its end is said to be {lease.proof}")
        for asked in self.back_end.coming:
            by = asked.asked_by or lease.mint_until
            if asked.handle.name == lease.handle.name and asked.asked_at <= by:
                raise Violation(f"I4 {lease.id} is about to be made, and said to be over")

    # --- at every other moment -------------------------------------------------------------

    def asks(self, handle: Handle) -> None:
        """I1: written before done, and nothing is begun once the lease's time to mint is over."""
        for lease in self.store.state.leases.values():
            if lease.handle == handle:
                if self.store.time > lease.mint_until:
                    raise Violation(f"I4 {lease.id} is asked for after {lease.mint_until}")
                return
        raise Violation(f"I1 {handle.name} is asked for, and no row remembers it")

    def makes(self, thing: Thing) -> None:
        """I1: written before done; and not ended while its mint could still be running."""
        lease = self.store.state.leases.get(thing.lease_id)
        if lease is None:
            raise Violation(f"I1 {thing.lease_id} is made, and no row remembers it")
        if in_time(thing, lease):
            self.ever.add(thing.lease_id)
            if lease.state is ENDED:
                raise Violation(f"I4 {lease.id} is made in time, and had been said to be over")

    def prolongs(self, thing: Thing) -> None:
        """I3: the record is extended before the back end is."""
        lease = self.store.state.leases.get(thing.lease_id)
        if lease is not None and lease.state is not ENDED:
            self._long_enough(lease)

    def renews(self, lease_id: str) -> None:
        """I4, I7: no renewal is told of what does not live."""
        if lease_id not in self.activated:
            raise Violation(f"I4 {lease_id} is renewed, and was never active")

    def hands_out(self, lease_id: str) -> None:
        """I5, I6: only what was active, and nothing before the end of the one before is proven."""
        if lease_id not in self.activated:
            raise Violation(f"I5 {lease_id} is handed out, and was never active")
        lease = self.store.state.leases[lease_id]
        earlier = self.delivered.setdefault(lease.grant_id or "", [])
        for other in earlier:
            if self.store.state.leases[other].state is not ENDED:
                raise Violation(f"I6 {lease_id} is handed out while {other} has not ended")
        if lease_id in earlier:
            raise Violation(f"I6 {lease_id} is handed out twice")
        earlier.append(lease_id)

    def killed(self, kill_id: str) -> None:
        """I8: once a kill has been answered, nothing lives under it."""
        self._nothing_lives(self.store.state.kills[kill_id].id)

    def quiet(self) -> None:
        """I2, I4, I7, I8, I12: all is swept, though nobody has compared with the outside yet."""
        state = self.store.state
        for lease in state.leases.values():
            if lease.state is not ENDED:
                raise Violation(f"I12 {lease.id} is {lease.state} and stays so")
            thing = self.back_end.there.get(lease.handle.name)
            if thing is not None and in_time(thing, lease):
                raise Violation(f"I4 {lease.id} is ended by our record, and there")

    def reconciled(self) -> None:
        """I1, I9: nothing is outside any more, and history tells the state of every row."""
        if self.back_end.there and self.back_end.looks:
            raise Violation(f"I1 still there: {sorted(self.back_end.there)}")
        told = {}
        for recorded in self.store.state.facts:
            fact = recorded.fact
            if fact.lease_id and "state" in fact.body:
                told[fact.lease_id] = fact.body["state"]
        rows = {x.id: x.state.value for x in self.store.state.leases.values()}
        if told != rows:
            raise Violation(f"I9 history tells {told} of {rows}")

    def _nothing_lives(self, kill_id: str) -> None:
        state = self.store.state
        kill = state.kills[kill_id]
        if kill.released_at is not None:
            return
        for lease in state.leases.values():
            reach = Reach(lease.agent_id, lease.task_id, lease.target, lease.id)
            if lease.state in LIVE and stops(kill, reach):
                raise Violation(f"I8 {lease.id} lives under {kill_id}")


def in_time(thing: Thing, lease: Lease) -> bool:
    """Whether the call that made it was sent while the lease's mint, or renewal, might run."""
    return thing.asked_at <= (thing.asked_by or lease.mint_until)
