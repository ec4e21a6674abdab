"""The broker's own probes: what sys/health does not see, and brokers that die while they probe."""

from __future__ import annotations

import time

from tests.faults.ground import Ground, ask_for, end_everything, get, start, until_true
from tests.faults.proxy import PostgresProxy
from tests.faults.rows import row
from tests.faults.victims import followed, send_out
from valetkey.bootstrap import House
from valetkey.core.facts import HistoryQuery
from valetkey.core.lease import Lease, Proof

DIES_AT = {"probe": "probe.minted", "probe-second": "probe.written"}
BOTH = ("orders-db", "second-db")


def probes_of(house: House) -> list[Lease]:
    """The leases of probes that have not ended."""
    with house.store.transaction() as tx:
        return [lease for target in BOTH for lease in tx.unended_probes(target)]


@row("F27")
def test_an_engine_that_hangs_behind_a_healthy_back_end_is_noticed(
    both: tuple[Ground, PostgresProxy],
) -> None:
    """Nobody asks for anything: OpenBao calls itself well, and the probe says what is so."""
    ground, line = both
    with ground.house(probe_every=1, reload_every=2) as house:
        clockwork = house.clockwork
        clockwork.start()
        until_true(lambda: clockwork.outcomes == dict.fromkeys(BOTH, "ok"), 20)
        line.freeze()
        began = time.monotonic()
        until_true(lambda: clockwork.outcomes["second-db"] == "failed", 20)
        noticed = time.monotonic() - began
        health = ground.stack.openbao.as_root().read("sys/health")
        assert (health["initialized"], health["sealed"]) == (True, False)
        assert house.problems() == []
        bot = ground.bot(house)
        get(house, bot, ask_for(start(house, bot)))
        assert clockwork.outcomes["orders-db"] == "ok"
        line.thaw()
        began = time.monotonic()
        until_true(lambda: clockwork.outcomes["second-db"] == "ok", 40)
        print(f"noticed in {noticed:.1f} s, well again in {time.monotonic() - began:.1f} s")
        with house.store.transaction() as tx:
            query = HistoryQuery(target="second-db", kind="TargetProbed")
            told = [recorded.fact.outcome for recorded in tx.history(query)]
        assert told[:3] == ["ok", "failed", "ok"]
    with ground.house() as house:
        house.clockwork.start()
        end_everything(house)
        ground.at_peace(house)


def test_a_broker_killed_in_a_probe_leaves_a_row_that_ends_it(
    both: tuple[Ground, PostgresProxy],
) -> None:
    """SIGKILL after the row, and after the credential: both end, and nothing is left outside."""
    ground = both[0]
    with ground.house() as house:
        victims = [send_out(ground, house, act, step) for act, step in DIES_AT.items()]
        for thread in [followed(ground, victim) for victim in victims]:
            thread.join(60)
        assert all(victim.died_by_kill() for victim in victims), [x.complaints for x in victims]
        left = probes_of(house)
        assert [lease.target for lease in left] == list(BOTH)
        assert [name for name in ground.roles() if name == left[0].handle.name]
        house.clockwork.start()
        ground.at_peace(house, within=30)
        with house.store.transaction() as tx:
            ended = [tx.lease(lease.id) for lease in left]
    proofs = [lease.proof for lease in ended if lease is not None]
    assert proofs[0] is Proof.VERIFIED
    assert proofs[1] in {Proof.VERIFIED, Proof.NEVER_EXISTED}
