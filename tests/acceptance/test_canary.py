"""A secret known to us is looked for everywhere it must not be, in every form it could take.

Every minter is wrapped by one that remembers what it made, handed out or not; our own logins at
OpenBao and our keys count as well. The twin plants one on purpose and must see itself found.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import pickle
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from tests.api.opening import Private, fresh, opened, public_jwk
from tests.faults.ground import READ, Ground, ask_for, end_everything, get, start
from tests.faults.proxy import BaoProxy, between_bao
from tests.faults.served import Visitor, serving
from tests.faults.shared import ground as ground
from valetkey.bootstrap import House
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import BrokerError
from valetkey.core.facts import Fact, FactKind
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Proof
from valetkey.core.sealing import seal_to
from valetkey.flows.end_task import end_task
from valetkey.flows.fetch_sealed import fetch_sealed
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Sealed
from valetkey.ports import Broker, Deadline, Ending, Found, Lapse, Minted, Minter, Presence, Renewed

SCOPES = (
    READ,
    "orders-db:write{region=us}",
    "reports-api:export{report=daily}",
    "archive-api:fetch{path=a/b/}",
)
PLANTED = "A1a-Planted+on/purpose=" + "x" * 12


@dataclass
class Remembering:
    """A minter that keeps every secret that the real one makes."""

    minter: Minter
    made: list[str] = field(default_factory=list, repr=False)

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Mint, and keep the secret parts."""
        minted = self.minter.mint(handle, wanted, ttl, deadline)
        self.made += minted.secret.parts().values()
        return minted

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """As the minter."""
        return self.minter.handle_for(lease_id, wanted)

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """As the minter."""
        return self.minter.end_class(wanted)

    def renews(self, wanted: CataloguedScope) -> bool:
        """As the minter."""
        return self.minter.renews(wanted)

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """As the minter."""
        return self.minter.renew(handle, back_ref, ttl, deadline)

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """As the minter."""
        return self.minter.end(handle, backend_expires_at)

    def probe(self, handle: Handle) -> Presence:
        """As the minter."""
        return self.minter.probe(handle)

    def targets(self) -> Sequence[str]:
        """As the minter."""
        return self.minter.targets()

    def found(self, target: str) -> Iterator[Found]:
        """As the minter."""
        return self.minter.found(target)

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """As the minter says."""
        return self.minter.lives_until(handle, back_ref)

    def skew(self, target: str) -> timedelta:
        """As the minter says."""
        return self.minter.skew(target)

    def claim(self) -> Sequence[str]:
        """As the minter."""
        return self.minter.claim()

    def longest_life(self, ttl: timedelta) -> timedelta:
        """As the minter."""
        return self.minter.longest_life(ttl)

    def reassert(self, *, renew: bool = True) -> Sequence[Lapse]:
        """As the minter."""
        return self.minter.reassert(renew=renew)

    def problem(self) -> str | None:
        """As the minter."""
        return self.minter.problem()


def forms(secret: str) -> set[str]:
    """How a secret could stand somewhere: as it is, or in a common coat."""
    raw = secret.encode()
    coats = {secret, secret[::-1], quote(secret, safe=""), raw.hex(), raw.hex().upper()}
    coats.add(json.dumps(secret)[1:-1])
    for offset in range(3):  # base64 looks different at each of three offsets
        inner = raw[offset : offset + (len(raw) - offset) // 3 * 3]
        coats |= {base64.b64encode(inner).decode(), base64.urlsafe_b64encode(inner).decode()}
    return coats


def found_in(places: Mapping[str, str], secrets: Sequence[str]) -> list[str]:
    """The places that hold any form of any secret."""
    wanted = {form for secret in secrets for form in forms(secret)}
    return [where for where, text in places.items() if any(form in text for form in wanted)]


def dump(ground: Ground) -> dict[str, str]:
    """Every row of every table of our database as text."""
    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
    tables += " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    names = [row[0] for row in ground.look(tables, database="valetkey")]
    rows = {n: ground.look(f"SELECT t::text FROM {n} t", database="valetkey") for n in names}
    return {f"table {name}": "\n".join(row[0] for row in found) for name, found in rows.items()}


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Everything that structlog and the standard library log meanwhile, at every level."""
    written, before = io.StringIO(), structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(written),
        cache_logger_on_first_use=False,
    )
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        structlog.configure(**before)


def test_no_secret_of_any_minter_is_written_down(ground: Ground) -> None:
    """Handed out, withheld, doubtful or ended: it is in no table, log, error or repr."""
    minters: list[Remembering] = []

    def watch(minter: Minter) -> Minter:
        minters.append(Remembering(minter))
        return minters[-1]

    with (
        logged() as log,
        between_bao(ground.stack.openbao.port) as proxy,
        ground.house(bao=proxy.address, watch=watch) as house,
    ):
        shown = handed_out(ground, house) | troubles(ground, house, proxy)
        ciphertexts = handed_out_sealed(ground, house)
        kept = dump(ground)["table public.sealed_answers"]
        shown |= {"kept": kept, "ciphertexts": "\n".join(ciphertexts)}
        shown |= {"house": repr(house), "minters": repr([each.minter for each in minters])}
        secrets = {type(each.minter).__name__: list(each.made) for each in minters}
        secrets |= {"logins": login_tokens(house), "keys": keys(ground)}
        house.clockwork.start()
        end_everything(house)
        ground.at_peace(house, within=150)
        shown["log"] = log.getvalue()
    assert {name: bool(made) for name, made in secrets.items()} == dict.fromkeys(secrets, True)
    assert {"BoundedMinter", "SignedToken"} <= secrets.keys()
    assert "Traceback" in shown["after_effect"]
    assert ciphertexts and all(ciphertext in kept for ciphertext in ciphertexts)
    everything = [secret for made in secrets.values() for secret in made]
    assert found_in(shown | dump(ground), everything) == []


def handed_out(ground: Ground, house: House) -> dict[str, str]:
    """What can be shown of credentials that were given."""
    bot = ground.bot(house)
    task = start(house, bot)
    shown = {}
    for scope in SCOPES:
        issued = get(house, bot, ask_for(task, scope, ttl=4))
        with pytest.raises(TypeError):
            pickle.dumps(issued.secret)
        shown[scope] = f"{issued!r} {issued} {issued.secret!r} {issued.secret} {issued.lease!r}"
    shown["receipt"] = repr(end_task(house.broker, bot, task.id))
    return shown


def handed_out_sealed(ground: Ground, house: House) -> list[str]:
    """The ciphertext of a credential of each minter, fetched again; only its own key opens it."""
    bot, key, told = ground.bot(house), fresh(), []
    task = start(house, bot)
    for scope in SCOPES:
        ask = replace(ask_for(task, scope, ttl=4), seal_to=seal_to(public_jwk(key)))
        answer = request_credential(house.broker, bot, ask)
        assert isinstance(answer, Sealed)
        assert fetch_sealed(house.broker, bot, answer.lease.id).sealed == answer.sealed
        assert opened(answer.sealed, key)["type"] in {"postgresql", "jwt"}
        told.append(answer.sealed)
    end_task(house.broker, bot, task.id)
    return told


def troubles(ground: Ground, house: House, proxy: BaoProxy) -> dict[str, str]:
    """Errors with all their causes: of OpenBao before and after the effect, and of ours."""
    told = {}
    for name, act in (("before_effect", "cut"), ("after_effect", "error"), ("silent", "swallow")):
        proxy.rule(r"creds/vk-|auth/jwt/login", act, times=1)
        told[name] = refused(ground, house, house.broker)
        proxy.clear()
    bot = ground.bot(house)
    task = start(house, bot)

    def overtake(step: str) -> None:
        if step == "issue.minted":
            end_task(house.broker, bot, task.id)

    for scope in SCOPES:
        task = start(house, bot)
        overtaken = replace(house.broker, failpoint=overtake)
        told[f"withheld {scope}"] = refusal_text(overtaken, bot, ask_for(task, scope, ttl=4))
    return told


def refused(ground: Ground, house: House, broker: Broker) -> str:
    """An ask of a new agent that fails."""
    bot = ground.bot(house)
    return refusal_text(broker, bot, ask_for(start(house, bot)))


def refusal_text(broker: Broker, bot: Any, ask: Any) -> str:
    """Everything an error can say of itself and its causes."""
    with pytest.raises(BrokerError) as caught:
        request_credential(broker, bot, ask)
    error = caught.value
    return f"{error!r} {error} {error.extra} {''.join(traceback.format_exception(error))}"


def login_tokens(house: House) -> list[str]:
    """Our own tokens at OpenBao, as the minter holds them in memory."""
    database: Any = house.broker.minters["openbao-database"]
    logins = database.minter._minter._logins
    each = (logins.writer, logins.reader, logins.ender, logins.inspector)
    return [login.token() for login in each]


def keys(ground: Ground) -> list[str]:
    """Our keys, our database password and the identity we log in with, as their files hold them."""
    pem = (ground.folder / "signing.pem").read_text().splitlines()
    password = ground.stack.app_dsn().split("@")[0].rpartition(":")[2]
    identity = ground.stack.identity_token_file.read_text().strip()
    return [pem[1], (ground.folder / "fingerprint.key").read_text().strip(), password, identity]


def test_the_server_tells_no_secret_but_in_its_one_answer(ground: Ground) -> None:
    """Not in its log, metrics, readiness, leases, receipt, or in any refusal."""
    with ground.house() as house, serving(ground) as served:
        visitor = served.visitor(ground.bot(house))
        task = visitor.start()
        secrets, shown = [visitor.token], {}
        for scope in SCOPES:
            status, answer = visitor.ask(task, scope)
            assert status == 201, answer
            credential = answer.pop("credential")
            secrets.append(credential.get("password") or credential["token"])
            shown[scope] = json.dumps(answer)
            shown |= sealed_too(visitor, task, (scope, fresh()), secrets)
            shown[f"lease {scope}"] = str(visitor.call("GET", f"/v1/leases/{answer['lease']['id']}"))
        for number, body in enumerate(bad_bodies(task, secrets)):
            status, refusal = visitor.call("POST", "/v1/credentials", body, Idempotency_Key="k")
            assert status >= 400, refusal
            shown[f"refusal {number}"] = json.dumps(refusal)
        shown["receipt"] = str(visitor.call("POST", f"/v1/tasks/{task}/end"))
        for path in ("/metrics", "/readyz", "/healthz"):
            shown[path] = served.pool.request("GET", served.url + path).data.decode()
        shown |= dump(ground) | {"log": served.log}
    assert len(secrets) == 1 + 2 * len(SCOPES)
    assert "valetkey_mint_seconds" in shown["/metrics"]
    assert found_in(shown, secrets) == []


def sealed_too(
    visitor: Visitor, task: str, wanted: tuple[str, Private], secrets: list[str]
) -> dict[str, str]:
    """The same asked for sealed, and fetched: what can be shown of it; its secret is noted."""
    scope, key = wanted
    body = {"task": task, "scope": scope, "ttl": 60, "seal_to": public_jwk(key)}
    status, answer = visitor.call("POST", "/v1/credentials", body, Idempotency_Key=f"sealed-{len(secrets)}")
    assert status == 201, answer
    credential = opened(answer["sealed"], key)
    secrets.append(credential.get("password") or credential["token"])
    fetched = visitor.call("GET", f"/v1/leases/{answer['lease']['id']}/sealed")
    return {f"sealed {scope}": json.dumps(answer), f"fetched {scope}": str(fetched)}


def bad_bodies(task: str, secrets: Sequence[str]) -> Iterator[dict[str, object]]:
    """Asks that are refused and hold a secret where it does not belong."""
    good: dict[str, object] = {"task": task, "scope": READ, "ttl": 60, "reason": "because"}
    for secret in secrets:
        for name in ("task", "scope", "ttl", "surplus"):
            yield {**good, name: secret}


def test_a_planted_secret_is_found(ground: Ground) -> None:
    """The search sees a secret in a fact or a log line, whatever coat it wears there."""
    for planted in sorted(forms(PLANTED)):
        with logged() as log, ground.house() as house:
            with house.store.transaction() as tx:
                body = {"it": planted}
                tx.record(Fact(kind=FactKind.KNOCKED, by="canary", outcome=planted[:4], body=body))
            structlog.get_logger().warning("planted", it=f"before {planted} after")
            places = dump(ground) | {"log": log.getvalue()}
        assert set(found_in(places, [PLANTED])) == {"table public.facts", "log"}
        assert found_in(places, ["another secret"]) == []
