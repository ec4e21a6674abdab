"""Minters of every kind, each with what a test must know to use and to check its credentials."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

import valetkey.devstack
from valetkey.core.catalogue import Catalogue, CataloguedScope, Parameter, ScopeDefinition, Target
from valetkey.core.ids import LeaseId, base32
from valetkey.core.lease import Handle
from valetkey.core.scope import Scope
from valetkey.devstack.stack import Stack
from valetkey.minters.bao import Bao, Login
from valetkey.minters.openbao_database import Logins, OpenBaoDatabase
from valetkey.minters.pins import expected_policies
from valetkey.minters.signed_token import SignedToken
from valetkey.policy.catalogue import load_catalogue
from valetkey.ports import Deadline, Denied, Ending, Gone, LivesUntil, Minted, Minter
from valetkey.testing.brokers import small_catalogue
from valetkey.testing.fake_clock import FakeClock
from valetkey.testing.fake_minter import FakeMinter
from valetkey.testing.memory_store import MemoryStore
from valetkey.testing.sim_minter import SimBackEnd

INSTALLATION = "contrae1"
SAMPLE = Path(valetkey.devstack.__file__).parent / "sample" / "catalogue"
TTL = timedelta(minutes=2)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Kind:
    """One minter on trial.

    `works` tries a credential as its holder would. `reborn` is the same minter after a restart
    with an empty catalogue. `cuts` says whether it can end early, `looks` whether it can look,
    `denies` whether it can only have refused. `written` writes a new lease where it must be known.
    """

    minter: Minter
    wanted: CataloguedScope
    works: Callable[[Minted], bool]
    reborn: Callable[[], Minter]
    installation: str = INSTALLATION
    cuts: bool = True
    looks: bool = True
    denies: bool = False
    written: Callable[[Handle], None] = lambda handle: None

    def handle(self) -> Handle:
        """The handle of a new lease, which has been written."""
        handle = self.minter.handle_for(new_lease_id(), self.wanted)
        self.written(handle)
        return handle

    def ended(self, at: datetime) -> Ending:
        """What it answers to an end, of what lives until then."""
        if self.denies:
            return Denied(at)
        return Gone() if self.cuts else LivesUntil(at)

    def mint(self, handle: Handle) -> Minted:
        """A credential of two minutes."""
        return self.minter.mint(handle, self.wanted, TTL, deadline())


def new_lease_id() -> LeaseId:
    """A lease id that no other run has used."""
    raw = next(_numbers).to_bytes(8, "big") + secrets.token_bytes(8)
    return LeaseId(f"lease_{base32(raw)}")


def deadline(seconds: float = 30.0) -> Deadline:
    """A deadline so far ahead, on a clock that stands still."""
    return FakeClock(MemoryStore()).deadline(timedelta(seconds=seconds))


def later() -> datetime:
    """An instant at which everything minted here has expired."""
    return datetime.now(UTC) + timedelta(minutes=5)


def fake_kind(*, denies: bool = False) -> Kind:
    """The fake, which is held to the same contract."""
    minter = FakeMinter(denies=denies, looks=not denies)
    wanted = small_catalogue().find(Scope.parse("orders-db:read{region=eu}"))

    def works(minted: Minted) -> bool:
        name = str(minted.secret.reveal()["name"])
        return name in minter.alive and name not in minter.refused

    same = (minter, wanted, works, lambda: minter, minter.installation)
    return Kind(*same, cuts=not denies, looks=not denies, denies=denies)


def simulated_kind() -> Kind:
    """The simulator's back end, undisturbed."""
    minter = SimBackEnd(lambda: datetime.now(UTC))
    wanted = small_catalogue().find(Scope.parse("orders-db:read{region=eu}"))

    def works(minted: Minted) -> bool:
        return str(minted.secret.reveal()["name"]) in minter.there

    return Kind(minter, wanted, works, lambda: minter, minter.installation)


def token_kind(*, introspects: bool) -> Kind:
    """Our own tokens, for a target that introspects or for an offline verifier."""
    key = ec.generate_private_key(ec.SECP256R1())

    def sign(claims: Mapping[str, object]) -> str:
        return jwt.encode(dict(claims), key, algorithm="ES256", headers={"typ": "at+jwt"})

    def works(minted: Minted) -> bool:
        token = str(minted.secret.reveal()["token"])
        claims = jwt.decode(token, key.public_key(), ["ES256"], audience="https://reports")
        return bool(claims["scope"] == "reports-api:export{report=daily}")

    minter = SignedToken(sign, "https://broker", INSTALLATION, lambda: datetime.now(UTC))
    parameter = Parameter("report", "enum", ("daily",))
    scopes = {"export": ScopeDefinition("export", False, timedelta(minutes=5), (parameter,))}
    target = Target(
        "reports-api", "signed-token", "production", "o", audience="https://reports",
        introspects=introspects, scopes=scopes,
    )  # fmt: skip
    wanted = Catalogue({"reports-api": target}, "d").find(
        Scope.parse("reports-api:export{report=daily}")
    )
    return Kind(minter, wanted, works, lambda: minter, cuts=introspects, looks=False)


@contextmanager
def database_kind(stack: Stack) -> Iterator[Kind]:
    """The real OpenBao and PostgreSQL, pinned for this catalogue; put back as they were."""
    loaded = load_catalogue(SAMPLE)
    orders = loaded.targets["orders-db"]
    here = replace(orders, address={**orders.address, "port": stack.postgres.port})
    catalogue = Catalogue({"orders-db": here}, loaded.digest)
    policies = expected_policies(catalogue, INSTALLATION)
    stack.provision({name.removeprefix("valetkey-writer-"): x for name, x in policies.items()})
    bao = Bao(stack.openbao.address)
    minter = _database_minter(stack, bao, catalogue)

    def works(minted: Minted) -> bool:
        try:
            with connect(minted) as connection:
                row = connection.execute("SELECT count(*) FROM orders").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and row[0] > 0

    reborn: list[OpenBaoDatabase] = []

    def again() -> Minter:
        reborn.append(_database_minter(stack, bao, Catalogue({}, "")))
        return reborn[-1]

    wanted = catalogue.find(Scope.parse("orders-db:read{region=eu}"))
    try:
        yield Kind(minter, wanted, works, again)
    finally:
        for each in (minter, *reborn):
            each.close()
        stack.openbao.as_root().delete("valetkey/metadata/claims/orders-db")
        stack.provision()


@contextmanager
def unreachable_database(
    stack: Stack, kind: Kind
) -> Iterator[tuple[OpenBaoDatabase, Catalogue]]:
    """The same minter for the same target, whose PostgreSQL answers nobody."""
    target = kind.wanted.target
    away = replace(target, address={**target.address, "port": 1})
    catalogue = Catalogue({target.name: away}, kind.wanted.catalogue_digest)
    minter = _database_minter(stack, Bao(stack.openbao.address), catalogue)
    try:
        yield minter, catalogue
    finally:
        minter.close()


def connect(minted: Minted) -> psycopg.Connection[Any]:
    """A session under a database credential, as its holder would open it."""
    told = minted.secret.reveal()
    return psycopg.connect(
        host=str(told["host"]),
        port=int(str(told["port"])),
        dbname=str(told["database"]),
        user=str(told["username"]),
        password=str(told["password"]),
        connect_timeout=5,
        autocommit=True,
    )


def _database_minter(stack: Stack, bao: Bao, catalogue: Catalogue) -> OpenBaoDatabase:
    names = ("writer", "reader", "ender", "inspector")
    logins = Logins(*(Login(bao, f"valetkey-{x}", stack.identity_token_file) for x in names))
    return OpenBaoDatabase(bao, logins, INSTALLATION, lambda: catalogue, lambda: datetime.now(UTC))
