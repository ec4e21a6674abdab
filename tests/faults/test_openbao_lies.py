"""OpenBao cut off, slow, swallowing answers, failing after the effect, redirecting, dark."""

from __future__ import annotations

import pytest

from tests.faults.ground import (
    Ground,
    ask_for,
    get,
    leases_of,
    start,
    unended,
    until_ended,
    until_true,
)
from tests.faults.proxy import BaoProxy, between_bao
from tests.faults.rows import row
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError, MinterUnavailable, OutcomeUnknown
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.task import Task
from valetkey.flows.end_task import end_task, receipt
from valetkey.flows.request_credential import request_credential

WRITE_ROLE = r"POST /v1/database-orders/roles/vk-"
READ_CREDENTIAL = r"GET /v1/database-orders/creds/vk-"
DELETE_ROLE = r"DELETE /v1/database-orders/roles/vk-"
REVOKE = r"PUT /v1/sys/leases/revoke-prefix/"


def refusal(house: House, ground: Ground) -> tuple[BrokerError, Task]:
    """Ask for one credential and get the error that comes instead."""
    bot = ground.bot(house)
    task = start(house, bot)
    with pytest.raises(BrokerError) as refused:
        request_credential(house.broker, bot, ask_for(task))
    return refused.value, task


@row("F18", "F19")
@pytest.mark.parametrize("call", [WRITE_ROLE, READ_CREDENTIAL])
def test_a_doubtful_mint_is_told_so_and_ended(
    ground: Ground, proxy: BaoProxy, behind: House, call: str
) -> None:
    """Cut before the effect, silent or failing after it: nobody gets anything, the lease ends."""
    doubtful = []
    for act in ("cut", "swallow", "error"):
        rule = proxy.rule(call, act, times=1)
        error, task = refusal(behind, ground)
        (lease,) = leases_of(behind, task)
        assert isinstance(error, OutcomeUnknown)
        assert rule.met == 1
        assert error.extra["lease_id"] == lease.id
        assert lease.state is LeaseState.ENDING
        doubtful.append((act, lease.id))
    for act, lease_id in doubtful:
        proof = until_ended(behind, lease_id).proof
        existed = call == READ_CREDENTIAL and act != "cut"
        assert proof is Proof.VERIFIED or (not existed and proof is Proof.NEVER_EXISTED)


def test_a_redirect_is_not_followed_and_no_token_leaves(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """A 307 to another host is doubt, and the other host hears nothing from us."""
    with between_bao(ground.stack.openbao.port) as elsewhere:
        proxy.rule(WRITE_ROLE, "redirect", host=elsewhere.address)
        error, _ = refusal(behind, ground)
        proxy.clear()
        assert isinstance(error, OutcomeUnknown)
        assert elsewhere.seen == []


def test_a_redirected_ending_proves_nothing(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """While every ending is redirected the lease is not ended; then it is, and no token left."""
    bot = ground.bot(behind)
    task = start(behind, bot)
    issued = get(behind, bot, ask_for(task))
    with between_bao(ground.stack.openbao.port) as elsewhere:
        rule = proxy.rule(f"{DELETE_ROLE}|{REVOKE}", "redirect", host=elsewhere.address)
        assert not end_task(behind.broker, bot, task.id).complete
        assert rule.met >= 1
        assert not ground.refuses(issued.secret.reveal())
        proxy.clear()
        assert elsewhere.seen == []
    assert until_ended(behind, issued.lease.id).proof is Proof.VERIFIED
    assert ground.refuses(issued.secret.reveal())


@row("F18", "F19")
def test_a_doubtful_ending_is_done_again(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """An ending cut, silent or failing after the effect is done again, and only then proven."""
    bot = ground.bot(behind)
    task = start(behind, bot)
    doubts = []
    for call in (DELETE_ROLE, REVOKE):
        for act in ("cut", "swallow", "error"):
            issued = get(behind, bot, ask_for(task))
            name = issued.lease.handle.name
            rule = proxy.rule(call.removesuffix("vk-") + f".*{name}", act, times=2)
            doubts.append((issued, rule))
    end_task(behind.broker, bot, task.id)
    for issued, rule in doubts:
        assert until_ended(behind, issued.lease.id).proof is Proof.VERIFIED
        assert rule.met == 2
        assert ground.refuses(issued.secret.reveal())
    assert receipt(behind.broker, bot, task.id).complete


@row("F20")
def test_a_slow_mint_is_given_up_by_the_asker_and_ended(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """An asker waits so long and no longer; what the call makes afterwards is ended too."""
    rule = proxy.rule(READ_CREDENTIAL, "hold")
    error, task = refusal(behind, ground)
    assert isinstance(error, OutcomeUnknown)
    (lease,) = leases_of(behind, task)
    rule.released.set()
    assert until_ended(behind, lease.id).state is LeaseState.ENDED


@row("F24")
def test_a_credential_read_after_the_first_ending_is_ended_by_the_second(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """The role written, the read held back until the first tap: what it makes does not stay."""
    rule = proxy.rule(READ_CREDENTIAL, "hold")
    _, task = refusal(behind, ground)
    (lease,) = leases_of(behind, task)
    until_true(lambda: any("revoke-prefix" in line for line in proxy.seen), 10)
    rule.released.set()
    assert until_ended(behind, lease.id).state is LeaseState.ENDED


@row("F39")
def test_a_dark_openbao_holds_nobody_for_ever(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """When OpenBao takes connections and says nothing, the asker still gets an answer."""
    proxy.rule(r"/v1/database-orders/", "dark")
    error, _ = refusal(behind, ground)
    assert isinstance(error, OutcomeUnknown)


@row("F16")
def test_an_unreachable_openbao_mints_nothing_and_ends_later(
    ground: Ground, proxy: BaoProxy, behind: House
) -> None:
    """With its port closed we say so and are not ready; what was out ends when it is back."""
    bot = ground.bot(behind)
    task = start(behind, bot)
    issued = get(behind, bot, ask_for(task))
    proxy.down()
    error, asked_in = refusal(behind, ground)
    assert isinstance(error, MinterUnavailable)
    assert any("OpenBao" in problem for problem in behind.problems())
    assert [lease.state for lease in leases_of(behind, asked_in)] == [LeaseState.ENDING]
    assert not end_task(behind.broker, bot, task.id).complete
    assert any(about == issued.lease.id and why for about, _, why in unended(behind))
    proxy.up()
    assert until_ended(behind, issued.lease.id).proof is Proof.VERIFIED
