"""Sealed delivery over HTTP: opened by code that is not ours, fetched again, and attacked."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from joserfc.jwk import ECKey, OKPKey

from tests.api.hall import SCOPE, Hall
from tests.api.opening import Private, fresh, header_of, opened, public_jwk, raw, spelled
from tests.api.test_journeys import shaped
from valetkey.store.sql_store import SqlStore
from valetkey.web.api import answers


def asked(hall: Hall, task: str, jwk: object, key: str = "", scope: str = SCOPE) -> Any:
    """Ask for a credential to be sealed to this."""
    body = {"task": task, "scope": scope, "ttl": 300, "seal_to": jwk}
    name = key or secrets.token_urlsafe(9)
    return hall.bot.call("POST", "/v1/credentials", body, Idempotency_Key=name)


def sealed(hall: Hall, key: Private) -> Any:
    """The answer to an ask of a new task."""
    answer = asked(hall, hall.bot.start()["id"], public_jwk(key))
    assert answer.status_code == 201, answer.text
    return shaped(answers.Sealed, answer.json())


@pytest.mark.parametrize("kind", ["EC", "OKP"])
def test_what_is_sealed_is_opened_by_the_letter_of_the_rfcs(hall: Hall, kind: str) -> None:
    """With `cryptography` alone; its header names key, lease and kind, and nothing is compressed."""
    key = fresh(kind)
    answer = sealed(hall, key)
    assert opened(answer["sealed"], key)["value"] == hall.stage.minter.secrets_made[0]
    header = header_of(answer["sealed"])
    known = {"EC": ECKey, "OKP": OKPKey}[kind].import_key(public_jwk(key))  # type: ignore[attr-defined]
    assert header.pop("epk").keys() == public_jwk(key).keys()
    assert header == {
        "alg": "ECDH-ES+A256KW",
        "enc": "A256GCM",
        "typ": "valetkey-credential+jwe",
        "kid": known.thumbprint(),
        "lease": answer["lease"]["id"],
    }


def test_another_key_opens_nothing_and_no_part_can_be_changed(hall: Hall) -> None:
    """Not even the header, which says what the lease is."""
    key = fresh()
    answer = sealed(hall, key)["sealed"]
    with pytest.raises(InvalidUnwrap):
        opened(answer, fresh())
    parts = answer.split(".")
    for place in (1, 2, 3, 4):
        bent = bytes([raw(parts[place])[0] ^ 1]) + raw(parts[place])[1:]
        with pytest.raises((InvalidUnwrap, InvalidTag)):
            opened(".".join([*parts[:place], spelled(bent), *parts[place + 1 :]]), key)
    other = raw(parts[0]).replace(b'"lease":"lease_0', b'"lease":"lease_1')
    assert other != raw(parts[0])
    with pytest.raises(InvalidTag):
        opened(".".join([spelled(other), *parts[1:]]), key)


def test_every_answer_is_sealed_anew(hall: Hall) -> None:
    """Neither the ephemeral key nor the nonce comes twice."""
    key = fresh()
    one, other = sealed(hall, key)["sealed"], sealed(hall, key)["sealed"]
    assert header_of(one)["epk"] != header_of(other)["epk"]
    assert one.split(".")[2] != other.split(".")[2]


def test_a_lost_answer_is_fetched_again_from_the_database(
    live_hall: Hall, sql_store: SqlStore
) -> None:
    """By the same ask and by its route, until its lease is ending; then it is forgotten."""
    hall, key = live_hall, fresh("OKP")
    task, name = live_hall.bot.start()["id"], "lost"
    first = asked(hall, task, public_jwk(key), name).json()
    path = f"/v1/leases/{first['lease']['id']}/sealed"
    assert asked(hall, task, public_jwk(key), name).json()["sealed"] == first["sealed"]
    fetched = hall.bot.call("GET", path)
    assert fetched.headers["Cache-Control"] == "no-store"
    assert shaped(answers.Sealed, fetched.json())["sealed"] == first["sealed"]
    assert opened(first["sealed"], key)["value"] == hall.stage.minter.secrets_made[0]
    assert sql_store.forget_sealed() == 0
    hall.bot.call("POST", f"/v1/leases/{first['lease']['id']}/revoke")
    refused = hall.bot.call("GET", path)
    assert (refused.status_code, refused.json()["code"]) == (409, "lease_ended")
    assert sql_store.forget_sealed() == 1


def test_of_many_that_fetch_at_once_each_gets_the_same(live_hall: Hall) -> None:
    """And the first of many equal asks is the only one that mints."""
    hall, jwk = live_hall, public_jwk(fresh())
    task = hall.bot.start()["id"]
    with ThreadPoolExecutor(8) as threads:
        waits = [threads.submit(asked, hall, task, jwk, "one") for _ in range(8)]
        told = [wait.result() for wait in waits]
    given = [answer.json() for answer in told if answer.status_code == 201]
    assert {answer.status_code for answer in told} <= {201, 409}
    assert len({answer["sealed"] for answer in given}) == 1
    assert len(hall.stage.minter.secrets_made) == 1


def test_nobody_else_fetches_it(hall: Hall) -> None:
    """Another key of the agent finds nothing; people and jobs are at the wrong door."""
    path = f"/v1/leases/{sealed(hall, fresh())['lease']['id']}/sealed"
    other = hall.visitor(hall.stage.bot)
    codes = [x.call("GET", path).json()["code"] for x in (other, hall.owner, hall.job)]
    assert codes == ["not_found", "wrong_door", "wrong_door"]
    assert hall.client.get(path).status_code == 401
    hall.stage.pass_time(timedelta(minutes=2))
    assert hall.visitor(hall.stage.bot).call("GET", path).json()["code"] == "not_found"


def test_a_scope_may_demand_it(hall: Hall) -> None:
    """422 `sealing_required`, on record, and the catalogue says so."""
    from tests.flows.test_sealing import requiring

    requiring(hall.stage)
    task = hall.bot.start()["id"]
    refused = hall.bot.ask(task)
    assert (refused.status_code, refused.json()["code"]) == (422, "sealing_required")
    assert hall.refusals() == ["sealing_required"]
    offered = hall.bot.get("/v1/catalogue")["targets"][0]["scopes"]
    assert {scope["sealed"] for scope in offered} == {"required"}
    assert asked(hall, task, public_jwk(fresh())).status_code == 201


def bodies() -> dict[str, object]:
    """What somebody might send in place of a public key."""
    good = public_jwk(fresh())
    private = dict(ECKey.generate_key("P-256").as_dict(private=True))
    return {
        "a private key": private,
        "a private key with an empty secret": {**good, "d": ""},
        "a point that is not on the curve": {**good, "y": good["x"]},
        "a point at infinity": {**good, "x": "A" * 43, "y": "A" * 43},
        "a point of small order": {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        "a huge coordinate": {**good, "x": "A" * 20_000},
        "many members": {**good, **{f"m{n}": "x" for n in range(1000)}},
        "members nested": {**good, "kid": [[[[]]]]},
        "a symmetric key": {"kty": "oct", "k": "A" * 43},
        "an RSA key": {"kty": "RSA", "n": "A" * 342, "e": "AQAB"},
        "a key for signatures": {**good, "use": "sig"},
        "a weaker algorithm": {**good, "alg": "RSA1_5"},
        "a wish to compress": {**good, "zip": "DEF"},
        "a kid of controls": {**good, "kid": "\t"},
        "letters that look alike": {**good, "crv": "P\u2010256"},
        "a text": '{"kty": "EC"}',
        "a list": [good],
        "nothing in it": {},
        "two keys": {"keys": [good, good]},
    }


@pytest.mark.parametrize("what", bodies())
def test_what_is_no_public_key_is_refused_and_not_repeated(hall: Hall, what: str) -> None:
    """422 before a lease is written; neither the answer nor a fact holds any of it."""
    sent = bodies()[what]
    task = hall.bot.start()["id"]
    refused = asked(hall, task, sent)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert not hall.stage.minter.secrets_made and not hall.bot.get("/v1/leases")["items"]
    told = refused.text + str(hall.facts())
    values = [str(x) for x in sent.values()] if isinstance(sent, dict) else [str(sent)]
    assert not [value for value in values if len(value) > 20 and value in told]


def test_a_kid_of_the_askers_choice_is_not_used(hall: Hall) -> None:
    """Neither in the answer nor in what names the ask: the thumbprint is."""
    key = fresh()
    task = hall.bot.start()["id"]
    jwk = {**public_jwk(key), "kid": "../../etc/passwd", "use": "enc", "key_ops": []}
    first = asked(hall, task, jwk, "k").json()
    assert "passwd" not in str(header_of(first["sealed"]))
    again = asked(hall, task, public_jwk(key), "k")
    assert again.json()["sealed"] == first["sealed"]


def signed_for(hall: Hall, sent: object, named: object) -> Any:
    """An ask with this key, whose proof says that it is to be sealed to that one."""
    body = {"task": hall.bot.start()["id"], "scope": SCOPE, "ttl": 300}
    body |= {"seal_to": sent} if sent is not None else {}
    proof = hall.bot.proof("POST", "/v1/credentials", seal_jkt=named)
    return hall.bot.call("POST", "/v1/credentials", body, Idempotency_Key="k", DPoP=proof)


def test_nobody_on_the_way_puts_another_key_in_its_place(hall: Hall) -> None:
    """Nor takes it away, where the asker's signature names it; nothing is minted."""
    asker, thief = public_jwk(fresh()), public_jwk(fresh())
    named = ECKey.import_key(asker).thumbprint()
    for sent in (thief, None):
        refused = signed_for(hall, sent, named)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_dpop_proof")
    assert not hall.stage.minter.secrets_made
    assert hall.refusals() == ["invalid_dpop_proof"] * 2
    assert signed_for(hall, asker, named).status_code == 201


@pytest.mark.parametrize("odd", [None, "", 7, ["x"], {"jkt": "x"}, "x" * 300, "a\nb"])
def test_a_signature_that_names_no_key_by_its_text_is_refused(hall: Hall, odd: object) -> None:
    """Whatever else stands there is no name, also where no key was sent."""
    for sent in (public_jwk(fresh()), None):
        assert signed_for(hall, sent, odd).json()["code"] == "invalid_dpop_proof"
    assert not hall.stage.minter.secrets_made
