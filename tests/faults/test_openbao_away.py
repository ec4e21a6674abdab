"""OpenBao sealed or cut off for longer than a credential lives, and refusing our own tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.faults.ground import (
    Ground,
    ask_for,
    get,
    lease_of,
    leases_of,
    start,
    until_ended,
    until_true,
)
from tests.faults.proxy import BaoProxy
from tests.faults.rows import row
from tests.faults.standing import Asker
from valetkey.bootstrap import House
from valetkey.core.errors import MinterRefused, MinterUnavailable
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential

READ_CREDENTIAL = r"GET /v1/database-orders/creds/vk-"
WRITER_POLICY = "sys/policies/acl/valetkey-writer-orders-db"


@contextmanager
def sealed(ground: Ground) -> Iterator[None]:
    """OpenBao does nothing meanwhile, its own expiry included."""
    ground.stack.openbao.as_root().call("PUT", "sys/seal", {})
    try:
        yield
    finally:
        ground.stack.openbao.after_ready()


@row("F21")
def test_while_openbao_is_sealed_the_target_itself_refuses_what_expired(
    ground: Ground, house: House
) -> None:
    """Nobody can end it: `VALID UNTIL` holds, the record stays honest, and the unseal ends it."""
    bot = ground.bot(house)
    issued = get(house, bot, ask_for(start(house, bot), ttl=1))
    name = issued.lease.handle.name
    with sealed(ground):
        until_true(lambda: ground.refuses(issued.secret.reveal()), 12)
        assert ground.roles() == [name]
        assert lease_of(house, issued.lease.id).state is not LeaseState.ENDED
    assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED


@row("F21")
def test_a_mint_that_is_overtaken_by_the_seal_is_in_doubt_and_ends(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """The role was written, the read comes to a sealed server: nobody gets it, and it ends."""
    bot = ground.bot(behind)
    task = start(behind, bot)
    held = proxy.rule(READ_CREDENTIAL, "hold")
    asker = Asker(behind, bot, task)
    assert held.reached.wait(10)
    with sealed(ground):
        held.released.set()
        asker.thread.join(10)
        assert asker.code in {"minter_unavailable", "outcome_unknown"}
    (lease,) = leases_of(behind, task)
    assert until_ended(behind, lease.id).activated_at is None


@row("F37")
def test_cut_off_from_openbao_what_was_out_still_ends_at_its_time(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """Nothing is issued; OpenBao's own expiry and the target's bound hold without us."""
    bot = ground.bot(behind)
    task = start(behind, bot)
    issued = get(behind, bot, ask_for(task, ttl=1))
    proxy.down()
    try:
        with pytest.raises(MinterUnavailable):
            request_credential(behind.broker, bot, ask_for(task))
        until_true(lambda: ground.refuses(issued.secret.reveal()), 12)
        assert lease_of(behind, issued.lease.id).state is not LeaseState.ENDED
    finally:
        proxy.up()
    assert until_ended(behind, issued.lease.id).proof is Proof.VERIFIED


@row("F24")
def test_a_role_that_appears_after_its_prefix_was_revoked_is_ended_by_the_second_tap(
    ground: Ground,
) -> None:
    """OpenBao is making it while its role is deleted and its prefix revoked: it does not stay."""
    with ground.house(answer_within=0.3) as house:
        house.clockwork.start()
        bot = ground.bot(house)
        task = start(house, bot)
        with psycopg.connect(ground.stack.superuser_dsn("orders")) as holder:
            holder.execute("LOCK TABLE pg_authid IN SHARE MODE")
            asker = Asker(house, bot, task)
            asker.thread.join(10)
            assert asker.code == "outcome_unknown"
            (lease,) = leases_of(house, task)
            until_true(lambda: tapped(ground, lease.id), 5)
            assert ground.roles() == []
        until_true(lambda: ground.roles() == [lease.handle.name], 5)
        assert until_ended(house, lease.id).proof is Proof.VERIFIED
        ground.at_peace(house)


def tapped(ground: Ground, lease_id: str) -> bool:
    """True once a first tap of this lease is on record."""
    told = "SELECT count(*) FROM facts WHERE kind = 'LeaseTapped' AND lease_id = %s"
    return bool(ground.look(told, lease_id, database="valetkey")[0][0])


@row("F25")
def test_a_token_of_ours_that_was_revoked_takes_what_it_read_and_is_replaced(
    ground: Ground, house: House
) -> None:
    """What was read under it is gone and found so; one ask is refused, the next logs in again."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    revoke_tokens(ground, "valetkey-reader")
    until_true(lambda: ground.refuses(issued.secret.reveal()), 10)
    with pytest.raises(MinterRefused):
        request_credential(house.broker, bot, ask_for(task))
    assert get(house, bot, ask_for(task)).lease.state is LeaseState.ACTIVE
    end_task(house.broker, bot, task.id)
    assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED


@row("F25")
def test_without_its_policy_nothing_is_minted_and_endings_go_on(
    ground: Ground, house: House
) -> None:
    """The writer may write no role any more: unready, refused; the ender has a login of its own."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    policy = ground.stack.openbao.as_root().read(WRITER_POLICY)["data"]["policy"]
    try:
        ground.stack.openbao.as_root().delete(WRITER_POLICY)
        assert any("pins" in problem for problem in house.problems())
        with pytest.raises(MinterRefused):
            request_credential(house.broker, bot, ask_for(task))
        end_task(house.broker, bot, task.id)
        assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED
        assert ground.refuses(issued.secret.reveal())
    finally:
        ground.stack.openbao.as_root().write(WRITER_POLICY, policy=policy)
    assert house.problems() == []


def revoke_tokens(ground: Ground, role: str) -> None:
    """An administrator revokes every token that a login role of ours got."""
    root = ground.stack.openbao.as_root()
    for accessor in root.names("auth/token/accessors"):
        found = root.write("auth/token/lookup-accessor", accessor=accessor)["data"]
        if (found.get("meta") or {}).get("role") == role:
            root.write("auth/token/revoke-accessor", accessor=accessor)
