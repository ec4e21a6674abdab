"""Stories of sealed delivery: what leaves, what is kept, and when it may be had again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.registry import HeaderParameter

from tests.flows.stories import (
    WRITE,
    approved,
    facts,
    kinds,
    lease_now,
    leases,
    sweep_until_quiet,
    waiting,
)
from valetkey.core.ask import Ask
from valetkey.core.catalogue import Catalogue
from valetkey.core.detail import Detail
from valetkey.core.errors import (
    AgentDisabled,
    AlreadyDelivered,
    ApprovalVoid,
    BrokerError,
    IdempotencyMismatch,
    InProgress,
    Killed,
    LeaseEnded,
    NotFound,
    OutsideToken,
    SealingFailed,
    SealingRequired,
    TaskEnded,
)
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.core.sealing import KEPT_FOR, SealTo, seal_to
from valetkey.core.task import Task
from valetkey.flows.agents import disable_agent
from valetkey.flows.collect import collect
from valetkey.flows.end_task import end_task
from valetkey.flows.explain import explain
from valetkey.flows.fetch_sealed import fetch_sealed
from valetkey.flows.kill import kill
from valetkey.flows.look import offers
from valetkey.flows.renew import renew
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.verdicts import Issued, Sealed, Waiting
from valetkey.testing.brokers import Stage

KEY = ECKey.generate_key("P-256")
LEASE = {"lease": HeaderParameter("the lease", "str")}


def public(key: ECKey = KEY) -> SealTo:
    """The key as an ask names it."""
    return seal_to(key.as_dict(private=False))


def opened(answer: Sealed, key: ECKey = KEY) -> Any:
    """The credential in a sealed answer."""
    algorithms = ["ECDH-ES+A256KW", "A256GCM"]
    registry = jwe.JWERegistry(header_registry=LEASE, algorithms=algorithms)
    found = jwe.decrypt_compact(answer.sealed, key, registry=registry)
    assert found.protected["lease"] == answer.lease.id
    return json.loads(found.plaintext or b"")


def asking(stage: Stage, task: Task | None = None, **changes: Any) -> Ask:
    """An ask that names the key."""
    return stage.ask(task or stage.start(), **{"seal_to": public(), **changes})


def sealed(stage: Stage, ask: Ask | None = None) -> Sealed:
    """The sealed answer of an ask."""
    answer = request_credential(stage.broker, stage.bot, ask or asking(stage))
    assert isinstance(answer, Sealed)
    return answer


def requiring(stage: Stage) -> None:
    """From now on the catalogue gives every scope sealed only."""
    target = stage.rules.catalogue.targets["orders-db"]
    scopes = {name: replace(one, sealed="required") for name, one in target.scopes.items()}
    changed = {"orders-db": replace(target, scopes=scopes)}
    stage.rules.catalogue = Catalogue(changed, "another catalogue")


def test_a_sealed_answer_holds_the_credential_for_its_key_alone(stage: Stage) -> None:
    """The key opens what was minted; another key does not."""
    answer = sealed(stage)
    assert opened(answer)["value"] == stage.minter.secrets_made[0]
    assert answer.lease.state is LeaseState.ACTIVE
    with pytest.raises(JoseError):
        opened(answer, ECKey.generate_key("P-256"))


def test_the_key_is_on_record_by_its_thumbprint_alone(stage: Stage) -> None:
    """In the facts of the ask and of each time it was fetched; no coordinate, no ciphertext."""
    answer = sealed(stage)
    fetch_sealed(stage.broker, stage.bot, answer.lease.id)
    told = {x.fact.kind.value: x.fact.body for x in facts(stage)}
    assert told["AskAllowed"]["sealed_to"] == told["SealedFetched"]["sealed_to"] == KEY.thumbprint()
    text = str(told)
    assert str(public().x) not in text and answer.sealed[:40] not in text


def test_without_a_key_nothing_is_sealed_or_kept(stage: Stage) -> None:
    """The answer is as ever, and no other ask's key is used."""
    sealed(stage)
    answer = request_credential(stage.broker, stage.bot, stage.ask(stage.start()))
    assert isinstance(answer, Issued)
    assert len(stage.memory.state.sealed_answers) == 1
    with pytest.raises(NotFound):
        fetch_sealed(stage.broker, stage.bot, answer.lease.id)


def test_for_two_minutes_the_same_ask_gets_the_same_answer(stage: Stage) -> None:
    """Nothing is minted again, and each time is on record; then it was delivered."""
    ask = asking(stage)
    first = sealed(stage, ask)
    stage.pass_time(KEPT_FOR - timedelta(seconds=1))
    again = sealed(stage, ask)
    assert (again.sealed, again.lease.id) == (first.sealed, first.lease.id)
    assert fetch_sealed(stage.broker, stage.bot, first.lease.id) == again
    assert kinds(stage).count("SealedFetched") == 2
    stage.pass_time(timedelta(seconds=1))
    with pytest.raises(AlreadyDelivered):
        request_credential(stage.broker, stage.bot, ask)
    with pytest.raises(AlreadyDelivered):
        fetch_sealed(stage.broker, stage.bot, first.lease.id)
    assert len(stage.minter.secrets_made) == 1


def test_another_key_is_another_ask(stage: Stage) -> None:
    """With the same idempotency key it is refused, with another key, with none, and the reverse."""
    task = stage.start()
    ask = asking(stage, task)
    sealed(stage, ask)
    for changed in (replace(ask, seal_to=public(ECKey.generate_key("P-256"))), plain(ask)):
        with pytest.raises(IdempotencyMismatch):
            request_credential(stage.broker, stage.bot, changed)
    bare = stage.ask(task)
    request_credential(stage.broker, stage.bot, bare)
    with pytest.raises(IdempotencyMismatch):
        request_credential(stage.broker, stage.bot, replace(bare, seal_to=public()))
    assert ask.hash != plain(ask).hash


def plain(ask: Ask) -> Ask:
    """The same without a key."""
    return replace(ask, seal_to=None)


def test_only_the_key_that_asked_may_fetch(stage: Stage) -> None:
    """Another key of the same agent, its owner, and an unknown lease: there is no such thing."""
    lease = sealed(stage).lease
    for caller in (replace(stage.bot, jkt="another"), stage.owner, stage.operator):
        with pytest.raises(NotFound):
            fetch_sealed(stage.broker, caller, lease.id)
    with pytest.raises(NotFound):
        fetch_sealed(stage.broker, stage.bot, stage.new_id("lease"))


def test_a_token_for_other_asks_fetches_nothing(stage: Stage) -> None:
    """What it could not ask for it cannot fetch."""
    lease = sealed(stage).lease
    other = Detail(stage.new_id("task"), Scope.parse("orders-db:read"), timedelta(hours=1))
    with pytest.raises(OutsideToken):
        fetch_sealed(stage.broker, replace(stage.bot, details=(other,)), lease.id)


Ends = Callable[[Stage, Task, str], object]
ENDS: dict[str, tuple[type[BrokerError], Ends]] = {
    "revoked": (LeaseEnded, lambda s, task, lease: revoke_lease(s.broker, s.bot, lease)),
    "its task": (TaskEnded, lambda s, task, lease: end_task(s.broker, s.bot, task.id)),
    "disabled": (AgentDisabled, lambda s, task, lease: disabled(s)),
    "expired": (LeaseEnded, lambda s, task, lease: sweep_until_quiet(s, timedelta(minutes=6))),
    "redelivered": (LeaseEnded, lambda s, task, lease: lost(s, lease)),
}


def disabled(stage: Stage) -> None:
    """The operator stops the agent."""
    disable_agent(stage.broker, stage.operator, stage.agent.id)


def lost(stage: Stage, lease_id: str) -> None:
    """Somebody sends `Redeliver` and another is made."""
    with stage.broker.store.transaction() as tx:
        grant = next(x for x in tx.grants(None, None) if x.lease_id == lease_id)
    ask = Ask(
        grant.task_id,
        Scope.parse(grant.scope),
        grant.requested_ttl,
        grant.reason,
        grant.idempotency_key,
        seal_to=grant.seal_to,
    )
    again = request_credential(stage.broker, stage.bot, ask, lease_id)
    assert isinstance(again, Sealed)
    assert opened(again)["value"] == stage.minter.secrets_made[-1]


@pytest.mark.parametrize("how", ENDS)
def test_what_ends_the_lease_ends_its_sealed_answer(stage: Stage, how: str) -> None:
    """At once, though the ciphertext is still there; by fetching and by asking again."""
    refusal, ends = ENDS[how]
    ask = asking(stage, task := stage.start())
    lease = sealed(stage, ask).lease
    ends(stage, task, lease.id)
    with pytest.raises(refusal):
        fetch_sealed(stage.broker, stage.bot, lease.id)
    assert lease.id in stage.memory.state.sealed_answers
    if how != "redelivered":  # then the same ask gets the answer of the next lease
        with pytest.raises(BrokerError):
            request_credential(stage.broker, stage.bot, ask)


def test_a_lease_past_its_end_gives_nothing_before_the_sweep_comes(stage: Stage) -> None:
    """A credential of ten seconds is not fetched in the eleventh."""
    lease = sealed(stage, asking(stage, ttl=timedelta(seconds=10))).lease
    stage.pass_time(timedelta(seconds=11))
    assert lease_now(stage, lease).state is LeaseState.ACTIVE
    with pytest.raises(AlreadyDelivered):
        fetch_sealed(stage.broker, stage.bot, lease.id)


@pytest.mark.parametrize("height", [Height.LEASE, Height.AGENT, Height.SCOPE, Height.EVERYTHING])
def test_a_kill_stops_fetching_before_anything_is_marked(stage: Stage, height: Height) -> None:
    """From its first commit, while the lease is active still."""
    ask = asking(stage)
    lease = sealed(stage, ask).lease
    subject = {
        Height.LEASE: lease.id,
        Height.AGENT: stage.agent.id,
        Height.SCOPE: "orders-db:read",
        Height.EVERYTHING: "",
    }[height]
    refused = []

    def try_it(step: str) -> None:
        if step != "kill.ordered":
            return
        assert lease_now(stage, lease).state is LeaseState.ACTIVE
        with pytest.raises(Killed):
            fetch_sealed(stage.broker, stage.bot, lease.id)
        with pytest.raises(Killed):
            request_credential(stage.broker, stage.bot, ask)
        refused.append(step)

    kill(replace(stage.broker, failpoint=try_it), stage.operator, height, subject, "odd")
    assert refused == ["kill.ordered"]


def test_what_cannot_be_sealed_does_not_leave_and_is_ended(stage: Stage) -> None:
    """Somebody is told; the credential is verified to be gone, and may be asked for again."""

    def broken(*_: object) -> str:
        raise ValueError("no such curve")

    ask = asking(stage)
    with pytest.raises(SealingFailed) as refused:
        request_credential(replace(stage.broker, seal=broken), stage.bot, ask)
    lease = leases(stage)[0]
    assert refused.value.extra["lease_id"] == lease.id
    assert (lease.state, lease.end_reason) == (LeaseState.ENDING, "sealing_failed")
    assert stage.alarms.alarms[0][1] == {"lease": lease.id, "problem": "ValueError"}
    assert not stage.memory.state.sealed_answers
    sweep_until_quiet(stage, timedelta(minutes=3))
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    assert opened(sealed(stage, ask))["value"] == stage.minter.secrets_made[1]


def test_what_is_not_wanted_any_more_is_not_kept(stage: Stage) -> None:
    """A task that ended during the mint leaves no ciphertext behind."""
    task = stage.start()

    def overtake() -> None:
        end_task(stage.broker, stage.bot, task.id)

    stage.minter.after_mint = overtake
    with pytest.raises(TaskEnded):
        request_credential(stage.broker, stage.bot, asking(stage, task))
    assert not stage.memory.state.sealed_answers


def test_while_it_is_minted_nothing_is_fetched(stage: Stage) -> None:
    """Whoever asks for it then waits."""
    met: list[type[BrokerError]] = []

    def early() -> None:
        with pytest.raises(InProgress):
            fetch_sealed(stage.broker, stage.bot, leases(stage)[0].id)
        met.append(InProgress)

    stage.minter.after_mint = early
    sealed(stage)
    assert met == [InProgress]


def test_a_scope_that_must_be_sealed_is_refused_to_an_ask_without_a_key(stage: Stage) -> None:
    """Before anything is written or minted, also where people would decide first."""
    requiring(stage)
    task = stage.start()
    for scope in ("orders-db:read{region=eu}", WRITE):
        with pytest.raises(SealingRequired):
            request_credential(stage.broker, stage.bot, stage.ask(task, scope))
    assert not leases(stage) and not stage.minter.secrets_made
    assert opened(sealed(stage, asking(stage, task)))["type"] == "fake"


def test_that_it_must_be_sealed_is_told_beforehand(stage: Stage) -> None:
    """By the explanation and by the catalogue."""
    ask = stage.ask(stage.start())
    assert not explain(stage.broker, stage.bot, ask).sealed
    requiring(stage)
    assert explain(stage.broker, stage.bot, ask).sealed
    assert {x.definition.sealed for x in offers(stage.broker, stage.bot)[1]} == {"required"}


def test_people_see_the_key_and_their_yes_is_for_that_key(stage: Stage) -> None:
    """What is collected is sealed to it; with another key in its place the yes is void."""
    task = stage.start()
    grant = waiting(stage, task, seal_to=public())
    assert grant.shown is not None and grant.shown["sealed_to"] == KEY.thumbprint()
    approved(stage, grant)
    answer = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(answer, Sealed)
    assert opened(answer)["value"] == stage.minter.secrets_made[0]
    again = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(again, Sealed) and again.sealed == answer.sealed

    for instead in (public(ECKey.generate_key("P-256")), None):  # an older version sees none
        other = approved(stage, waiting(stage, task, seal_to=public()))
        with stage.broker.store.transaction() as tx:
            tx.save_grant(replace(other, seal_to=instead))
        with pytest.raises(ApprovalVoid):
            collect(stage.broker, stage.bot, other.id)


def test_what_people_see_of_an_ask_without_a_key_is_as_before(stage: Stage) -> None:
    """So that yeses given before this was known still hold."""
    grant = waiting(stage, stage.start())
    assert grant.shown is not None and "sealed_to" not in grant.shown


def test_a_renewal_seals_nothing_and_needs_no_key(stage: Stage) -> None:
    """The same credential lives on, also where the catalogue has begun to want it sealed."""
    life = timedelta(minutes=15)
    answer = request_credential(
        stage.broker, stage.bot, stage.ask(stage.start(), renewable_for=life)
    )
    assert not isinstance(answer, Waiting)
    requiring(stage)
    stage.pass_time(timedelta(minutes=4))
    assert renew(stage.broker, stage.bot, answer.lease.id).renewals == 1
    assert not stage.memory.state.sealed_answers
