"""Platform proofs: the good one passes, and each way of being wrong is refused by itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tests.identity.place import BOT, US, Place
from valetkey.core.errors import (
    BrokerError,
    ClockSkew,
    KeyMismatch,
    ProofReplayed,
    TokenExpired,
    Unauthenticated,
    UntrustedIssuer,
)
from valetkey.testing.issuer import WITHOUT, compact, filled, hmac_compact, public_jwk, segment

Make = Callable[[Place], str]


def header(**changes: object) -> Make:
    """A proof whose header is changed."""
    return lambda place: place.bot(changes)


def claims(**changes: object) -> Make:
    """A proof whose claims are changed."""
    return lambda place: place.bot(None, **changes)


def later(**seconds: int) -> Make:
    """A proof whose times are moved relative to now."""
    return lambda place: place.bot(None, **{k: int(place.now) + v for k, v in seconds.items()})


def rewritten(change: Callable[[list[str]], str]) -> Make:
    """A proof whose three parts are put together otherwise."""
    return lambda place: change(place.bot().split("."))


def with_head(raw: bytes) -> Make:
    """A proof whose header bytes are replaced."""
    return rewritten(lambda parts: f"{segment(raw)}.{parts[1]}.{parts[2]}")


def payload(raw: Callable[[bytes], bytes]) -> Make:
    """A well-signed proof whose payload bytes are changed."""

    def make(place: Place) -> str:
        said = filled(
            {"iss": place.workloads.url, "sub": BOT, "aud": US, "jti": "j1"},
            {"iat": int(place.now), "exp": int(place.now) + 300},
        )
        head = {"typ": "JWT", "alg": "ES256", "kid": place.workloads.key.kid}
        return compact(head, raw(json.dumps(said).encode()), place.workloads.key)

    return make


def with_key(make: Callable[[], Any], alg: str, jwk: dict[str, object] | None = None) -> Make:
    """A proof signed by a key that the issuer lists, of a kind we do not accept."""

    def made(place: Place) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = make()
        place.workloads.shown.append({**public_jwk(key), "kid": "odd", **(jwk or {})})
        place.changes["algorithms"] = frozenset({alg})
        place.workloads.key = key
        return place.bot({"alg": alg, "kid": "odd"})

    return made


def hmac_with_public_key(place: Place) -> str:
    """HS256 with the issuer's public key as the shared secret."""
    said = {"iss": place.workloads.url, "sub": BOT, "aud": US, "exp": int(place.now) + 300}
    head = {"alg": "HS256", "typ": "JWT", "kid": place.workloads.key.kid}
    return hmac_compact(head, said, place.workloads.key.as_pem(private=False))


def by_stranger(place: Place) -> str:
    """The right claims and kid, signed by somebody else's key."""
    place_kid = place.workloads.key.kid
    place.workloads.key = ECKey.generate_key("P-256")
    return place.bot({"kid": place_kid})


def by_other_issuer(place: Place) -> str:
    """Signed with a registered issuer's key, but saying to be of another."""
    return place.github.sign(place.now, {"iss": place.workloads.url, "sub": BOT, "aud": US})


def json_serialisation(place: Place) -> str:
    """The JSON form of JWS."""
    head, body, signature = place.bot().split(".")
    return json.dumps({"protected": head, "payload": body, "signature": signature})


def with_symmetric_key(place: Place) -> str:
    """The kid of a symmetric key that the issuer lists."""
    place.workloads.shown.append({"kty": "oct", "k": "AAAA", "kid": "sym"})
    return place.bot({"kid": "sym"})


def small_rsa() -> RSAKey:
    """A 1024-bit key."""
    return RSAKey.generate_key(1024)


REFUSED: dict[str, tuple[Make, type[BrokerError]]] = {
    # 1: size and form
    "empty": (lambda place: "", Unauthenticated),
    "over 8 KiB": (claims(pad="x" * 8200), Unauthenticated),
    "two parts": (rewritten(lambda p: ".".join(p[:2])), Unauthenticated),
    "detached payload": (rewritten(lambda p: f"{p[0]}..{p[2]}"), Unauthenticated),
    "five parts as in JWE": (rewritten(lambda p: ".".join([*p, "a", "b"])), Unauthenticated),
    "JSON serialisation": (json_serialisation, Unauthenticated),
    "padding": (rewritten(lambda p: ".".join(p) + "="), Unauthenticated),
    "white space": (rewritten(lambda p: ".".join(p) + "\n"), Unauthenticated),
    "plain base64 letters": (rewritten(lambda p: f"{p[0]}.{p[1]}.+/+/"), Unauthenticated),
    "non-ASCII": (rewritten(lambda p: ".".join(p) + "é"), Unauthenticated),
    # 2: header
    "header not an object": (
        with_head(b"[]"),
        Unauthenticated,
    ),
    "repeated header name": (
        with_head(b'{"alg":"ES256","alg":"none"}'),
        Unauthenticated,
    ),
    "crit": (header(crit=["exp"]), Unauthenticated),
    "b64": (header(b64=False), Unauthenticated),
    "jku": (header(jku="https://evil.example/jwks"), Unauthenticated),
    "x5u": (header(x5u="https://evil.example/cert"), Unauthenticated),
    "jwk": (lambda place: place.bot({"jwk": public_jwk(place.workloads.key)}), Unauthenticated),
    "x5c": (header(x5c=["MII"]), Unauthenticated),
    "zip": (header(zip="DEF"), Unauthenticated),
    "unknown header member": (header(hint="x"), Unauthenticated),
    # 3: algorithm and key
    "alg none": (
        with_head(b'{"alg":"none","kid":"k"}'),
        Unauthenticated,
    ),
    "alg nOnE": (
        with_head(b'{"alg":"nOnE","kid":"k"}'),
        Unauthenticated,
    ),
    "HMAC with the public key": (hmac_with_public_key, Unauthenticated),
    "algorithm of another record": (
        with_key(lambda: ECKey.generate_key("P-384"), "ES384", {"alg": "ES256"}),
        Unauthenticated,
    ),
    "1024-bit RSA": (with_key(small_rsa, "RS256"), Unauthenticated),
    "symmetric key in the set": (with_symmetric_key, Unauthenticated),
    "key for encryption": (
        with_key(lambda: ECKey.generate_key("P-256"), "ES256", {"use": "enc"}),
        Unauthenticated,
    ),
    "curve secp256k1": (
        with_key(lambda: ECKey.generate_key("P-256"), "ES256", {"crv": "secp256k1"}),
        Unauthenticated,
    ),
    # 4: issuer
    "unknown issuer": (claims(iss="https://evil.example"), UntrustedIssuer),
    "issuer with a slash more": (
        lambda place: place.bot(iss=place.workloads.url + "/"),
        UntrustedIssuer,
    ),
    "issuer missing": (claims(iss=WITHOUT), UntrustedIssuer),
    "issuer as a list": (lambda place: place.bot(iss=[place.workloads.url]), UntrustedIssuer),
    # 5: kid
    "kid missing": (header(kid=WITHOUT), Unauthenticated),
    "kid unknown": (header(kid="nobody"), Unauthenticated),
    "kid a path": (header(kid="../../etc/passwd"), Unauthenticated),
    "kid SQL": (header(kid="' OR 1=1"), Unauthenticated),
    "kid too long": (header(kid="k" * 129), Unauthenticated),
    "kid a number": (header(kid=1), Unauthenticated),
    # 6: type
    "typ of an access token": (header(typ="at+jwt"), Unauthenticated),
    "typ of a DPoP proof": (header(typ="dpop+jwt"), Unauthenticated),
    "typ of a logout token": (header(typ="logout+jwt"), Unauthenticated),
    # 7: signature
    "signed by a stranger": (by_stranger, Unauthenticated),
    "signed by another registered issuer": (by_other_issuer, Unauthenticated),
    "signature cut short": (rewritten(lambda p: f"{p[0]}.{p[1]}.{p[2][:-4]}"), Unauthenticated),
    "payload of another token": (
        lambda place: ".".join(
            [place.bot(sub="root").rpartition(".")[0], place.bot().rpartition(".")[2]]
        ),
        Unauthenticated,
    ),
    # 8: claims
    "payload not an object": (payload(lambda raw: b"[" + raw + b"]"), Unauthenticated),
    "repeated claim": (payload(lambda raw: raw[:-1] + b',"sub":"root"}'), Unauthenticated),
    "NaN": (payload(lambda raw: raw[:-1] + b',"x":NaN}'), Unauthenticated),
    "Infinity": (payload(lambda raw: raw[:-1] + b',"x":1e999}'), Unauthenticated),
    "not UTF-8": (payload(lambda raw: raw[:-1] + b',"x":"\xff"}'), Unauthenticated),
    "deeply nested": (
        payload(lambda raw: raw[:-1] + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}"),
        Unauthenticated,
    ),
    "exp a float": (lambda place: place.bot(exp=place.now + 100.5), Unauthenticated),
    "exp a text": (lambda place: place.bot(exp=str(int(place.now) + 100)), Unauthenticated),
    "exp true": (claims(exp=True), Unauthenticated),
    "exp negative": (claims(exp=-1), Unauthenticated),
    "exp beyond 2^53": (claims(exp=2**53 + 1), Unauthenticated),
    "exp missing": (claims(exp=WITHOUT), Unauthenticated),
    "iat missing": (claims(iat=WITHOUT), Unauthenticated),
    "nbf a text": (claims(nbf="soon"), Unauthenticated),
    "sub missing": (claims(sub=WITHOUT), Unauthenticated),
    "jti missing where it is needed": (claims(jti=WITHOUT), Unauthenticated),
    # 9: audience
    "audience missing": (claims(aud=WITHOUT), Unauthenticated),
    "another audience": (claims(aud="https://other.example"), Unauthenticated),
    "audience the owner's URL, GitHub's default": (
        claims(aud="https://github.com/acme"),
        Unauthenticated,
    ),
    "doubled audience": (claims(aud=[US, "https://other.example"]), Unauthenticated),
    "our audience twice": (claims(aud=[US, US]), Unauthenticated),
    # 10: time
    "expired": (later(iat=-120, nbf=-120, exp=-1), TokenExpired),
    "from the future": (later(iat=60, nbf=60, exp=200), ClockSkew),
    "not yet valid": (later(nbf=60), ClockSkew),
    "made too long ago": (later(iat=-700, nbf=-700, exp=60), ClockSkew),
    "lives too long": (later(exp=7200), Unauthenticated),
    "ends before it was made": (later(iat=20, exp=10), Unauthenticated),
    # 12: subject
    "sub empty": (claims(sub=""), Unauthenticated),
    "sub of 256 characters": (claims(sub="s" * 256), Unauthenticated),
    "sub with a line break": (claims(sub="a\nb"), Unauthenticated),
    "sub with a bidi mark": (claims(sub="bot\u202egro"), Unauthenticated),
    "sub with a zero-width space": (claims(sub=f"{BOT}\u200b"), Unauthenticated),
    "sub a number": (claims(sub=7), Unauthenticated),
    # 13: binding and what cannot be checked
    "cnf for another DPoP key": (claims(cnf={"jkt": "another"}), KeyMismatch),
    "cnf for a certificate": (claims(cnf={"x5t#S256": "abc"}), Unauthenticated),
    "cnf for two things": (claims(cnf={"jkt": "a", "x5t#S256": "b"}), Unauthenticated),
    "cnf not an object": (claims(cnf="key"), Unauthenticated),
    "already on behalf of somebody": (claims(act={"sub": "other"}), Unauthenticated),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_proof_is_refused_when_it_is(place: Place, why: str) -> None:
    """Each item of the reject list alone is enough, names its kind, and gives no token."""
    make, error = REFUSED[why]
    token = make(place)
    with pytest.raises(BrokerError) as refused:
        place.exchange(place.form(token))
    assert type(refused.value) is error
    assert refused.value.extra["oauth_error"] == "invalid_request"
    assert place.told == []
    assert BOT not in str(refused.value)


def test_a_good_proof_becomes_a_token_of_ours_for_the_bound_agent(place: Place) -> None:
    """The answer is as RFC 8693 wants it, and the token opens the API for that agent."""
    answer = place.exchange(place.form(place.bot(color="blue")))
    assert answer["token_type"] == "DPoP"
    assert 0 < int(str(answer["expires_in"])) <= 300
    assert "refresh_token" not in answer
    caller = place.call(str(answer["access_token"]))
    assert (caller.kind, caller.agent, caller.agent_id) == ("agent", "refund-bot", "agent_bot")
    assert str(caller.principal) == f"{place.workloads.url} {BOT}"
    assert caller.jkt == place.dpop_key.thumbprint()
    assert place.told[0].unaccounted == ("color",)


@pytest.mark.parametrize(
    ("alg", "make"),
    [
        ("RS256", lambda: RSAKey.generate_key(2048)),
        ("PS256", lambda: RSAKey.generate_key(2048)),
        ("ES384", lambda: ECKey.generate_key("P-384")),
        ("ES512", lambda: ECKey.generate_key("P-521")),
        ("EdDSA", lambda: OKPKey.generate_key("Ed25519")),
        ("Ed25519", lambda: OKPKey.generate_key("Ed25519")),
    ],
)
def test_a_proof_with_a_registered_algorithm_is_accepted(
    place: Place, alg: str, make: Callable[[], Any]
) -> None:
    """Each algorithm works with the key type and curve that belongs to it."""
    assert place.exchange(place.form(with_key(make, alg)(place)))["token_type"] == "DPoP"


def test_a_proof_bound_to_the_presented_key_is_accepted(place: Place) -> None:
    """`cnf.jkt` equal to the DPoP key is checked, and passes."""
    token = place.bot(cnf={"jkt": place.dpop_key.thumbprint()})
    assert place.exchange(place.form(token))["token_type"] == "DPoP"


def test_a_proof_is_accepted_once_by_all_replicas_together(place: Place) -> None:
    """A second replica that shares only the store refuses what the first accepted."""
    token = place.bot()
    place.exchange(place.form(token))
    with pytest.raises(ProofReplayed):
        place.exchange(place.form(token))


def test_a_proof_without_jti_is_once_only_by_its_hash(place: Place) -> None:
    """With `replay: token_hash` no jti is needed, and the same token is refused again."""
    place.changes["replay"] = "token_hash"
    token = place.bot(jti=WITHOUT)
    place.exchange(place.form(token))
    with pytest.raises(ProofReplayed):
        place.exchange(place.form(token))


def test_rewriting_an_ecdsa_signature_does_not_make_another_proof(place: Place) -> None:
    """(r, n - s) verifies as (r, s) does; it is still the same proof, used once."""
    place.changes["replay"] = "token_hash"
    token = place.bot(jti=WITHOUT)
    place.exchange(place.form(token))
    with pytest.raises(ProofReplayed):
        place.exchange(place.form(_with_other_s(token)))


def test_a_reusable_proof_belongs_to_the_first_key_that_used_it(place: Place) -> None:
    """With `replay: reusable_until_exp` the first key may repeat, any other is refused."""
    place.changes["replay"] = "reusable_until_exp"
    token = place.bot(jti=WITHOUT)
    place.exchange(place.form(token))
    place.exchange(place.form(token))
    for stolen in (token, _with_other_s(token)):
        with pytest.raises(KeyMismatch):
            place.exchange(place.form(stolen), key=ECKey.generate_key("P-256"))


def test_uses_are_remembered_longer_than_the_proof_lives(place: Place) -> None:
    """No gap is left between the end of a proof and the end of its memory."""
    place.exchange(place.form(place.bot()))
    assert max(place.uses.kept_until()).timestamp() > place.now + 300


def test_our_token_ends_no_later_than_the_proof(place: Place) -> None:
    """A proof with a minute left gives a token of at most a minute."""
    answer = place.exchange(place.form(later(exp=60)(place)))
    assert int(str(answer["expires_in"])) <= 60


def test_a_claim_that_the_record_demands_is_compared_exactly(place: Place) -> None:
    """`checked` claims must be there with just that value."""
    place.changes["checked"] = {"tenant": "acme"}
    assert place.exchange(place.form(place.bot(tenant="acme")))
    for wrong in ("Acme", "acme ", ["acme"], WITHOUT):
        with pytest.raises(Unauthenticated):
            place.exchange(place.form(place.bot(tenant=wrong)))


def test_a_restriction_that_cannot_be_checked_refuses_the_proof(place: Place) -> None:
    """A claim listed as uncheckable refuses by being there."""
    place.changes["uncheckable"] = frozenset({"source_ip"})
    with pytest.raises(Unauthenticated):
        place.exchange(place.form(place.bot(source_ip="203.0.113.8")))


def test_a_symmetric_key_is_never_imported() -> None:
    """Not even when an issuer lists it."""
    from valetkey.identity.jose import BadToken, verifying_key

    with pytest.raises(BadToken):
        verifying_key(OctKey.generate_key(256).as_dict())


def _with_other_s(token: str) -> str:
    import base64

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    other = order - int.from_bytes(raw[32:])
    return f"{signed}.{segment(raw[:32] + other.to_bytes(32))}"
