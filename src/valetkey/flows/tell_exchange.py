"""Tell of a token of ours before it leaves; if that cannot be written, none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from valetkey.core.errors import RateLimited
from valetkey.core.facts import Fact, FactKind
from valetkey.core.principal import Caller
from valetkey.flows.admit import pace, pace_issuer
from valetkey.flows.recording import record_refusal
from valetkey.ports import Broker

MOST_NAMES = 20
LONGEST_NOTE = 255
WINDOW = 600
"""Seconds; a token lives half as long, so whoever goes on working proves itself within."""
_POD = "kubernetes.io/pod/uid"
_A_KEY_EACH = frozenset({"github-actions", "gitlab"})


def tell_exchange(
    broker: Broker,
    caller: Caller,
    issuer: str,
    unaccounted: Sequence[str],
    noted: Mapping[str, str] | None = None,
) -> bool:
    """One fact for every token, or for a proven principal that asks for them too often.

    Its issuer may have a rate too.

    `issuer` is the record's name, `unaccounted` the claims of which it says nothing, `noted` what
    tells which job or pod it was. Whether the identity was seen in two places at once, for the
    first time in a while: that is a fact too, and stops nobody. Raises RateLimited, which is on
    record by then.
    """
    try:
        pace(broker, caller.principal, "exchange")
        pace_issuer(broker, issuer)
    except RateLimited as fast:
        record_refusal(broker, caller, fast, "POST /oauth2/token")
        raise
    body: dict[str, object] = {
        "issuer": issuer,
        "kind": caller.kind,
        "rule": caller.rule,
        "binding": caller.binding_id,
        "jkt": caller.jkt,
        "on_behalf_of": caller.subject if caller.acting else None,
        "unaccounted": list(unaccounted)[:MOST_NAMES],
        "proof": {name: value[:LONGEST_NOTE] for name, value in (noted or {}).items()},
    }
    first = _other_place(broker, caller, issuer, noted or {})
    with broker.store.transaction() as tx:
        if first is not None:
            places = {"binding": caller.binding_id, "issuer": issuer, "jkts": [first, caller.jkt]}
            tx.record(_fact(FactKind.IDENTITY_SEEN_TWICE, caller, {**places, "proof": noted or {}}))
        tx.record(_fact(FactKind.TOKEN_EXCHANGED, caller, body))
    return first is not None


def _other_place(
    broker: Broker, caller: Caller, issuer: str, noted: Mapping[str, str]
) -> str | None:
    """The key that proved this identity earlier within the same ten minutes, if it is another.

    None when that was told already. Pods of one account are told apart, for their cluster vouches
    for each; jobs of CI have a key each and are left out.
    """
    if caller.binding_id is None or broker.platforms.get(issuer) in _A_KEY_EACH:
        return None
    window = int(broker.store.now().timestamp()) // WINDOW
    place = f"place:{caller.binding_id}:{noted.get(_POD, '')}:{window}"
    until = datetime.fromtimestamp((window + 1) * WINDOW, UTC)
    first = broker.store.pin(place, caller.jkt, until)
    if first == caller.jkt or not broker.store.first_use("place", place, until):
        return None
    return first


def _fact(kind: FactKind, caller: Caller, body: Mapping[str, object]) -> Fact:
    return Fact(
        kind=kind,
        by=str(caller.principal),
        agent_id=caller.agent_id,
        body={name: value for name, value in body.items() if value},
    )
