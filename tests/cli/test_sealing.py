"""What our side opens, and what it does about answers that it cannot or must not take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

from tests.api.opening import spelled
from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import Call, FakeBroker, problem
from tests.cli.test_run import ENV, OPTIONS, _run
from valetkey.agentside.sealing import CannotBeOpened, SealingKey
from valetkey.core.ids import LeaseId
from valetkey.core.sealing import seal_to
from valetkey.core.secret import Secret
from valetkey.identity.sealing import seal

Json = dict[str, Any]
LEASE = "lease_1"
OURS = SealingKey()
WORDS = some.sampled_from(["alg", "enc", "kid", "typ", "lease", "epk", "zip", "crit", "apu", "kty"])
CREDENTIAL = Secret({"password": "the-secret"}, samples.CREDENTIAL)
ASK = ("orders-db:read{region=eu}", "--task", "task_1", "--ttl", "5m")
CLEAR = {"lease": samples.LEASE, "credential": samples.CREDENTIAL}


def made(jwk: Json, plain: str = json.dumps(samples.CREDENTIAL), /, **header: object) -> str:
    """The sample as a JWE to a key, with other members in its header than ours."""
    usual = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "typ": "valetkey-credential+jwe"}
    told = {**usual, "kid": ECKey.import_key(jwk).thumbprint(), "lease": LEASE, **header}
    told = {name: value for name, value in told.items() if value is not None}
    any_header = jwe.JWERegistry(
        algorithms=[str(told["alg"]), str(told["enc"]), "DEF"], strict_check_header=False
    )
    raw = plain.encode("utf-8", "surrogatepass")
    return jwe.encrypt_compact(told, raw, ECKey.import_key(jwk), registry=any_header)


def bent(sealed: str, part: int) -> str:
    """The same with one character of a part changed."""
    parts = sealed.split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    return ".".join(parts)


HOSTILE: dict[str, Callable[[Json], object]] = {
    "for another lease": lambda jwk: made(jwk, lease="lease_2"),
    "without a lease": lambda jwk: made(jwk, lease=None),
    "under another key's name": lambda jwk: made(jwk, kid="another"),
    "without a name": lambda jwk: made(jwk, kid=None),
    "of another kind": lambda jwk: made(jwk, typ="JWT"),
    "compressed": lambda jwk: made(jwk, zip="DEF"),
    "by another agreement": lambda jwk: made(jwk, alg="ECDH-ES"),
    "by a smaller wrap": lambda jwk: made(jwk, alg="ECDH-ES+A128KW"),
    "by another cipher": lambda jwk: made(jwk, enc="A128CBC-HS256"),
    "with a surplus member": lambda jwk: made(jwk, cty="json"),
    "with something critical": lambda jwk: made(jwk, crit=["kid"]),
    "to another key": lambda jwk: made(SealingKey().jwk()),
    "with another header": lambda jwk: bent(made(jwk), 0),
    "with another wrapped key": lambda jwk: bent(made(jwk), 1),
    "with another nonce": lambda jwk: bent(made(jwk), 2),
    "with other contents": lambda jwk: bent(made(jwk), 3),
    "with another tag": lambda jwk: bent(made(jwk), 4),
    "huge": lambda jwk: made(jwk) + "A" * 1_000_000,
    "by a shared key": lambda jwk: shared(),
    "no JWE": lambda jwk: "a.b.c",
    "nothing": lambda jwk: "",
    "no text": lambda jwk: {"ciphertext": "x"},
    "letters of elsewhere": lambda jwk: "é.é.é.é.é",
}


def shared() -> str:
    """A JWE by a key that somebody made up."""
    header = {"alg": "dir", "enc": "A256GCM", "lease": LEASE}
    registry = jwe.JWERegistry(algorithms=["dir", "A256GCM"], strict_check_header=False)
    return jwe.encrypt_compact(header, b"{}", OctKey.generate_key(256), registry=registry)


def test_what_the_broker_seals_is_opened() -> None:
    """The credential, whole; each key has a name of its own."""
    key = SealingKey()
    sealed = seal(seal_to(key.jwk()), LeaseId(LEASE), CREDENTIAL)
    assert key.open(sealed, LEASE) == samples.CREDENTIAL
    assert key.open(made(key.jwk()), LEASE) == samples.CREDENTIAL
    assert key.thumbprint != SealingKey().thumbprint


@pytest.mark.parametrize("how", HOSTILE)
def test_nothing_else_is_opened(how: str) -> None:
    """Whatever is other than the broker writes it is refused, with a code and without an echo."""
    key = SealingKey()
    with pytest.raises(CannotBeOpened) as refused:
        key.open(HOSTILE[how](key.jwk()), LEASE)
    assert (refused.value.status, refused.value.code) == (0, "sealing_failed")
    assert "the-secret" not in str(refused.value) and len(str(refused.value)) < 200


VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(some.dictionaries(WORDS, VALUES, max_size=8) | VALUES, some.binary(max_size=40))
def test_no_header_does_more_than_to_be_refused(header: object, rest: bytes) -> None:
    """Whatever JSON stands there, of whatever types."""
    head, other = (spelled(raw) for raw in (json.dumps(header).encode(), rest))
    with pytest.raises(CannotBeOpened):
        OURS.open(f"{head}.{other}.{other}.{other}.{other}", LEASE)


def test_contents_without_end_are_refused() -> None:
    """Who knows the public key can seal anything to it."""
    for plain in ("[" * 40_000, "[]", "null", "\ud800", ""):
        with pytest.raises(CannotBeOpened):
            OURS.open(made(OURS.jwk(), plain), LEASE)


def sealing(how: Callable[[Json], object]) -> Callable[[Call], tuple[int, Json]]:
    """A broker's answer to an ask, sealed so."""

    def answer(call: Call) -> tuple[int, Json]:
        return 201, {"lease": samples.LEASE, "sealed": how(call.json["seal_to"])}

    return answer


def test_a_sealed_answer_is_printed_as_ever(bot: Terminal, broker: FakeBroker) -> None:
    """What is sent is the public key alone, and the proof of the call names it."""
    broker.on("POST /v1/credentials", sealing(made))
    assert bot.json("request", *ASK, "--seal") == CLEAR
    (call,) = broker.made("POST /v1/credentials")
    assert call.json["seal_to"].keys() == {"kty", "crv", "x", "y"}
    assert call.proof["seal_jkt"] == ECKey.import_key(call.json["seal_to"]).thumbprint()


def test_each_command_has_a_key_of_its_own(bot: Terminal, broker: FakeBroker) -> None:
    """Two asks are sealed to two keys, and neither is the key that signs."""
    broker.on("POST /v1/credentials", sealing(made))
    for _ in range(2):
        bot.json("request", *ASK, "--seal")
    first, second = (call.json["seal_to"]["x"] for call in broker.made("POST /v1/credentials"))
    signs = broker.made("POST /v1/credentials")[0].proof["jwk"]["x"]
    assert len({first, second, signs}) == 3


def test_run_needs_no_flag_where_sealing_is_demanded(bot: Terminal, broker: FakeBroker) -> None:
    """The ask is made again, sealed, under the same idempotency key."""
    broker.on("POST /v1/tasks", (201, samples.TASK))
    broker.on("POST /v1/tasks/task_1/end", (200, samples.RECEIPT))
    demands = (422, problem("sealing_required", 422))
    broker.on("POST /v1/credentials", demands, sealing(made))
    done = _run(bot, *OPTIONS, "--purpose", "look", "--", *ENV)
    assert done.returncode == 0, done.stderr
    assert '"PGPASSWORD": "the-secret"' in done.stdout
    first, second = broker.made("POST /v1/credentials")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert "seal_to" not in first.json and "seal_to" in second.json
    assert "seal_jkt" not in first.proof and "seal_jkt" in second.proof


@pytest.mark.parametrize("how", ["to another key", "for another lease", "no JWE"])
def test_what_cannot_be_opened_is_revoked(bot: Terminal, broker: FakeBroker, how: str) -> None:
    """Exit 1 with the code; nothing of it is printed."""
    broker.on("POST /v1/credentials", sealing(HOSTILE[how]))
    broker.on("POST /v1/leases/lease_1/revoke", (202, samples.LEASE))
    done = bot.run("request", *ASK, "--seal", "--json")
    assert done.exit_code == 1 and "sealing_failed" in done.stderr
    assert "the-secret" not in done.output
    assert len(broker.made("POST /v1/leases/lease_1/revoke")) == 1


def test_what_comes_in_the_clear_though_it_was_to_be_sealed_is_revoked(
    bot: Terminal, broker: FakeBroker
) -> None:
    """Somebody in between took the key away; what others have read is of no use any more."""
    broker.on("POST /v1/credentials", (201, CLEAR))
    broker.on("POST /v1/leases/lease_1/revoke", (500, problem("internal", 500)))
    done = bot.run("request", *ASK, "--seal", "--json")
    assert done.exit_code == 1 and "in the clear" in done.stderr
    assert "the-secret" not in done.output
    assert len(broker.made("POST /v1/leases/lease_1/revoke")) == 1


def test_an_acknowledgement_says_that_it_was_opened(bot: Terminal, broker: FakeBroker) -> None:
    """What cannot be opened is not acknowledged, so that it ends also where revoking fails."""
    lease = {**samples.LEASE, "ack_by": "2026-01-05T12:00:30+00:00"}
    broker.on("POST /v1/leases/lease_1/ack", (200, lease))
    broker.on("POST /v1/leases/lease_1/revoke", (202, lease))
    broker.on("POST /v1/credentials", (201, {"lease": lease, "sealed": "a.b.c.d.e"}))
    assert bot.run("request", *ASK, "--seal").exit_code == 1
    assert not broker.made("POST /v1/leases/lease_1/ack")
