"""What the first transaction of a credential request can come to."""

from __future__ import annotations

from dataclasses import dataclass

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import BrokerError
from valetkey.core.grant import Grant
from valetkey.core.lease import Lease
from valetkey.core.sealing import SealTo
from valetkey.core.secret import Secret
from valetkey.ports import Deadline


@dataclass(frozen=True)
class Order:
    """Allowed, and written: this lease is to be minted, starting before the deadline.

    Its credential may leave only sealed to `seal_to`, where that is given.
    """

    lease: Lease
    wanted: CataloguedScope
    deadline: Deadline
    seal_to: SealTo | None = None


@dataclass(frozen=True)
class Waiting:
    """Nothing is minted; people decide first."""

    grant: Grant


@dataclass(frozen=True)
class Refused:
    """No, and the record of it is in the same transaction."""

    error: BrokerError


@dataclass(frozen=True)
class Issued:
    """A credential is out: its lease, and the secret to be handed over once."""

    lease: Lease
    secret: Secret


@dataclass(frozen=True)
class Sealed:
    """A credential is out: its lease, and the ciphertext that is all of it that leaves."""

    lease: Lease
    sealed: str


Verdict = Order | Waiting | Refused | Sealed
Answer = Issued | Sealed | Waiting
