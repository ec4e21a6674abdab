"""Ask in the back channel and poll for what came of it (CIBA Core 1.0, poll mode).

It is an ask like any other: decided in the same first transaction and approved by the same people.
Nothing is minted before it is collected, and no secret travels here.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from valetkey.core.admission import Rate
from valetkey.core.ask import Ask
from valetkey.core.backchannel import INTERVAL, LONGEST_WAIT, BackchannelAsk, Begun
from valetkey.core.errors import (
    AlreadyDecided,
    InvalidRequest,
    Killed,
    NotFound,
    RateLimited,
    StillWaiting,
    TokenExpired,
)
from valetkey.core.facts import Fact, FactKind, HistoryQuery
from valetkey.core.grant import Grant, GrantState
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.admit import pace
from valetkey.flows.recording import refusals_about
from valetkey.flows.request_credential import asked_before, within_token
from valetkey.flows.verdicts import Refused, Verdict, Waiting
from valetkey.flows.weigh import open_task, settle_verdict, weigh
from valetkey.ports import Broker, Transaction

_LEAST_LIFE: Final = timedelta(seconds=10)
"""What an answer must live for: it is given once, and ends with what the agent proved itself by."""
_MOST_SLOWED: Final = LONGEST_WAIT // INTERVAL
_ID: Final = re.compile(r"(grant_[0-9a-v]{26})\.[0-9A-Za-z.-]{1,128}")


def begin(broker: Broker, asked: BackchannelAsk) -> Begun:
    """Decide an ask; what is not refused waits for people or, allowed at once, to be collected.

    Raises InvalidRequest for a hint at somebody else, and what `request_credential` raises before
    it mints.
    """
    caller, detail = asked.caller, asked.detail
    pace(broker, caller.principal)
    key = broker.new_id("ciba")
    ask = Ask(
        detail.task_id, detail.scope, detail.ttl, asked.message, key, waits_at_most=asked.within
    )
    with refusals_about(ask.task_id):
        within_token(caller, ask)
        with broker.store.transaction() as tx:
            verdict = _first(broker, tx, asked, ask)
        if isinstance(verdict, Refused):
            raise verdict.error
        assert isinstance(verdict, Waiting)  # it asked to collect later
    grant = verdict.grant
    left = timedelta(seconds=int((grant.waits_until - grant.created_at).total_seconds()))
    waits = grant.state is GrantState.WAITING
    return Begun(_id_of(grant, broker.fingerprint), left, waits)


def poll(broker: Broker, caller: Caller, auth_req_id: str) -> Grant:
    """The grant, once, when it may be collected; the fact of the token that is given for it.

    For the agent and key that asked. Raises StillWaiting, which leaves no fact, RateLimited with
    the longer interval (limit `poll`), ApprovalTimedOut, DeniedByPerson, AlreadyDecided when it
    was answered before, TokenExpired when the caller's proof is over before an answer could be
    used, and NotFound for every id that is not one of the caller's own.
    """
    pace(broker, caller.principal, "poll")
    with broker.store.transaction() as tx:
        grant = _own(broker, tx, caller, auth_req_id)
    interval = _not_too_soon(broker, grant)
    with refusals_about(grant.task_id), broker.store.transaction() as tx:
        within_token(caller, asked_before(grant), grant.id)
        standing = open_task(tx, caller, grant.task_id, grant.scope)
        current = tx.grant(grant.id, lock=True) or grant
        if standing.kills:
            raise Killed()
        _answered_never(tx, current)
        try:
            current.may_be_collected(tx.now())
        except StillWaiting as waiting:
            waiting.retry_after = interval
            waiting.recorded = True
            raise
        if caller.expires_at - tx.now() < _LEAST_LIFE:
            raise TokenExpired()
        tx.record(_given(caller, current))
    return current


def _first(broker: Broker, tx: Transaction, asked: BackchannelAsk, ask: Ask) -> Verdict:
    standing = open_task(tx, asked.caller, ask.task_id, str(ask.scope))
    if asked.hint is not None and asked.hint.casefold() not in _people_of(standing.task):
        raise InvalidRequest("login_hint is not the person for whom the task is")
    return settle_verdict(broker, tx, weigh(broker, tx, standing, ask), ask, asked.caller)


def _people_of(task: Task) -> set[str]:
    return {name.casefold() for name in (task.owner, task.on_behalf_of) if name}


def _id_of(grant: Grant, mac: Callable[[str], str]) -> str:
    """The grant's id and a keyed hash of it, its agent and its key: nothing need be kept."""
    made = mac(f"ciba {grant.id} {grant.agent_id} {grant.requester_jkt}")
    return f"{grant.id}.{made.replace(':', '.')}"


def _own(broker: Broker, tx: Transaction, caller: Caller, auth_req_id: str) -> Grant:
    formed = _ID.fullmatch(auth_req_id)
    grant = tx.grant(formed[1]) if formed else None
    if grant is None or (grant.agent_id, grant.requester_jkt) != (caller.agent_id, caller.jkt):
        raise NotFound()
    said = auth_req_id.encode()
    macs = (broker.fingerprint, *broker.older_fingerprints)
    if not any(hmac.compare_digest(said, _id_of(grant, mac).encode()) for mac in macs):
        raise NotFound()
    return grant


def _not_too_soon(broker: Broker, grant: Grant) -> float:
    """The seconds between two polls now: 5, and 5 more for each that came too soon.

    It is kept for this grant and shared by all replicas. Raises RateLimited for one too soon.
    """
    slot, step = f"polled {grant.id}", INTERVAL.total_seconds()
    slowed = len(broker.store.used(slot))
    interval = step * (1 + slowed)
    if broker.store.admit(slot, Rate(1 / interval, 1)) is None:
        return interval
    if slowed < _MOST_SLOWED:
        broker.store.first_use(slot, str(slowed), grant.created_at + 4 * LONGEST_WAIT)
    raise RateLimited(
        "Polled sooner than the interval allows.",
        retry_after=interval + step,
        extra={"limit": "poll"},
    )


def _answered_never(tx: Transaction, grant: Grant) -> None:
    """Raise AlreadyDecided when history tells of a token that was given for this grant."""
    given = HistoryQuery(grant_id=grant.id, kind=FactKind.TOKEN_EXCHANGED.value, limit=1)
    if tx.history(given):
        raise AlreadyDecided("this was answered with a token before")


def _given(caller: Caller, grant: Grant) -> Fact:
    return Fact(
        kind=FactKind.TOKEN_EXCHANGED,
        by=str(caller.principal),
        agent_id=grant.agent_id,
        task_id=grant.task_id,
        grant_id=grant.id,
        body={"issuer": "ciba", "kind": caller.kind, "jkt": caller.jkt},
    )
