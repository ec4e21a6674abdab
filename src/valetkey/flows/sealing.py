"""Sealed delivery: a credential that leaves only as ciphertext to a key of its asker's.

It is sealed after the mint and before the commit that makes its lease active, so that this commit
keeps the ciphertext with the lease, or has the credential ended if it could not be sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from valetkey.core.errors import BrokerError, Killed, SealingFailed
from valetkey.core.facts import FactKind
from valetkey.core.grant import Grant
from valetkey.core.kill import Reach, refuse_if_killed
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.sealing import KEPT_FOR, SealedAnswer
from valetkey.flows.recording import lease_fact
from valetkey.flows.verdicts import Issued, Order, Sealed
from valetkey.ports import Broker, Minted, Standing, Transaction


@dataclass(frozen=True)
class Made:
    """A credential that exists, in the form in which it may leave; with a problem it may not."""

    minted: Minted
    sealed: str | None = None
    problem: BrokerError | None = None

    def answer(self, lease: Lease) -> Issued | Sealed:
        """What is handed over for this lease, now active."""
        if self.sealed is not None:
            return Sealed(lease, self.sealed)
        return Issued(lease, self.minted.secret)


def seal(broker: Broker, order: Order, minted: Minted) -> Made:
    """Seal what was minted, if the ask named a key; what cannot be sealed is to be withheld."""
    if order.seal_to is None:
        return Made(minted)
    try:
        return Made(minted, broker.seal(order.seal_to, order.lease.id, minted.secret))
    except Exception as defect:  # noqa: BLE001 - whatever it is, the credential must not leave
        about = {"lease": order.lease.id, "problem": type(defect).__name__}
        broker.notifier.alarm("a credential could not be sealed and is being ended", about)
        return Made(minted, problem=SealingFailed())


def keep(tx: Transaction, lease: Lease, made: Made) -> None:
    """Keep the ciphertext for a lease that becomes active in this transaction."""
    if made.sealed is not None:
        tx.keep_sealed(SealedAnswer(lease.id, made.sealed, tx.now() + KEPT_FOR))


def sealed_again(tx: Transaction, standing: Standing, lease: Lease, grant: Grant) -> Sealed | None:
    """The sealed answer of a lease, locked, while it is active and its answer is kept; a fact.

    `standing` is the open task's, of this same transaction. None when there is none; raises Killed.
    """
    if grant.seal_to is None or lease.state is not LeaseState.ACTIVE:
        return None
    kept = tx.sealed(lease.id)
    if kept is None or tx.now() >= min(kept.until, lease.expires_at):
        return None
    if standing.kills:
        raise Killed()
    refuse_if_killed(tx.kills_over(reach := Reach(lease_id=lease.id)), reach)
    fact = lease_fact(FactKind.SEALED_FETCHED, lease, "issuer")
    tx.record(replace(fact, body={**fact.body, "sealed_to": grant.seal_to.thumbprint}))
    return Sealed(lease, kept.sealed)
