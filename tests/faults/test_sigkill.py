"""SIGKILL at every step: whatever died, everything ends, and the doctor finds nothing.

`VALETKEY_FAULT_ROUNDS` repeats the whole folder's kills; `make faults` sets it higher.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, end_everything, until_true
from tests.faults.rows import row
from tests.faults.victims import Victim, followed, send_out
from valetkey.bootstrap import House
from valetkey.core.lease import Lease, LeaseState, Proof

ROUNDS = int(os.environ.get("VALETKEY_FAULT_ROUNDS", "1"))
STEPS = {
    "issue.written": "issue",
    "mint.role_written": "issue",
    "issue.minted": "issue",
    "issue.activated": "issue",
    "sweep.claimed": "end",
    "end.role_deleted": "end",
    "sweep.tapped": "end",
    "sweep.recorded": "end",
    "kill.ordered": "kill",
}
Stories = dict[str, list[tuple[Victim, list[Lease]]]]


@pytest.fixture(scope="module")
def stories(ground: Ground) -> Iterator[Stories]:
    """One victim killed at each step, all within a few seconds; then a healthy broker ticks.

    What only the task's end would end is ended, as its agent would do later.
    """
    with ground.house() as house:
        victims: dict[str, list[Victim]] = {step: [] for step in STEPS}
        for _ in range(ROUNDS):
            for three in _threes(list(STEPS)):
                sent = {step: send_out(ground, house, STEPS[step], step) for step in three}
                threads = [followed(ground, victim) for victim in sent.values()]
                for thread in threads:
                    thread.join(60)
                for step, victim in sent.items():
                    victims[step].append(victim)
        house.clockwork.start()
        end_everything(house)
        ground.at_peace(house, within=30 + 5 * ROUNDS)
        print(f"{ROUNDS * len(STEPS)} brokers killed at their steps: {_told(ground)}")
        yield {
            step: [(victim, _leases(house, victim)) for victim in dead]
            for step, dead in victims.items()
        }


@pytest.mark.parametrize("step", STEPS)
def test_a_broker_killed_at_any_step_died_there(stories: Stories, step: str) -> None:
    """The process was ended by SIGKILL at its fail point, so the step was really reached."""
    for victim, leases in stories[step]:
        assert victim.died_by_kill(), victim.complaints
        assert len(leases) == 1


@row("F02", "F03", "F04", "F06")
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_brokers_lease_ends_with_a_proof(stories: Stories, step: str) -> None:
    """Its one lease is ended, verified in the target; what never existed may be told so."""
    honest = {Proof.VERIFIED}
    if step in {"issue.written", "mint.role_written"}:
        honest = {Proof.NEVER_EXISTED, Proof.VERIFIED}
    for _, leases in stories[step]:
        assert {lease.state for lease in leases} == {LeaseState.ENDED}
        assert {lease.proof for lease in leases} <= honest


@row("F04", "F06")
@pytest.mark.parametrize("step", STEPS)
def test_what_a_killed_brokers_client_received_is_refused(
    ground: Ground, stories: Stories, step: str
) -> None:
    """No credential logs in any more, and no session under one is left."""
    received = 0 if step.startswith(("issue", "mint")) else 1
    for victim, _ in stories[step]:
        assert len(victim.secrets) == received
        assert all(ground.refuses(secret) for secret in victim.secrets)
        assert victim.still_open() == 0


@row("F01", "F04", "F06")
def test_brokers_killed_at_random_moments_leave_nothing(ground: Ground, house: House) -> None:
    """Processes that issue and end as fast as they can are killed anywhere; all of it ends."""
    chance = random.Random(20260101)
    for _ in range(2 * ROUNDS):
        victims = [send_out(ground, house, "churn") for _ in range(2)]
        threads = [followed(ground, victim) for victim in victims]
        for victim in victims:
            until_true(lambda v=victim: len(v.secrets) >= 1, 30, lambda v=victim: v.complaints)
        for victim in victims:
            enough = len(victim.lines) + chance.randrange(12)
            until_true(lambda v=victim, n=enough: len(v.lines) >= n, 30)
            threading.Event().wait(chance.random() / 50)  # where it is then is chance: that is the point
            victim.process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        end_everything(house)
        ground.at_peace(house)
        for victim in victims:
            assert victim.died_by_kill()
            assert all(ground.refuses(secret) for secret in victim.secrets)
            assert victim.still_open() == 0
    print(f"{4 * ROUNDS} brokers killed at random: {_told(ground)}")


def _told(ground: Ground) -> dict[str, int]:
    """What history tells of leases so far; what was found outside is adopted or reappeared."""
    counted = "SELECT kind, count(*) FROM facts WHERE lease_id IS NOT NULL GROUP BY 1 ORDER BY 1"
    return dict(ground.look(counted, database="valetkey"))


def _leases(house: House, victim: Victim) -> list[Lease]:
    with house.store.transaction() as tx:
        return [lease for task in victim.tasks for lease in tx.leases_of_task(task)]


def _threes(steps: list[str]) -> list[list[str]]:
    return [steps[at : at + 3] for at in range(0, len(steps), 3)]
