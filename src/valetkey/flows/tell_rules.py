"""Tell of the rules: which version came into force and which was refused, once for all replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from valetkey.core.ask import canonical_hash
from valetkey.core.facts import Fact, FactKind
from valetkey.flows.recording import CLOCK
from valetkey.ports import Broker

AGAIN = timedelta(hours=1)


def tell_activated(broker: Broker, catalogue_digest: str, policy_hash: str) -> None:
    """A version is in force here; a fact, the first time any replica says so within an hour."""
    body = {"catalogue_digest": catalogue_digest, "policy_hash": policy_hash}
    tell_once(broker, FactKind.CATALOGUE_ACTIVATED, body)


def tell_refused(broker: Broker, problems: Sequence[str]) -> None:
    """The newest files are not in force, and why; a fact and an alarm, once within an hour."""
    body = {"problems": list(problems)[:20]}
    if tell_once(broker, FactKind.RULES_REFUSED, body, "refused"):
        broker.notifier.alarm("the newest catalogue or policy was refused", {"why": problems[0]})


def tell_once(
    broker: Broker, kind: FactKind, body: Mapping[str, object], outcome: str = "done"
) -> bool:
    """A fact about what all replicas see, unless one of them told the same within an hour."""
    key = canonical_hash({"kind": kind.value, **body})
    if not broker.store.first_use("rules", key, broker.store.now() + AGAIN):
        return False
    with broker.store.transaction() as tx:
        tx.record(Fact(kind=kind, by=CLOCK, outcome=outcome, body=dict(body)))
    return True
