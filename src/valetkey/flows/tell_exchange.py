"""Tell of a token of ours before it leaves; if that cannot be written, none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from valetkey.core.errors import RateLimited
from valetkey.core.facts import Fact, FactKind
from valetkey.core.principal import Caller
from valetkey.flows.admit import pace
from valetkey.flows.recording import record_refusal
from valetkey.ports import Broker

MOST_NAMES = 20
LONGEST_NOTE = 255


def tell_exchange(
    broker: Broker,
    caller: Caller,
    issuer: str,
    unaccounted: Sequence[str],
    noted: Mapping[str, str] | None = None,
) -> None:
    """One fact for every token, or for a proven principal that asks for them too often.

    `issuer` is the record's name, `unaccounted` the claims of which it says nothing, `noted` what
    tells which job or pod it was. Raises RateLimited, which is on record by then.
    """
    try:
        pace(broker, caller.principal, "exchange")
    except RateLimited as fast:
        record_refusal(broker, caller, fast, "POST /oauth2/token")
        raise
    body: dict[str, object] = {
        "issuer": issuer,
        "kind": caller.kind,
        "rule": caller.rule,
        "binding": caller.binding_id,
        "jkt": caller.jkt,
        "unaccounted": list(unaccounted)[:MOST_NAMES],
        "proof": {name: value[:LONGEST_NOTE] for name, value in (noted or {}).items()},
    }
    with broker.store.transaction() as tx:
        tx.record(
            Fact(
                kind=FactKind.TOKEN_EXCHANGED,
                by=str(caller.principal),
                agent_id=caller.agent_id,
                body={name: value for name, value in body.items() if value},
            )
        )
