"""DPoP: one proof, by the right key, for exactly this request, once (RFC 9449 section 4.3)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.identity.place import TOKEN_URL, US, Place
from valetkey.agentside.dpop import DpopKey
from valetkey.core.errors import (
    BrokerError,
    ClockSkew,
    InvalidDpopProof,
    KeyMismatch,
    ProofReplayed,
    Unauthenticated,
)
from valetkey.core.principal import Caller
from valetkey.identity.dpop import normal_url
from valetkey.testing.issuer import WITHOUT, hmac_compact, public_jwk, segment

URL = f"{US}/v1/tasks"
Proofs = Callable[[Place, str], list[str]]


def said(**changes: object) -> Proofs:
    """One proof with changed claims."""
    return lambda place, token: [place.dpop("GET", URL, {"token": token, **changes})]


def head(**changes: object) -> Proofs:
    """One proof with a changed header."""
    return lambda place, token: [place.dpop("GET", URL, {"token": token}, None, **changes)]


def at(seconds: int) -> Proofs:
    """One proof made that many seconds from now."""
    return lambda place, token: said(iat=int(place.now) + seconds)(place, token)


def two_proofs(place: Place, token: str) -> list[str]:
    """Two good proofs."""
    return said()(place, token) * 2


def joined(place: Place, token: str) -> list[str]:
    """Two good proofs in one header line."""
    return [", ".join(two_proofs(place, token))]


def with_private_key(place: Place, token: str) -> list[str]:
    """The header holds the private part."""
    return head(jwk=place.dpop_key.as_dict(private=True))(place, token)


def with_kid_only(place: Place, token: str) -> list[str]:
    """The header names a key instead of holding it."""
    return head(jwk=WITHOUT, kid="mine")(place, token)


def rsa(place: Place, token: str) -> list[str]:
    """A key and algorithm outside the list."""
    key = RSAKey.generate_key(2048)
    return [place.dpop("GET", URL, {"token": token}, key, alg="RS256")]


def symmetric(place: Place, token: str) -> list[str]:
    """HS256 with the key in the header."""
    jwk = {"kty": "oct", "k": segment(b"0" * 32)}
    claims = {"htm": "GET", "htu": URL, "iat": int(place.now), "jti": "j"}
    return [hmac_compact({"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk}, claims, b"0" * 32)]


def unsigned(place: Place, token: str) -> list[str]:
    """alg none."""
    first, second, _ = said()(place, token)[0].split(".")
    header = json.loads(base64.urlsafe_b64decode(first + "=="))
    return [f"{segment(json.dumps({**header, 'alg': 'none'}).encode())}.{second}.AA"]


def foreign_key_shown(place: Place, token: str) -> list[str]:
    """Signed by one key, showing another."""
    return head(jwk=public_jwk(ECKey.generate_key("P-256")))(place, token)


def other_key(place: Place, token: str) -> list[str]:
    """A good proof by a key that the token is not bound to."""
    return [place.dpop("GET", URL, {"token": token}, ECKey.generate_key("P-256"))]


REFUSED: dict[str, tuple[Proofs, type[BrokerError]]] = {
    "missing": (lambda place, token: [], InvalidDpopProof),
    "sent twice": (two_proofs, InvalidDpopProof),
    "two in one line": (joined, InvalidDpopProof),
    "not a JWT": (lambda place, token: ["hello"], InvalidDpopProof),
    "our access token itself": (lambda place, token: [token], InvalidDpopProof),
    "without jti": (said(jti=WITHOUT), InvalidDpopProof),
    "with an empty jti": (said(jti=""), InvalidDpopProof),
    "with a jti of 256 characters": (said(jti="j" * 256), InvalidDpopProof),
    "without htm": (said(htm=WITHOUT), InvalidDpopProof),
    "without htu": (said(htu=WITHOUT), InvalidDpopProof),
    "without iat": (said(iat=WITHOUT), InvalidDpopProof),
    "with a float iat": (lambda place, token: said(iat=place.now)(place, token), InvalidDpopProof),
    "with iat true": (said(iat=True), InvalidDpopProof),
    "without ath": (said(token=None), InvalidDpopProof),
    "of another type": (head(typ="jwt"), InvalidDpopProof),
    "without a type": (head(typ=WITHOUT), InvalidDpopProof),
    "with an algorithm outside the list": (rsa, InvalidDpopProof),
    "symmetric": (symmetric, InvalidDpopProof),
    "unsigned": (unsigned, InvalidDpopProof),
    "with crit": (head(crit=["x"]), InvalidDpopProof),
    "showing another key": (foreign_key_shown, InvalidDpopProof),
    "showing its private key": (with_private_key, InvalidDpopProof),
    "showing no key": (with_kid_only, InvalidDpopProof),
    "showing a text for a key": (head(jwk="key"), InvalidDpopProof),
    "for another method": (said(htm="POST"), InvalidDpopProof),
    "for the method in small letters": (said(htm="get"), InvalidDpopProof),
    "for another path": (said(htu=f"{US}/v1/kill"), InvalidDpopProof),
    "for another host": (said(htu="https://evil.example/v1/tasks"), InvalidDpopProof),
    "for http": (said(htu=URL.replace("https", "http")), InvalidDpopProof),
    "for another port": (
        said(htu="https://valetkey.example.com:444/v1/tasks"),
        InvalidDpopProof,
    ),
    "for a host with a user": (
        said(htu="https://valetkey.example.com@evil.example/v1/tasks"),
        InvalidDpopProof,
    ),
    "for a path only": (said(htu="/v1/tasks"), InvalidDpopProof),
    "for an impossible port": (said(htu="https://valetkey.example.com:x/"), InvalidDpopProof),
    "for another token": (said(token="other"), InvalidDpopProof),
    "older than a minute": (at(-62), ClockSkew),
    "more than a minute ahead": (at(62), ClockSkew),
    "made at the end of time": (said(iat=2**53), ClockSkew),
    "by another key": (other_key, KeyMismatch),
}


def _call(place: Place, token: str, proofs: list[str]) -> Caller:
    return place.replica().authenticate([f"DPoP {token}"], proofs, "GET", URL)


@pytest.mark.parametrize("why", REFUSED)
def test_a_call_is_refused_when_its_proof_is(place: Place, why: str) -> None:
    """Each item alone is enough, and a refused call uses nothing up."""
    make, error = REFUSED[why]
    token = place.token()
    used = len(place.uses.kept_until())
    with pytest.raises(BrokerError) as refused:
        _call(place, token, make(place, token))
    assert type(refused.value) is error
    assert len(place.uses.kept_until()) == used
    assert token not in str(refused.value)


@pytest.mark.parametrize("url", [URL, URL.upper().replace("/V1/TASKS", "/v1/tasks")])
@pytest.mark.parametrize(
    "change",
    [
        lambda url: url,
        lambda url: url + "?limit=3#part",
        lambda url: url.replace(".com", ".com:443").replace(".COM", ".COM:443"),
        lambda url: url.replace("/v1/tasks", "/v1/x/../%74asks"),
    ],
)
def test_urls_are_compared_after_normalisation(
    place: Place, url: str, change: Callable[[str], str]
) -> None:
    """Case of scheme and host, default port, query, dots and needless escapes do not matter."""
    token = place.token()
    assert _call(place, token, said(htu=change(url))(place, token)).agent == "refund-bot"


def test_a_proof_is_accepted_once_by_all_replicas_together(place: Place) -> None:
    """The second use is refused, at a replica that shares only the store."""
    token = place.token()
    proofs = said()(place, token)
    _call(place, token, proofs)
    with pytest.raises(ProofReplayed):
        _call(place, token, proofs)


def test_an_edwards_key_can_prove_possession(place: Place) -> None:
    """EdDSA is accepted under both of its names."""
    key = OKPKey.generate_key("Ed25519")
    for alg in ("EdDSA", "Ed25519"):
        proof = place.dpop("POST", TOKEN_URL, {}, key, alg=alg)
        answer = place.replica().exchange(place.form(place.bot()), [proof], TOKEN_URL)
        proof = place.dpop("GET", URL, {"token": answer["access_token"]}, key, alg=alg)
        assert _call(place, str(answer["access_token"]), [proof]).jkt == key.thumbprint()


def test_the_shipped_client_makes_proofs_that_are_accepted(tmp_path: Path, place: Place) -> None:
    """The proofs of agentside pass, for the exchange and for a call with a query."""
    key = DpopKey.kept(tmp_path / "dpop.key")
    proof = key.make_proof("POST", TOKEN_URL)
    answer = place.replica().exchange(place.form(place.bot()), [proof], TOKEN_URL)
    token = str(answer["access_token"])
    caller = _call(place, token, [key.make_proof("GET", f"{URL}?limit=1", token)])
    assert caller.jkt == key.thumbprint


@pytest.mark.parametrize(
    "authorization", [[], ["Bearer {}"], ["DPoP"], ["DPoP {}", "DPoP {}"], ["{}"], ["DPoP  {}"]]
)
def test_a_token_is_refused_unless_sent_once_under_the_dpop_scheme(
    place: Place, authorization: list[str]
) -> None:
    """A bound token sent as Bearer, twice, or without scheme opens nothing."""
    token = place.token()
    sent = [line.format(token) for line in authorization]
    with pytest.raises(Unauthenticated):
        place.replica().authenticate(sent, said()(place, token), "GET", URL)


@given(st.text(max_size=40))
def test_normalising_any_url_gives_a_url_or_value_error(path: str) -> None:
    """What it gives is stable: normalising again changes nothing."""
    try:
        once = normal_url(f"https://Host.example/{path}")
    except ValueError:
        return
    assert normal_url(once) == once
